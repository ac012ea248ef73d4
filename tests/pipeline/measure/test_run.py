"""Measurement of one run: edges of images, series and matrices, and reasons for failures."""

import nibabel as nib
import numpy as np
import pytest
from scipy.signal import detrend

from circuitshift.pipeline import edges as connectivity
from circuitshift.pipeline.bids.run_metadata import check_run
from circuitshift.pipeline.bids.select_runs import Query, find_runs
from circuitshift.pipeline.errors import TableError, TooLittleDataError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.measure.atlas_files import prepare_atlases, read_atlas
from circuitshift.pipeline.measure.run import error_code, failed_row, measure_run
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


def measure_all(root, out, settings=AnalysisSettings()):  # noqa: B008 - frozen
    """Measure all runs of a folder; return the rows of each participant."""
    found = find_runs(root, Query())
    prepare_atlases(found.runs, settings, out)
    rows = {}
    for run in found.runs:
        run, problems, _ = check_run(run)  # noqa: PLW2901 - completed with its metadata
        assert not problems
        rows[run.participant] = measure_run(run, settings, out, about=lambda atlas: {})  # noqa: ARG005
    return rows


def write_bold(root, n_with_signal, n_volumes=60):
    """Write a run with six regions of ten voxels, some with signal; return the regional means."""
    rng = np.random.default_rng(2)
    func = root / "sub-01" / "func"
    func.mkdir(parents=True)
    data = np.zeros((6, 10, 1, n_volumes))
    for region, n in enumerate(n_with_signal):
        common = rng.standard_normal(n_volumes).cumsum()
        data[region, :n, 0] = 100 + common + rng.standard_normal((n, n_volumes))
    stem, space = "sub-01_task-rest", "space-MNI152NLin2009cAsym"
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    image = nib.Nifti1Image(data.astype(np.float32), affine)
    image.header.set_zooms((4, 4, 4, 2.0))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, func / f"{stem}_{space}_desc-preproc_bold.nii.gz")
    mask = nib.Nifti1Image(np.ones(data.shape[:3], np.uint8), affine)
    nib.save(mask, func / f"{stem}_{space}_desc-brain_mask.nii.gz")
    tables.write_table(
        func / f"{stem}_desc-confounds_timeseries.tsv",
        {"framewise_displacement": [None, *np.linspace(0.05, 0.15, n_volumes - 1)]},
    )
    labels = np.broadcast_to(np.arange(1, 7)[:, None, None], data.shape[:3]).astype(np.int16)
    nib.save(nib.Nifti1Image(labels, affine), root / "Mine_dseg.nii.gz")
    rows = [f"{k}\t{name}" for k, name in enumerate(LABELS, start=1)]
    (root / "Mine_dseg.tsv").write_text("\n".join(["index\tlabel", *rows]) + "\n")
    return data[..., 0, :].mean(axis=1).T


@pytest.mark.parametrize("estimator", ["pearson", "partial"])
def test_series_become_edges(tmp_path, series, estimator):
    write_run(tmp_path / "in", "01", series)
    rows = measure_all(tmp_path / "in", tmp_path / "out", AnalysisSettings(estimator=estimator))
    (row,) = rows["01"]
    assert (row["status"], row["strategy"], row["minutes"]) == ("included", "as given", 2)
    assert f"_stat-{estimator}correlation_relmat.tsv" in row["relmat"]
    labels, matrix = tables.read_matrix(tmp_path / "out" / row["relmat"])
    assert labels == LABELS
    np.testing.assert_allclose(matrix, connectivity.correlation(series, estimator), atol=1e-8)
    assert [r.hemisphere for r in read_atlas(tmp_path / "out", "Mine").regions] == list("LRLRLR")


def test_columns_are_matched_by_name_and_missing_ones_are_nan(tmp_path, series):
    write_run(tmp_path / "in", "01", series)
    write_run(tmp_path / "in", "02", series[:, ::-1], LABELS[::-1])
    write_run(tmp_path / "in", "03", series[:, :5], LABELS[:5])
    rows = measure_all(tmp_path / "in", tmp_path / "out")
    first, second, third = (
        tables.read_matrix(tmp_path / "out" / rows[p][0]["relmat"])[1] for p in ("01", "02", "03")
    )
    np.testing.assert_allclose(second, first)
    np.testing.assert_allclose(third[:5, :5], first[:5, :5])
    assert np.isnan(third[5]).all()
    assert rows["03"][0]["n_regions_lost"] == 1


@pytest.mark.parametrize(("threshold", "n_missing"), [(0.5, 2), (0.6, 3), (0.3, 1)])
def test_a_region_below_the_coverage_threshold_is_missing(tmp_path, threshold, n_missing):
    """Regions have signal in all, half, two fifths and a tenth of their voxels."""
    means = write_bold(tmp_path / "in", n_with_signal=(10, 10, 10, 5, 4, 1))
    settings = AnalysisSettings(
        atlases=(str(tmp_path / "in" / "Mine_dseg.nii.gz"),),
        strategies=("none",),
        min_coverage=threshold,
        min_minutes=1.0,
    )
    (row,) = measure_all(tmp_path / "in", tmp_path / "out", settings)["01"]
    assert row["n_regions_lost"] == n_missing
    labels, matrix = tables.read_matrix(tmp_path / "out" / row["relmat"])
    assert labels == LABELS
    n_available = 6 - n_missing
    expected = np.full((6, 6), np.nan)
    expected[:n_available, :n_available] = np.corrcoef(detrend(means[:, :n_available], axis=0).T)
    np.testing.assert_allclose(matrix, expected, atol=1e-5)
    coverage = tables.read_table(next((tmp_path / "out").rglob("*_stat-coverage_bold.tsv")))
    np.testing.assert_allclose(coverage.numbers("coverage"), [1, 1, 1, 0.5, 0.4, 0.1])


def test_a_strategy_that_fails_has_a_row_and_the_others_are_measured(tmp_path):
    write_bold(tmp_path / "in", n_with_signal=(10,) * 6)
    settings = AnalysisSettings(
        atlases=(str(tmp_path / "in" / "Mine_dseg.nii.gz"),),
        strategies=("none", "24p"),  # there are no motion parameters for 24p
        min_minutes=1.0,
    )
    done, failed = measure_all(tmp_path / "in", tmp_path / "out", settings)["01"]
    assert (done["strategy"], done["status"]) == ("none", "included")
    assert (failed["strategy"], failed["status"], failed["code"]) == ("24p", "failed", "confounds")
    assert "strategy 24p cannot be used" in failed["reason"]


def test_matrices_beyond_one_raise_an_error(tmp_path, series):
    write_run(tmp_path / "in", "01", 1.2 * np.corrcoef(series.T), suffix="relmat")
    with pytest.raises(TableError, match="neither correlations nor Fisher z"):
        measure_all(tmp_path / "in", tmp_path / "out")


def test_rows_of_failed_runs_and_keywords_of_errors():
    assert error_code(TooLittleDataError("x")) == "too-little-data"
    row = failed_row("/data/sub-01_bold.nii.gz", "", "input", "it is empty")
    assert (row["run"], row["session"], row["status"]) == ("sub-01_bold.nii.gz", None, "failed")


def plant_dropout(root, level, *, region=2):
    """Multiply the signal of one region by a factor, as a shorter T2* does."""
    (path,) = root.rglob("*_bold.nii.gz")
    image = nib.load(path)
    data = np.asarray(image.dataobj).copy()
    data[region] *= level
    nib.save(nib.Nifti1Image(data, image.affine, image.header), path)


@pytest.mark.parametrize(("level", "floor", "coverage"), [
    (0.19, 0.3, 0.0), (0.4, 0.3, 1.0), (0.4, 0.5, 0.0), (0.19, 0.0, 1.0),
])  # fmt: skip
def test_a_region_with_dropout_is_not_covered(tmp_path, level, floor, coverage):
    write_bold(tmp_path / "in", n_with_signal=(10,) * 6)
    plant_dropout(tmp_path / "in", level)
    settings = AnalysisSettings(
        atlases=(str(tmp_path / "in" / "Mine_dseg.nii.gz"),),
        strategies=("none",),
        min_signal=floor,
        min_minutes=1.0,
    )
    (row,) = measure_all(tmp_path / "in", tmp_path / "out", settings)["01"]
    assert row["n_regions_lost"] == (coverage == 0)
    matrix = tables.read_matrix(tmp_path / "out" / row["relmat"])[1]
    assert np.isnan(matrix).any() == (coverage == 0)
    path = next((tmp_path / "out").rglob("*_stat-coverage_bold.tsv"))
    table = tables.read_table(path)
    np.testing.assert_allclose(table.numbers("coverage"), [1, 1, coverage, 1, 1, 1])
    np.testing.assert_allclose(table.numbers("signal"), [1, 1, level, 1, 1, 1], atol=0.1)
    tsnr = table.numbers("tsnr")
    assert np.isnan(tsnr[2]) == (coverage == 0)
    assert (np.delete(tsnr, 2) > 5).all()
    assert tables.read_json(path.with_suffix(".json"))["SignalFloor"] == floor
    series = next((tmp_path / "out").rglob("*_timeseries.json"))
    written = tables.read_json(series)["TemporalSignalToNoise"]
    np.testing.assert_allclose(list(written.values())[3:], tsnr[3:], rtol=1e-4)


def test_an_image_without_a_mean_has_no_floor(tmp_path):
    write_bold(tmp_path / "in", n_with_signal=(10,) * 6)
    (path,) = (tmp_path / "in").rglob("*_bold.nii.gz")
    image = nib.load(path)
    data = np.asarray(image.dataobj)
    centred = data - data.mean(axis=-1, keepdims=True)
    nib.save(nib.Nifti1Image(centred, image.affine, image.header), path)
    settings = AnalysisSettings(
        atlases=(str(tmp_path / "in" / "Mine_dseg.nii.gz"),), strategies=("none",), min_minutes=1.0
    )
    (row,) = measure_all(tmp_path / "in", tmp_path / "out", settings)["01"]
    assert row["n_regions_lost"] == 0
    path = next((tmp_path / "out").rglob("*_stat-coverage_bold.tsv"))
    assert np.isnan(tables.read_table(path).numbers("signal")).all()
    assert tables.read_json(path.with_suffix(".json"))["SignalFloor"] is None


def test_a_run_that_is_too_short_shows_its_quality_without_edges(tmp_path):
    write_bold(tmp_path / "in", n_with_signal=(10,) * 5 + (1,), n_volumes=9)
    settings = AnalysisSettings(
        atlases=(str(tmp_path / "in" / "Mine_dseg.nii.gz"),),
        strategies=("none",),
        min_minutes=0.1,
    )
    (row,) = measure_all(tmp_path / "in", tmp_path / "out", settings)["01"]
    assert (row["status"], row["code"]) == ("excluded", "too-little-data")
    assert "degrees of freedom" in row["reason"]
    assert (row["n_volumes"], row["n_retained"], row["n_regions_lost"]) == (9, 9, 1)
    assert row["mean_fd_mm"] == pytest.approx(0.1)
    matrix = tables.read_matrix(tmp_path / "out" / row["relmat"])[1]
    assert np.isfinite(matrix).sum() == 5  # the diagonal
    written = sorted(path.name.rpartition("_")[2] for path in (tmp_path / "out").rglob("*.tsv"))
    for kind in ("bold.tsv", "motion.tsv", "outliers.tsv"):
        assert kind in written
    assert "timeseries.tsv" not in written
    figures = {path.name for path in (tmp_path / "out").rglob("*.png")}
    assert [name.partition("desc-")[2] for name in figures] == ["before_carpet.png"]
    assert list((tmp_path / "out").rglob("*_stat-tsnr_boldmap.nii.gz"))
