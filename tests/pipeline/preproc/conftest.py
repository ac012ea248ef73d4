"""A simulated head, a run in which it moves, and a memory for functions of images."""

import copy
import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from circuitshift.atlases.load import load_atlas
from circuitshift.pipeline.io.images import Image
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


def remember(function: Callable) -> Callable:
    """Compute a function once for each content of its arguments."""
    results: dict[str, object] = {}

    def once(*values: object, **more: object) -> object:
        digest = hashlib.sha256(repr(sorted(more.items())).encode())
        for value in values:
            parts = (value.data, value.affine) if isinstance(value, Image) else (value,)
            for part in map(np.asarray, parts):
                digest.update(f"{part.shape} {part.dtype}".encode())
                digest.update(part.tobytes())
        key = digest.hexdigest()
        if key not in results:
            results[key] = function(*values, **more)
        return copy.deepcopy(results[key])

    return once


@pytest.fixture(scope="session")
def remembered() -> Callable[[Callable], Callable]:
    """Compute a function of images once for each content, when their order should not matter.

    If the order changes an image, the function is computed again.
    """
    return remember
