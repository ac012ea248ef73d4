"""Repeated runs of a study: outputs that are renewed after changes of code, data or dates.

The command runs in its own process from a copy of the source tree.
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
# files that each run writes, and that all participants share
SHARED = ("logs", "sourcedata", "dataset_description.json", ".bidsignore")


class Study:
    """Study with data, outputs and a copy of the source code."""

    def __init__(self, root):
        self.root, self.data, self.out = root, root / "data", root / "out"
        self.source = root / "source" / "circuitshift"

    def run(self, level="participant", *more):
        """Run the command and return its output."""
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
        """Return the state of the outputs of participants and of the group level."""
        files = {}
        for path in sorted(self.out.rglob(pattern)):
            name = path.relative_to(self.out)
            if path.is_file() and name.parts[0] not in SHARED:
                files[str(name)] = (path.stat().st_mtime_ns, path.stat().st_ino)
        return files

    def rewritten(self, before):
        """Return the names of outputs that were written since then."""
        return {name for name, state in self.files().items() if before.get(name) != state}

    def comment(self, *parts):
        """Add a comment to a source file."""
        with self.source.joinpath(*parts).open("a") as file:
            file.write("\n# a comment\n")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Measure and analyse four participants."""
    study = Study(tmp_path_factory.mktemp("resume"))
    for name in ("pipeline", "workflows", "atlases"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, study.source / name, ignore=ignored)
    rng = np.random.default_rng(3)
    rows = ["participant_id\tgroup"]
    for k in range(1, 5):
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
    """Return the kinds of outputs among file names."""
    single_files = {"group/verdict.json": "verdict", "group/report.html": "study page"}
    ends = {"_relmat.tsv": "matrix", ".html": "page"}
    out = set()
    for name in names:
        kind = next((kind for end, kind in ends.items() if name.endswith(end)), "")
        out.add(single_files.get(name, kind))
    return out - {""}


def test_touched_inputs_change_nothing(study):
    for path in study.data.rglob("*"):
        os.utime(path)
    before = study.files()
    output = study.run("group")
    assert "verdict: " in output
    assert study.rewritten(before) == set()


def test_a_copy_on_another_machine_changes_nothing(study, tmp_path):
    copy = Study(tmp_path)
    shutil.copytree(study.out, copy.out)  # new inodes
    shutil.copytree(study.data, copy.data)
    copy.source = study.source
    before = copy.files()
    copy.run("participant")
    assert copy.rewritten(before) == set()


def test_a_comment_in_a_figure_renews_reports_only(study):
    before = study.files()
    study.comment("pipeline", "reports", "figures", "overview.py")
    study.run("group")
    assert kinds(study.rewritten(before)) == {"page", "study page"}


def test_a_new_circuit_renews_reports_and_the_verdict_only(study):
    before = study.files()
    folder = study.source / "atlases" / "circuits"
    text = (folder / "dmn.toml").read_text().replace('name = "dmn"', 'name = "mine"')
    (folder / "mine.toml").write_text(text)
    verdict = study.out / "group/verdict.json"
    assert "mine" not in json.loads(verdict.read_text())["secondary_circuits"]
    study.run("group")
    assert kinds(study.rewritten(before)) == {
        "page",
        "study page",
        "verdict",
    }  # reports show the new circuit
    assert "mine" in json.loads(verdict.read_text())["secondary_circuits"]


def test_a_changed_arm_renews_the_group_level_only(study):
    before = study.files()
    table = study.data / "participants.tsv"
    rows = table.read_text().replace("sub-03\tactive", "sub-03\tplacebo")
    table.write_text(rows.replace("sub-04\tplacebo", "sub-04\tactive"))
    study.run("group")
    assert kinds(study.rewritten(before)) == {"verdict", "study page"}


def test_a_changed_input_renews_one_run_of_one_participant(study):
    before = study.files()
    path = next(study.data.glob("sub-02/ses-post/func/*_timeseries.tsv"))
    header, *rows = path.read_text().strip().split("\n")
    path.write_text("\n".join([header, *rows[::-1]]) + "\n")  # of equal size
    output = study.run("participant")
    assert "3 participants: inputs, settings and code unchanged; nothing to do" in output
    again = study.rewritten(before)
    assert {name.partition("/")[0].removesuffix(".html") for name in again} == {"sub-02"}
    matrices = {name for name in before if name.startswith("sub-02/") and "relmat.tsv" in name}
    assert len(matrices) == 2
    assert matrices & again == {name for name in matrices if "ses-post" in name}


def test_a_comment_in_denoising_repeats_measurements_with_equal_results(study):
    before = study.files()
    content = {path: path.read_bytes() for path in study.out.rglob("*_relmat.tsv")}
    study.comment("pipeline", "measure", "denoise.py")
    study.run("participant")
    matrices = {str(path.relative_to(study.out)) for path in content}
    assert len(matrices) == 8
    assert matrices <= study.rewritten(before)
    assert {path: path.read_bytes() for path in content} == content
