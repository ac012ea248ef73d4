"""Labels of tables and of folders: what is the same, what is not, and what is ambiguous."""

from pathlib import Path

import pytest

from circuitshift.pipeline.bids.participant_tables.labels import (
    SessionMatcher,
    match_participants,
    participant_label,
    session_label,
    unmet_folders,
)
from circuitshift.pipeline.bids.participant_tables.rows import Log

TABLE = Path("data/participants.tsv")


@pytest.mark.parametrize("text", ["sub-01", " sub-01 ", "SUB-01", "Sub-01", "01"])
def test_the_prefix_of_participants_is_removed(text):
    assert participant_label(text) == "01"
    assert session_label(text.lower().replace("sub", "ses")) == "01"


@pytest.mark.parametrize(
    ("stated", "folders", "matched"),
    [
        (["01"], ["01", "1"], {"01": "01"}),
        (["a"], ["A"], {"a": "A"}),
        (["7"], ["007"], {"7": "007"}),
        (["S7"], ["s07"], {"S7": "s07"}),
        (["A_1"], ["A1"], {"A_1": "A1"}),
        (["sub3"], ["03"], {"sub3": "03"}),
        (["1.0"], ["10"], {"1.0": "1.0"}),
        (["P1"], ["1"], {"P1": "P1"}),
        (["0"], ["000"], {"0": "000"}),
        (["10"], ["1"], {"10": "10"}),
    ],
)
def test_participants_are_matched_by_rules_in_order(stated, folders, matched):
    log = Log()
    assert match_participants(TABLE, stated, folders, log) == matched
    exact_or_none = all(a == b for a, b in matched.items())
    assert (log.problems, bool(log.notes)) == ([], not exact_or_none)


@pytest.mark.parametrize(
    ("stated", "folders"),
    [
        (["001"], ["1", "01"]),
        (["x", "X"], ["x"]),
        (["1", "001"], ["01"]),
    ],
)
def test_ambiguous_participants_are_matched_with_no_folder(stated, folders):
    log = Log()
    matched = match_participants(TABLE, stated, folders, log)
    ambiguous = [label for label in stated if label not in folders]
    assert {label: matched[label] for label in ambiguous} == {label: label for label in ambiguous}
    assert [problem.participant for problem in log.problems] == ambiguous


def test_a_table_that_meets_half_of_the_folders_is_used():
    assert unmet_folders(TABLE, [], ["1"], ["1", "2"], log=Log()) is None
    assert unmet_folders(TABLE, [], [], [], log=Log()) is None
    log = Log()
    problem = unmet_folders(TABLE, ["MR1"], ["MR1"], ["1", "2", "3"], log=log)
    assert log.problems == [problem]
    assert "0 of 3 participants" in str(problem)
    assert "begin with" not in str(problem)
    problem = unmet_folders(TABLE, ["MR1", "MR2"], [], ["1", "2"], log=log)
    assert "the labels of the table begin with 'MR'" in str(problem)


@pytest.mark.parametrize(
    ("text", "session"),
    [
        ("ses-pre", "pre"),
        ("Pre", "pre"),
        ("ses-POST", "post"),
        ("1", "01"),
        ("01.0", "01"),
        ("Week-2", "week02"),
        ("other", "other"),
        ("-1", "-1"),
    ],
)
def test_sessions_are_matched(text, session):
    matcher = SessionMatcher({"a": ("pre", "post", "01", "week02"), "b": ()}, Log())
    assert matcher.match("a", text, TABLE) == session
    assert matcher.match("b", text, TABLE) == session  # by the sessions of other participants
    assert len(matcher.notes()) == (0 if text == "ses-pre" else 1)


def test_the_sessions_of_the_participant_come_first():
    log = Log()
    matcher = SessionMatcher({"a": ("1",), "b": ("01",), "c": ("01", "001")}, log)
    assert [matcher.match(label, "1", TABLE) for label in "ab"] == ["1", "01"]
    assert matcher.match("c", "1", TABLE) == ""
    assert [problem.participant for problem in log.problems] == ["c"]


def test_without_sessions_of_folders_labels_are_not_changed():
    matcher = SessionMatcher({"a": ()}, Log())
    assert matcher.match("a", "ses-1", TABLE) == "1"
    assert matcher.notes() == []
