"""Atlases of a study: choice of the regions of series, and files in the output folder."""

import numpy as np
import pytest

from circuitshift.pipeline.bids.select_runs import Query, find_runs
from circuitshift.pipeline.errors import AtlasError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.measure.atlas_files import prepare_atlases, read_atlas
from circuitshift.pipeline.records import AnalysisSettings

LABELS = ("Precuneus_L", "Precuneus_R", "Angular_L", "Angular_R", "Insula_L", "Insula_R")


@pytest.fixture
def series():
    return np.random.default_rng(1).standard_normal((60, 6)).cumsum(axis=0)


def write_run(root, label, values, labels=LABELS, *, suffix="timeseries", session="pre"):
    stat = "mean" if suffix == "timeseries" else "pearsoncorrelation"
    folder = root / f"sub-{label}" / f"ses-{session}" / "func"
    path = folder / f"sub-{label}_ses-{session}_task-rest_atlas-Mine_stat-{stat}_{suffix}.tsv"
    writer = tables.write_series if suffix == "timeseries" else tables.write_matrix
    writer(path, labels, values, sidecar={"RepetitionTime": 2.0})
    return path


def prepare(root, settings=AnalysisSettings()):  # noqa: B008 - frozen
    return prepare_atlases(find_runs(root / "in", Query()).runs, settings, root / "out")


def test_regions_without_an_atlas_are_those_of_the_columns(tmp_path, series):
    write_run(tmp_path / "in", "01", series)
    assert prepare(tmp_path) == ("Mine",)
    atlas = read_atlas(tmp_path / "out", "Mine")
    assert atlas.labels == LABELS
    assert [region.hemisphere for region in atlas.regions] == list("LRLRLR")
    assert np.isnan(atlas.centres_mm()).all()


def test_a_table_in_the_data_set_defines_the_regions(tmp_path, series):
    """It contains a region that the run lacks, networks and centres."""
    write_run(tmp_path / "in", "01", series)
    rows = [f"{k}\t{label}\tDefault\t{k}\t-{k}\t0.5" for k, label in enumerate((*LABELS, "X"), 1)]
    table = tmp_path / "in" / "atlas-Mine_dseg.tsv"
    table.write_text("\n".join(["index\tlabel\tnetwork\tx\ty\tz", *rows]) + "\n")
    prepare(tmp_path)
    atlas = read_atlas(tmp_path / "out", "Mine")
    assert atlas.labels == (*LABELS, "X")
    assert {region.network for region in atlas.regions} == {"Default"}
    np.testing.assert_allclose(atlas.centres_mm()[2], [3, -3, 0.5])


def test_an_unreadable_run_does_not_prevent_the_choice(tmp_path, series):
    write_run(tmp_path / "in", "01", series).write_text("")
    write_run(tmp_path / "in", "02", series)
    prepare(tmp_path)
    assert read_atlas(tmp_path / "out", "Mine").labels == LABELS


def test_an_atlas_without_the_regions_of_a_run_raises_an_error(tmp_path, series):
    write_run(tmp_path / "in", "01", series)
    (tmp_path / "other_dseg.tsv").write_text("index\tlabel\n1\tA\n2\tB\n")
    with pytest.raises(AtlasError, match="none of the atlases of --atlas"):
        prepare(tmp_path, AnalysisSettings(atlases=(str(tmp_path / "other_dseg.tsv"),)))
