"""Data of the study report: design, titles, and missing columns."""

import numpy as np
import pytest


def test_visits_are_those_of_the_design_or_the_first_and_last_session(small_study):
    rows = [{"session": name} for name in ("one", "two", "three", "one")]
    assert small_study(participants=rows).visits == ("pre", "post")
    assert small_study({"design": {}}, participants=rows).visits == ("one", "three")
    assert small_study({"design": {}}).visits == ("baseline", "follow-up")


def test_alpha_is_that_of_the_design(small_study):
    assert small_study({"design": {"alpha": "0.01"}}).alpha == 0.01
    assert small_study({"design": None}).alpha == 0.05


@pytest.mark.parametrize(("max_length", "name"), [(20, "Default-mode network"), (19, "dmn")])
def test_a_title_that_does_not_fit_is_replaced_by_the_name(small_study, max_length, name):
    report = small_study({"circuits": {"dmn": {"title": "Default-mode network"}, "tpn": {}}})
    assert report.title("dmn") == "Default-mode network"
    assert report.title("tpn") == report.short_title("tpn") == "tpn"
    assert report.short_title("dmn", max_length) == name


def test_the_clearest_circuits_come_first(small_study, estimate):
    tests = [
        estimate("small", "specific", 0.01, 0.6),
        estimate("untested", "specific", statistic="n/a", p_corrected="n/a"),
        estimate("large", "specific", -0.4, 0.6),
        estimate("clear", "specific", 0.02, 0.01),
        estimate("shift", "global", 9.0, 0.001),
    ]
    ranked = [row["term"] for row in small_study(tests=tests).ranked_circuits()]
    assert ranked == ["clear", "large", "small", "untested"]


def test_columns_without_a_finite_value_are_not_available(small_study):
    columns = {"typical_z": [0.1, "nan"], "statistic": [np.nan, np.inf]}
    report = small_study(change_by_strength=columns)
    assert report.edge_column("statistic") is None
    assert report.edge_column("p") is None
    np.testing.assert_array_equal(report.edge_column("typical_z"), [0.1, np.nan])
    assert small_study().edge_column("typical_z") is None
