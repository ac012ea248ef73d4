"""What JSON files and designs declare: regression of the global signal, values, motion."""

import json

import pytest

from circuitshift.pipeline.bids.names import parse_name
from circuitshift.pipeline.bids.run_metadata import check_run
from circuitshift.pipeline.errors import TableError
from circuitshift.pipeline.measure.given.companions import companions_of
from circuitshift.pipeline.measure.given.declared import declared_about
from circuitshift.pipeline.records import Run

STEM = "sub-01_task-rest"


def run_of(root, name="seg-Tiny_stat-mean_timeseries.tsv", input_type="timeseries", folder="func"):
    path = root / "sub-01" / folder / f"{STEM}_{name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("A\tB\n1\t2\n")
    return Run("01", "", "rest", "", "", "", input_type, path, parse_name(path.name).entities)


def declared(root, about, **kinds):
    run = run_of(root, **kinds)
    run.path.with_suffix(".json").write_text(json.dumps(about))
    return declared_about(run, companions_of(run))


DECLARED = [
    ({}, None),
    ({"GlobalSignalRemoved": True}, True),
    ({"GlobalSignalRemoved": False, "NuisanceParameters": "36P"}, False),
    ({"GlobalSignalRemoved": "n/a", "NuisanceParameters": "36P"}, None),
    ({"NuisanceParameters": "36P"}, True),
    ({"NuisanceParameters": "27P"}, True),
    ({"NuisanceParameters": "gsr_only"}, True),
    ({"NuisanceParameters": "acompcor_gsr"}, True),
    ({"NuisanceParameters": "aroma_gsr"}, True),
    ({"NuisanceParameters": "24P"}, False),
    ({"NuisanceParameters": "acompcor"}, False),
    ({"NuisanceParameters": "none"}, False),
    ({"NuisanceParameters": "custom"}, None),
    ({"nuisance parameters": "36P"}, True),  # earlier XCP-D
    ({"nuissance parameters": "24P"}, False),  # first versions of XCP-D
    ({"ConfoundsUsed": "36P"}, True),
    ({"ConfoundRegressors": ["csf", "global_signal", "rot_x"]}, True),  # giga_connectome
    ({"ConfoundRegressors": ["csf", "white_matter"]}, False),
    ({"Setting": {"ConfoundsRemoval": ["(trans|rot)_[xyz]", "global_signal"]}}, True),  # HALFpipe
    ({"Setting": {"ConfoundsRemoval": ["a_comp_cor_0[0-4]"]}}, False),
    ({"Setting": {"ConfoundsRemoval": ["global_signal.*", "("]}}, True),
    ({"DenoisingStrategy": "24p+acompcor+gsr"}, True),  # circuitshift
    ({"DenoisingStrategy": "24p+acompcor"}, False),
    ({"DenoisingStrategy": "as given"}, None),
]


@pytest.mark.parametrize(("about", "removed"), DECLARED)
def test_programs_declare_the_global_signal(tmp_path, about, removed):
    found = declared(tmp_path, about)
    assert found.global_signal_removed is removed
    assert bool(found.source) == (removed is not None or "GlobalSignalRemoved" in about)


@pytest.mark.parametrize("value", ["yes", 1, ["global"]])
def test_other_values_are_refused(tmp_path, value):
    with pytest.raises(TableError, match='write true, false or "n/a"'):
        declared(tmp_path, {"GlobalSignalRemoved": value})


def test_the_json_of_the_denoised_image_and_that_of_the_whole_data_set_apply(tmp_path):
    run = run_of(tmp_path)
    image = run.path.parent / f"{STEM}_space-MNI_desc-denoised_bold.json"
    image.write_text(json.dumps({"NuisanceParameters": "36P", "RepetitionTime": 2.5}))
    assert declared_about(run, companions_of(run)).global_signal_removed is True
    (tmp_path / "timeseries.json").write_text(json.dumps({"GlobalSignalRemoved": False}))
    assert declared_about(run, companions_of(run)).global_signal_removed is False
    halfpipe = run_of(tmp_path, "feature-F_atlas-T_timeseries.tsv", folder="func/task-rest")
    assert declared_about(halfpipe, companions_of(halfpipe)).global_signal_removed is False


@pytest.mark.parametrize(
    ("header", "removed"),
    [("csf\tglobal_signal\tlinear_trend", True), ("csf\twhite_matter\tlinear_trend", False)],
)
def test_the_design_of_xcp_d_declares_it(tmp_path, header, removed):
    run = run_of(tmp_path)
    design = run.path.parent / f"{STEM}_desc-preproc_design.tsv"
    design.write_text(f"{header}\n1\t2\t3\n")
    found = declared_about(run, companions_of(run))
    assert (found.global_signal_removed, found.source) == (removed, design.name)


@pytest.mark.parametrize(
    ("said", "values"),
    [
        ("Pearson correlation", "correlation"),
        ("Fisher z-transformed correlation", "fisher-z"),
        ("fisher_z", "fisher-z"),
        ("z-transform of r", "fisher-z"),
        ("covariance", ""),
        (None, ""),
    ],
)
@pytest.mark.parametrize("key", ["RelationshipMeasure", "Measure"])
def test_what_a_matrix_holds(tmp_path, said, values, key):
    name = "seg-Tiny_stat-pearsoncorrelation_relmat.tsv"
    assert declared(tmp_path, {key: said}, name=name, input_type="relmat").values == values


@pytest.mark.parametrize(
    ("about", "mean"),
    [
        ({"MeanFramewiseDisplacement": 0.2}, 0.2),
        ({"FDMean": 0.3}, 0.3),
        ({"FDMean": "high"}, None),
        ({"FDMean": True}, None),
        ({"FDMean": -1}, None),
    ],
)
def test_mean_displacement(tmp_path, about, mean):
    assert declared(tmp_path, about).mean_fd_mm == mean


def test_the_repetition_time_of_xcp_d_is_found(tmp_path):
    """Some versions write the text "TR" as the sampling frequency of series."""
    run = run_of(tmp_path)
    run.path.with_suffix(".json").write_text('{"SamplingFrequency": "TR"}')
    assert check_run(run)[0].t_r_s is None
    image = run.path.parent / f"{STEM}_space-MNI_desc-denoised_bold.json"
    image.write_text('{"RepetitionTime": 2.5}')
    assert check_run(run)[0].t_r_s == 2.5
    matrix = run_of(tmp_path, "seg-Tiny_stat-pearsoncorrelation_relmat.tsv", "relmat")
    run.path.with_suffix(".json").write_text('{"SamplingFrequency": 0.5}')
    image.unlink()
    assert check_run(matrix)[0].t_r_s == 2.0  # of the series that the matrix was made from
