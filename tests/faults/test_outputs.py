"""Fault matrix, outputs: damaged and lost results, full disks, locks, names, links, clocks.

After each the same command ends with the bytes of a study that was never disturbed, or with one
sentence; nothing that was whole is lost.
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
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.pipeline.reports.person import inputs as collect
from circuitshift.pipeline.reports.study import inputs as collect_group
from circuitshift.workflows.cli.exit_status import EXIT_FAILED, EXIT_OK, EXIT_PARTIAL
from circuitshift.workflows.engine import locks as claim

ONE = ("--participant-label", "01")


def again(bench, capsys, level="participant", *more):
    """Run again; everything must be as undisturbed."""
    capsys.readouterr()
    code = bench.run(level, *more)
    said = "".join(capsys.readouterr())
    assert "Traceback" not in said
    assert code == EXIT_OK, said
    assert bench.differs() == []
    return said


# ------------------------------------------------------------------------- damaged and lost

RELMAT = "sub-01/ses-pre/func/*_relmat.tsv"


def shorter(path):
    path.write_bytes(path.read_bytes()[:500])


def zeroed(path):
    """What some file systems leave after a crash: the size, without the content."""
    path.write_bytes(bytes(path.stat().st_size))


def one_digit(path):
    text = path.read_text()
    at = re.search(r"0\.\d", text).end() - 1
    path.write_text(text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :])


@pytest.mark.parametrize(
    ("what", "breaks"),
    [
        (RELMAT, shorter),
        (RELMAT, zeroed),
        (RELMAT, one_digit),
        (RELMAT, Path.unlink),
        ("sub-01/ses-pre/func/*_relmat.json", shorter),
        ("sub-01/ses-pre/func/*_relmat.json", zeroed),
        ("sub-01/ses-pre/func/*_timeseries.tsv", shorter),
        ("sub-01/ses-pre/func/*_timeseries.json", Path.unlink),
        ("sub-01/sub-01_runs.tsv", Path.unlink),
        ("sub-01/sub-01_runs.tsv", zeroed),
        ("sub-01/sub-01_runs.json", Path.unlink),
        ("sub-01.html", Path.unlink),
        ("sub-01.html", shorter),
        ("sourcedata/atlases/*.tsv", zeroed),
        ("sourcedata/atlases/*.json", Path.unlink),
        ("dataset_description.json", Path.unlink),
        (".bidsignore", Path.unlink),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_damaged_or_lost_output_comes_back(done, capsys, what, breaks):
    breaks(next(done.out.glob(what)))
    again(done, capsys, "participant", *ONE)


@pytest.mark.parametrize("name", ["verdict.json", "tests.tsv", "report.html", "edges.tsv"])
def test_a_damaged_output_of_the_group_comes_back(done, capsys, name):
    shorter(done.out / "group" / name)
    again(done, capsys, "group")


def test_a_whole_folder_of_somebody_lost(done, capsys):
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


@pytest.mark.parametrize(("number", "said"), REFUSALS, ids=lambda value: str(value)[:8])
@pytest.mark.parametrize("after", [3, 9])
def test_a_disk_that_refuses_midway(bench, capsys, monkeypatch, number, said, after):
    """At the first files, and when some are written: one sentence, then as if nothing had been."""
    calls, sync = [], os.fsync

    def refuses(descriptor):
        calls.append(1)
        if len(calls) > after:
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr(atomic_files.os, "fsync", refuses)
    assert bench.run("participant", *ONE) == EXIT_FAILED
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1, told
    assert said in told[0]
    assert "files that are complete are kept" in told[0]
    assert not list(bench.out.rglob(f"{atomic_files.PART_PREFIX}*"))
    monkeypatch.undo()
    assert bench.run("participant", *ONE) == EXIT_OK
    assert bench.differs(person="01") == []


def test_a_group_level_on_a_full_disk(done, capsys, monkeypatch):
    def refuses(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    shutil.rmtree(done.out / "group")
    monkeypatch.setattr(atomic_files.os, "fsync", refuses)
    assert done.run("group") == EXIT_FAILED
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert "free some space" in told[0]
    monkeypatch.undo()
    again(done, capsys, "group")


def test_logs_that_cannot_be_written_stop_nobody(done, capsys):
    (done.out / "logs" / "sub-01.log").unlink(missing_ok=True)
    (done.out / "logs" / "sub-01.log").mkdir()
    again(done, capsys, "participant", *ONE)


def test_an_output_of_another_program_is_left_alone(bench, capsys):
    bench.out.mkdir()
    (bench.out / "dataset_description.json").write_text('{"GeneratedBy": [{"Name": "fMRIPrep"}]}')
    assert bench.run("participant", *ONE) == EXIT_FAILED
    assert "it is a data set of fMRIPrep, so nothing is written into it" in capsys.readouterr().err
    assert sorted(p.name for p in bench.out.iterdir()) == ["dataset_description.json"]


# ------------------------------------------------------------------------------------- locks


def test_left_overs_of_runs_that_were_killed_are_removed(done, capsys):
    running = done.out / "logs" / "running"
    running.mkdir(parents=True, exist_ok=True)
    note = {"host": "x", "pid": 1, "started": "then", "participants": ["sub-01"]}
    (running / "dead.json").write_text(json.dumps(note))
    for folder in (done.out, done.out / "sub-01/ses-pre/func", done.out / "group"):
        (folder / f"{atomic_files.PART_PREFIX}1-ab-sub-01.html").write_text("half of it")
    again(done, capsys, "participant", *ONE)
    assert not list(done.out.rglob(f"{atomic_files.PART_PREFIX}*"))
    assert not list(running.glob("*.json"))


def test_what_a_killed_worker_left_beside_is_no_input_of_a_page(done):
    """Its run goes on in another process, which has to make the page it would have made."""
    left = (
        done.out
        / "sub-01/ses-pre/func"
        / f"{atomic_files.PART_PREFIX}1-ab-sub-01_stat-mean_timeseries.json"
    )
    left.write_text("{")
    (done.out / "group" / f"{atomic_files.PART_PREFIX}1-ab-tests.tsv").write_text("half of it")
    (done.out / "group" / f"{atomic_files.PART_PREFIX}1-ab-tests.json").write_text("{}")
    collect.report_participant("01", AnalysisSettings(), done.out)
    collect_group.report_group(done.out)
    assert done.differs() == [path.relative_to(done.out).as_posix() for path in (
        *sorted((done.out / "group").glob(f"{atomic_files.PART_PREFIX}*")), left)]  # fmt: skip


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"participants": 3}', '{"people": ["sub-01"]}', '{"host": 1}']
)
def test_a_note_that_is_not_whole(done, capsys, content):
    running = done.out / "logs" / "running"
    running.mkdir(parents=True, exist_ok=True)
    (running / "broken.json").write_text(content)
    again(done, capsys, "participant", *ONE)


def test_a_person_somebody_works_on_is_refused_others_are_not(done, capsys, monkeypatch):
    monkeypatch.setattr(claim, "_PATIENCE_S", 0.0)
    with claim.claimed(done.out, ["sub-01"], notify=print):
        assert done.run("participant", *ONE) == EXIT_FAILED
        told = capsys.readouterr().err.strip().splitlines()
        assert len(told) == 1
        assert re.search(r"written to by another run \(process \d+ on .*on sub-01\); wait", told[0])
        assert done.run("group") == EXIT_FAILED
        again(done, capsys, "participant", "--participant-label", "02")
    again(done, capsys, "participant", *ONE)


def test_a_file_system_without_locks(done, capsys, monkeypatch):
    def refuses(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuses)
    assert "cannot be locked; start one run at a time" in again(done, capsys, "participant", *ONE)


def test_two_simulations_of_one_folder(tmp_path):
    with claim.staged(tmp_path / "x") as stage:
        (stage / "half").write_text("")
        with pytest.raises(Exception, match="being written to by another run"):
            claim.staged(tmp_path / "x").__enter__()
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["half"]
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_simulation_that_was_killed_starts_anew(tmp_path):
    left = tmp_path / f"{atomic_files.PART_PREFIX}x"
    (left / "sub-01").mkdir(parents=True)
    (left / "half").write_text("")
    with claim.staged(tmp_path / "x") as stage:
        assert list(stage.iterdir()) == []
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


class _Runs:
    """Runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_no_pickle_of_a_former_run_is_read(done, tmp_path, capsys):
    """Pickles under every name that Nipype would read, in every folder it might read from."""
    import gzip
    import pickle

    poison = gzip.compress(pickle.dumps(_Runs(tmp_path / "ran")))
    work = done.root / "work"
    names = ("result_measure.pklz", "_inputs.pklz", "_node.pklz", "result_report.pklz")
    for base in (work, *(work / f"circuitshift_0_1_0{x}" for x in ("", "/run-1", "/run-2"))):
        for step in ("measure", "report"):
            folder = base / "participant_wf" / "sub_01_wf" / step
            folder.mkdir(parents=True, exist_ok=True)
            for name in names:
                (folder / name).write_bytes(poison)
    (done.out / "sub-01.html").unlink()
    again(done, capsys, "participant", *ONE)
    assert not (tmp_path / "ran").exists()
    pickle.loads(gzip.decompress(poison))  # noqa: S301 - the poison works
    assert (tmp_path / "ran").exists()


def test_the_scratch_folder_is_private_and_goes(tmp_path):
    with claim.scratch(tmp_path / "w", empty=False) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        with claim.scratch(tmp_path / "w", empty=False) as other:
            assert folder.exists()  # another run does not take it for a left-over
        assert not other.exists()
    assert not folder.exists()
    (tmp_path / "w" / "run-dead").mkdir()
    with claim.scratch(tmp_path / "w", empty=False):
        assert not (tmp_path / "w" / "run-dead").exists()


# ---------------------------------------------------------------------- clocks, names, links


@pytest.mark.parametrize("when", [0, -(2**31), 2**33], ids=["1970", "1901", "2242"])
def test_clocks_that_are_wrong(bench, when):
    """No result depends on a date, nor holds one."""
    words = ("participant", *ONE)
    for path in bench.data.rglob("*.tsv"):
        os.utime(path, (when, when))
    assert bench.run(*words) == EXIT_OK
    assert bench.differs(person="01") == []
    before = {p: p.stat().st_mtime_ns for p in bench.out.rglob("*_relmat.tsv")}
    assert bench.run(*words) == EXIT_OK
    assert {p: p.stat().st_mtime_ns for p in bench.out.rglob("*_relmat.tsv")} == before


def test_a_clock_that_runs_backwards(done, capsys, monkeypatch):
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
def test_names_of_folders(undisturbed, tmp_path, capsys, monkeypatch, name):
    """Of data, results and scratch: everything is found, nothing is run, nothing reaches a page."""
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


def test_a_name_that_is_no_unicode(bench, capsys):
    folder = os.fsencode(bench.data / "sub-01/ses-pre/func")
    for name in (b"sub-01_ses-pre_task-re\xffst_timeseries.tsv", b"\xfe\xff.json"):
        Path(os.fsdecode(os.path.join(folder, name))).write_text("x")  # noqa: PTH118
    assert bench.run("participant", *ONE) in (EXIT_OK, EXIT_PARTIAL)
    assert "Traceback" not in "".join(capsys.readouterr())
    ours = {k for k in bench.differs(person="01") if k.endswith("relmat.tsv")}
    assert not ours


@pytest.mark.parametrize("what", ["the whole", "each person", "each file", "results, too"])
def test_trees_of_links(bench, capsys, what):
    """As of DataLad, and of people who keep data on another disk."""
    real = bench.root / "real"
    bench.data.rename(real)
    if what in ("the whole", "results, too"):
        bench.data.symlink_to(real)
    else:
        bench.data.mkdir()
        for path in real.rglob("*") if what == "each file" else real.iterdir():
            target = bench.data / path.relative_to(real)
            if path.is_dir() and what == "each file":
                target.mkdir()
            else:
                target.symlink_to(path)
    if what == "results, too":
        (bench.root / "elsewhere").mkdir()
        bench.out.symlink_to(bench.root / "elsewhere")
    again(bench, capsys, "participant")


def test_links_in_circles(bench, capsys):
    (bench.data / "sub-01/ses-pre/func/deeper").symlink_to(bench.data)
    (bench.data / "sub-01/sub-01").symlink_to(bench.data / "sub-01")
    (bench.data / "derivatives").symlink_to(bench.data)
    (bench.data / "sub-01/ses-pre/func/self.json").symlink_to("self.json")
    assert bench.run("participant", *ONE) in (EXIT_OK, EXIT_PARTIAL)
    assert "Traceback" not in "".join(capsys.readouterr())
    assert not [k for k in bench.differs(person="01") if k.endswith("relmat.tsv")]


HOSTILE = '<img src=x onerror="alert(1)">&amp;\'"><script>alert(2)</script>'


def test_names_in_tables_stay_text_in_pages(bench, capsys):
    """Regions and groups may be called what they like."""
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


# ------------------------------------------------------------------------ what nobody foresaw


def test_a_crash_is_one_sentence_in_the_page_and_a_whole_in_a_file(bench, capsys, monkeypatch):
    from circuitshift.pipeline import edges as connectivity

    def breaks(*_):
        raise ZeroDivisionError("nobody foresaw <this>")

    monkeypatch.setattr(connectivity, "correlation", breaks)
    assert bench.run("participant", *ONE) == EXIT_PARTIAL
    said = "".join(capsys.readouterr())
    assert "Traceback" not in said
    assert "unexpected error in measure (ZeroDivisionError: nobody foresaw <this>); see" in said
    assert "nobody foresaw &lt;this&gt;" in (bench.out / "sub-01.html").read_text()
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


def test_memory_that_is_out_is_said(bench, capsys, monkeypatch):
    def breaks(*_, **__):
        raise MemoryError

    monkeypatch.setattr(tables, "read_series", breaks)
    code = bench.run("participant", *ONE)
    assert code in (EXIT_FAILED, EXIT_PARTIAL)
    assert "out of memory; use fewer --nprocs" in "".join(capsys.readouterr())
