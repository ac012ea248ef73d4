"""Tables: round trips, and errors that state file, line and problem."""

import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from circuitshift.pipeline.errors import TableError
from circuitshift.pipeline.io import tables

# pytest is strict here and stops at a folder .hypothesis in the root of the repository
set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis-circuitshift")

# cells contain neither tabs nor line ends, and white space at their ends is removed
CELL = st.text(
    st.characters(blacklist_categories=("Cc", "Cf", "Cs", "Zl", "Zp")), min_size=1, max_size=12
).map(str.strip)
NUMBER = st.one_of(st.floats(width=32), st.just(math.nan))


def test_a_table_keeps_text_and_missing_values(tmp_path):
    path = tmp_path / "deep" / "t.tsv"
    tables.write_table(
        path,
        {"participant_id": ["sub-01", "sub-1e3"], "x": [1.25, np.nan], "ok": [True, None]},
        sidecar={"participant_id": "key", "x": "a number", "ok": "flag"},
    )
    table = tables.read_table(path)
    assert table.columns["participant_id"] == ["sub-01", "sub-1e3"]
    assert table.columns["ok"] == ["true", "n/a"]
    np.testing.assert_array_equal(table.numbers("x"), [1.25, np.nan])
    assert tables.read_json(path.with_suffix(".json"))["x"] == "a number"
    assert sorted(p.name for p in path.parent.iterdir()) == ["t.json", "t.tsv"]
    assert next(table.rows()) == {"participant_id": "sub-01", "x": "1.25", "ok": "true"}


def test_a_column_without_a_description_is_refused(tmp_path):
    with pytest.raises(ValueError, match="columns without a description: \\['b'\\]"):
        tables.write_table(tmp_path / "t.tsv", {"a": [1], "b": [2]}, sidecar={"a": "x"})


def test_series_and_matrices_are_read_as_they_were_written(tmp_path):
    rng = np.random.default_rng(3)
    series = rng.standard_normal((20, 4))
    series[:, 2] = np.nan
    labels = ("A_L", "A_R", "B", "C d")
    tables.write_series(tmp_path / "s.tsv", labels, series, sidecar={"k": 1})
    again, values = tables.read_series(tmp_path / "s.tsv")
    assert again == labels
    np.testing.assert_allclose(values, series, rtol=1e-8)
    matrix = np.corrcoef(rng.standard_normal((4, 30)))
    matrix[1, :] = matrix[:, 1] = np.nan
    tables.write_matrix(tmp_path / "m.tsv", labels, matrix)
    assert (tmp_path / "m.tsv").read_text().startswith("Node\tA_L")
    again, values = tables.read_matrix(tmp_path / "m.tsv")
    assert again == labels
    np.testing.assert_allclose(values, matrix, rtol=1e-8)


def test_rows_of_a_matrix_are_reordered_to_match_its_columns(tmp_path):
    (tmp_path / "m.tsv").write_text("Node\ta\tb\tc\nc\t3\t5\t1\na\t1\t2\t3\nb\t2\t1\t5\n")
    labels, matrix = tables.read_matrix(tmp_path / "m.tsv")
    assert labels == ("a", "b", "c")
    np.testing.assert_array_equal(matrix, [[1, 2, 3], [2, 1, 5], [3, 5, 1]])


def test_byte_order_mark_trailing_tabs_and_blank_lines_are_ignored(tmp_path):
    (tmp_path / "t.tsv").write_bytes("\ufeffa\tb\t\r\n1\t2\t\r\n\r\n".encode())
    assert tables.read_table(tmp_path / "t.tsv").columns == {"a": ["1"], "b": ["2"]}


def test_json_has_null_for_nan_and_sorted_sets(tmp_path):
    content = {"x": np.float64("nan"), "y": np.arange(2), "z": {"b", "a"}, "p": tmp_path}
    tables.write_json(tmp_path / "a.json", content)
    assert tables.read_json(tmp_path / "a.json") == {
        "x": None,
        "y": [0, 1],
        "z": ["a", "b"],
        "p": str(tmp_path),
    }


def test_a_failed_write_keeps_the_previous_file(tmp_path):
    path = tmp_path / "t.tsv"
    tables.write_table(path, {"a": [1]})
    with pytest.raises(ValueError, match="shorter"):
        tables.write_table(path, {"a": [1, 2], "b": [1]})
    assert path.read_text() == "a\n1\n"
    assert [p.name for p in tmp_path.iterdir()] == ["t.tsv"]


def test_the_checksum_depends_on_the_content_only(tmp_path):
    for name, content in (("a", b"1\t2\n"), ("b", b"1\t2\n"), ("c", b"1\t3\n")):
        (tmp_path / name).write_bytes(content)
    first, equal, other = (tables.checksum(tmp_path / name) for name in "abc")
    assert first == equal != other
    (tmp_path / "a").write_bytes(b"1\t3\n")
    assert tables.checksum(tmp_path / "a") == other


def test_a_matrix_with_missing_regions_is_formatted_as_single_cells_are(tmp_path):
    values = np.random.default_rng(0).normal(size=(40, 40)) * 10.0 ** np.arange(-20, 20)
    values[7] = values[:, 7] = np.nan
    values[3, 4:7] = np.inf, -np.inf, -np.nan
    names = [f"finance{k}" for k in range(40)]  # contains the letters of nan and inf
    tables.write_matrix(tmp_path / "m.tsv", names, values)
    head, *lines = (tmp_path / "m.tsv").read_text().splitlines()
    assert head.split("\t") == ["Node", *names]
    for name, line, row in zip(names, lines, values, strict=True):
        assert line.split("\t") == [name, *map(tables._format_cell, row)]


def test_values_that_are_not_finite_are_written_as_missing(tmp_path):
    values = np.array([[1.0, np.nan, np.inf], [0.5, -np.inf, 2.0]])
    tables.write_series(tmp_path / "s.tsv", "abc", values)
    assert (tmp_path / "s.tsv").read_text() == "a\tb\tc\n1\tn/a\tn/a\n0.5\tn/a\t2\n"
    tables.write_table(tmp_path / "t.tsv", {"x": [np.nan, -np.inf, None, 0.0]})
    assert (tmp_path / "t.tsv").read_text() == "x\nn/a\nn/a\nn/a\n0\n"


BROKEN_TABLES = {
    "empty": (b"", "it is empty"),
    "blank": (b" \n\n", "it is empty"),
    "latin1": ("größe\n1\n".encode("latin-1"), "not UTF-8"),
    "ragged": (b"a\tb\n1\t2\n3\n", "line 3: 1 cells where the header has 2"),
    "twice": (b"a\ta\n1\t2\n", "column a occurs more than once"),
    "nameless": (b"a\t\tb\n1\t2\t3\n", "a column has no name"),
    "web page": (b"<!DOCTYPE html><html>404</html>", "web page"),
}


@pytest.mark.parametrize("name", BROKEN_TABLES)
def test_invalid_tables_are_reported(tmp_path, name):
    content, sentence = BROKEN_TABLES[name]
    path = tmp_path / "t.tsv"
    path.write_bytes(content)
    with pytest.raises(TableError, match=sentence) as caught:
        tables.read_table(path)
    assert str(path) in str(caught.value)


BROKEN_MATRICES = {
    "not square": ("a\tb\n1\t2\n2\t1\n3\t1\n", "write a square matrix"),
    "not symmetric": ("a\tb\n1\t2\n3\t1\n", "not symmetric"),
    "names differ": ("Node\ta\tb\na\t1\t2\nc\t2\t1\n", "names of rows and columns differ"),
    "no number": ("a\tb\n1\tx\nx\t1\n", "line 2: 'x' is not a number"),
    "short row": ("Node\ta\tb\na\t1\t2\nb\t2\n", "line 3: 1 numbers where the header has 2"),
}


@pytest.mark.parametrize("name", BROKEN_MATRICES)
def test_invalid_matrices_are_reported(tmp_path, name):
    content, sentence = BROKEN_MATRICES[name]
    (tmp_path / "m.tsv").write_text(content)
    with pytest.raises(TableError, match=sentence):
        tables.read_matrix(tmp_path / "m.tsv")


def test_files_that_cannot_be_read_are_reported(tmp_path):
    with pytest.raises(TableError, match="there is no such file"):
        tables.read_table(tmp_path / "no.tsv")
    (tmp_path / "link.tsv").symlink_to(tmp_path / "annex")
    with pytest.raises(TableError, match="never fetched"):
        tables.read_table(tmp_path / "link.tsv")
    with pytest.raises(TableError, match="it is not a file"):
        tables.read_table(tmp_path)


def test_files_beyond_the_limits_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "t.tsv"
    path.write_text("a\tb\n1\t2\n")
    monkeypatch.setattr(tables, "_MAX_CELLS", 2)
    with pytest.raises(TableError, match="more than 2 cells"):
        tables.read_table(path)


def test_cells_and_columns_that_cannot_be_used_are_reported(tmp_path):
    (tmp_path / "t.tsv").write_text("a\tb\n1\tx\n")
    table = tables.read_table(tmp_path / "t.tsv")
    with pytest.raises(TableError, match="line 2, column b: 'x' is not a number"):
        table.numbers("b")
    with pytest.raises(TableError, match="no column 'c'; add it, or use one of a, b"):
        table.numbers("c")
    (tmp_path / "h.tsv").write_text("a\tb\n")
    with pytest.raises(TableError, match="a header and no rows"):
        tables.read_series(tmp_path / "h.tsv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{bad", "line 1: it is not JSON"),
        ("[1]", "it is not a JSON object"),
        ("[" * 100_000, "cannot be parsed"),
    ],
)
def test_invalid_json_is_reported(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(TableError, match=message):
        tables.read_json(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1 / 3, "0.333333333"),
        (float("inf"), "n/a"),
        (None, "n/a"),
        ("", "n/a"),
        (False, "false"),
        ("two\tcells\nand lines", "two cells and lines"),
        (12, "12"),
    ],
)
def test_formatting_of_cells(tmp_path, value, text):
    tables.write_table(tmp_path / "t.tsv", {"a": [value]})
    assert (tmp_path / "t.tsv").read_text() == f"a\n{text}\n"


def test_the_checksum_is_the_start_of_sha_256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")  # test vector of FIPS 180-2
    assert tables.checksum(tmp_path / "a") == "ba7816bf8f01cfea"


@given(
    header=st.lists(CELL.filter(bool), min_size=1, max_size=5, unique=True),
    n_rows=st.integers(0, 4),
    data=st.data(),
)
@settings(max_examples=60, database=None)
def test_any_table_is_read_as_it_was_written(header, n_rows, data):
    cells = st.lists(CELL, min_size=n_rows, max_size=n_rows)
    columns = {name: data.draw(cells) for name in header}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.tsv"
        tables.write_table(path, columns)
        try:
            table = tables.read_table(path)
        except TableError as error:
            assert header[0].lower().startswith(("<html", "<!doctype"))
            assert "web page" in str(error)  # noqa: PT017
            return
    assert list(table.columns) == header
    for name, values in columns.items():
        assert table.column(name) == [value or "n/a" for value in values]


@given(data=st.data(), n=st.integers(2, 6))
@settings(max_examples=60, database=None)
def test_any_matrix_is_read_as_it_was_written(data, n):
    values = data.draw(st.lists(NUMBER, min_size=n * n, max_size=n * n))
    matrix = np.array(values, float).reshape(n, n)
    matrix = np.where(
        np.isfinite(matrix + matrix.T), np.triu(matrix) + np.triu(matrix, 1).T, np.nan
    )
    labels = [f"R{k}" for k in range(n)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.tsv"
        tables.write_matrix(path, labels, matrix)
        names, read = tables.read_matrix(path)
    assert list(names) == labels
    np.testing.assert_allclose(read, matrix, rtol=1e-8, equal_nan=True)
