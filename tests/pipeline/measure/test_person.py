"""Measuring at the doors of series and matrices: files, order of regions, resume, faults."""

import os

import nibabel as nib
import numpy as np
import pytest
from scipy.signal import detrend

from circuitshift.pipeline import edges as connectivity
from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.errors import AtlasError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.measure import person as measure
from circuitshift.pipeline.measure.atlas_files import prepare_atlases, read_atlas
from circuitshift.pipeline.records import AnalysisSettings

LABELS = ("Precuneus_L", "Precuneus_R", "Angular_L", "Angular_R", "Insula_L", "Insula_R")


@pytest.fixture
def series():
    return np.random.default_rng(1).standard_normal((60, 6)).cumsum(axis=0)


def write_run(root, person, values, labels=LABELS, *, suffix="timeseries", session="pre"):
    stat = "mean" if suffix == "timeseries" else "pearsoncorrelation"
    folder = root / f"sub-{person}" / f"ses-{session}" / "func"
    path = folder / f"sub-{person}_ses-{session}_task-rest_atlas-Mine_stat-{stat}_{suffix}.tsv"
    writer = tables.write_series if suffix == "timeseries" else tables.write_matrix
    writer(path, labels, values, sidecar={"RepetitionTime": 2.0})
    return path


def measure_all(root, out, settings=AnalysisSettings()):  # noqa: B008 - frozen
    found = bids.find_runs(root, bids.Query())
    prepare_atlases(found.runs, settings, out)
    rows = {}
    for person in sorted({run.participant for run in found.runs}):
        runs = [run for run in found.runs if run.participant == person]
        made = measure.measure_participant(
            runs, (), participant=person, settings=settings, out_dir=out
        )
        rows[person] = list(tables.read_table(made.runs).rows())
    return rows


@pytest.mark.parametrize("estimator", ["pearson", "partial"])
def test_series_become_edges(tmp_path, series, estimator):
    write_run(tmp_path / "in", "01", series)
    rows = measure_all(tmp_path / "in", tmp_path / "out", AnalysisSettings(estimator=estimator))
    (row,) = rows["01"]
    assert (row["status"], row["strategy"], row["minutes"]) == ("included", "as given", "2")
    assert f"_stat-{estimator}correlation_relmat.tsv" in row["relmat"]
    labels, matrix = tables.read_matrix(tmp_path / "out" / row["relmat"])
    assert labels == LABELS
    np.testing.assert_allclose(matrix, connectivity.correlation(series, estimator), atol=1e-8)
    assert [r.hemisphere for r in read_atlas(tmp_path / "out", "Mine").regions] == list("LRLRLR")


def test_columns_are_matched_by_name_and_a_missing_one_is_nan(tmp_path, series):
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
    assert rows["03"][0]["n_regions_missing"] == "1"


@pytest.mark.parametrize("suffix", ["timeseries", "relmat"])
def test_one_fault_costs_one_run(tmp_path, series, suffix):
    good = series if suffix == "timeseries" else np.corrcoef(series.T)
    write_run(tmp_path / "in", "01", good, suffix=suffix)
    bad = good.copy() if suffix == "timeseries" else np.arctanh(good * 0.99)
    labels = ("Elsewhere", *LABELS[1:]) if suffix == "timeseries" else LABELS
    write_run(tmp_path / "in", "02", bad, labels, suffix=suffix)
    write_run(tmp_path / "in", "03", good, suffix=suffix)
    rows = measure_all(tmp_path / "in", tmp_path / "out")
    assert [rows[p][0]["status"] for p in ("01", "02", "03")] == ["included", "failed", "included"]
    sentence = {
        "timeseries": "1 of its columns are not in atlas Mine (Elsewhere)",
        "relmat": "give correlations (r), not Fisher z",
    }
    assert sentence[suffix] in rows["02"][0]["reason"]


def test_an_output_is_made_again_when_its_input_or_the_settings_change(tmp_path, series):
    path = write_run(tmp_path / "in", "01", series)
    out = tmp_path / "out"
    relmat = out / measure_all(tmp_path / "in", out)["01"][0]["relmat"]

    def stamp():
        return relmat.stat().st_mtime_ns

    first = stamp()
    measure_all(tmp_path / "in", out)
    assert stamp() == first
    os.utime(path, ns=(1, 1))
    measure_all(tmp_path / "in", out)
    assert stamp() == first
    write_run(tmp_path / "in", "01", series[::-1])
    measure_all(tmp_path / "in", out)
    second = stamp()
    assert second != first
    rows = measure_all(tmp_path / "in", out, AnalysisSettings(min_minutes=3.0))
    assert stamp() != second
    assert rows["01"][0]["code"] == "too-short"


@pytest.mark.parametrize("suffix", ["relmat", "timeseries"])
def test_a_damaged_output_is_made_again(tmp_path, series, suffix):
    """One figure changed by hand: the same size, another content."""
    write_run(tmp_path / "in", "01", series)
    out = tmp_path / "out"
    measure_all(tmp_path / "in", out)
    path = next(out.rglob(f"*_{suffix}.tsv"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-2] + (b"1" if whole[-2:-1] != b"1" else b"2") + whole[-1:])
    measure_all(tmp_path / "in", out)
    assert path.read_bytes() == whole


def write_bold(root, alive, n_volumes=60):
    """Ten voxels to each of six regions, of which the first ones are alive; return the means."""
    rng = np.random.default_rng(2)
    func = root / "sub-01" / "func"
    func.mkdir(parents=True)
    data = np.zeros((6, 10, 1, n_volumes))
    for region, n in enumerate(alive):
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
        {"framewise_displacement": [None, *[0.1] * (n_volumes - 1)]},
    )
    labels = np.broadcast_to(np.arange(1, 7)[:, None, None], data.shape[:3]).astype(np.int16)
    nib.save(nib.Nifti1Image(labels, affine), root / "Mine_dseg.nii.gz")
    rows = [f"{k}\t{name}" for k, name in enumerate(LABELS, start=1)]
    (root / "Mine_dseg.tsv").write_text("\n".join(["index\tlabel", *rows]) + "\n")
    return data[..., 0, :].mean(axis=1).T


@pytest.mark.parametrize(("threshold", "n_lost"), [(0.5, 2), (0.6, 3), (0.3, 1)])
def test_a_region_below_the_coverage_threshold_is_missing(tmp_path, threshold, n_lost):
    """Signal in all, half, two fifths and a tenth of the voxels of a region."""
    means = write_bold(tmp_path / "in", alive=(10, 10, 10, 5, 4, 1))
    settings = AnalysisSettings(
        atlases=(str(tmp_path / "in" / "Mine_dseg.nii.gz"),),
        strategies=("none",),
        min_coverage=threshold,
        min_minutes=1.0,
    )
    (row,) = measure_all(tmp_path / "in", tmp_path / "out", settings)["01"]
    assert row["n_regions_missing"] == str(n_lost)
    labels, matrix = tables.read_matrix(tmp_path / "out" / row["relmat"])
    assert labels == LABELS
    kept = 6 - n_lost
    expected = np.full((6, 6), np.nan)
    expected[:kept, :kept] = np.corrcoef(detrend(means[:, :kept], axis=0).T)
    np.testing.assert_allclose(matrix, expected, atol=1e-5)
    coverage = tables.read_table(next((tmp_path / "out").rglob("*_stat-coverage_bold.tsv")))
    np.testing.assert_allclose(coverage.numbers("coverage"), [1, 1, 1, 0.5, 0.4, 0.1])


def test_an_atlas_that_does_not_fit_is_refused(tmp_path, series):
    write_run(tmp_path / "in", "01", series)
    (tmp_path / "other_dseg.tsv").write_text("index\tlabel\n1\tA\n2\tB\n")
    with pytest.raises(AtlasError, match="none of the atlases given by --atlas"):
        measure_all(
            tmp_path / "in",
            tmp_path / "out",
            AnalysisSettings(atlases=(str(tmp_path / "other_dseg.tsv"),)),
        )


def test_a_crash_is_a_row_beside_what_was_measured(tmp_path, series):
    write_run(tmp_path / "in", "01", series)
    measure_all(tmp_path / "in", tmp_path / "out")
    for _ in range(2):
        made = measure.record_crash("01", "see logs", out_dir=tmp_path / "out")
    assert tables.read_table(made.runs).column("code") == ["n/a", "crash"]
