"""Atlases of a study: choice of the regions of series, and files in the output folder."""

import numpy as np
import pytest

from circuitshift.atlases import DEFAULT_ATLAS
from circuitshift.atlases.load import load_atlas
from circuitshift.pipeline.bids.select_runs import Query, find_runs
from circuitshift.pipeline.errors import AtlasError, TableError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.number_tables import NumberTable
from circuitshift.pipeline.measure import atlas_files
from circuitshift.pipeline.measure.atlas_files import name_columns, prepare_atlases, read_atlas
from circuitshift.pipeline.records import AnalysisSettings

LABELS = ("Precuneus_L", "Precuneus_R", "Angular_L", "Angular_R", "Insula_L", "Insula_R")


@pytest.fixture
def series():
    return np.random.default_rng(1).standard_normal((60, 6)).cumsum(axis=0)


def write_run(
    root, label, values, labels=LABELS, *, suffix="timeseries", session="pre", atlas="Mine"
):
    stat = "mean" if suffix == "timeseries" else "pearsoncorrelation"
    folder = root / f"sub-{label}" / f"ses-{session}" / "func"
    path = folder / f"sub-{label}_ses-{session}_task-rest_atlas-{atlas}_stat-{stat}_{suffix}.tsv"
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


@pytest.mark.parametrize(
    ("computed_with", "name"),
    [("seitzman300", "Seitzman300"), ("seitzman300", "Mine"), (DEFAULT_ATLAS, "Mine")],
)
def test_series_keep_the_spheres_that_they_were_computed_with(tmp_path, computed_with, name):
    """The default atlas contains the 300 spheres; series of these are not 7 regions short."""
    atlas = load_atlas(computed_with)
    values = np.random.default_rng(1).standard_normal((60, len(atlas.regions)))
    write_run(tmp_path / "in", "01", values, atlas.labels, atlas=name)
    assert prepare(tmp_path) == (name,)
    assert read_atlas(tmp_path / "out", name).labels == atlas.labels


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


NAMES = ("Angular_L", "Angular_R", "Insula_L", "Insula_R", "Precuneus_L")


def write_atlas(folder, indices=(1, 2, 3, 4, 5), name="Mine", labels=NAMES):
    path = folder / f"atlas-{name}_dseg.tsv"
    rows = [f"{index}\t{label}" for index, label in zip(indices, labels, strict=True)]
    path.write_text("\n".join(["index\tlabel", *rows]) + "\n")
    return str(path)


def write_columns(root, person, header=None, atlas="Mine", n_columns=5):
    rng = np.random.default_rng(int(person))
    path = root / f"sub-{person}/func/sub-{person}_task-rest_atlas-{atlas}_timeseries.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    values = rng.standard_normal((30, n_columns)).cumsum(axis=0)
    text = ["\t".join(header)] if header else []
    text += ["\t".join(f"{value:.6f}" for value in row) for row in values]
    path.write_text("\n".join(text) + "\n")


def found_runs(root):
    return find_runs(root, Query()).runs


def unnamed(n_columns, empty=()):
    values = np.random.default_rng(0).standard_normal((10, n_columns))
    values[:, list(empty)] = np.nan
    return NumberTable(None, None, values)


@pytest.fixture
def run(tmp_path):
    write_columns(tmp_path / "in", "01")
    return found_runs(tmp_path / "in")[0]


@pytest.fixture(autouse=True)
def _fresh():
    atlas_files.atlas_for.cache_clear()


def test_an_atlas_with_as_many_regions_names_the_columns(tmp_path, run):
    settings = AnalysisSettings(atlases=(write_atlas(tmp_path),))
    labels, notes = name_columns(run, unnamed(5), settings)
    assert labels == NAMES
    assert "does not name its 5 columns" in notes[0]
    assert "5 regions of atlas Mine" in notes[0]


def test_columns_of_label_values_that_do_not_occur_are_left_out(tmp_path, run):
    """HALFpipe writes a column for each value up to the largest."""
    settings = AnalysisSettings(atlases=(write_atlas(tmp_path, (1, 2, 4, 5, 7)),))
    labels, _ = name_columns(run, unnamed(7, empty=(2, 5)), settings)
    assert labels == ("Angular_L", "Angular_R", "", "Insula_L", "Insula_R", "", "Precuneus_L")
    with pytest.raises(TableError, match="they are not those of Mine with 5 regions"):
        name_columns(run, unnamed(7, empty=(2,)), settings)


@pytest.mark.parametrize("n_columns", [4, 6])
def test_another_number_of_regions_is_refused(tmp_path, run, n_columns):
    settings = AnalysisSettings(atlases=(write_atlas(tmp_path),))
    with pytest.raises(TableError, match=f"does not name its {n_columns} columns") as caught:
        name_columns(run, unnamed(n_columns), settings)
    assert "Mine with 5 regions" in str(caught.value)
    assert str(run.path) in str(caught.value)
    assert "--atlas" in str(caught.value)


def test_an_atlas_in_another_order_than_its_label_values_is_refused(tmp_path, run):
    settings = AnalysisSettings(atlases=(write_atlas(tmp_path, (2, 1, 3, 4, 5)),))
    with pytest.raises(TableError, match="in ascending order"):
        name_columns(run, unnamed(5), settings)


def test_of_several_atlases_that_fit_the_one_of_the_name_is_taken(tmp_path, run):
    other = write_atlas(tmp_path, name="Other", labels=("A", "B", "C", "D", "E"))
    third = write_atlas(tmp_path, name="Third", labels=("F", "G", "H", "I", "J"))
    mine = write_atlas(tmp_path)
    settings = AnalysisSettings(atlases=(other, mine))
    assert name_columns(run, unnamed(5), settings).labels == NAMES
    with pytest.raises(TableError, match=r"several atlases fit \(Other, Third\)"):
        name_columns(run, unnamed(5), AnalysisSettings(atlases=(other, third)))


def test_without_an_atlas_the_label_table_of_the_data_set_serves(tmp_path, run):
    with pytest.raises(TableError, match="no atlas is given"):
        name_columns(run, unnamed(5), AnalysisSettings())
    write_atlas(tmp_path / "in")
    assert name_columns(run, unnamed(5), AnalysisSettings()).labels == NAMES


def test_names_that_are_label_values_are_translated(tmp_path, run):
    settings = AnalysisSettings(atlases=(write_atlas(tmp_path, (17, 2001, 2002, 2101, 2102)),))
    values = np.zeros((10, 3))
    found = name_columns(run, NumberTable(None, ("2101", "17", "2002"), values), settings)
    assert found.labels == ("Insula_R", "Angular_L", "Insula_L")
    assert "label values of atlas Mine" in found.notes[0]
    as_they_are = name_columns(run, NumberTable(None, ("5", "6"), values[:, :2]), settings)
    assert as_they_are == (("5", "6"), ())


def test_one_run_with_other_names_does_not_stop_all(tmp_path):
    root = tmp_path / "in"
    write_columns(root, "01", [f"Parcel_{k}" for k in range(1, 6)])
    write_columns(root, "02", NAMES)
    write_columns(root, "03")
    settings = AnalysisSettings(atlases=(write_atlas(tmp_path),))
    assert prepare_atlases(found_runs(root), settings, tmp_path / "out") == ("Mine",)
    assert read_atlas(tmp_path / "out", "Mine").labels == NAMES
    with pytest.raises(AtlasError, match="Parcel_1"):
        prepare_atlases(found_runs(root)[:1], settings, tmp_path / "none")


def test_without_an_atlas_the_names_that_most_runs_have_are_taken(tmp_path):
    root = tmp_path / "in"
    write_columns(root, "01", [f"Parcel_{k}" for k in range(1, 6)])
    for person in ("02", "03"):
        write_columns(root, person, NAMES)
    write_columns(root, "04")
    prepare_atlases(found_runs(root), AnalysisSettings(), tmp_path / "out")
    assert read_atlas(tmp_path / "out", "Mine").labels == NAMES


def test_without_any_names_the_regions_are_unknown(tmp_path):
    write_columns(tmp_path / "in", "01")
    assert prepare_atlases(found_runs(tmp_path / "in"), AnalysisSettings(), tmp_path / "out") == ()
    with pytest.raises(TableError, match="no series or matrix names them; give the atlas"):
        read_atlas(tmp_path / "out", "Mine")
