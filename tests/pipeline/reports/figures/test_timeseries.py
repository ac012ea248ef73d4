"""Figures of one participant: positions of labels and of volumes."""

import numpy as np

from circuitshift.pipeline.reports.figures import timeseries as figures_person


def test_overlapping_labels_are_separated_within_the_axis():
    places = figures_person._spread(np.array([1.0, 1.1, 1.2, 9.9]), gap=1.0, top=10.0)
    assert np.diff(places).min() >= 1.0 - 1e-12
    assert places.max() <= 10.0
    low = figures_person._spread(np.array([9.0, 9.5, 10.0]), gap=1.0, top=10.0)
    np.testing.assert_allclose(low, [8.0, 9.0, 10.0])


def test_retained_volumes_are_inserted_at_their_positions_in_the_carpet():
    keep = np.array([False, True, True, False])
    complete = figures_person._all_volumes(np.array([[1.0], [2.0]]), keep)
    np.testing.assert_array_equal(complete[:, 0], [np.nan, 1.0, 2.0, np.nan])
