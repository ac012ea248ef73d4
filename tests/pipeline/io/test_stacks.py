"""Reading of arrays of matrices from .npy, .npz and .mat files."""

import numpy as np
import pytest
from scipy.io import savemat

from circuitshift.pipeline.errors import TableError
from circuitshift.pipeline.io.stacks import read_names, read_stack

STACK = np.arange(2 * 3 * 4 * 4, dtype=float).reshape(2, 3, 4, 4)


@pytest.fixture
def write(tmp_path):
    """Write arrays to a file of the given name."""

    def make(name, **arrays):
        path = tmp_path / name
        if path.suffix == ".npy":
            np.save(path, arrays["fc"])
        elif path.suffix == ".npz":
            np.savez(path, **arrays)
        else:
            savemat(path, arrays)
        return path

    return make


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.mat"])
def test_each_format_gives_the_same_array(write, name):
    values, key = read_stack(write(name, fc=STACK), "", 4)
    assert np.array_equal(values, STACK)
    assert key == ("" if name.endswith("npy") else "fc")


@pytest.mark.parametrize("name", ["a.npz", "a.mat"])
def test_the_only_array_with_these_axes_is_found_and_two_are_refused(write, name):
    path = write(name, fc=STACK, mean=STACK[0, 0])
    assert read_stack(path, "", 4)[1] == "fc"
    path = write(name, fc=STACK, other=STACK)
    with pytest.raises(TableError, match=r"2 of its arrays have 4 axes; state key = .*fc.*other"):
        read_stack(path, "", 4)
    assert read_stack(path, "other", 4)[1] == "other"


@pytest.mark.parametrize("name", ["a.npz", "a.mat"])
def test_a_wrong_key_lists_the_arrays(write, name):
    with pytest.raises(TableError, match=r"it has no 'z'; give key .*fc \(2, 3, 4, 4\)"):
        read_stack(write(name, fc=STACK), "z", 4)


def test_a_field_of_a_struct_is_read_by_its_dotted_key(write):
    path = write("a.mat", results={"fc": STACK})
    assert np.array_equal(read_stack(path, "results.fc", 4)[0], STACK)


def test_matlab_drops_axes_of_length_one_at_the_end(write):
    path = write("a.mat", fc=STACK[0, 0])  # region, region, one visit
    assert read_stack(path, "fc", 3)[0].shape == (4, 4, 1)


def test_a_cell_array_of_equal_arrays_is_joined(tmp_path):
    values = np.arange(24.0).reshape(2, 3, 4, 1) + 1
    cells = np.empty((2, 3), object)
    for where in np.ndindex(2, 3):
        cells[where] = values[where]
    savemat(tmp_path / "cells.mat", {"tc": cells})
    found, key = read_stack(tmp_path / "cells.mat", "tc", 4)
    assert key == "tc"
    np.testing.assert_array_equal(found, values)
    cells[1, 2] = np.ones((3, 1))
    savemat(tmp_path / "unequal.mat", {"tc": cells})
    with pytest.raises(TableError, match="tc is not an array of real numbers"):
        read_stack(tmp_path / "unequal.mat", "tc", 4)


def test_another_number_of_axes_is_refused(write):
    with pytest.raises(TableError, match=r"fc has 4 axes \(2, 3, 4, 4\), and 3 are stated"):
        read_stack(write("a.npz", fc=STACK), "fc", 3)


@pytest.mark.parametrize("values", [STACK.astype(complex), np.array([["a", "b"]])])
def test_complex_numbers_and_texts_are_refused(write, values):
    with pytest.raises(TableError, match="not an array of real numbers"):
        read_stack(write("a.npz", fc=values), "fc", values.ndim)


@pytest.mark.parametrize("name", ["bad.npy", "bad.npz"])
def test_a_damaged_file_is_refused_by_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(TableError, match=rf"{name}: it is not a readable NumPy file"):
        read_stack(tmp_path / name, "", 4)


def test_objects_in_numpy_files_are_never_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(TableError, match="not a readable NumPy file"):
        read_stack(tmp_path / "a.npy", "", 1)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (np.array([[192, 193]], np.uint16), ("192", "193")),
        (np.array([["AMY L", "AMY  R"]], dtype=object), ("AMY L", "AMY R")),
        (np.array([7.0, 8.0]), ("7", "8")),
    ],
)
def test_names_are_texts_or_whole_numbers(write, names, expected):
    assert read_names(write("a.mat", rois=names), "rois") == expected


def test_fractions_are_no_names(write):
    with pytest.raises(TableError, match=r"rois contains .*0\.5"):
        read_names(write("a.mat", rois=np.array([0.5, 1])), "rois")
