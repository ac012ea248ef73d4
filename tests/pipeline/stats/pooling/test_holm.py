"""Holm's correction."""

import numpy as np
import pytest

from circuitshift.pipeline.stats.pooling.holm import holm


def test_p_values_are_corrected_in_order_and_missing_tests_do_not_count():
    # as p.adjust of R
    assert holm(np.array([0.01, 0.04, np.nan, 0.03, 0.005])) == pytest.approx(
        [0.03, 0.06, np.nan, 0.06, 0.02], nan_ok=True
    )
    assert holm(np.array([0.7, 0.8])).tolist() == [1.0, 1.0]
    assert np.isnan(holm(np.array([np.nan]))).all()
