"""Running a study again: what an edit of the source, of data or of dates makes again.

The command runs from a copy of the source tree, as a process of its own.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.io import tables

ROOT = Path(__file__).resolve().parents[3]
REGIONS = tuple(
    f"7Networks_{side}H_{network}_{k}"
    for network in ("Default", "DorsAttn", "Cont", "Vis", "SomMot")
    for side in "LR"
    for k in (1, 2, 3)
)
# written by every run, and the same for all participants
SHARED = ("logs", "sourcedata", "dataset_description.json", ".bidsignore")
pytestmark = pytest.mark.slow


class Study:
    """Data, outputs and a copy of the source."""

    def __init__(self, root):
        self.root, self.data, self.out = root, root / "data", root / "out"
        self.source = root / "source" / "circuitshift"

    def run(self, level="participant", *more):
        """Run the command; return what it printed."""
        words = [self.data, self.out, level, "-w", self.root / "work", "--nprocs", 1, *more]
        words += ["--study", self.root / "study.toml"] if level == "group" else []
        done = subprocess.run(
            [sys.executable, "-m", "circuitshift.workflows.cli.main", *map(str, words)],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(self.source.parent)},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def files(self, pattern="*"):
        """State of the outputs of participants and of the group level."""
        found = {}
        for path in sorted(self.out.rglob(pattern)):
            name = path.relative_to(self.out)
            if path.is_file() and name.parts[0] not in SHARED:
                found[str(name)] = (path.stat().st_mtime_ns, path.stat().st_ino)
        return found

    def rewritten(self, before):
        """Names of outputs that were written again since then."""
        return {name for name, state in self.files().items() if before.get(name) != state}

    def comment(self, *parts):
        """Add a comment to a source file."""
        with self.source.joinpath(*parts).open("a") as file:
            file.write("\n# a comment\n")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Six participants who were measured and analysed."""
    study = Study(tmp_path_factory.mktemp("resume"))
    for name in ("pipeline", "workflows", "atlases"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, study.source / name, ignore=ignored)
    rng = np.random.default_rng(3)
    rows = ["participant_id\tgroup"]
    for k in range(1, 7):
        rows.append(f"sub-{k:02d}\t{'active' if k % 2 else 'placebo'}")
        for session in ("pre", "post"):
            stem = f"sub-{k:02d}_ses-{session}_task-rest_atlas-Tiny_timeseries.tsv"
            common = rng.normal(size=(40, 3)) @ rng.normal(size=(3, len(REGIONS)))
            tables.write_series(
                study.data / f"sub-{k:02d}" / f"ses-{session}" / "func" / stem,
                REGIONS,
                common + rng.normal(size=common.shape),
                sidecar={"RepetitionTime": 5.0},
            )
    (study.data / "participants.tsv").write_text("\n".join(rows) + "\n")
    (study.root / "study.toml").write_text("[tests]\nn_permutations = 50\n")
    study.run("group")
    return study


def kinds(names):
    """Matrices, pages of participants, the verdict and the study's page among names of files."""
    known = {"group/verdict.json": "verdict", "group/report.html": "study page"}
    ends = {"_relmat.tsv": "matrix", ".html": "page"}
    out = set()
    for name in names:
        kind = next((kind for end, kind in ends.items() if name.endswith(end)), "")
        out.add(known.get(name, kind))
    return out - {""}


def test_an_unchanged_study_is_not_written_again(study):
    before = study.files()
    said = study.run("group")
    assert "6 people: inputs, settings and code unchanged; nothing to do" in said
    assert "verdict: " in said
    assert study.rewritten(before) == set()


def test_touched_inputs_and_copied_outputs_change_nothing(study, tmp_path):
    for path in study.data.rglob("*"):
        os.utime(path)
    before = study.files()
    study.run("group")
    assert study.rewritten(before) == set()
    copy = Study(tmp_path)
    shutil.copytree(study.out, copy.out)  # another machine: new inodes
    shutil.copytree(study.data, copy.data)
    shutil.copy(study.root / "study.toml", tmp_path)
    copy.source = study.source
    before = copy.files()
    copy.run("participant")
    assert copy.rewritten(before) == set()
    assert "nothing to do" in copy.run("participant")


def test_a_comment_in_a_figure_makes_pages_and_measures_nobody(study):
    before = study.files()
    study.comment("pipeline", "reports", "figures", "overview.py")
    study.run("group")
    assert kinds(study.rewritten(before)) == {"page", "study page"}


def test_a_new_circuit_is_found_at_the_group_level_and_measures_nobody(study):
    before = study.files()
    folder = study.source / "atlases" / "circuits"
    text = (folder / "dmn.toml").read_text().replace('name = "dmn"', 'name = "mine"')
    (folder / "mine.toml").write_text(text)
    assert "mine" not in json.loads((study.out / "group/verdict.json").read_text())["circuits"]
    study.run("participant")
    assert kinds(study.rewritten(before)) == {"page"}  # which shows it
    study.run("group")
    assert kinds(study.rewritten(before)) == {"page", "study page", "verdict"}
    assert "mine" in json.loads((study.out / "group/verdict.json").read_text())["circuits"]


def test_a_comment_in_a_test_of_the_group_level_measures_nobody(study):
    before = study.files()
    study.comment("pipeline", "stats", "permutation.py")
    study.run("group")
    assert kinds(study.rewritten(before)) == {"verdict", "study page"}


def test_a_comment_in_denoising_measures_again_with_the_same_numbers(study):
    before = study.files()
    content = {path: path.read_bytes() for path in study.out.rglob("*_relmat.tsv")}
    study.comment("pipeline", "measure", "denoise.py")
    study.run("participant")
    again = study.rewritten(before)
    matrices = {str(path.relative_to(study.out)) for path in content}
    assert len(matrices) == 12
    assert matrices <= again
    assert {path: path.read_bytes() for path in content} == content


def test_one_changed_input_measures_one_participant(study):
    study.run("group")
    before = study.files()
    path = next(study.data.glob("sub-02/ses-post/func/*_timeseries.tsv"))
    lines = path.read_text().split("\n")
    path.write_text("\n".join([lines[0], *lines[:1:-1][1:], lines[1], ""]))
    said = study.run("participant")
    assert "5 people: inputs, settings and code unchanged; nothing to do" in said
    again = study.rewritten(before)
    assert {name.partition("/")[0].removesuffix(".html") for name in again} == {"sub-02"}
    assert {name for name in again if name.endswith("_relmat.tsv")} == {
        name for name in before if name.startswith("sub-02/ses-post") and "_relmat.tsv" in name
    }
    study.run("group")
    assert "group/verdict.json" in study.rewritten(before)


def test_a_changed_arm_is_analysed_again_and_measures_nobody(study):
    study.run("group")
    before = study.files()
    table = study.data / "participants.tsv"
    rows = table.read_text().replace("sub-05\tactive", "sub-05\tplacebo")
    table.write_text(rows.replace("sub-06\tplacebo", "sub-06\tactive"))
    study.run("group")
    assert kinds(study.rewritten(before)) == {"verdict", "study page"}


def test_a_table_of_the_group_level_that_was_changed_comes_back(study):
    study.run("group")
    path = study.out / "group" / "tests.tsv"
    content = path.read_bytes()
    path.write_bytes(content + b"x\n")
    study.run("group")
    assert path.read_bytes() == content
