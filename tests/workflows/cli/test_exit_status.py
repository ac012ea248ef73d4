"""Exit statuses, as scripts rely on them: 0 whole, 1 nothing, 2 wrong usage, 3 in part."""

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


def test_the_status_says_whether_all_some_or_nothing_was_done(data, tmp_path, capsys):
    words = (data, tmp_path / "out", "participant", "-w", tmp_path / "work", "--nprocs", 1)
    assert run(*words) == 0
    broken = next(data.glob("sub-02/ses-pre/func/*.tsv"))
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    assert run(*words) == 3
    rows = tables.read_table(tmp_path / "out/sub-02/sub-02_runs.tsv")
    assert rows.column("status") == ["failed"]
    broken.write_bytes(whole)
    assert run(*words) == 0
    assert run(tmp_path / "nowhere", tmp_path / "out", "participant") == 1
    assert run(data, tmp_path / "out", "nolevel") == 2
    capsys.readouterr()


@pytest.mark.parametrize(
    ("asked", "strategies"),
    [
        (["24p"], "24p, 24p+gsr"),
        (["24p", "36p"], "24p, 36p, 24p+gsr"),
        (["36p"], "36p"),  # it removes the global signal already
        (["24p+gsr"], "24p+gsr"),
        ([], "24p+acompcor, 24p+acompcor+gsr"),
    ],
)
def test_the_primary_strategy_has_a_gsr_counterpart(data, tmp_path, capsys, asked, strategies):
    words = ["--denoise", *asked] if asked else []
    assert run(data, tmp_path / "out", "participant", "--dry-run", *words) == 0
    assert f"strategies: {strategies};" in capsys.readouterr().out
