"""Input types: recognition of files, order of preference, and effects of a further record."""

import json
from types import MappingProxyType

import numpy as np
import pytest

from circuitshift.pipeline.bids import filters, scan, select_runs
from circuitshift.pipeline.bids import input_types as types
from circuitshift.pipeline.bids.names import parse_name
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.measure import run as run_module
from circuitshift.workflows.cli.parsers import app_parser

STEM = "sub-01_task-rest"


def test_names_priorities_and_contents():
    assert list(types.INPUT_TYPES) == ["bold", "timeseries", "relmat"]
    assert all(name == kind.name for name, kind in types.INPUT_TYPES.items())
    assert types.FILE_ENDINGS == (
        "_bold.nii.gz", "_bold.nii",
        "_timeseries.tsv", "_timeseries.csv", "_timeseries.tsv.gz",
        "_relmat.tsv", "_relmat.csv", "_relmat.tsv.gz",
        "_matrix.tsv", "_matrix.csv", "_matrix.tsv.gz",
        "_conmat.tsv", "_conmat.csv", "_conmat.tsv.gz",
    )  # fmt: skip


def test_all_contents_can_be_measured():
    assert {kind.content for kind in types.INPUT_TYPES.values()} == set(
        run_module._MEASURE_BY_CONTENT
    )


def test_the_command_line_offers_all_input_types_and_raw_images():
    action = app_parser()._option_string_actions["--input-type"]
    assert tuple(action.choices) == (*types.INPUT_TYPES, "raw")


def test_filter_files_accept_suffixes_and_extensions_of_all_input_types():
    for kind in types.INPUT_TYPES.values():
        assert set(kind.suffixes) <= set(filters._FILTER_CONSTANTS["suffix"])
        assert set(kind.extensions) <= set(filters._FILTER_CONSTANTS["extension"])


@pytest.mark.parametrize(
    ("name", "obstacle"),
    [
        ("space-A_desc-preproc_bold.nii.gz", ""),
        ("space-A_desc-preproc_bold.nii", ""),
        ("bold.nii.gz", "other"),
        ("desc-smoothAROMAnonaggr_bold.nii.gz", "other"),
        ("echo-1_desc-preproc_bold.nii.gz", "echo"),
        ("atlas-A_timeseries.tsv", ""),
        ("seg-A_stat-mean_timeseries.tsv", ""),
        ("atlas-A_stat-std_timeseries.tsv", "statistic"),
        ("timeseries.tsv", "no atlas"),
        ("desc-confounds_timeseries.tsv", "other"),
        ("atlas-A_stat-pearsoncorrelation_relmat.tsv", ""),
        ("atlas-A_meas-PearsonCorrelation_relmat.tsv", ""),
        ("atlas-A_stat-covariance_relmat.tsv", "statistic"),
        ("atlas-A_relmat.tsv", "statistic"),
        ("feature-F_atlas-A_desc-correlation_matrix.tsv", ""),  # HALFpipe
        ("feature-F_atlas-A_desc-covariance_matrix.tsv", "statistic"),
        ("feature-F_atlas-A_timeseries.tsv", ""),
        ("atlas-A_measure-pearsoncorrelation_conmat.tsv", ""),  # earlier XCP-D
        ("atlas-A_measure-reho_conmat.tsv", "statistic"),
        ("seg-A_meas-PearsonCorrelation_desc-denoiseSimple_relmat.tsv", ""),  # giga_connectome
        ("seg-A_desc-denoiseSimple_timeseries.tsv", ""),
        ("atlas-A_stat-mean_timeseries.tsv.gz", ""),
        ("atlas-A_stat-mean_timeseries.csv", ""),
    ],
)
def test_files_that_are_runs(name, obstacle):
    parts = parse_name(f"{STEM}_{name}")
    (kind,) = [kind for kind in types.INPUT_TYPES.values() if parts.suffix in kind.suffixes]
    assert kind.obstacle(parts) == obstacle


def test_tables_may_use_the_sidecar_of_their_image():
    suffixes = {name: kind.sidecar_suffixes for name, kind in types.INPUT_TYPES.items()}
    assert suffixes == {
        "bold": ("bold",),
        "timeseries": ("timeseries", "bold"),
        "relmat": ("relmat", "matrix", "conmat", "timeseries", "bold"),
    }


@pytest.fixture
def further(monkeypatch):
    """Add the record of a fourth input type, time series of tracts."""
    kind = types.InputType("tracts", "tract series", "series", "tracts", (".tsv",), ("",))
    extended = MappingProxyType({**types.INPUT_TYPES, kind.name: kind})
    for module in (types, scan, select_runs):
        monkeypatch.setattr(module, "INPUT_TYPES", extended)
    monkeypatch.setattr(scan, "FILE_ENDINGS", (*types.FILE_ENDINGS, *kind.endings))
    return kind


def test_a_further_record_is_sufficient_to_find_read_and_measure_runs(tmp_path, further):
    func = tmp_path / "sub-01" / "func"
    func.mkdir(parents=True)
    series = np.random.default_rng(1).standard_normal((40, 4))
    labels = [f"T{k}" for k in range(4)]
    path = func / f"{STEM}_atlas-A_tracts.tsv"
    tables.write_series(path, labels, series)
    path.with_suffix(".json").write_text(json.dumps({"RepetitionTime": 2.0}))
    found = select_runs.find_runs(tmp_path)
    (run,) = found.runs
    assert (run.input_type, run.atlas, run.path) == ("tracts", "A", path)
    assert not types.is_image(run)
    assert types.input_type_of(run) is further
    checked, problems, _ = select_runs.check_run(run)
    assert (checked.t_r_s, problems) == (2.0, ())
    table = types.read_table(run)
    assert list(table.labels) == labels
    np.testing.assert_allclose(table.values, series, atol=1e-6)
    assert run_module._MEASURE_BY_CONTENT[further.content] is run_module._from_series
    # time series of the same run are preferred, because their record precedes
    tables.write_series(func / f"{STEM}_atlas-A_timeseries.tsv", labels, series)
    found = select_runs.find_runs(tmp_path)
    assert [run.input_type for run in found.runs] == ["timeseries"]
    assert any("tracts file(s)" in note and "the time series" in note for note in found.notes)
    only = select_runs.find_runs(tmp_path, select_runs.Query(input_types=("tracts",)))
    assert [run.input_type for run in only.runs] == ["tracts"]
