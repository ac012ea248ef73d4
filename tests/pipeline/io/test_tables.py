"""Tables: what is written is read back, and what is broken is named."""

import numpy as np
import pytest

from circuitshift.pipeline.errors import TableError
from circuitshift.pipeline.io import tables


def test_table_round_trip_keeps_text_and_missing(tmp_path):
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


def test_undescribed_column_is_refused(tmp_path):
    with pytest.raises(ValueError, match="undescribed columns \\['b'\\]"):
        tables.write_table(tmp_path / "t.tsv", {"a": [1], "b": [2]}, sidecar={"a": "x"})


def test_series_and_matrix_round_trip(tmp_path):
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


def test_matrix_rows_are_put_in_the_order_of_columns(tmp_path):
    (tmp_path / "m.tsv").write_text("Node\ta\tb\tc\nc\t3\t5\t1\na\t1\t2\t3\nb\t2\t1\t5\n")
    labels, matrix = tables.read_matrix(tmp_path / "m.tsv")
    assert labels == ("a", "b", "c")
    np.testing.assert_array_equal(matrix, [[1, 2, 3], [2, 1, 5], [3, 5, 1]])


def test_spreadsheet_leftovers_are_tolerated(tmp_path):
    (tmp_path / "t.tsv").write_bytes("\ufeffa\tb\t\r\n1\t2\t\r\n\r\n".encode())
    assert tables.read_table(tmp_path / "t.tsv").columns == {"a": ["1"], "b": ["2"]}


def test_json_has_no_nan_and_is_stable(tmp_path):
    content = {"x": np.float64("nan"), "y": np.arange(2), "z": {"b", "a"}, "p": tmp_path}
    tables.write_json(tmp_path / "a.json", content)
    assert tables.read_json(tmp_path / "a.json") == {
        "x": None,
        "y": [0, 1],
        "z": ["a", "b"],
        "p": str(tmp_path),
    }


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "t.tsv"
    tables.write_table(path, {"a": [1]})
    with pytest.raises(ValueError, match="shorter"):
        tables.write_table(path, {"a": [1, 2], "b": [1]})
    assert path.read_text() == "a\n1\n"
    assert [p.name for p in tmp_path.iterdir()] == ["t.tsv"]


def test_a_checksum_is_of_the_content(tmp_path):
    for name, content in (("a", b"1\t2\n"), ("b", b"1\t2\n"), ("c", b"1\t3\n")):
        (tmp_path / name).write_bytes(content)
    first, same, other = (tables.checksum(tmp_path / name) for name in "abc")
    assert first == same != other
    (tmp_path / "a").write_bytes(b"1\t3\n")
    assert tables.checksum(tmp_path / "a") == other


def test_what_is_not_finite_is_written_as_missing(tmp_path):
    """In words of BIDS, which other software knows."""
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
    "twice": (b"a\ta\n1\t2\n", "column a is there more than once"),
    "nameless": (b"a\t\tb\n1\t2\t3\n", "a column has no name"),
    "web page": (b"<!DOCTYPE html><html>404</html>", "web page"),
}


@pytest.mark.parametrize("name", BROKEN_TABLES)
def test_broken_tables_are_named(tmp_path, name):
    content, sentence = BROKEN_TABLES[name]
    path = tmp_path / "t.tsv"
    path.write_bytes(content)
    with pytest.raises(TableError, match=sentence) as caught:
        tables.read_table(path)
    assert str(path) in str(caught.value)


BROKEN_MATRICES = {
    "not square": ("a\tb\n1\t2\n2\t1\n3\t1\n", "a matrix must be square"),
    "not symmetric": ("a\tb\n1\t2\n3\t1\n", "not symmetric"),
    "names differ": ("Node\ta\tb\na\t1\t2\nc\t2\t1\n", "names of rows and columns differ"),
    "no number": ("a\tb\n1\tx\nx\t1\n", "line 2: 'x' is not a number"),
    "short row": ("Node\ta\tb\na\t1\t2\nb\t2\n", "line 3: 1 numbers where the header has 2"),
}


@pytest.mark.parametrize("name", BROKEN_MATRICES)
def test_broken_matrices_are_named(tmp_path, name):
    content, sentence = BROKEN_MATRICES[name]
    (tmp_path / "m.tsv").write_text(content)
    with pytest.raises(TableError, match=sentence):
        tables.read_matrix(tmp_path / "m.tsv")


def test_other_faults_are_named(tmp_path):
    with pytest.raises(TableError, match="there is no such file"):
        tables.read_table(tmp_path / "no.tsv")
    (tmp_path / "link.tsv").symlink_to(tmp_path / "annex")
    with pytest.raises(TableError, match="never fetched"):
        tables.read_table(tmp_path / "link.tsv")
    with pytest.raises(TableError, match="it is no file"):
        tables.read_table(tmp_path)
    (tmp_path / "t.tsv").write_text("a\tb\n1\tx\n")
    table = tables.read_table(tmp_path / "t.tsv")
    with pytest.raises(TableError, match="line 2, column b: 'x' is not a number"):
        table.numbers("b")
    with pytest.raises(TableError, match="no column 'c'; its columns are a, b"):
        table.numbers("c")
    (tmp_path / "h.tsv").write_text("a\tb\n")
    with pytest.raises(TableError, match="a header and no rows"):
        tables.read_series(tmp_path / "h.tsv")
    (tmp_path / "x.json").write_text("{bad")
    with pytest.raises(TableError, match="line 1: it is not JSON"):
        tables.read_json(tmp_path / "x.json")
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(TableError, match="one JSON object"):
        tables.read_json(tmp_path / "x.json")
