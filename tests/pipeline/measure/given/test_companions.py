"""Files beside a series or matrix: found by sets of entities, and read."""

import numpy as np
import pytest

from circuitshift.pipeline.bids.names import parse_name
from circuitshift.pipeline.errors import TableError
from circuitshift.pipeline.measure.given.companions import (
    companions_of,
    read_coverage,
    read_displacement,
    read_outliers,
)
from circuitshift.pipeline.records import Run

STEM = "sub-01_ses-a_task-rest"


def run_of(folder, name):
    entities = parse_name(name).entities
    return Run("01", "a", "rest", "", "", "", "timeseries", folder / name, entities)


def found(folder, series, names):
    for name in names:
        (folder / name).write_text("x\n1\n")
    beside = companions_of(run_of(folder, series))
    kinds = ("outliers", "motion", "coverage", "design")
    return {kind: path.name for kind in kinds if (path := getattr(beside, kind)) is not None}


CURRENT = f"{STEM}_space-MNI_seg-Tiny_stat-mean_timeseries.tsv"
LAYOUTS = {
    "XCP-D": (
        CURRENT,
        {
            "outliers": f"{STEM}_outliers.tsv",
            "motion": f"{STEM}_motion.tsv",
            "coverage": f"{STEM}_space-MNI_seg-Tiny_stat-coverage_bold.tsv",
            "design": f"{STEM}_desc-preproc_design.tsv",
        },
    ),
    "XCP-D, earlier": (
        f"{STEM}_space-MNI_atlas-Tiny_timeseries.tsv",
        {
            "outliers": f"{STEM}_outliers.tsv",
            "motion": f"{STEM}_desc-filtered_motion.tsv",
            "coverage": f"{STEM}_space-MNI_atlas-Tiny_coverage.tsv",
            "design": f"{STEM}_design.tsv",
        },
    ),
    "XCP-D, first versions": (
        f"{STEM}_space-MNI_atlas-Tiny_timeseries.tsv",
        {"motion": f"{STEM}_space-MNI_desc-framewisedisplacement_bold.tsv"},
    ),
    "matrix of surfaces": (
        f"{STEM}_space-fsLR_seg-Tiny_den-91k_stat-pearsoncorrelation_relmat.tsv",
        {"outliers": f"{STEM}_outliers.tsv", "motion": f"{STEM}_motion.tsv"},
    ),
    "another order": (
        "sub-01_ses-a_run-01_task-rest_dir-AP_seg-Tiny_stat-mean_timeseries.tsv",
        {"outliers": "sub-01_ses-a_task-rest_dir-AP_run-1_outliers.tsv"},
    ),
    "circuitshift, another strategy": (
        f"{STEM}_space-MNI_atlas-Tiny_stat-mean_desc-24p_timeseries.tsv",
        {"outliers": f"{STEM}_desc-24p_outliers.tsv", "motion": f"{STEM}_motion.tsv"},
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_beside_a_run_are_found(tmp_path, layout):
    series, files = LAYOUTS[layout]
    others = [
        f"{STEM}_run-2_outliers.tsv",
        "sub-01_ses-a_task-nback_outliers.tsv",
        f"{STEM}_space-MNI_seg-Other_stat-coverage_bold.tsv",
        f"{STEM}_space-T1w_seg-Tiny_stat-coverage_bold.tsv",
        f"{STEM}_space-MNI_seg-Tiny_stat-alff_bold.tsv",
        f"{STEM}_desc-confounds_timeseries.tsv",
        "._" + f"{STEM}_outliers.tsv",
    ]
    assert found(tmp_path, series, [*files.values(), *others]) == files


def test_unfiltered_motion_and_outliers_of_the_same_denoising_are_preferred(tmp_path):
    names = [f"{STEM}_motion.tsv", f"{STEM}_desc-filtered_motion.tsv"]
    assert found(tmp_path, CURRENT, names) == {"motion": f"{STEM}_motion.tsv"}
    names = [f"{STEM}_outliers.tsv", f"{STEM}_desc-24p_outliers.tsv"]
    series = f"{STEM}_atlas-Tiny_stat-mean_desc-24p_timeseries.tsv"
    assert found(tmp_path, series, names)["outliers"] == f"{STEM}_desc-24p_outliers.tsv"


def test_two_tables_of_one_run_are_refused(tmp_path):
    names = ["sub-01_task-rest_ses-a_outliers.tsv", f"{STEM}_outliers.tsv"]
    with pytest.raises(TableError, match=r"belongs to the same run \(outliers\)"):
        found(tmp_path, CURRENT, names)


@pytest.mark.parametrize(
    "text",
    [
        "framewise_displacement\n0\n1\n0\n1\n",
        "framewise_displacement\texact_2\n0\t1\n1\t0\n0\t0\n1\t0\n",  # XCP-D --create-matrices
        "fd\tdvars\n0\t0\n1\t0\n0\t0\n0\t1\n",
        "0\n1\n0\n1\n",  # no header
    ],
)
def test_outliers_of_several_programs_are_read(tmp_path, text):
    (tmp_path / "outliers.tsv").write_text(text)
    np.testing.assert_array_equal(read_outliers(tmp_path / "outliers.tsv"), [0, 1, 0, 1])


def test_a_matrix_of_an_exact_number_of_volumes_has_these(tmp_path):
    path = tmp_path / "outliers.tsv"
    path.write_text("framewise_displacement\texact_2\n0\t1\n1\t0\n0\t0\n0\t0\n")
    np.testing.assert_array_equal(read_outliers(path, 2), [1, 1, 0, 0])
    np.testing.assert_array_equal(read_outliers(path), [0, 1, 0, 0])
    with pytest.raises(TableError, match="no column exact_3"):
        read_outliers(path, 3)


@pytest.mark.parametrize("text", ["fd\n0.1\n0.4\n", "exact_2\n0\n1\n", "fd\n0\nn/a\n"])
def test_other_tables_of_outliers_are_refused(tmp_path, text):
    (tmp_path / "outliers.tsv").write_text(text)
    with pytest.raises(TableError, match=r"0 \(data\) and 1 \(not data\) only"):
        read_outliers(tmp_path / "outliers.tsv")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("trans_x\tframewise_displacement\n1\tn/a\n2\t.5\n", [np.nan, 0.5]),
        ("framewise_displacement_filtered\tframewise_displacement\n.1\t.2\n.3\t.4\n", [0.2, 0.4]),
        ("framewise_displacement_filtered\n.1\n.3\n", [0.1, 0.3]),
        ("0.1\n0.3\n", [0.1, 0.3]),
        ("trans_x\ttrans_y\n.1\t.2\n.3\t.4\n", None),
    ],
)
def test_displacement_of_several_programs_is_read(tmp_path, text, expected):
    (tmp_path / "motion.tsv").write_text(text)
    values = read_displacement(tmp_path / "motion.tsv")
    assert (values is None) == (expected is None)
    if expected is not None:
        np.testing.assert_array_equal(values, expected)


def test_coverage_is_matched_by_name(tmp_path):
    path = tmp_path / "coverage.tsv"
    path.write_text("Node\tcoverage\nB\t0.25\nA\t1\n")
    np.testing.assert_array_equal(read_coverage(path, ("A", "B", "C")), [1, 0.25, np.nan])
    with pytest.raises(TableError, match="none of its regions is one of the atlas"):
        read_coverage(path, ("X", "Y"))
