"""Exit statuses for scripts: 0 complete, 1 not run, 2 wrong usage, 3 some participants failed."""

import numpy as np
import pytest

from circuitshift.pipeline.io import tables
from circuitshift.workflows.cli import main as cli

REGIONS = [f"{name}_{side}" for name in ("Precuneus", "Angular", "Insula") for side in "LR"]


@pytest.fixture
def data(tmp_path):
    """Series of two participants."""
    rng = np.random.default_rng(0)
    for label in ("01", "02"):
        path = tmp_path / "data" / f"sub-{label}/ses-pre/func"
        path /= f"sub-{label}_ses-pre_task-rest_atlas-Mine_timeseries.tsv"
        series = rng.normal(size=(60, 6)).cumsum(axis=0)
        tables.write_series(path, REGIONS, series, sidecar={"RepetitionTime": 3.0})
    return tmp_path / "data"


def run(*words):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return ended.value.code


def test_the_status_distinguishes_complete_partial_and_failed_runs(data, tmp_path, capsys):
    words = (data, tmp_path / "out", "participant", "-w", tmp_path / "work", "--nprocs", 1)
    assert run(*words) == 0
    broken = next(data.glob("sub-02/ses-pre/func/*.tsv"))
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    assert run(*words) == 3
    rows = tables.read_table(tmp_path / "out/sub-02/sub-02_runs.tsv")
    assert rows.column("status") == ["failed"]
    broken.write_bytes(content)
    assert run(*words) == 0
    assert run(tmp_path / "nowhere", tmp_path / "out", "participant") == 1
    assert run(data, tmp_path / "out", "nolevel") == 2
    capsys.readouterr()
