"""Outputs of a run: file names, JSON files, and the row of the table of runs."""

from pathlib import Path

import numpy as np
import pytest

from circuitshift.atlases.records import Atlas, Region
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.measure.denoise import load_strategies
from circuitshift.pipeline.measure.outputs import (
    RunOutput,
    command_record,
    desc_of,
    estimator_of,
    global_amplitude,
    outputs_of,
    percent_of_mean,
    runs_table,
    stem_of,
    write_product,
)
from circuitshift.pipeline.records import AnalysisSettings, Registration, RetainedData, Run

ENTITIES = (
    ("sub", "01"), ("ses", "pre"), ("task", "rest"), ("run", "2"), ("space", "MNI152"),
    ("res", "2"), ("desc", "preproc"),
)  # fmt: skip
ATLAS = Atlas("Tiny", (Region(1, "a"), Region(2, "b"), Region(3, "c")), "table", reference="doi")
RETAINED = RetainedData(60, 2, 3, 55, 1.8, 12, 30.5, 0.11, 0.4)


def run_of(input_type="bold"):
    path = Path("/data/sub-01_bold.nii.gz")
    return Run(
        "01", "pre", "rest", "2", "MNI152", "2", input_type, path, ENTITIES, atlas="Tiny", t_r_s=2.0
    )


def output_of(**more):
    matrix = np.array([[1, 0.5, np.nan], [0.5, 1, np.nan], [np.nan] * 3])
    return RunOutput(ATLAS, "24p", "", matrix, RETAINED, **more)


def test_names_of_outputs_follow_bids():
    assert stem_of(run_of()) == "sub-01_ses-pre_task-rest_run-2"
    paths = outputs_of(run_of(), "Tiny", "36p", "partial")
    names = {key: path.name for key, path in paths.items()}
    spaced = "sub-01_ses-pre_task-rest_run-2_space-MNI152_res-2_atlas-Tiny"
    assert names == {
        "timeseries": f"{spaced}_stat-mean_desc-36p_timeseries.tsv",
        "relmat": f"{spaced}_stat-partialcorrelation_desc-36p_relmat.tsv",
        "coverage": f"{spaced}_stat-coverage_bold.tsv",  # independent of the strategy
        "outliers": "sub-01_ses-pre_task-rest_run-2_desc-36p_outliers.tsv",
        "motion": "sub-01_ses-pre_task-rest_run-2_motion.tsv",
    }
    assert {path.parent for path in paths.values()} == {Path("sub-01/ses-pre/func")}


def test_the_amplitude_is_relative_to_the_mean_of_retained_volumes():
    series = np.column_stack([np.r_[9000.0, np.full(9, 1000.0)], np.full((10, 2), 200.0)])
    keep = np.arange(10) > 0
    deviation = np.array([10.0, 1.0, np.nan])
    np.testing.assert_allclose(percent_of_mean(deviation, series, keep), [1.0, 0.5, np.nan])
    assert percent_of_mean(deviation, series)[0] == pytest.approx(100 * 10 / 1800)
    low = series * [1, 0.01, 1]
    np.testing.assert_allclose(percent_of_mean(deviation, low, keep), [1.0, np.nan, np.nan])
    assert percent_of_mean(deviation, series - series.mean(axis=0)) is None  # no mean is left
    assert percent_of_mean(np.full(3, np.nan), series) is None


def test_the_amplitude_of_the_global_signal_is_that_of_the_mean_over_regions():
    rng = np.random.default_rng(3)
    common = rng.normal(0, 0.5, 400)  # percent
    drift = np.linspace(0, 5, 400)
    own = rng.normal(0, 0.3, (400, 50))
    mean = rng.uniform(500, 2000, 50)
    series = mean * (1 + (common[:, None] + drift[:, None] + own) / 100)
    keep = np.arange(400) >= 10
    found = global_amplitude(series, keep)
    assert found == pytest.approx(common[keep].std(), rel=0.05)
    with_missing = np.column_stack([series, np.full(400, np.nan), np.zeros(400)])
    assert global_amplitude(with_missing, keep) == pytest.approx(found)
    assert np.isnan(global_amplitude(series - series.mean(axis=0), keep))


def test_the_primary_strategy_has_no_description():
    settings, strategies = AnalysisSettings(), load_strategies()
    assert desc_of(strategies["24p+acompcor"], settings) == ""
    assert desc_of(strategies["24p+acompcor+gsr"], settings) == "24pAcompcorGsr"


@pytest.mark.parametrize(
    ("input_type", "estimator"),
    [("bold", "partial"), ("timeseries", "partial"), ("relmat", "pearson")],
)
def test_matrices_remain_pearson_correlations(input_type, estimator):
    assert estimator_of(run_of(input_type), AnalysisSettings(estimator="partial")) == estimator


def test_row_and_json_file_describe_the_run(tmp_path):
    series = np.random.default_rng(1).normal(size=(55, 3))
    keep = np.arange(60) >= 5
    output = output_of(
        series=series, keep=keep, fd_mm=np.full(60, 0.1),
        median_tsnr=42.0, amplitude_percent=np.array([0.5, 0.25, np.nan]),
        global_signal_percent=0.4, registration=Registration(0.2, 0.1),
    )  # fmt: skip
    settings = AnalysisSettings(circuits=("mine.toml",), min_minutes=1.0)
    row = write_product(output, run_of(), settings, out_dir=tmp_path, sidecar={"CodeHash": "x"})
    assert (row["status"], row["n_regions"], row["n_regions_lost"]) == ("included", 3, 1)
    assert (row["n_censored"], row["residual_dof"], row["median_tsnr"]) == (3, 30.5, 42.0)
    labels, matrix = tables.read_matrix(tmp_path / row["relmat"])
    assert labels == ATLAS.labels
    np.testing.assert_array_equal(matrix, output.matrix)
    content = tables.read_json((tmp_path / row["relmat"]).with_suffix(".json"))
    assert content["RegionsMissing"] == ["c"]
    assert content["Row"] == row
    assert content["CodeHash"] == "x"
    assert AnalysisSettings.from_record(content["Settings"]) == settings.measuring()
    for name, digest in content["Files"].items():
        assert tables.checksum(tmp_path / name) == digest
    ends = ("timeseries.tsv", "timeseries.json", "motion.tsv", "motion.json", "outliers.tsv",
            "outliers.json", "relmat.tsv")  # fmt: skip
    assert sorted(name.rpartition("_")[2] for name in content["Files"]) == sorted(ends)
    (about,) = tmp_path.rglob("*_timeseries.json")
    amplitude = tables.read_json(about)["StandardDeviationPercent"]
    assert tables.read_json(about)["GlobalSignalStandardDeviationPercent"] == 0.4
    assert amplitude == {"a": 0.5, "b": 0.25, "c": None}
    (outliers,) = tmp_path.rglob("*_outliers.tsv")
    marked = tables.read_table(outliers).numbers("framewise_displacement")
    np.testing.assert_array_equal(marked, ~keep)


def test_a_run_below_a_threshold_is_written_with_its_reasons(tmp_path):
    settings = AnalysisSettings(min_minutes=2.0)
    row = write_product(output_of(), run_of(), settings, out_dir=tmp_path, sidecar={})
    assert (row["status"], row["code"]) == ("excluded", "too-short")
    assert (tmp_path / row["relmat"]).exists()
    assert not list(tmp_path.rglob("*_timeseries.tsv"))


def test_a_failed_registration_excludes_a_run_and_its_quality_is_in_the_row(tmp_path):
    settings = AnalysisSettings(min_minutes=1.0)
    for cost, status, code in ((0.25, "included", None), (0.5, "excluded", "registration")):
        output = output_of(registration=Registration(cost, 0.5))
        row = write_product(output, run_of(), settings, out_dir=tmp_path, sidecar={})
        assert (row["status"], row["code"]) == (status, code)
        assert (row["boundary_cost"], row["registration_disagreement_mm"]) == (cost, 0.5)


def test_paths_of_tables_and_records(tmp_path):
    assert runs_table("01", tmp_path) == tmp_path / "sub-01" / "sub-01_runs.tsv"
    assert command_record(tmp_path).relative_to(tmp_path).as_posix() == "logs/participant.json"
