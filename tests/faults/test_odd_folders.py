"""Oddities of one participant or folder: others complete and byte-identical, nothing waits."""

import os
import shutil
from pathlib import Path

import pytest

from circuitshift.workflows.cli.exit_status import EXIT_FAILED, EXIT_OK, EXIT_PARTIAL


def said_by(bench, capsys, *words):
    capsys.readouterr()
    code = bench.run(*words)
    said = "".join(capsys.readouterr())
    assert "Traceback" not in said
    return code, said


def of_others(bench, *, without):
    """Names of outputs of other participants that differ from an undisturbed run."""
    return [name for name in bench.differs() if not name.startswith(f"sub-{without}")]


@pytest.mark.parametrize("name", ["sub-01 copy", "sub-01.bak", "sub-$(x)", "sub-"])
def test_copies_and_backups_of_folders(bench, capsys, name):
    shutil.copytree(bench.data / "sub-01", bench.data / name)
    code, said = said_by(bench, capsys, "participant")
    assert code == EXIT_OK, said
    assert f"{name}: its name is not sub- followed by letters and digits" in said
    assert bench.differs() == []


def file_instead(bench):
    (bench.data / "sub-05").touch()


def circle(bench):
    (bench.data / "sub-05").symlink_to("sub-05")


@pytest.mark.parametrize(
    ("make", "sentence"), [(file_instead, "not a folder"), (circle, "leads to itself")]
)
def test_a_participant_who_is_no_folder(bench, capsys, make, sentence):
    make(bench)
    code, said = said_by(bench, capsys, "participant")
    assert code == EXIT_PARTIAL
    assert "sub-05" in said
    assert sentence in said
    assert of_others(bench, without="05") == []


def test_an_unreadable_folder(bench, capsys, monkeypatch):
    scandir = os.scandir

    def refuse(path="."):
        if str(path).endswith("sub-03"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    code, said = said_by(bench, capsys, "participant")
    assert code == EXIT_PARTIAL
    assert "sub-03: the folder cannot be listed (Permission denied)" in said
    monkeypatch.undo()
    assert of_others(bench, without="03") == []


@pytest.mark.parametrize("what", ["series", "sidecar"])
def test_a_pipe_is_never_opened(bench, capsys, what):
    path = bench.series("03") if what == "series" else bench.series("03").with_suffix(".json")
    path.unlink()
    os.mkfifo(path)
    code, said = said_by(bench, capsys, "participant")
    assert code == EXIT_PARTIAL
    assert "sub-03" in said
    assert "pipe" in said
    assert of_others(bench, without="03") == []


def test_one_run_twice(bench, capsys):
    path = bench.series("03")
    shutil.copy(path, path.with_name("sub-03_task-rest_ses-pre_atlas-Tiny_timeseries.tsv"))
    code, said = said_by(bench, capsys, "participant")
    assert code == EXIT_PARTIAL
    assert "has the same entities" in said
    assert of_others(bench, without="03") == []


def test_another_task_has_no_effect_on_the_results(bench, capsys):
    """The participants did a task at follow-up besides rest, as case 20b."""
    for path in sorted(bench.data.rglob("*_ses-post_task-rest_*")):
        shutil.copy(path, path.with_name(path.name.replace("task-rest", "task-nback")))
    code, said = said_by(bench, capsys, "group")
    assert code == EXIT_OK, said
    assert "ignored: task-nback in ses-post (4 runs)" in said
    changed = [name for name in bench.differs() if name.endswith((".tsv", "relmat.json"))]
    assert changed == []


@pytest.mark.parametrize("level", ["participant", "group"])
def test_tasks_without_rest_stop_before_anything_is_written(bench, capsys, level):
    for path in sorted(bench.data.rglob("*_task-rest_*")):
        task = "faces" if "ses-pre" in path.name else "nback"
        path.rename(path.with_name(path.name.replace("task-rest", f"task-{task}")))
    code, said = said_by(bench, capsys, level)
    assert code == EXIT_FAILED
    assert "--task-id faces" in said
    assert "task-nback: 4 runs in ses-post" in said
    assert not bench.out.exists()


@pytest.mark.parametrize(
    ("option", "content"),
    [
        ("--circuits", 'name = "broken'),
        ("--study", "[tests\n"),
        ("--study", '[hypotheses]\ncircuits = ["dnm"]\n'),
    ],
)
def test_broken_definitions_stop_before_anything_is_written(bench, capsys, option, content):
    file = Path(bench.root / "broken.toml")
    file.write_text(content)
    code, said = said_by(bench, capsys, "participant", option, file)
    assert code == EXIT_FAILED
    assert "broken.toml" in said or "unknown circuit 'dnm'" in said
    assert not bench.out.exists()


def test_circuits_without_regions_stop_before_measuring(bench, capsys):
    file = Path(bench.root / "study.toml")
    file.write_text('[hypotheses]\ncircuits = ["dlpfc_amygdala"]\n')
    code, said = said_by(bench, capsys, "participant", "--study", file)
    assert code == EXIT_FAILED
    assert "has no regions for its" in said
    assert list(bench.out.rglob("*relmat*")) == []
