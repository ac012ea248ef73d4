"""The anatomy of the simulated head, and references of runs at any position of its header."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from circuitshift.atlases.load import load_atlas
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc.anatomy import Brain
from circuitshift.pipeline.validation.simulate.head import _T1W, Head, HeadSpec, _intensity
from circuitshift.pipeline.validation.simulate.raw_data_set import brain_centre, draw_bold


def brain_of(head: Head) -> Brain:
    """Return the true anatomy of a head in its own space."""
    mask = np.sum([t.data for t in head.tissues[:3]], axis=0) > 0.5
    return Brain(_intensity(head, _T1W), mask, head.tissues[:3])


def draw_reference(head: Head, spec: HeadSpec, *, pose: np.ndarray, seed: int) -> Image:
    """Simulate the mean of two volumes without motion."""
    atlas = load_atlas("seitzman300")
    still = replace(spec, amplitude=0.0, n_dummy=0)
    series = np.zeros((2, len(atlas.regions)))
    rng, motion = np.random.default_rng(seed), np.zeros((2, 6))
    run = draw_bold(head, still, series, atlas, pose=pose, motion=motion, rng=rng).image
    return Image(np.asarray(run.data, np.float32).mean(axis=3), run.affine)


@pytest.fixture(scope="session")
def scanner() -> SimpleNamespace:
    """Return the functions of this file."""
    return SimpleNamespace(
        brain_of=brain_of,
        draw_reference=draw_reference,
    )


@pytest.fixture(scope="session")
def brain(head: Head) -> Brain:
    return brain_of(head)


@pytest.fixture(scope="session")
def centre_mm(head: Head) -> np.ndarray:
    return brain_centre(head)


@pytest.fixture(scope="session")
def pose(centre_mm: np.ndarray) -> np.ndarray:
    """Position of the head during the run, relative to the T1-weighted image."""
    return transforms.matrix_of([2.0, -3.0, 4.0, 0.04, -0.03, 0.05], centre_mm)


@pytest.fixture(scope="session")
def reference(head: Head, spec: HeadSpec, pose: np.ndarray) -> Image:
    return draw_reference(head, spec, pose=pose, seed=7)


@pytest.fixture(scope="session")
def slab() -> Callable[[Image, float], Image]:
    """Return a function that cuts an image to a slab around its middle, of a thickness in mm."""

    def cut(image: Image, mm: float) -> Image:
        n = round(mm / image.zooms[2])
        first = (image.grid[2] - n) // 2
        affine = image.affine.copy()
        affine[:3, 3] += first * affine[:3, 2]
        return Image(image.data[:, :, first : first + n], affine)

    return cut
