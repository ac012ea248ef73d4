"""Reading of finished analyses: names, faults, and studies that are given twice."""

from pathlib import Path

import pytest

from circuitshift.pipeline.study.pooling.finished import read_finished, same_data, study_names

ROWS = [("global", "shift", 0.02, 0.01), ("specific", "dmn", -0.1, 0.04)]


def test_estimates_are_read_by_family_and_term(finished_study):
    more = {"n_control": 0, "note": "few participants"}
    a = finished_study("a", [*ROWS, ("secondary", "tpn", float("nan"), float("nan"), more)])
    (study, _), problems = read_finished([("", a), ("", finished_study("b", ROWS))])
    assert problems == []
    assert (study.name, study.folder) == ("a", a)
    row = study.family("specific")["dmn"]
    assert (row.estimate, row.se, row.sd, row.unit, row.n) == (-0.1, 0.04, 0.1, "Fisher z", 20)
    assert row.is_tested
    other = study.estimates["secondary", "tpn"]
    assert (other.n_control, other.note, other.is_tested) == (0, "few participants", False)


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["x/a", "x/b"], ["a", "b"]),
        (["x/a/out", "x/b/out"], ["a/out", "b/out"]),
        (["p/x/out", "q/x/out", "q/y/res"], ["p/x/out", "q/x/out", "q/y/res"]),
    ],
)
def test_studies_are_named_by_the_end_of_their_folder(folders, names):
    assert study_names([("", Path(folder)) for folder in folders]) == names


def test_stated_names_are_kept():
    stated = [("one", Path("a/out")), ("", Path("b/out")), ("", Path("c/out"))]
    assert study_names(stated) == ["one", "b/out", "c/out"]


def test_all_folders_that_cannot_be_read_are_reported(finished_study, tmp_path):
    old = finished_study("old", ROWS, schema_version="1.3")
    edited = finished_study("edited", ROWS, files={"tests.tsv": "0" * 16})
    (tmp_path / "empty").mkdir()
    broken = finished_study("broken", ROWS)
    (broken / "group/verdict.json").write_text("{")
    good = finished_study("good", ROWS)
    folders = [old, edited, tmp_path / "empty", broken, good]
    studies, problems = read_finished([("", folder) for folder in folders])
    assert [study.name for study in studies] == ["good"]
    texts = [str(problem) for problem in problems]
    assert len(texts) == 4
    assert "version 1.3 of the model" in texts[0]
    assert "tests.tsv is not the table from which" in texts[1]
    assert "no verdict.json and no tests.tsv" in texts[2]
    assert "is not JSON" in texts[3]
    for text, folder in zip(texts, folders, strict=False):
        assert str(folder) in text


def test_one_study_is_refused(finished_study):
    _, problems = read_finished([("", finished_study("a", ROWS))])
    assert "1 study cannot be pooled" in str(problems[0])


def test_a_study_that_is_given_twice_is_refused(finished_study):
    a, b = finished_study("a", ROWS), finished_study("b", ROWS)
    _, problems = read_finished([("x", a), ("x", b)])
    assert "2 studies are named 'x'" in str(problems[0])
    _, problems = read_finished([("x", a), ("y", a)])
    assert "same data (identical digests of results and change.tsv)" in str(problems[0])
    assert len(problems) == 1
    again = finished_study("c", ROWS, made_from={"results": "results of b"})
    studies, _ = read_finished([("", b), ("", again), ("", a)])
    (problem,) = same_data(studies)
    assert (str(b) in problem.where, str(again) in problem.where) == (True, True)
    assert str(a) + " " not in problem.where
