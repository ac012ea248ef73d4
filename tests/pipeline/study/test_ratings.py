"""Ratings: read, judged, and what they do to the rows of a study."""

import json

import pytest

from circuitshift.pipeline.errors import InputProblemsError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.measure import run_quality as quality
from circuitshift.pipeline.measure.person import RUNS_COLUMNS
from circuitshift.pipeline.study import ratings
from circuitshift.pipeline.study.group_level import DataSet, read_input
from circuitshift.pipeline.study.quality import exclude_rated
from circuitshift.pipeline.study.ratings import Rating


def save(folder, name="a.json", **content):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def measured(out, person, session, *, status="included"):
    path = out / f"sub-{person}" / f"sub-{person}_runs.tsv"
    rows = list(tables.read_table(path).rows()) if path.exists() else []
    rows.append(
        {"run": f"sub-{person}_ses-{session}", "session": session, "status": status}
        | ({"code": "motion", "reason": "it moved"} if status != "included" else {})
    )
    tables.write_table(path, {name: [row.get(name) for row in rows] for name in RUNS_COLUMNS})


def test_a_rating_of_the_page_is_read_back(tmp_path):
    save(
        tmp_path,
        participant_id="sub-01",
        session_id="ses-post",
        rating="exclude",
        note=" stripes\n everywhere ",
        rater="AB",
        rated="2026-11-25T10:00:00.000Z",
        page="0123",
    )
    (rating,) = ratings.read_ratings(tmp_path)
    assert rating == Rating(
        "01", "post", "exclude", "AB", "stripes everywhere", "2026-11-25T10:00:00.000Z"
    )
    assert rating.said() == "rated exclude by AB on 2026-11-25: stripes everywhere"


def test_no_folder_is_no_rating_and_little_is_needed(tmp_path):
    assert ratings.read_ratings(tmp_path / "none") == ()
    save(tmp_path, participant_id="ds2:sub-01", session_id="n/a", rating="keep")
    assert ratings.read_ratings(tmp_path) == (Rating("ds2:01", "", "keep"),)
    assert ratings.read_ratings(tmp_path)[0].said() == (
        "rated keep by an unnamed rater, without a note"
    )


def test_the_latest_of_one_rater_counts_and_other_raters_stay(tmp_path):
    same = {"participant_id": "sub-01", "rater": "AB"}
    save(tmp_path, "z.json", **same, rating="exclude", rated="2026-11-25T10:00:00+00:00")
    save(tmp_path, "a.json", **same, rating="keep", rated="2026-11-25T12:00:00+01:00")
    save(tmp_path, "b.json", **same, rating="doubt", rated="2026-11-25T10:30:00Z")
    save(tmp_path, "c.JSON", participant_id="sub-01", rater="CD", rating="keep", rated="soon")
    found = ratings.read_ratings(tmp_path)
    assert [(r.rater, r.rating) for r in found] == [("AB", "keep"), ("CD", "keep")]


def test_every_file_that_cannot_be_used_is_named_at_once(tmp_path):
    save(tmp_path, "a.json", rating="exclude")
    save(tmp_path, "b.json", participant_id="sub-01", rating="out")
    save(tmp_path, "c.json", participant_id=1, rating="keep")
    (tmp_path / "d.json").write_text("{")
    save(tmp_path, "e.json", participant_id="sub-01", rating="keep")
    with pytest.raises(InputProblemsError) as caught:
        ratings.read_ratings(tmp_path)
    said = str(caught.value)
    assert all(f"{name}.json" in said for name in "abcd")
    assert "e.json" not in said
    assert "it lacks participant_id" in said
    assert "'out', not one of keep, doubt, exclude" in said


def test_one_who_excludes_is_enough_and_sessions_are_told_apart():
    given = (
        Rating("01", "post", "exclude", "AB", "stripes"),
        Rating("01", "", "keep", "CD"),
        Rating("01", "", "doubt", "EF", "odd"),
        Rating("ds2:01", "", "exclude", "GH"),
    )
    reasons, doubts = exclude_rated("01", "post", given)
    assert reasons == [("rated", "rated exclude by AB: stripes")]
    assert doubts == ["rated doubt by EF: odd"]
    assert exclude_rated("01", "pre", given)[0] == []
    assert exclude_rated("02", "post", given) == ([], [])
    assert [code for code, _ in exclude_rated("ds2:01", "", given)[0]] == ["rated"]
    assert "rated" in quality.CODES


def test_rows_are_excluded_doubts_warn_and_nothing_is_lost_in_silence(tmp_path):
    out, data = tmp_path / "out", tmp_path / "data"
    data.mkdir()
    for session in ("pre", "post"):
        measured(out, "01", session)
    measured(out, "02", "pre", status="excluded")
    given = (
        Rating("01", "post", "exclude", "AB", "stripes"),
        Rating("01", "pre", "doubt", "AB", "dim"),
        Rating("02", "", "exclude", "AB"),
        Rating("02", "", "doubt", "CD"),
        Rating("02", "post", "keep", "AB"),
        Rating("99", "", "exclude", "AB", "who"),
    )
    found = read_input([DataSet(out, data)], given)
    rows = {(row["person"], row["session"]): row for row in found.rows}
    assert rows["01", "pre"]["status"] == "included"
    assert rows["01", "post"]["status"] == "excluded"
    assert rows["01", "post"]["code"] == "rated"
    assert rows["01", "post"]["reason"] == "rated exclude by AB: stripes"
    assert rows["02", "pre"]["code"] == "motion"  # its own reason stays
    assert found.doubts == (
        "sub-01, ses-pre is in the analysis, but rated doubt by AB: dim.",
        # perhaps a slip of the pen
        "sub-99 was rated exclude by AB: who; it was not measured, so this changes nothing.",
    )
    said = " ".join(found.notes)
    assert "sub-02, ses-post was rated keep by AB" in said
    assert read_input([DataSet(out, data)]).rows[0]["status"] == "included"
