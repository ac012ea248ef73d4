"""The most influential participant of each result is named."""

from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.model.secondary.influential_participants import influence_on_tests


def test_a_participant_with_an_extreme_value_is_named(study_of):
    data = study_of()
    response = data.analysis.response
    specific = response.specific.copy()
    specific[13, 1] = 5.0  # a control
    extreme = replace(data.analysis, response=replace(response, specific=specific))
    rows = influence_on_tests(replace(data, analysis=extreme)).tables["influence"]
    law = {"shift", "gain", "global_signal", "average_change", "proportional_change"}
    assert {row["term"] for row in rows} == law | {"dmn", "tpn"} | (
        {"normalisation"} & set(response.terms)
    )
    (tpn,) = [row for row in rows if row["term"] == "tpn"]
    assert (tpn["family"], tpn["participant_id"]) == ("specific", "sub-13")
    treated = data.visits.treated
    y, n_terms = specific[:, 1], len(response.terms)
    level = data.analysis.levels[:, n_terms + 1]
    x = np.column_stack([treated, np.ones(len(y)), level])
    assert tpn["estimate"] == pytest.approx(np.linalg.lstsq(x, y, rcond=None)[0][0])
    changes = replace(data, analysis=replace(extreme, levels=None))
    (tpn,) = [r for r in influence_on_tests(changes).tables["influence"] if r["term"] == "tpn"]
    assert tpn["estimate"] == pytest.approx(y[treated].mean() - y[~treated].mean())
    assert abs(tpn["without"]) < abs(tpn["estimate"])


def test_terms_of_too_few_participants_have_no_row(study_of):
    small = study_of(n_treated=5, n_control=0)
    assert influence_on_tests(small).tables["influence"] == []
