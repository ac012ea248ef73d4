"""Scores by session: conflicts between tables, and sessions that match folders."""

from pathlib import Path

from circuitshift.pipeline.bids.participant_tables.rows import Log
from circuitshift.pipeline.bids.participant_tables.scores import Scores

A, B = Path("a.tsv"), Path("b.tsv")


def test_equal_values_agree_and_different_values_are_not_used():
    log = Log()
    scores = Scores({"1": ("pre",)}, log)
    for text, path in (("7", A), ("7,0", B), ("n/a", B)):
        scores.add("x", ("1", "pre"), text, path)
    for text, path in (("7", A), ("8", B)):
        scores.add("y", ("1", "pre"), text, path)
    assert scores.result() == {"x": {("1", "pre"): "7"}, "y": {}}
    (problem,) = log.problems
    assert "y of sub-1 at ses-pre is 7 in a.tsv and 8 in b.tsv, so it is not used" in str(problem)


def test_a_score_without_values_exists():
    scores = Scores({"1": ()}, Log())
    scores.add("x", ("1", "pre"), "n/a", A)
    assert scores.result() == {"x": {}}


def test_a_row_without_a_session_is_not_used(tmp_path):
    text = "participant_id\tsession_id\tx\n1\tn/a\t3\n1\tpre\t4\n"
    (tmp_path / "sessions.tsv").write_text(text)
    log = Log()
    scores = Scores({"1": ("pre",)}, log)
    scores.read_session_tables(tmp_path)
    assert scores.result() == {"x": {("1", "pre"): "4"}}
    assert "line 2 has no session (session_id is n/a) and was not used" in str(log.problems[0])


def test_many_lines_without_a_valid_label_are_reported_together(tmp_path):
    (tmp_path / "phenotype").mkdir()
    lines = "".join(f"a/{k}\t3\n" for k in range(9))
    (tmp_path / "phenotype/x.tsv").write_text(f"participant_id\tx\n{lines}1\t4\n")
    log = Log()
    scores = Scores({"1": ()}, log)
    scores.read_phenotypes(tmp_path)
    assert scores.result() == {"x": {("1", ""): "4"}}
    (problem,) = log.problems
    assert "9 lines have no valid label ('a/0', 'a/1', 'a/2' and 6 others)" in str(problem)
