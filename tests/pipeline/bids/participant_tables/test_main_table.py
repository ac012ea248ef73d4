"""participants.tsv: one row per participant, or one row per visit."""

import pytest

from circuitshift.pipeline.bids.participant_tables.main_table import read_main_table
from circuitshift.pipeline.bids.participant_tables.rows import Log
from circuitshift.pipeline.bids.participant_tables.scores import Scores

FOLDERS = {"01": ("1", "2"), "02": ("1", "2"), "03": ("1",)}


def read(tmp_path, text, folders=FOLDERS):
    path = tmp_path / "participants.tsv"
    path.write_text(text)
    log = Log()
    scores = Scores(folders, log)
    return read_main_table(path, scores, log), scores.result(), log


def test_rows_follow_the_table_and_folders_without_a_row_are_last(tmp_path):
    table, scores, log = read(tmp_path, "participant_id\tx\n02\ta\n01\tb\n")
    assert (table.labels, table.columns) == (["02", "01", "03"], {"x": ["a", "b", "n/a"]})
    assert (scores, table.refusals, len(log.notes)) == ({}, [], 1)


def test_scores_in_columns_are_matched_with_folders(tmp_path):
    _, scores, _ = read(
        tmp_path, "participant_id\tHAMD_ses-01\tHAMD_ses-02\n01\t7,5\t6\n02\t5\t4\n"
    )
    assert scores["HAMD"] == {
        ("01", "1"): "7.5",
        ("02", "1"): "5",
        ("01", "2"): "6",
        ("02", "2"): "4",
    }


ROWS = (("01", "1", "a", "9"), ("01", "2", "a", "5"), ("02", "1", "b", "8"), ("02", "2", "b", "3"))


@pytest.mark.parametrize(
    "name", ["session_id", "Session", "visit", "time-point", "EventName", "wave"]
)
def test_a_row_per_visit(tmp_path, name):
    lines = ["\t".join(("participant_id", name, "arm", "score")), *map("\t".join, ROWS)]
    table, scores, log = read(tmp_path, "\n".join(lines))
    assert table.columns == {"arm": ["a", "b", "n/a"]}
    assert scores == {
        "score": {("01", "1"): "9", ("01", "2"): "5", ("02", "1"): "8", ("02", "2"): "3"}
    }
    assert (log.problems, list(log.doubtful)) == ([], ["score"])


def test_the_session_column_is_the_one_that_distinguishes_rows(tmp_path):
    lines = ["participant_id\tsession\tvisit\tscore"]
    lines += [f"{label}\t1\t{visit}\t{score}" for label, visit, _, score in ROWS]
    table, scores, _ = read(tmp_path, "\n".join(lines))
    assert table.columns == {"session": ["1", "1", "n/a"]}
    assert scores["score"]["02", "2"] == "3"


def test_a_row_without_a_session_is_a_problem(tmp_path):
    lines = [
        "participant_id\tses\tarm\tscore",
        *map("\t".join, ROWS),
        "03\t1\ta\t4",
        "03\tn/a\ta\t2",
    ]
    _, scores, log = read(tmp_path, "\n".join(lines))
    assert scores["score"]["03", "1"] == "4"
    (problem,) = log.problems
    assert (problem.participant, "row without a session" in str(problem)) == ("03", True)


def test_rows_that_differ_without_a_session_are_a_problem(tmp_path):
    table, scores, log = read(tmp_path, "participant_id\tx\ty\n01\ta\t1\n01\tb\t1.0\n02\tc\t2\n")
    assert table.columns == {"x": ["n/a", "c", "n/a"], "y": ["1", "2", "n/a"]}
    assert scores == {}
    assert [problem.participant for problem in log.problems] == ["01"]
