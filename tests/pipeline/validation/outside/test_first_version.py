"""The first version of the model, beside which the present one is shown."""

import numpy as np
import pytest

from circuitshift.pipeline.model.contrasts import Rules
from circuitshift.pipeline.validation.outside.effects import (
    Gain,
    Nothing,
    Shift,
    Specific,
    Sum,
)
from circuitshift.pipeline.validation.outside.first_version import first_version
from circuitshift.pipeline.validation.outside.series import Design, simulate_series

RULES = Rules(n_permutations=99)
LARGE = Sum((Shift(0.15), Specific({"dmn": -0.3})))


def analysed(effect, **design):
    study = simulate_series(effect, Design(**design), np.random.default_rng(3))
    return first_version(study.visits, study.world.circuits, np.random.default_rng(4), RULES)


@pytest.mark.parametrize("n_control", [0, 15])
def test_large_effects_are_found(n_control):
    result = analysed(LARGE, n_treated=15, n_control=n_control, n_reference=12)
    assert result.verdict == "both"
    families = {e.family: [] for e in result.estimates}
    for e in result.estimates:
        families[e.family].append(e.term)
    assert set(families) == {"global", "specific"}
    assert families["specific"] == ["dmn", "tpn", "dmn_tpn", "dlpfc_amygdala"]
    assert "global_signal" not in families["global"]
    assert {"shift", "gain"} <= set(families["global"])
    values = {e.term: e.estimate for e in result.estimates}
    assert values["shift"] == pytest.approx(0.15, abs=0.09)
    assert values["dmn"] == pytest.approx(-0.3, abs=0.1)


@pytest.mark.parametrize(
    ("effect", "verdict"), [(Gain(0.5), "global"), (Specific({"dmn": -0.3}), "circuit-specific")]
)
def test_verdicts_name_the_kind_of_effect(effect, verdict):
    assert analysed(effect, n_treated=12, n_reference=0).verdict == verdict


def test_small_studies_without_effect_exclude_nothing():
    assert analysed(Nothing(), n_treated=5, n_reference=0).verdict == "undetermined"
