"""Reading of single files of the CONN toolbox."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from circuitshift.pipeline.errors import TableError
from circuitshift.pipeline.io.conn import CONN_FILE, read_conn, read_conn_regions

_SPEC = importlib.util.spec_from_file_location(
    "conn_files", Path(__file__).parents[1] / "bids/convert/conftest.py"
)
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)
NAMES, cell, write_file = _MODULE.NAMES, _MODULE.cell, _MODULE.write_file
VARIABLES = ("names", "xyz", "data", "data_sessions", "conditionsnames", "conditionsweights")
SERIES = np.random.default_rng(0).normal(size=(30, len(NAMES)))


def test_names_centres_series_and_sessions_are_read(tmp_path):
    sessions = np.repeat([1, 2, 3], 10)
    path = write_file(tmp_path / "ROI_Subject001_Condition000.mat", SERIES, sessions=sessions)
    found = read_conn(path)
    assert found.regions.names == NAMES
    assert np.array_equal(found.regions.centres_mm[4], [12, 13, 14])
    assert np.array_equal(found.series[:, 3:], SERIES[:, 3:])
    assert np.isnan(found.series[:, [1, 2]]).all()  # several dimensions
    assert np.array_equal(found.sessions, sessions)
    assert found.condition == "rest"
    assert found.in_condition.all()
    assert read_conn_regions(path).names == NAMES


def test_spaces_in_names_do_not_count(tmp_path):
    names = (*NAMES[:-1], "networks.FEF (L)  (-27,-9,64) ")
    path = write_file(tmp_path / "a.mat", SERIES, names=names)
    assert read_conn_regions(path).names[-1] == "networks.FEF (L) (-27,-9,64)"


def test_volumes_without_weight_lie_outside_the_condition(tmp_path):
    weights = np.r_[np.zeros(12), np.full(18, 0.4)]
    found = read_conn(write_file(tmp_path / "a.mat", SERIES, weights=weights))
    assert np.array_equal(found.in_condition, weights > 0)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"names": np.ones(3)}, "names is not a cell array"),
        ({"xyz": cell([np.zeros((1, 3))])}, r"10 names and 1 centres \(xyz\)"),
        ({"data": cell([np.zeros((30, 1))])}, "10 names and 1 series"),
        ({"data_sessions": np.ones((7, 1))}, "data_sessions has 7 values for 30 volumes"),
        (
            {"data": cell([np.zeros((30 - (k == 5), 1)) for k in range(10)])},
            "its series differ in length",
        ),
        ({"names": cell(["a"] * 10)}, r"empty or repeated \(a\)"),
    ],
)
def test_malformed_variables_are_refused_by_name(tmp_path, more, message):
    path = tmp_path / "odd.mat"
    write_file(path, SERIES)
    savemat(path, loadmat(path, variable_names=VARIABLES) | more)
    with pytest.raises(TableError, match=rf"odd\.mat: .*{message}"):
        read_conn(path)


def test_another_matlab_file_is_refused(tmp_path):
    savemat(tmp_path / "other.mat", {"x": 1})
    with pytest.raises(TableError, match=r"other\.mat: it has no variable 'names'.*ROI_Subject"):
        read_conn(tmp_path / "other.mat")


@pytest.mark.parametrize(
    ("name", "matches"),
    [
        ("ROI_Subject012_Condition003.mat", True),
        ("ROI_Subject1012_Condition000.mat", True),
        ("._ROI_Subject012_Condition003.mat", False),
        ("ROI_Subject012_Condition003 copy.mat", False),
        ("resultsROI_Condition001.mat", False),
    ],
)
def test_names_of_files(name, matches):
    assert bool(CONN_FILE.fullmatch(name)) == matches
