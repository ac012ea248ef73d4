"""A region that is missing at one visit of the comparison is missing at all of them."""

import numpy as np
import pytest

from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.study.missing_regions import (
    MISSING_COLUMNS,
    MissingRegion,
    match_visits,
    missing_rows,
    missing_sentence,
)
from circuitshift.pipeline.study.pairing import Measured
from circuitshift.pipeline.study.study_file import Design

REGIONS = ("PFC", "Amygdala", "PCC")
EDGES = FeatureSpace.of_edges(REGIONS)  # PFC-Amygdala, PFC-PCC, Amygdala-PCC
NAN = float("nan")


def sessions_of(values):
    return {
        (person, session): Measured(person, session, np.array(z), 30.0, 5.0, 0.1, "run")
        for (person, session), z in values.items()
    }


@pytest.mark.parametrize("lost_at", ["pre", "post"])
def test_a_region_with_dropout_at_one_visit_is_missing_at_both(lost_at):
    kept_at = {"pre": "post", "post": "pre"}[lost_at]
    complete = [0.1, 0.2, 0.3]
    sessions = sessions_of({
        ("01", lost_at): [NAN, 0.5, NAN], ("01", kept_at): complete, ("01", "later"): complete,
        ("02", "pre"): complete, ("02", "post"): complete,
    })  # fmt: skip
    found, missing = match_visits(sessions, EDGES, Design("pre", "post"))
    np.testing.assert_array_equal(found["01", kept_at].z, [NAN, 0.2, NAN])
    np.testing.assert_array_equal(found["01", lost_at].z, [NAN, 0.5, NAN])
    for key in (("01", "later"), ("02", "pre"), ("02", "post")):
        assert found[key] is sessions[key]
    assert missing == (MissingRegion("01", lost_at, "Amygdala", (kept_at,)),)
    np.testing.assert_array_equal(sessions["01", kept_at].z, complete)  # not changed in place
    (sentence,) = missing_sentence(missing)
    assert f"sub-01 ses-{lost_at}: Amygdala" in sentence
    (row,) = missing_rows(missing)
    assert list(row) == list(MISSING_COLUMNS)
    assert row["other_sessions"] == kept_at


def test_a_region_without_signal_at_any_visit_is_listed_but_removes_nothing():
    lost = [NAN, 0.5, NAN]
    sessions = sessions_of({("a:01", "pre"): lost, ("a:01", "post"): lost, ("02", "pre"): lost})
    found, missing = match_visits(sessions, EDGES, Design("pre", "post"))
    assert found == sessions
    assert [m.other_sessions for m in missing] == [()] * 3
    assert missing_sentence(missing) == ()
    rows = missing_rows(missing)
    assert [row["participant_id"] for row in rows] == ["sub-02", "a:sub-01", "a:sub-01"]
    assert rows[0]["other_sessions"] is None


def test_all_visits_of_a_crossover_are_compared():
    design = Design("pre", "post", control_baseline="pre2", control_followup="post2")
    visits = ("pre", "post", "pre2", "post2")
    values = {("01", visit): [0.1, 0.2, 0.3] for visit in visits}
    values["01", "pre2"] = [NAN, 0.5, NAN]
    found, missing = match_visits(sessions_of(values), EDGES, design)
    assert all(np.isnan(found["01", visit].z).tolist() == [True, False, True] for visit in visits)
    assert missing[0].other_sessions == ("pre", "post", "post2")


def test_values_of_regions_are_matched_by_region():
    space = FeatureSpace.of_regions(REGIONS, unit="mm")
    sessions = sessions_of({("01", "pre"): [1.0, NAN, 3.0], ("01", "post"): [1.0, 2.0, 3.0]})
    found, missing = match_visits(sessions, space, Design("pre", "post"))
    np.testing.assert_array_equal(found["01", "post"].z, [1, NAN, 3])
    assert [m.region for m in missing] == ["Amygdala"]


def test_many_regions_are_counted():
    missing = [MissingRegion("01", "pre", f"r{k}", ("post",)) for k in range(8)]
    (sentence,) = missing_sentence(missing)
    assert "r4 and 3 more" in sentence
