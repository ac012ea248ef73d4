"""Figures of effects and participants: intervals, predictions, and large studies."""

import re
from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from circuitshift.pipeline.reports import figures
from circuitshift.pipeline.reports.figures import effects

NAN = float("nan")
ROW = figures.ForestRow("dmn", 0.2, 0.1, 0.3, 0.1, "0.20 [0.10, 0.30]")


def texts(svg):
    """Return the texts of a figure."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_the_band_of_a_line_is_that_of_statsmodels():
    rng = np.random.default_rng(1)
    x, y = rng.normal(20, 5, 12), rng.normal(0, 1, 12)
    at, fitted, half = effects.confidence_band(np.r_[x, NAN, 1.0], np.r_[y, 1.0, NAN])
    expected = sm.OLS(y, sm.add_constant(x)).fit().get_prediction(sm.add_constant(at))
    np.testing.assert_allclose(fitted, expected.predicted_mean)
    np.testing.assert_allclose(np.c_[fitted - half, fitted + half], expected.conf_int())
    assert (at[0], at[-1]) == (x.min(), x.max())
    assert effects.confidence_band(np.ones(5), y[:5]) is None
    assert effects.confidence_band(x[:2], y[:2]) is None


def test_error_bars_of_individual_values_are_t_intervals_of_the_mean():
    values = np.random.default_rng(0).normal(0.3, 0.1, (7, 2))
    low, high = stats.t.interval(0.95, 6, values.mean(axis=0), stats.sem(values, axis=0))
    np.testing.assert_allclose(effects._half_width(values), (high - low) / 2)
    assert np.isnan(effects._half_width(values[:1])).all()


@pytest.mark.parametrize("draw", [figures.global_forest, figures.circuit_forest])
def test_an_effect_that_was_not_tested_remains_in_the_forest_plot(draw):
    missing = replace(ROW, name="tpn", estimate=NAN, low=NAN, high=NAN, bound=NAN)
    shown = texts(draw([ROW, missing], key="k", alt="Two effects with intervals."))
    assert {"dmn", "tpn", "not tested", ROW.text} <= set(shown)


def test_triangles_show_predicted_directions():
    rows = [replace(ROW, name=hint, hint=hint) for hint in ("increase", "decrease", "two-sided")]
    shown = texts(figures.circuit_forest(rows, key="k", alt="Three circuits with intervals."))
    assert shown.count("▲") == shown.count("▼") == 1
    assert "region-adjusted" not in shown
    adjusted = figures.circuit_forest([replace(ROW, second=0.1)], key="k", alt="One circuit.")
    assert "region-adjusted" in texts(adjusted)


def test_many_participants_are_drawn_as_pixels(monkeypatch):
    values = np.random.default_rng(1).normal(0.3, 0.1, (12, 2))
    circuit = figures.Spaghetti("dmn", {"treated": values}, np.array([0.1, 0.2, 0.4]), hit=True)
    few = figures.spaghetti([circuit], ("pre", "post"), key="k", alt="Values of one circuit.")
    assert "<image" not in few
    assert {"dmn *", "treated, mean and 95 % CI", "reference, mean ± 1 SD"} <= set(texts(few))
    monkeypatch.setattr(effects, "_MAX_LINES", 11)
    many = figures.spaghetti([circuit], ("pre", "post"), key="k", alt="Values of one circuit.")
    assert "<image" in many
