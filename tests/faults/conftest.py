"""Fixtures: a small study and its undisturbed results, with which results after faults compare."""

import hashlib
import json
import re
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from circuitshift.workflows.cli import main as cli
from circuitshift.workflows.cli.exit_status import EXIT_OK

#: Names that contain networks, so that circuits can be located.
REGIONS = tuple(
    f"7Networks_{side}H_{network}_{k}"
    for network in ("Default", "DorsAttn", "Cont", "Vis", "SomMot")
    for side in "LR"
    for k in (1, 2, 3)
)
STUDY = "[tests]\nn_permutations = 50\n"


def write_study(root, n_participants=4, n_volumes=40):
    """Write series of two sessions per participant; half of the participants are treated."""
    rng = np.random.default_rng(11)
    rows = ["participant_id\tgroup\tage"]
    for k in range(1, n_participants + 1):
        rows.append(f"sub-{k:02d}\t{'active' if k % 2 else 'placebo'}\t{30 + k}")
        for session in ("pre", "post"):
            folder = root / f"sub-{k:02d}" / f"ses-{session}" / "func"
            folder.mkdir(parents=True)
            stem = f"sub-{k:02d}_ses-{session}_task-rest_atlas-Tiny_timeseries"
            shared = rng.normal(size=(n_volumes, 3))
            series = shared @ rng.normal(size=(3, len(REGIONS))) + rng.normal(
                size=(n_volumes, len(REGIONS))
            )
            lines = ["\t".join(REGIONS), *("\t".join(f"{v:.5f}" for v in row) for row in series)]
            (folder / f"{stem}.tsv").write_text("\n".join(lines) + "\n")
            (folder / f"{stem}.json").write_text(json.dumps({"RepetitionTime": 5.0}))
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")


def outputs(folder):
    """Return the checksum of each output except logs."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(content_of(path)).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != "logs"
    }


def content_of(path):
    """Return the content that depends neither on the command nor on the order of the levels.

    A participant report contains the command and, if available, the results of the group level. It
    is represented by the hash of all its other inputs, which it contains.
    """
    content = path.read_bytes()
    if not re.fullmatch(r"sub-\w+\.html", path.name):
        return content
    (inputs_hash,) = re.findall(rb"<dt>inputs hash</dt><dd>(\w+)</dd>", content) or [b"none"]
    return inputs_hash + content[-len(b"</html>") :]


def run(*words):
    """Run the command in this process and return its exit status."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return ended.value.code


def command(*words):
    """Return the words that run the command as a process of its own."""
    return [sys.executable, "-m", "circuitshift.workflows.cli.main", *map(str, words)]


@pytest.fixture(name="content_of")
def _content_of():
    return content_of


@dataclass
class Bench:
    """A data set that a test may damage, its outputs, and the undisturbed outputs."""

    data: Path
    out: Path
    root: Path
    whole: dict = field(repr=False)

    def words(self, level="participant", *more):
        study = ["--study", self.root / "study.toml"] if level == "group" else []
        return [
            *(self.data, self.out, level, "-w", self.root / "work", "--nprocs", 1),
            *(*study, *more),
        ]

    def run(self, level="participant", *more):
        return run(*self.words(level, *more))

    def series(self, person="01", session="pre"):
        return next(self.data.glob(f"sub-{person}/ses-{session}/func/*_timeseries.tsv"))

    def differs(self, *, person=None):
        """Return the names of outputs that differ from those of the undisturbed run."""
        # the description contains the folder of the data, which differs between tests
        ours = {k: v for k, v in outputs(self.out).items() if k != "dataset_description.json"}
        expected = {k: v for k, v in self.whole.items() if k != "dataset_description.json"}
        if person is not None:
            ours, expected = (
                {k: v for k, v in x.items() if k.startswith(f"sub-{person}")}
                for x in (ours, expected)
            )
        elif not any(key.startswith("group/") for key in ours):
            expected = {k: v for k, v in expected.items() if not k.startswith("group/")}
        return sorted(k for k in {*ours, *expected} if ours.get(k) != expected.get(k))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The study and its results without faults."""
    root = tmp_path_factory.mktemp("undisturbed")
    write_study(root / "data")
    (root / "study.toml").write_text(STUDY)
    bench = Bench(root / "data", root / "out", root, {})
    assert bench.run("group") == EXIT_OK
    bench.whole = outputs(bench.out)
    assert any(name.startswith("group/report") for name in bench.whole)
    return bench


@pytest.fixture
def bench(undisturbed, tmp_path):
    """A copy of the data that a test may damage, without results."""
    shutil.copytree(undisturbed.data, tmp_path / "data")
    (tmp_path / "study.toml").write_text(STUDY)
    return Bench(tmp_path / "data", tmp_path / "out", tmp_path, undisturbed.whole)


@pytest.fixture
def done(bench, undisturbed):
    """A copy of the data and of the results of both levels."""
    shutil.copytree(undisturbed.out, bench.out)
    return bench
