"""Tables that were edited by hand: header, cells and repeated columns."""

import pytest

from circuitshift.pipeline.bids.participant_tables.rows import (
    Log,
    columns_named,
    find_column,
    read_rows,
    table_name,
)


def read(tmp_path, content, keys=("participant_id",)):
    path = tmp_path / "t.tsv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    log = Log()
    return read_rows(path, log, keys), log


@pytest.mark.parametrize(
    "content",
    [
        "a\tb\n1\tx y\n",
        "a,b\n1,x y\n",
        'a;b\n1;"x y"\n',
        '"a"\t"b"\n"1"\t"x y"\n',
        "a\tb\t\t\n1\tx y\t\n\t\t\n",
        "\na\tb\n\n1\tx y",
        "a\u200b\tb\n1\u00a0\tx y\ufeff\n",
        '"a"\t"b"\n"1"\t"1"\t"x y"\n',
        "\ta\tb\n0\t1\tx y\n",
    ],
)
def test_the_same_cells_in_many_forms(tmp_path, content):
    rows, log = read(tmp_path, content)
    assert (rows.header, [row for _, row in rows.rows]) == (("a", "b"), [{"a": "1", "b": "x y"}])
    assert log.problems == []


def test_a_first_line_that_is_no_header_is_named(tmp_path):
    for content in ("Participants of study X\nparticipant_id\tage\n", "participant_id    age\n"):
        rows, log = read(tmp_path, content)
        assert find_column(rows, ("participant_id",), log) == ""
        assert "names of the columns, separated by tabs" in str(log.problems[-1])


def test_quotes_within_a_cell_are_kept(tmp_path):
    rows, _ = read(tmp_path, 'a\tb\n"say ""so"""\t6" tall\n')
    assert rows.rows[0][1] == {"a": 'say "so"', "b": '6" tall'}


def test_missing_values_are_written_in_one_way(tmp_path):
    rows, _ = read(tmp_path, "a\tb\tc\td\te\nNA\t-\t.\tnull\tnone\n")
    assert list(rows.rows[0][1].values()) == ["n/a", "n/a", "n/a", "n/a", "none"]


def test_repeated_columns(tmp_path):
    rows, log = read(tmp_path, "participant_id\tx\tparticipant_id\tx\ty\ty\n1\t2\t3\t2\t4\t5\n")
    assert (rows.header, rows.rows[0][1]) == (
        ("participant_id", "x"),
        {"participant_id": "1", "x": "2"},
    )
    assert [str(problem).split("; ")[-1] for problem in log.problems] == [
        "rename the others",
        "rename one of them",
    ]
    assert list(log.doubtful) == ["y"]


@pytest.mark.parametrize("content", [b"\0\0\0", "<html></html>", '<?xml version="1.0"?>', ""])
def test_files_that_are_no_tables(tmp_path, content):
    rows, log = read(tmp_path, content)
    assert (rows, len(log.problems)) == (None, 1)


def test_columns_are_found_by_name_without_case_and_separators(tmp_path):
    header = ("Session ID", "visit", "participantID", "age")
    assert columns_named(header, ("session_id", "visit")) == ["Session ID", "visit"]
    assert columns_named(("VISIT", "session", "visit"), ("session", "visit")) == [
        "session",
        "visit",
    ]
    rows, log = read(tmp_path, "\t".join(header) + "\n1\t2\t3\t4\n")
    assert find_column(rows, ("participant_id",), log) == "participantID"
    assert "'participantID' is used as participant_id" in log.notes[0]
    assert find_column(rows, ("subject",), log) == ""
    assert "(its columns are Session ID, visit, participantID, age)" in str(log.problems[0])


def test_tables_of_participants_have_one_name_in_notes(tmp_path):
    path = tmp_path / "sub-07" / "sub-07_sessions.tsv"
    assert table_name(path) == str(tmp_path / "sub-X" / "sub-X_sessions.tsv")
    assert table_name(tmp_path / "t.tsv") == str(tmp_path / "t.tsv")


def test_numbered_participants_with_a_trailing_tab_are_not_row_names(tmp_path):
    rows, log = read(tmp_path, "participant_id\tarm\n1\ta\t\n2\tb\t\n")
    assert [row["participant_id"] for _, row in rows.rows] == ["1", "2"]
    assert (log.notes, log.problems) == ([], [])
