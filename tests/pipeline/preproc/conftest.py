"""A simulated head, and a run in which it moves, shared by the tests of preprocessing."""

from dataclasses import replace

import numpy as np
import pytest

from circuitshift.atlases.load import load_atlas
from circuitshift.pipeline.validation.simulate.head import Head, HeadSpec, draw_head
from circuitshift.pipeline.validation.simulate.raw_data_set import BoldTruth, draw_bold


@pytest.fixture(scope="session")
def spec() -> HeadSpec:
    return HeadSpec(bold_mm=(4.0, 4.0, 4.0))


@pytest.fixture(scope="session")
def head(spec: HeadSpec) -> Head:
    return draw_head(spec, np.random.default_rng(5))


@pytest.fixture(scope="session")
def moving_run(head: Head, spec: HeadSpec) -> BoldTruth:
    """Run of 24 volumes whose intensity changes only with motion, drift and noise."""
    rng = np.random.default_rng(6)
    motion = np.cumsum(rng.normal(0, 1, (24, 6)) * ([0.1] * 3 + [0.002] * 3), axis=0)
    motion[12:] += [1.5, -1.0, 0.5, 0.02, -0.01, 0.03]  # a sudden and permanent jump
    atlas = load_atlas("seitzman300")
    series = np.zeros((24, len(atlas.regions)))
    constant = replace(spec, amplitude=0.0)
    return draw_bold(head, constant, series, atlas, pose=np.eye(4), motion=motion, rng=rng)
