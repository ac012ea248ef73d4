"""Series and matrices of other programs, measured: values, rows of the runs table, sidecars."""

import gzip
import json

import numpy as np
import pytest

from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.measure import person as measure
from circuitshift.pipeline.measure.atlas_files import prepare_atlases
from circuitshift.pipeline.records import AnalysisSettings

N = 12
LABELS = tuple(f"Region_{k}_{'LR'[k % 2]}" for k in range(N))
STEM = "sub-01_ses-pre_task-rest"
SPACE = "space-MNI152NLin2009cAsym"


@pytest.fixture
def atlas(tmp_path):
    path = tmp_path / "atlas-Tiny_dseg.tsv"
    rows = [f"{k}\t{label}" for k, label in enumerate(LABELS, start=1)]
    path.write_text("\n".join(["index\tlabel", *rows]) + "\n")
    return AnalysisSettings(atlases=(str(path),), min_minutes=1.0)


@pytest.fixture
def func(tmp_path):
    folder = tmp_path / "in" / "sub-01" / "ses-pre" / "func"
    folder.mkdir(parents=True)
    return folder


def draw(n_volumes=100, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n_volumes, N)) + 0.7 * rng.standard_normal((n_volumes, 1))


def measured(tmp_path, settings):
    found = bids.find_runs(tmp_path / "in")
    prepare_atlases(found.runs, settings, tmp_path / "out")
    made = measure.measure_participant(
        found.runs, (), participant="01", settings=settings, out_dir=tmp_path / "out"
    )
    (row,) = tables.read_table(made.runs).rows()
    if row["status"] == "failed":
        return row, None, None
    path = tmp_path / "out" / row["relmat"]
    return row, tables.read_matrix(path)[1], tables.read_json(path.with_suffix(".json"))


def write_xcpd(func, values, bad, *, seg="Tiny", labels=LABELS):
    stem = f"{STEM}_{SPACE}_seg-{seg}_stat-mean_timeseries"
    about = {"RepetitionTime": 2.0, "NuisanceParameters": "36P"}
    tables.write_series(func / f"{stem}.tsv", labels, values, sidecar=about)
    tables.write_table(func / f"{STEM}_outliers.tsv", {"framewise_displacement": bad})
    fd = np.where(bad == 1, 0.9, 0.1)
    fd[0] = np.nan
    if not bad.any():
        fd[1:] += np.arange(99) / 1000  # constant displacement is a fault
    tables.write_table(func / f"{STEM}_motion.tsv", {"framewise_displacement": fd})


def interpolated():
    """Return series of which 30 of 100 volumes are interpolated."""
    values = draw()
    bad = np.zeros(100, int)
    bad[10:40] = 1
    good = np.flatnonzero(bad == 0)
    for k in range(N):
        values[bad == 1, k] = np.interp(np.flatnonzero(bad), good, values[good, k])
    return values, bad


def test_interpolated_volumes_of_xcp_d_do_not_enter(tmp_path, func, atlas):
    values, bad = interpolated()
    write_xcpd(func, values, bad)
    row, matrix, about = measured(tmp_path, atlas)
    np.testing.assert_allclose(matrix, np.corrcoef(values[bad == 0].T), atol=1e-6)
    assert np.abs(matrix - np.corrcoef(values.T)).max() > 0.05
    assert (row["status"], row["n_volumes"], row["n_retained"]) == ("included", "100", "70")
    assert (row["n_censored"], row["mean_fd_mm"]) == ("30", "0.1")
    assert float(row["minutes"]) == pytest.approx(140 / 60)
    assert row["residual_dof"] == "70"
    assert row["global_signal_removed"] == "true"
    assert "30 of 100 volumes are not data" in row["reason"]
    assert about["InputNotes"][0] == row["reason"]
    assert about["GlobalSignalDeclaredBy"] == "NuisanceParameters"


def test_censored_series_of_xcp_d_are_used_as_they_are(tmp_path, func, atlas):
    values, bad = interpolated()
    write_xcpd(func, values[bad == 0], bad)
    row, matrix, _ = measured(tmp_path, atlas)
    np.testing.assert_allclose(matrix, np.corrcoef(values[bad == 0].T), atol=1e-6)
    assert (row["n_volumes"], row["n_retained"], row["mean_fd_mm"]) == ("100", "70", "0.1")


def test_columns_in_another_order_are_matched_by_name(tmp_path, func, atlas):
    values = draw()
    order = np.random.default_rng(1).permutation(N)
    labels = tuple(LABELS[k] for k in order)
    write_xcpd(func, values[:, order], np.zeros(100, int), labels=labels)
    _, matrix, _ = measured(tmp_path, atlas)
    np.testing.assert_allclose(matrix, np.corrcoef(values.T), atol=1e-6)


def test_a_series_of_another_length_fails_by_name(tmp_path, func, atlas):
    values, bad = interpolated()
    write_xcpd(func, values[:95], bad)
    row, _, _ = measured(tmp_path, atlas)
    assert (row["status"], row["code"]) == ("failed", "table")
    assert "95 volumes" in row["reason"]
    assert "100 rows, of which 70 are data" in row["reason"]


def test_a_change_of_the_outliers_measures_the_run_again(tmp_path, func, atlas):
    values, bad = interpolated()
    write_xcpd(func, values, bad)
    measured(tmp_path, atlas)
    bad[60:70] = 1
    tables.write_table(func / f"{STEM}_outliers.tsv", {"framewise_displacement": bad})
    row, matrix, _ = measured(tmp_path, atlas)
    assert row["n_retained"] == "60"
    np.testing.assert_allclose(matrix, np.corrcoef(values[bad == 0].T), atol=1e-6)


def test_a_change_of_the_declaration_measures_the_run_again(tmp_path, func, atlas):
    write_xcpd(func, draw(), np.zeros(100, int))
    assert measured(tmp_path, atlas)[0]["global_signal_removed"] == "true"
    (tmp_path / "in" / "timeseries.json").write_text("{}")
    path = next(func.glob("*timeseries.json"))
    path.write_text(json.dumps({"RepetitionTime": 2.0, "GlobalSignalRemoved": False}))
    assert measured(tmp_path, atlas)[0]["global_signal_removed"] == "false"


def test_regions_below_the_coverage_of_xcp_d_are_missing(tmp_path, func, atlas):
    write_xcpd(func, draw(), np.zeros(100, int))
    share = np.ones(N)
    share[[2, 7]] = (0.3, 0.49)
    name = f"{STEM}_{SPACE}_seg-Tiny_stat-coverage_bold.tsv"
    tables.write_table(func / name, {"Node": LABELS, "coverage": share})
    row, matrix, _ = measured(tmp_path, atlas)
    assert np.flatnonzero(np.isnan(np.diag(matrix))).tolist() == [2, 7]
    assert row["n_regions_lost"] == "2"
    assert "2 of 12 regions (Region_2_L, Region_7_R) have a coverage below 0.5" in row["reason"]


def write_matrix(func, matrix, about=None, name=f"{SPACE}_seg-Tiny_stat-pearsoncorrelation_relmat"):
    tables.write_matrix(func / f"{STEM}_{name}.tsv", LABELS, matrix, sidecar=about)


def test_a_matrix_of_xcp_d_has_the_volumes_and_motion_of_its_run(tmp_path, func, atlas):
    _, bad = interpolated()
    write_xcpd(func, draw(), bad)
    next(func.glob("*timeseries.tsv")).unlink()
    write_matrix(func, np.corrcoef(draw().T))
    row, _, about = measured(tmp_path, atlas)
    assert (row["n_volumes"], row["n_retained"], row["mean_fd_mm"]) == ("100", "70", "0.1")
    assert float(row["minutes"]) == pytest.approx(140 / 60)
    assert row["residual_dof"] == "1"
    assert about["TakenFor"] == "correlation"


def test_a_matrix_of_an_exact_number_of_volumes_has_their_minutes(tmp_path, func, atlas):
    bad, drawn = np.zeros(100, int), np.zeros(100, int)
    bad[:30], drawn[30:50] = 1, 1
    columns = {"framewise_displacement": bad, "exact_50": drawn}
    tables.write_table(func / f"{STEM}_outliers.tsv", columns)
    name = f"{SPACE}_seg-Tiny_stat-pearsoncorrelation_desc-50volumes_relmat"
    write_matrix(func, np.corrcoef(draw().T), {"RepetitionTime": 2.0}, name=name)
    row, _, _ = measured(tmp_path, atlas)
    assert (row["n_volumes"], row["n_retained"]) == ("100", "50")
    assert float(row["minutes"]) == pytest.approx(100 / 60)


@pytest.mark.parametrize("fill", [0.0, np.nan])
def test_empty_rows_of_a_matrix_are_missing_regions(tmp_path, func, atlas, fill):
    matrix = np.corrcoef(draw().T)
    lost = [0, 1, 5]
    expected = matrix.copy()
    expected[lost, :] = expected[:, lost] = np.nan
    matrix[lost, :] = matrix[:, lost] = fill
    matrix[lost, lost] = 1
    write_matrix(func, matrix)
    row, found, about = measured(tmp_path, atlas)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert row["n_regions_lost"] == "3"
    assert "3 of 12 regions (Region_0_L, Region_1_R, Region_5_R) are missing" in row["reason"]
    assert about["RegionsMissing"] == ["Region_0_L", "Region_1_R", "Region_5_R"]


@pytest.mark.parametrize("value", [0.0, 1000.0, np.nan])
def test_constant_columns_of_series_are_missing_regions(tmp_path, func, atlas, value):
    values = draw()
    values[:, 3] = value
    write_xcpd(func, values, np.zeros(100, int))
    row, matrix, _ = measured(tmp_path, atlas)
    assert np.flatnonzero(np.isnan(np.diag(matrix))).tolist() == [3]
    assert "1 of 12 regions (Region_3_R) are missing: constant or n/a series" in row["reason"]


def test_fisher_z_becomes_correlations(tmp_path, func, atlas):
    r = np.corrcoef((draw() + 3 * draw(seed=1)[:, :1]).T)
    with np.errstate(divide="ignore"):
        z = np.arctanh(r - 0)
    np.fill_diagonal(z, 18.0)
    assert z[0, 1] > 1
    write_matrix(func, z)
    row, matrix, about = measured(tmp_path, atlas)
    np.testing.assert_allclose(matrix, r, atol=1e-6)
    assert about["TakenFor"] == "fisher-z"
    assert "taken for Fisher z" in row["reason"]
    np.fill_diagonal(z, 2.0)
    write_matrix(func, z)
    assert measured(tmp_path, atlas)[0]["status"] == "failed"
    write_matrix(func, z, {"RelationshipMeasure": "Fisher z"})
    _, matrix, about = measured(tmp_path, atlas)
    np.testing.assert_allclose(matrix, r, atol=1e-6)
    assert about["TakenFor"] == "fisher-z"


def halfpipe(func, values):
    """Write what HALFpipe writes: numbers alone, in a folder of the task."""
    folder = func / "task-rest"
    folder.mkdir()
    stem = f"{STEM}_feature-corrMatrix1_atlas-Tiny"
    np.savetxt(folder / f"{stem}_timeseries.tsv", values, fmt="%.10f", delimiter="\t")
    about = {"Setting": {"ConfoundsRemoval": ["global_signal"]}, "FDMean": 0.2}
    (folder / f"{stem}_timeseries.json").write_text(json.dumps(about | {"RepetitionTime": 2.0}))
    matrix = np.corrcoef(values.T)
    np.savetxt(folder / f"{stem}_desc-correlation_matrix.tsv", matrix, fmt="%.10f", delimiter="\t")
    return folder


@pytest.mark.parametrize("kind", ["series", "matrix"])
def test_output_of_halfpipe_is_read(tmp_path, func, atlas, kind):
    values = draw()
    values[:, 4] = np.nan  # below its coverage
    folder = halfpipe(func, values)
    if kind == "matrix":
        next(folder.glob("*_timeseries.tsv")).unlink()
    row, matrix, _ = measured(tmp_path, atlas)
    kept = np.arange(N) != 4
    np.testing.assert_allclose(
        matrix[np.ix_(kept, kept)], np.corrcoef(values[:, kept].T), atol=1e-6
    )
    assert np.isnan(matrix[4]).all()
    assert "does not name its 12 columns" in row["reason"]
    assert (row["mean_fd_mm"], row["global_signal_removed"]) == ("0.2", "true")
    assert float(row["minutes"] if kind == "series" else 200 / 60) == pytest.approx(200 / 60)


def test_without_an_atlas_output_of_halfpipe_fails_by_name(tmp_path, func):
    halfpipe(func, draw())
    row, _, _ = measured(tmp_path, AnalysisSettings())
    assert row["status"] == "failed"
    assert "give the atlas that they were made with by --atlas" in row["reason"]


@pytest.mark.parametrize("kind", ["series", "matrix"])
def test_output_of_giga_connectome_is_read(tmp_path, func, atlas, kind):
    values = draw()
    seg = f"{STEM}_seg-Tiny"
    header = "\t".join(map(str, range(N)))
    if kind == "series":
        path = func / f"{seg}_desc-denoiseSimple_timeseries.tsv"
        np.savetxt(path, values, fmt="%.10f", delimiter="\t", header=header, comments="")
    else:
        path = func / f"{seg}_meas-PearsonCorrelation_desc-denoiseSimple_relmat.tsv"
        matrix = np.corrcoef(values.T)
        np.savetxt(path, matrix, fmt="%.10f", delimiter="\t", header=header, comments="")
    about = {
        "ConfoundRegressors": ["cosine00", "rot_x"],
        "MeanFramewiseDisplacement": 0.15,
        "SamplingFrequency": 0.5,
    }
    (func / f"{STEM}_desc-denoiseSimple_timeseries.json").write_text(json.dumps(about))
    (tmp_path / "in" / "meas-PearsonCorrelation_relmat.json").write_text(
        json.dumps({"RelationshipMeasure": "Pearson correlation"})
    )
    row, found, _ = measured(tmp_path, atlas)
    np.testing.assert_allclose(found, np.corrcoef(values.T), atol=1e-6)
    assert (row["mean_fd_mm"], row["global_signal_removed"]) == ("0.15", "false")


@pytest.mark.parametrize("kind", ["csv", "tsv.gz", "conmat"])
def test_other_names_and_extensions_are_found(tmp_path, func, atlas, kind):
    values = draw()
    if kind == "conmat":  # earlier XCP-D
        name = f"{SPACE}_atlas-Tiny_measure-pearsoncorrelation_conmat"
        write_matrix(func, np.corrcoef(values.T), name=name)
    else:
        mark = "," if kind == "csv" else "\t"
        rows = [mark.join(LABELS), *(mark.join(f"{v:.9f}" for v in row) for row in values)]
        path = func / f"{STEM}_{SPACE}_atlas-Tiny_stat-mean_timeseries.{kind}"
        text = ("\n".join(rows) + "\n").encode()
        path.write_bytes(text if kind == "csv" else gzip.compress(text))
    _, matrix, _ = measured(tmp_path, atlas)
    np.testing.assert_allclose(matrix, np.corrcoef(values.T), atol=1e-6)
