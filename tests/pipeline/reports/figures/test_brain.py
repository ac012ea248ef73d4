"""Whole-brain figures: numbers in the matrix of networks, and points on the surface."""

import re

import numpy as np
import pytest

from circuitshift.pipeline.reports import figures
from circuitshift.pipeline.reports.figures import brain

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "text"), [(0.126, "+0.13"), (-0.2, "\N{MINUS SIGN}0.20"), (-0.001, "0.00")]
)
def test_numbers_of_the_matrix_have_a_sign_unless_they_are_zero(value, text):
    assert brain._signed(value) == text


def test_the_matrix_shows_each_pair_once_and_a_star_below_alpha():
    change = np.array([[0.1, -0.2, NAN], [-0.2, 0.3, 0.4], [NAN, 0.4, -0.5]])
    corrected = np.array([[0.04, 0.5, NAN], [0.5, 0.06, 0.01], [NAN, 0.01, 0.9]])
    svg = figures.network_matrix(
        ["A", "B", "C"], change, corrected, alpha=0.05, key="k", alt="Change of three networks."
    )
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    numbers = [text for text in texts if re.fullmatch(r"[+\N{MINUS SIGN}]\d\.\d\d\*?", text)]
    minus = "\N{MINUS SIGN}"
    assert sorted(numbers) == sorted(["+0.10*", f"{minus}0.20", "+0.30", "+0.40*", f"{minus}0.50"])
    assert {"A", "B", "C"} <= set(texts)


def test_the_outline_covers_both_hemispheres_of_a_brain_in_mm():
    points = np.array(figures.outline_mm())
    assert points.shape == (2 * brain._OUTLINE, 3)
    assert points.dtype.kind == "i"
    left, right = points[: brain._OUTLINE, 0], points[brain._OUTLINE :, 0]
    assert left.mean() < -20 < 20 < right.mean()
    size = np.ptp(points, axis=0)  # an adult brain is about 140 x 180 x 120 mm
    assert (size > (110, 150, 95)).all()
    assert (size < (160, 200, 140)).all()
