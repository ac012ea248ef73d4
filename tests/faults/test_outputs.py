"""Faults of outputs: damaged or missing results, full disks, locks, names, links and clocks.

After each fault, the same command ends with results identical to those of an undisturbed study, or
with a one-line message. Complete files are never removed.
"""

import errno
import fcntl
import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest

from circuitshift.atlases import atomic_files
from circuitshift.pipeline.io import number_tables
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.pipeline.reports.person import inputs as participant_inputs
from circuitshift.pipeline.reports.study import inputs as study_inputs
from circuitshift.workflows.cli.exit_status import EXIT_FAILED, EXIT_OK, EXIT_PARTIAL
from circuitshift.workflows.engine import locks

ONE = ("--participant-label", "01")


def again(bench, capsys, level="participant", *more):
    """Run again; all results must be those of the undisturbed study. Return the printed text."""
    capsys.readouterr()
    code = bench.run(level, *more)
    printed = "".join(capsys.readouterr())
    assert "Traceback" not in printed
    assert code == EXIT_OK, printed
    assert bench.differs() == []
    return printed


# ------------------------------------------------------------------------- damaged and missing

RELMAT = "sub-01/ses-pre/func/*_relmat.tsv"


def truncated(path):
    path.write_bytes(path.read_bytes()[:500])


def zeroed(path):
    """Keep the size but not the content, as some file systems do after a crash."""
    path.write_bytes(bytes(path.stat().st_size))


def one_digit(path):
    text = path.read_text()
    at = re.search(r"0\.\d", text).end() - 1
    path.write_text(text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :])


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        (RELMAT, truncated),
        (RELMAT, zeroed),
        (RELMAT, one_digit),
        (RELMAT, Path.unlink),
        ("sub-01/ses-pre/func/*_relmat.json", truncated),
        ("sub-01/ses-pre/func/*_relmat.json", zeroed),
        ("sub-01/ses-pre/func/*_timeseries.tsv", truncated),
        ("sub-01/ses-pre/func/*_timeseries.json", Path.unlink),
        ("sub-01/sub-01_runs.tsv", Path.unlink),
        ("sub-01/sub-01_runs.tsv", zeroed),
        ("sub-01/sub-01_runs.json", Path.unlink),
        ("sub-01.html", Path.unlink),
        ("sub-01.html", truncated),
        ("sourcedata/atlases/*.tsv", zeroed),
        ("sourcedata/atlases/*.json", Path.unlink),
        ("dataset_description.json", Path.unlink),
        (".bidsignore", Path.unlink),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_damaged_or_missing_output_is_written_again(done, capsys, pattern, damage):
    damage(next(done.out.glob(pattern)))
    again(done, capsys, "participant", *ONE)


@pytest.mark.parametrize("name", ["verdict.json", "tests.tsv", "report.html", "edges.tsv"])
def test_a_damaged_output_of_the_group_level_is_written_again(done, capsys, name):
    truncated(done.out / "group" / name)
    again(done, capsys, "group")


def test_a_missing_folder_of_a_participant_is_written_again(done, capsys):
    shutil.rmtree(done.out / "sub-02")
    again(done, capsys, "group")


# ----------------------------------------------------------------------------- disks that fail

REFUSALS = [
    (errno.ENOSPC, "No space left on device); free some space and run the command again"),
    (errno.EDQUOT, "Disk quota exceeded); free some of your quota and run the command again"),
    (errno.EROFS, "Read-only file system); choose a folder that can be written to"),
    (errno.EFBIG, "File too large); raise the limit of file sizes"),
    (errno.EIO, "Input/output error); run the command again"),
]


@pytest.mark.parametrize(("number", "message"), REFUSALS, ids=lambda value: str(value)[:8])
@pytest.mark.parametrize("after", [3, 9])
def test_a_write_error_is_reported_and_the_next_run_completes(
    bench, capsys, monkeypatch, number, message, after
):
    """The error occurs at one of the first files, or after some files have been written."""
    calls, sync = [], os.fsync

    def fail(descriptor):
        calls.append(1)
        if len(calls) > after:
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr(atomic_files.os, "fsync", fail)
    assert bench.run("participant", *ONE) == EXIT_FAILED
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert message in lines[0]
    assert "files that are complete are kept" in lines[0]
    assert not list(bench.out.rglob(f"{atomic_files.PART_PREFIX}*"))
    monkeypatch.undo()
    assert bench.run("participant", *ONE) == EXIT_OK
    assert bench.differs(person="01") == []


def test_a_group_level_on_a_full_disk(done, capsys, monkeypatch):
    def fail(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    shutil.rmtree(done.out / "group")
    monkeypatch.setattr(atomic_files.os, "fsync", fail)
    assert done.run("group") == EXIT_FAILED
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "free some space" in lines[0]
    monkeypatch.undo()
    again(done, capsys, "group")


def test_logs_that_cannot_be_written_do_not_stop_the_run(done, capsys):
    (done.out / "logs" / "sub-01.log").unlink(missing_ok=True)
    (done.out / "logs" / "sub-01.log").mkdir()
    again(done, capsys, "participant", *ONE)


def test_an_output_of_another_program_is_not_changed(bench, capsys):
    bench.out.mkdir()
    (bench.out / "dataset_description.json").write_text('{"GeneratedBy": [{"Name": "fMRIPrep"}]}')
    assert bench.run("participant", *ONE) == EXIT_FAILED
    assert "it is a data set of fMRIPrep, so nothing is written into it" in capsys.readouterr().err
    assert sorted(p.name for p in bench.out.iterdir()) == ["dataset_description.json"]


# ------------------------------------------------------------------------------------- locks


def test_remains_of_killed_runs_are_removed(done, capsys):
    running = done.out / "logs" / "running"
    running.mkdir(parents=True, exist_ok=True)
    note = {"host": "x", "pid": 1, "started": "then", "participants": ["sub-01"]}
    (running / "dead.json").write_text(json.dumps(note))
    for folder in (done.out, done.out / "sub-01/ses-pre/func", done.out / "group"):
        (folder / f"{atomic_files.PART_PREFIX}1-ab-sub-01.html").write_text("incomplete")
    again(done, capsys, "participant", *ONE)
    assert not list(done.out.rglob(f"{atomic_files.PART_PREFIX}*"))
    assert not list(running.glob("*.json"))


def test_partial_files_of_a_killed_worker_are_no_input_of_a_report(done):
    """The run continues in another process, whose report must be that of an undisturbed run."""
    partial = (
        done.out
        / "sub-01/ses-pre/func"
        / f"{atomic_files.PART_PREFIX}1-ab-sub-01_stat-mean_timeseries.json"
    )
    partial.write_text("{")
    (done.out / "group" / f"{atomic_files.PART_PREFIX}1-ab-tests.tsv").write_text("incomplete")
    (done.out / "group" / f"{atomic_files.PART_PREFIX}1-ab-tests.json").write_text("{}")
    participant_inputs.report_participant("01", AnalysisSettings(), done.out)
    study_inputs.report_group(done.out)
    assert done.differs() == [path.relative_to(done.out).as_posix() for path in (
        *sorted((done.out / "group").glob(f"{atomic_files.PART_PREFIX}*")), partial)]  # fmt: skip


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"participants": 3}', '{"people": ["sub-01"]}', '{"host": 1}']
)
def test_a_note_that_is_not_whole(done, capsys, content):
    running = done.out / "logs" / "running"
    running.mkdir(parents=True, exist_ok=True)
    (running / "broken.json").write_text(content)
    again(done, capsys, "participant", *ONE)


def test_only_participants_of_another_run_are_refused(done, capsys, monkeypatch):
    monkeypatch.setattr(locks, "_PATIENCE_S", 0.0)
    with locks.claimed(done.out, ["sub-01"], notify=print):
        assert done.run("participant", *ONE) == EXIT_FAILED
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        assert re.search(
            r"written to by another run \(process \d+ on .*on sub-01\); wait", lines[0]
        )
        assert done.run("group") == EXIT_FAILED
        again(done, capsys, "participant", "--participant-label", "02")
    again(done, capsys, "participant", *ONE)


def test_a_file_system_without_locks(done, capsys, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", fail)
    assert "cannot be locked; start one run at a time" in again(done, capsys, "participant", *ONE)


def test_two_simulations_cannot_write_to_one_folder(tmp_path):
    with locks.staged(tmp_path / "x") as stage:
        (stage / "half").write_text("")
        with pytest.raises(Exception, match="being written to by another run"):
            locks.staged(tmp_path / "x").__enter__()
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["half"]
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_killed_simulation_is_started_again(tmp_path):
    partial = tmp_path / f"{atomic_files.PART_PREFIX}x"
    (partial / "sub-01").mkdir(parents=True)
    (partial / "half").write_text("")
    with locks.staged(tmp_path / "x") as stage:
        assert list(stage.iterdir()) == []
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


class _Runs:
    """Object that creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_no_pickle_of_a_previous_run_is_read(done, tmp_path, capsys):
    """Pickles are placed under all names that Nipype reads, in all folders that it could use."""
    import gzip
    import pickle

    pickled = gzip.compress(pickle.dumps(_Runs(tmp_path / "ran")))
    work = done.root / "work"
    names = ("result_measure.pklz", "_inputs.pklz", "_node.pklz", "result_report.pklz")
    for base in (work, *(work / f"circuitshift_0_1_0{x}" for x in ("", "/run-1", "/run-2"))):
        for step in ("measure", "report"):
            folder = base / "participant_wf" / "sub_01_wf" / step
            folder.mkdir(parents=True, exist_ok=True)
            for name in names:
                (folder / name).write_bytes(pickled)
    (done.out / "sub-01.html").unlink()
    again(done, capsys, "participant", *ONE)
    assert not (tmp_path / "ran").exists()
    pickle.loads(gzip.decompress(pickled))  # noqa: S301 - shows that reading it would be noticed
    assert (tmp_path / "ran").exists()


def test_the_scratch_folder_is_private_and_is_removed(tmp_path):
    with locks.scratch(tmp_path / "w", empty=False) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        with locks.scratch(tmp_path / "w", empty=False) as other:
            assert folder.exists()  # another run must not remove it
        assert not other.exists()
    assert not folder.exists()
    (tmp_path / "w" / "run-dead").mkdir()
    with locks.scratch(tmp_path / "w", empty=False):
        assert not (tmp_path / "w" / "run-dead").exists()


# ---------------------------------------------------------------------- clocks, names, links


@pytest.mark.parametrize("when", [0, -(2**31), 2**33], ids=["1970", "1901", "2242"])
def test_results_do_not_depend_on_wrong_dates(bench, when):
    words = ("participant", *ONE)
    for path in bench.data.rglob("*.tsv"):
        os.utime(path, (when, when))
    assert bench.run(*words) == EXIT_OK
    assert bench.differs(person="01") == []
    before = {p: p.stat().st_mtime_ns for p in bench.out.rglob("*_relmat.tsv")}
    assert bench.run(*words) == EXIT_OK
    assert {p: p.stat().st_mtime_ns for p in bench.out.rglob("*_relmat.tsv")} == before


def test_results_do_not_depend_on_a_clock_that_runs_backwards(done, capsys, monkeypatch):
    real, start = time.time, time.time()
    monkeypatch.setattr(time, "time", lambda: 2 * start - real() - 1e6)
    (done.out / "sub-01.html").unlink()
    again(done, capsys, "participant", *ONE)


@pytest.mark.parametrize(
    "name",
    [
        "with spaces  two",
        "Ünïcödé 日本語 ψ",
        'quote\'s "double" `id` $(touch ran) ; & | > x',
        "-starts-with-a-dash",
        "100%s %n {0} {{x}}",
        "line\nbreak\ttab\x1b[31m",
        "<script>alert(1)</script>",
    ],
)
def test_special_characters_in_names_of_folders(undisturbed, tmp_path, capsys, monkeypatch, name):
    """Folders are found, and their names are neither executed nor inserted into pages as HTML."""
    root = tmp_path / name.replace("/", "\u2215")
    root.mkdir()
    monkeypatch.chdir(tmp_path)
    shutil.copytree(undisturbed.data, root / "data")
    bench = type(undisturbed)(root / "data", root / "out", root, undisturbed.whole)
    assert bench.run("participant", *ONE, "--write-graph") == EXIT_OK
    assert "\x1b" not in "".join(capsys.readouterr())
    assert bench.differs(person="01") == []
    assert not (tmp_path / "ran").exists()
    assert "<script>alert" not in (bench.out / "sub-01.html").read_text()


def test_a_file_name_that_is_not_unicode(bench, capsys):
    folder = os.fsencode(bench.data / "sub-01/ses-pre/func")
    for name in (b"sub-01_ses-pre_task-re\xffst_timeseries.tsv", b"\xfe\xff.json"):
        Path(os.fsdecode(os.path.join(folder, name))).write_text("x")  # noqa: PTH118
    assert bench.run("participant", *ONE) in (EXIT_OK, EXIT_PARTIAL)
    assert "Traceback" not in "".join(capsys.readouterr())
    ours = {k for k in bench.differs(person="01") if k.endswith("relmat.tsv")}
    assert not ours


@pytest.mark.parametrize("linked", ["data set", "participants", "files", "data set and results"])
def test_data_and_results_can_be_symbolic_links(bench, capsys, linked):
    """Files are links in DataLad data sets; data sets on other disks are often linked, too."""
    real = bench.root / "real"
    bench.data.rename(real)
    if linked.startswith("data set"):
        bench.data.symlink_to(real)
    else:
        bench.data.mkdir()
        for path in real.rglob("*") if linked == "files" else real.iterdir():
            target = bench.data / path.relative_to(real)
            if path.is_dir() and linked == "files":
                target.mkdir()
            else:
                target.symlink_to(path)
    if linked == "data set and results":
        (bench.root / "elsewhere").mkdir()
        bench.out.symlink_to(bench.root / "elsewhere")
    again(bench, capsys, "participant")


def test_circular_links_do_not_change_results(bench, capsys):
    (bench.data / "sub-01/ses-pre/func/deeper").symlink_to(bench.data)
    (bench.data / "sub-01/sub-01").symlink_to(bench.data / "sub-01")
    (bench.data / "derivatives").symlink_to(bench.data)
    (bench.data / "sub-01/ses-pre/func/self.json").symlink_to("self.json")
    assert bench.run("participant", *ONE) in (EXIT_OK, EXIT_PARTIAL)
    assert "Traceback" not in "".join(capsys.readouterr())
    assert not [k for k in bench.differs(person="01") if k.endswith("relmat.tsv")]


HOSTILE = '<img src=x onerror="alert(1)">&amp;\'"><script>alert(2)</script>'


def test_names_of_regions_and_groups_are_escaped_in_pages(bench, capsys):
    for path in bench.data.rglob("*_timeseries.tsv"):
        path.write_text(path.read_text().replace("7Networks_LH_Vis_1", HOSTILE, 1))
    table = bench.data / "participants.tsv"
    table.write_text(table.read_text().replace("active", f"active {HOSTILE}"))
    study = "[groups]\ncontrol = [\"placebo\"]\ntreated = ['''active " + HOSTILE + "''']\n"
    (bench.root / "study.toml").write_text(study + "[tests]\nn_permutations = 20\n")
    assert bench.run("group") == EXIT_OK, capsys.readouterr()
    for page in bench.out.rglob("*.html"):
        text = page.read_text()
        assert "<img src=x" not in text
        assert "<script>alert" not in text


# ------------------------------------------------------------------------ unexpected errors


def test_an_unexpected_error_is_one_line_in_the_page_and_complete_in_a_file(
    bench, capsys, monkeypatch
):
    from circuitshift.pipeline import edges as connectivity

    def fail(*_):
        raise ZeroDivisionError("unexpected <value>")

    monkeypatch.setattr(connectivity, "correlation", fail)
    assert bench.run("participant", *ONE) == EXIT_PARTIAL
    printed = "".join(capsys.readouterr())
    assert "Traceback" not in printed
    assert "unexpected error in measure (ZeroDivisionError: unexpected <value>); see" in printed
    assert "unexpected &lt;value&gt;" in (bench.out / "sub-01.html").read_text()
    log = (bench.out / "logs/sub-01.log").read_text()
    assert "measure failed" in log
    monkeypatch.undo()
    assert bench.run("participant", *ONE) == EXIT_OK
    assert bench.differs(person="01") == []
    log = (bench.out / "logs/sub-01.log").read_text()
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d measure done in [\d.]+ s", log)
    assert "as given: included" in log
    assert log.isascii()
    assert not re.search(r"[^\n -~]", log)


def test_exhausted_memory_is_reported(bench, capsys, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(number_tables, "read_number_series", fail)
    code = bench.run("participant", *ONE)
    assert code in (EXIT_FAILED, EXIT_PARTIAL)
    assert "out of memory; use fewer --nprocs" in "".join(capsys.readouterr())
