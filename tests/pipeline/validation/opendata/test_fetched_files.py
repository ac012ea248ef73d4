"""Fetched files: of the right size, readable to their end, and what they claim to be."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from circuitshift.pipeline.validation.opendata.verify import what_is_wrong


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "sub-01_bold.nii.gz"
    values = np.random.default_rng(0).normal(size=(8, 8, 8, 4)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    return path


def test_a_file_of_another_size_is_not_whole(image):
    size = image.stat().st_size
    assert what_is_wrong(image, size) == ""
    assert what_is_wrong(image, None) == ""
    for stated in (size + 1, size - 1, 10 * size):
        assert what_is_wrong(image, stated) == f"it has {size} bytes instead of {stated}"


def test_an_image_is_read_to_its_end(image):
    whole = image.read_bytes()
    image.write_bytes(whole[:-20])
    assert what_is_wrong(image, None) != ""
    image.write_bytes(whole[:-8] + bytes(4) + whole[-4:])  # another checksum
    assert what_is_wrong(image, None) != ""
    image.write_bytes(b"")
    assert "empty" in what_is_wrong(image, 0)
    image.unlink()
    assert what_is_wrong(image, None) == "it is not there"


@pytest.mark.parametrize(
    ("name", "content", "is_wrong"),
    [
        ("a.tsv", b"x\ty\n1\t2\n", False),
        ("a.tsv", b"<!DOCTYPE html><html>404</html>", True),
        ("a.json", b'{"RepetitionTime": 2}', False),
        ("a.json", b'{"error": "not found"}', True),
        ("a.json", b"{", True),
        ("a.nii.gz", gzip.compress(b"<html>404</html>"), True),
    ],
)
def test_error_messages_of_servers_are_no_data(tmp_path, name, content, is_wrong):
    (tmp_path / name).write_bytes(content)
    assert bool(what_is_wrong(tmp_path / name, len(content))) == is_wrong
