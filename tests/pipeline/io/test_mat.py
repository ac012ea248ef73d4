"""Reading of MATLAB files: structs, keys and damaged files."""

import importlib.util

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from circuitshift.pipeline.errors import TableError
from circuitshift.pipeline.io.mat import numeric_arrays, read_mat, value_at


@pytest.fixture
def path(tmp_path):
    """A file with an array, and a struct that contains a struct."""
    out = tmp_path / "results.mat"
    content = {"one": np.arange(6.0).reshape(2, 3), "results": {"deep": {"fc": np.ones((2, 4, 4))}}}
    savemat(out, content)
    return out


def test_arrays_of_structs_have_dotted_keys(path):
    content = read_mat(path)
    assert numeric_arrays(content) == {"one": (2, 3), "results.deep.fc": (2, 4, 4)}
    assert np.array_equal(value_at(path, content, "results.deep.fc"), np.ones((2, 4, 4)))


def test_only_the_named_variables_are_read(path):
    assert set(read_mat(path, ["one"])) == {"one"}


@pytest.mark.parametrize("key", ["two", "results.fc", "one.fc"])
def test_a_wrong_key_lists_the_arrays(path, key):
    with pytest.raises(TableError, match=rf"no '{key}'.*results\.deep\.fc \(2, 4, 4\)"):
        value_at(path, read_mat(path), key)


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0 MAT-file", b"\x00" * 300, b"text\n" * 99])
def test_a_damaged_file_is_refused_by_name(tmp_path, content):
    bad = tmp_path / "bad.mat"
    bad.write_bytes(content)
    with pytest.raises(TableError, match=r"bad\.mat: it is not a readable MATLAB file"):
        read_mat(bad)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(TableError, match=r"none\.mat: it cannot be read"):
        read_mat(tmp_path / "none.mat")


def test_version_7_3_names_the_package_that_is_missing(tmp_path, monkeypatch):
    path = tmp_path / "new.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + b"\x89HDF\r\n\x1a\n")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(TableError, match=r"new\.mat: .*version 7\.3.*h5py.*'-v7'"):
        read_mat(path)


def test_version_7_3_has_the_axes_of_matlab(tmp_path):
    path = tmp_path / "new.mat"
    values = np.arange(24.0).reshape(2, 3, 4)
    with h5py.File(path, "w", userblock_size=512) as file:
        file["results/fc"] = values.T  # as MATLAB stores it
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(128))
    content = read_mat(path)
    assert numeric_arrays(content) == {"results.fc": (2, 3, 4)}
    assert np.array_equal(value_at(path, content, "results.fc"), values)
