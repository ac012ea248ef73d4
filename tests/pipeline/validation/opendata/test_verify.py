"""Verification of fetched files."""

import gzip

import pytest

from circuitshift.pipeline.validation.opendata.verify import find_problem


@pytest.fixture
def image(published_data):
    return published_data.image()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", b"a\tb\n1\t2\n"),
        ("a.json", b'{"RepetitionTime": 2}'),
        ("README", b"<html> is allowed in text"),
    ],
)
def test_valid_tables_and_texts_have_no_problem(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert find_problem(tmp_path / name, len(content)) == ""
    assert find_problem(tmp_path / name, None) == ""


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii"])
def test_valid_images_have_no_problem(tmp_path, image, name):
    content = image if name.endswith(".gz") else gzip.decompress(image)
    (tmp_path / name).write_bytes(content)
    assert find_problem(tmp_path / name, len(content)) == ""


def with_wrong_checksum(image):
    return image[:-8] + b"\1\2\3\4" + image[-4:]


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("a.nii.gz", lambda _: b"", "it is empty (0 bytes)"),
        ("a.nii.gz", lambda image: image[:-500], "it is damaged"),
        ("a.nii.gz", lambda image: image[:4000] + image[:1000] + image[5000:], "it is damaged"),
        ("a.nii.gz", with_wrong_checksum, "it cannot be read to its end"),
        ("a.nii.gz", lambda _: b"<!DOCTYPE html><html>503</html>", "it is a web page"),
        ("a.nii", lambda _: b"words" * 200, "it is not a NIfTI image"),
        ("a.tsv", lambda _: b"<!DOCTYPE html><html>503</html>", "it is a web page"),
        ("a.tsv", lambda _: b'{"error": "x"}', "it is a web page"),
        ("a.json", lambda _: b'{"error": "x"}', "it is an error message of the server"),
        ("a.json", lambda _: b"{", "line 1: it is not JSON"),
    ],
)
def test_problems_are_found_in_content_of_the_expected_size(tmp_path, image, name, change, problem):
    content = change(image)
    (tmp_path / name).write_bytes(content)
    message = find_problem(tmp_path / name, len(content))
    assert problem in message
    assert "; " not in message
    assert "\n" not in message


def test_missing_files_and_wrong_sizes(tmp_path):
    assert find_problem(tmp_path / "none.tsv", 3) == "it does not exist"
    (tmp_path / "a.tsv").write_bytes(b"a\n")
    assert find_problem(tmp_path / "a.tsv", 3) == "it has 2 bytes instead of 3"
