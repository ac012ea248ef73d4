"""Reading of the files that contain the decisions of raters."""

import json

import pytest

from circuitshift.pipeline.errors import InputProblemsError
from circuitshift.pipeline.study import ratings
from circuitshift.pipeline.study.ratings import Rating


def save(folder, name="a.json", **content):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def test_a_rating_saved_by_the_report_is_read(tmp_path):
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


def test_a_missing_folder_has_no_ratings_and_optional_keys_may_be_missing(tmp_path):
    assert ratings.read_ratings(tmp_path / "none") == ()
    save(tmp_path, participant_id="ds2:sub-01", session_id="n/a", rating="keep")
    assert ratings.read_ratings(tmp_path) == (Rating("ds2:01", "", "keep"),)
    assert ratings.read_ratings(tmp_path)[0].said() == (
        "rated keep by an unnamed rater, without a note"
    )


def test_the_latest_rating_of_each_rater_is_used(tmp_path):
    same = {"participant_id": "sub-01", "rater": "AB"}
    save(tmp_path, "z.json", **same, rating="exclude", rated="2026-11-25T10:00:00+00:00")
    save(tmp_path, "a.json", **same, rating="keep", rated="2026-11-25T12:00:00+01:00")
    save(tmp_path, "b.json", **same, rating="doubt", rated="2026-11-25T10:30:00Z")
    save(tmp_path, "c.JSON", participant_id="sub-01", rater="CD", rating="keep", rated="soon")
    found = ratings.read_ratings(tmp_path)
    assert [(r.rater, r.rating) for r in found] == [("AB", "keep"), ("CD", "keep")]


def test_all_invalid_files_are_reported_together(tmp_path):
    save(tmp_path, "a.json", rating="exclude")
    save(tmp_path, "b.json", participant_id="sub-01", rating="out")
    save(tmp_path, "c.json", participant_id=1, rating="keep")
    (tmp_path / "d.json").write_text("{")
    save(tmp_path, "e.json", participant_id="sub-01", rating="keep")
    with pytest.raises(InputProblemsError) as caught:
        ratings.read_ratings(tmp_path)
    message = str(caught.value)
    assert all(f"{name}.json" in message for name in "abcd")
    assert "e.json" not in message
    assert "participant_id is missing" in message
    assert "'out', not one of keep, doubt, exclude" in message


def test_ratings_of_a_participant_include_those_of_all_sessions():
    own = (Rating("01", "", "keep"), Rating("01", "post", "doubt"))
    others = (Rating("ds2:01", "", "keep"), Rating("02", "post", "exclude"))
    assert ratings.of_participant((*others, *own), "01") == own
