"""Regions of converted files."""

import numpy as np

from circuitshift.pipeline.bids.convert.records import ConvertedRegions


def test_regions_are_taken_by_position():
    centres = np.arange(9.0).reshape(3, 3)
    regions = ConvertedRegions(("a", "b", "c"), ("x", "x", "y"), centres)
    taken = regions.taken([2, 0])
    assert (taken.labels, taken.networks) == (("c", "a"), ("y", "x"))
    np.testing.assert_array_equal(taken.centres_mm, centres[[2, 0]])
