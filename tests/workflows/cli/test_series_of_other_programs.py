"""Output of HALFpipe and XCP-D by command: one run that cannot be read does not stop the others."""

import json

import numpy as np
import pytest

from circuitshift.pipeline.io import tables
from circuitshift.workflows.cli import main as cli

REGIONS = [f"{name}_{side}" for name in ("Precuneus", "Angular", "Insula") for side in "LR"]


def run(*words):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return ended.value.code


@pytest.fixture
def data(tmp_path):
    """Write lines of numbers for three participants; the second lacks a region."""
    rng = np.random.default_rng(0)
    for label, n_regions in (("01", 6), ("02", 5), ("03", 6)):
        func = tmp_path / f"data/sub-{label}/func/task-rest"
        func.mkdir(parents=True)
        stem = f"sub-{label}_task-rest_feature-corrMatrix1_atlas-Mine_timeseries"
        series = rng.normal(size=(80, n_regions)).cumsum(axis=0)
        np.savetxt(func / f"{stem}.tsv", series, fmt="%.10f", delimiter="\t")
        (func / f"{stem}.json").write_text(json.dumps({"RepetitionTime": 3.0}))
    rows = [f"{k}\t{label}" for k, label in enumerate(REGIONS, 1)]
    (tmp_path / "atlases").mkdir()
    (tmp_path / "atlases/atlas-Mine_dseg.tsv").write_text("\n".join(["index\tlabel", *rows]) + "\n")
    return tmp_path / "data"


def test_tables_without_names_are_read_with_their_atlas(data, tmp_path, capsys):
    atlas = tmp_path / "atlases/atlas-Mine_dseg.tsv"
    words = (data, tmp_path / "out", "participant", "-w", tmp_path / "work", "--nprocs", 1)
    assert run(*words, "--atlas", atlas) == 3
    said = "".join(capsys.readouterr())
    assert "sub-02_task-rest_feature-corrMatrix1" in said
    assert "does not name its 5 columns" in said
    assert "Mine with 6 regions" in said
    status = {}
    for label in ("01", "02", "03"):
        (row,) = tables.read_table(tmp_path / f"out/sub-{label}/sub-{label}_runs.tsv").rows()
        status[label] = row["status"]
    assert status == {"01": "included", "02": "failed", "03": "included"}
    labels, matrix = tables.read_matrix(next((tmp_path / "out/sub-03").rglob("*_relmat.tsv")))
    assert list(labels) == REGIONS
    given = np.loadtxt(next(data.glob("sub-03/func/task-rest/*.tsv")))
    np.testing.assert_allclose(matrix, np.corrcoef(given.T), atol=1e-6)
    assert "does not name its 6 columns" in (tmp_path / "out/sub-03.html").read_text()


def test_without_an_atlas_each_run_says_what_to_do(data, tmp_path, capsys):
    words = (data, tmp_path / "out", "participant", "-w", tmp_path / "work", "--nprocs", 1)
    assert run(*words, "--participant-label", "01") in (1, 3)
    said = "".join(capsys.readouterr())
    assert "by --atlas" in said
    assert "Traceback" not in said
