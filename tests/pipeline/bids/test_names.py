"""Names and tables of any content: what is written is read again, and nothing else gets through."""

import math
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.bids.names import ORDER
from circuitshift.pipeline.errors import CircuitshiftError
from circuitshift.pipeline.io import tables

LABEL = st.from_regex(r"[a-zA-Z0-9+]{1,12}", fullmatch=True)
ENTITIES = st.dictionaries(st.sampled_from(ORDER[1:]), LABEL, max_size=6)
# a cell has no tab and no line end, and white space at its ends is nothing
CELL = st.text(
    st.characters(blacklist_categories=("Cc", "Cf", "Cs", "Zl", "Zp")), min_size=1, max_size=12
).map(str.strip)
NUMBER = st.one_of(st.floats(width=32), st.just(math.nan))


@given(sub=LABEL, more=ENTITIES, suffix=st.sampled_from(["bold", "relmat", "timeseries"]))
def test_a_name_that_is_built_is_parsed(sub, more, suffix):
    path = bids.build_path([("sub", sub), *more.items()], suffix, ".tsv")
    name = bids.parse_name(path.name)
    assert name is not None
    assert dict(name.entities) == {"sub": sub, **more}
    assert (name.suffix, name.extension) == (suffix, ".tsv")
    places = [ORDER.index(key) for key, _ in name.entities]
    assert places == sorted(places)
    assert ".." not in path.parts
    assert path.parts[0] == f"sub-{sub}"


@given(value=st.text(max_size=20), key=st.sampled_from(["sub", "ses", "task"]))
def test_no_label_leaves_its_folder(value, key):
    pairs = {"sub": "01", key: value}
    try:
        path = bids.build_path(pairs.items(), "bold", ".tsv")
    except CircuitshiftError as error:
        assert "letters and digits" in str(error)  # noqa: PT017
    else:
        assert not path.is_absolute()
        assert all(part not in ("..", "") and "/" not in part for part in path.parts)


@given(name=st.text(max_size=60))
def test_any_name_is_parsed_or_is_none(name):
    found = bids.parse_name(name)
    if found is not None:
        keys = [key for key, _ in found.entities]
        assert len(set(keys)) == len(keys)
        stem = "_".join([*(f"{k}-{v}" for k, v in found.entities), found.suffix])
        assert stem + found.extension == name


@given(
    header=st.lists(CELL.filter(bool), min_size=1, max_size=5, unique=True),
    n_rows=st.integers(0, 4),
    data=st.data(),
)
@settings(max_examples=60)
def test_a_table_that_is_written_is_read(header, n_rows, data):
    cells = st.lists(CELL, min_size=n_rows, max_size=n_rows)
    columns = {name: data.draw(cells) for name in header}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.tsv"
        tables.write_table(path, columns)
        try:
            table = tables.read_table(path)
        except CircuitshiftError as error:
            assert header[0].lower().startswith(("<html", "<!doctype"))
            assert "web page" in str(error)  # noqa: PT017
            return
    assert list(table.columns) == header
    for name, values in columns.items():
        assert table.column(name) == [value or "n/a" for value in values]


@given(data=st.data(), n=st.integers(2, 6))
@settings(max_examples=60)
def test_a_matrix_that_is_written_is_read(data, n):
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
