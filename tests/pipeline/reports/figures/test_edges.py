"""Figures of all edges: the line through the background edges."""

import numpy as np
import pytest

from circuitshift.pipeline.reports.figures import edges as figures_edges


def test_the_background_line_is_least_squares():
    x = np.linspace(-1, 1, 11)
    slope, level = figures_edges._line(x, 0.3 + 0.5 * x)
    assert slope == pytest.approx(0.5)
    assert level == pytest.approx(0.3)
    assert figures_edges._line(np.empty(0), np.empty(0)) == (0.0, 0.0)
