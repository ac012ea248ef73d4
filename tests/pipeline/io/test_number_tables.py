"""Tables of numbers as other programs write them: headers, row numbers, separators, compression."""

import gzip

import numpy as np
import pytest

from circuitshift.pipeline.errors import TableError
from circuitshift.pipeline.io import number_tables, tables
from circuitshift.pipeline.io.number_tables import read_number_matrix, read_number_series

VALUES = [[0.5, -1.25], [0.25, 3.0], [0.125, 0.0]]

SERIES = {
    # name: file name, text, labels, number of notes
    "plain": ("s.tsv", "A\tB\n.5\t-1.25\n.25\t3\n.125\t0\n", ("A", "B"), 0),
    "csv": ("s.csv", "A,B\n.5,-1.25\n.25,3\n.125,0\n", ("A", "B"), 0),
    "csv with tabs": ("s.csv", "A\tB\n.5\t-1.25\n.25\t3\n.125\t0\n", ("A", "B"), 0),
    "compressed": ("s.tsv.gz", "A\tB\n.5\t-1.25\n.25\t3\n.125\t0\n", ("A", "B"), 0),
    "no header (HALFpipe)": ("s.tsv", "0.5\t-1.25\n0.25\t3.0\n0.125\t0.0\n", None, 0),
    "blanks (numpy.savetxt)": ("s.tsv", "5e-1 -1.25\n2.5e-1 3.0\n1.25e-1 0.0\n", None, 0),
    "numbers from 0 (giga_connectome)": ("s.tsv", "0\t1\n.5\t-1.25\n.25\t3\n.125\t0\n", None, 0),
    "numbers from 1": ("s.csv", "1,2\n.5,-1.25\n.25,3\n.125,0\n", None, 0),
    "label values": ("s.tsv", "2001\t17\n.5\t-1.25\n.25\t3\n.125\t0\n", ("2001", "17"), 0),
    "index (pandas)": ("s.tsv", "\tA\tB\n0\t.5\t-1.25\n1\t.25\t3\n2\t.125\t0\n", ("A", "B"), 1),
    "index and numbers (pandas)": (
        "s.csv", ",0,1\n0,.5,-1.25\n1,.25,3\n2,.125,0\n", None, 1,
    ),
    "index of kept volumes": (
        "s.tsv", "\tA\tB\n3\t.5\t-1.25\n7\t.25\t3\n8\t.125\t0\n", ("A", "B"), 1,
    ),
    "index written twice": (
        "s.csv",
        "Unnamed: 0.1,Unnamed: 0,A,B\n0,0,.5,-1.25\n1,1,.25,3\n2,2,.125,0\n",
        ("A", "B"),
        2,
    ),
    "volume numbers": ("s.csv", "volume,A,B\n1,.5,-1.25\n2,.25,3\n3,.125,0\n", ("A", "B"), 1),
    "write.csv of R": (
        "s.csv", '"","A","B"\n"1",.5,-1.25\n"2",.25,3\n"3",.125,0\n', ("A", "B"), 1,
    ),
    "write.table of R": (
        "s.tsv", '"A"\t"B"\n"1"\t.5\t-1.25\n"2"\t.25\t3\n"3"\t.125\t0\n', ("A", "B"), 1,
    ),
    "names of rows": (
        "s.tsv", "\tA\tB\nv1\t.5\t-1.25\nv2\t.25\t3\nv3\t.125\t0\n", ("A", "B"), 1,
    ),
    "decimal commas": ("s.csv", "A;B\n0,5;-1,25\n0,25;3\n0,125;0\n", ("A", "B"), 1),
    "trailing separators": ("s.csv", "A,B,,\n.5,-1.25,,\n.25,3,,\n.125,0,,\n", ("A", "B"), 0),
}  # fmt: skip


def write(folder, name, text):
    path = folder / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("kind", SERIES)
def test_series_of_other_programs_are_read(tmp_path, kind):
    name, text, labels, n_notes = SERIES[kind]
    table = read_number_series(write(tmp_path, name, text))
    np.testing.assert_array_equal(table.values, VALUES)
    assert table.labels == labels
    assert len(table.notes) == n_notes, table.notes
    assert all(note.startswith(name) for note in table.notes)


def test_missing_values_are_nan_and_do_not_hide_the_lack_of_a_header(tmp_path):
    table = read_number_series(write(tmp_path, "s.tsv", "nan\t1.5\nn/a\t2.5\n\t3.5\n"))
    assert table.labels is None
    np.testing.assert_array_equal(table.values[:, 1], [1.5, 2.5, 3.5])
    assert np.isnan(table.values[:, 0]).all()


def test_whole_numbers_without_a_header_are_data(tmp_path):
    table = read_number_series(write(tmp_path, "s.tsv", "903\t911\n905\t910\n901\t915\n"))
    assert table.labels is None
    np.testing.assert_array_equal(table.values, [[903, 911], [905, 910], [901, 915]])


REFUSED_SERIES = {
    "unnamed column": ("s.tsv", "A\t\tB\n1\t2\t3\n2\t1\t4\n", "a column has no name"),
    "unnamed first column": ("s.tsv", "\tA\n2\t2\n1\t3\n8\t4\n", "a column has no name"),
    "twice": ("s.tsv", "A\tA\n1\t2\n2\t1\n", "column A occurs more than once"),
    "short row": ("s.csv", "A,B\n1,2\n3\n", "line 3: 1 numbers where the header has 2"),
    "short row, no header": ("s.csv", "1.5,2\n3\n", "line 2: 1 numbers where the first line has 2"),
    "word": ("s.tsv", "A\tB\n1\tx\n", "line 2: 'x' is not a number"),
    "thousands": ("s.csv", "A;B\n1,234;2,345\n", "may be a decimal or a thousand"),
    "header only": ("s.tsv", "A\tB\n", "a header and no rows"),
    "web page": ("s.csv", "<!DOCTYPE html><html>404</html>\n", "web page"),
    "empty": ("s.tsv.gz", "\n", "it is empty"),
    "endless cell": ("s.csv", 'A,"B' + "x" * 200_000 + '"\n1,2\n', "cannot be split into cells"),
    "endless number": ("s.csv", "A,B\n1," + "9" * 5000 + "x\n", "is not a number"),
}


@pytest.mark.parametrize("kind", REFUSED_SERIES)
def test_series_that_cannot_be_used_are_refused(tmp_path, kind):
    name, text, message = REFUSED_SERIES[kind]
    with pytest.raises(TableError, match=message) as caught:
        read_number_series(write(tmp_path, name, text))
    assert name in str(caught.value)


def test_damaged_compressed_tables_are_refused(tmp_path, monkeypatch):
    whole = gzip.compress(b"A\tB\n1\t2\n" * 50)
    (tmp_path / "cut.tsv.gz").write_bytes(whole[:-12])
    (tmp_path / "text.tsv.gz").write_text("A\tB\n")
    (tmp_path / "latin.tsv.gz").write_bytes(gzip.compress("ö\tB\n1\t2\n".encode("latin-1")))
    for name, message in (("cut", "decompressed"), ("text", "decompressed"), ("latin", "UTF-8")):
        with pytest.raises(TableError, match=message):
            read_number_series(tmp_path / f"{name}.tsv.gz")
    (tmp_path / "large.tsv.gz").write_bytes(whole)
    monkeypatch.setattr(number_tables, "_MAX_BYTES", 7)
    with pytest.raises(TableError, match="more than 0 MB"):
        read_number_series(tmp_path / "large.tsv.gz")


MATRICES = {
    "Node (XCP-D)": ("Node\tA\tB\nA\t1\t.5\nB\t.5\t1\n", ("A", "B"), 0),
    "no names of rows": ("A\tB\n1\t.5\n.5\t1\n", ("A", "B"), 0),
    "no header (HALFpipe)": ("1.0\t.5\n.5\t1.0\n", None, 0),
    "numbers (giga_connectome)": ("0\t1\n1.0\t.5\n.5\t1.0\n", None, 0),
    "numbers and index (pandas)": ("\t0\t1\n0\t1.0\t.5\n1\t.5\t1.0\n", None, 1),
    "names and index (pandas)": ("\tA\tB\n0\t1.0\t.5\n1\t.5\t1.0\n", ("A", "B"), 1),
    "write.table of R": ('"A"\t"B"\n"A"\t1\t.5\n"B"\t.5\t1\n', ("A", "B"), 0),
}


@pytest.mark.parametrize("kind", MATRICES)
def test_matrices_of_other_programs_are_read(tmp_path, kind):
    text, labels, n_notes = MATRICES[kind]
    table = read_number_matrix(write(tmp_path, "m.tsv", text))
    np.testing.assert_array_equal(table.values, [[1, 0.5], [0.5, 1]])
    assert table.labels == labels
    assert len(table.notes) == n_notes, table.notes


def test_rows_are_put_in_the_order_of_the_columns(tmp_path):
    text = "Node,a,b,c\nc,3,5,1\na,1,2,3\nb,2,1,5\n"
    table = read_number_matrix(write(tmp_path, "m.csv", text))
    np.testing.assert_array_equal(table.values, [[1, 2, 3], [2, 1, 5], [3, 5, 1]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\n1\t2\n2\t1\n3\t1\n", "3 rows and 2 columns; write a square matrix"),
        ("a\tb\n1\t2\n3\t1\n", "not symmetric"),
        ("Node\ta\tb\na\t1\t2\nc\t2\t1\n", "names of rows and columns differ"),
        ("1.5\t2.5\t3.5\n2.5\t1.5\t3.5\n", "write a square matrix"),
    ],
)
def test_matrices_that_cannot_be_used_are_refused(tmp_path, text, message):
    with pytest.raises(TableError, match=message):
        read_number_matrix(write(tmp_path, "m.tsv", text))


def test_what_circuitshift_writes_is_read_as_it_was(tmp_path):
    rng = np.random.default_rng(0)
    series = rng.standard_normal((20, 3))
    series[:, 1] = np.nan
    tables.write_series(tmp_path / "s.tsv", ("A", "B", "C d"), series)
    table = read_number_series(tmp_path / "s.tsv")
    assert (table.labels, table.notes) == (("A", "B", "C d"), ())
    np.testing.assert_allclose(table.values, series, rtol=1e-8)
    matrix = np.corrcoef(rng.standard_normal((3, 20)))
    tables.write_matrix(tmp_path / "m.tsv", ("A", "B", "C d"), matrix)
    np.testing.assert_allclose(read_number_matrix(tmp_path / "m.tsv").values, matrix, rtol=1e-8)
