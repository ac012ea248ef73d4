"""Simulate a head: T1-weighted images, and the positions of all its points in the template.

The brain is the embedded template after a random diffeomorphism, surrounded by skull, scalp and
neck. The position of every point in the template is known exactly, as are the head's position in
the scanner and the image noise.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.io.images import Image, grid_over
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc.template import load_template
from circuitshift.pipeline.preproc.transforms import Field

__all__ = ["Head", "HeadSpec", "draw_head", "draw_pose", "draw_t1w"]


_CENTRE = np.array([0.0, -18.0, 8.0])  # centre of the brain, mm
_HEAD_MM = 2.0
_FIELD_MM = 4.0
#: Intensities of cerebrospinal fluid, grey matter, white matter, skull, scalp and neck.
_T1W = (30.0, 65.0, 100.0, 8.0, 115.0, 50.0)


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """Anatomy and image acquisition of simulated heads.

    Parameters
    ----------
    t1w_mm : float
        Isotropic voxel size of T1-weighted images, mm.
    bold_mm : tuple of three float
        Voxel size of functional images, mm.
    t_r_s : float
        Repetition time, s.
    n_dummy : int
        Number of volumes before the steady state.
    warp_mm : float
        Root mean square of the random velocity field, mm.
    pose : tuple of two float
        SD of the head's position in the scanner between sessions, mm and degrees.
    fd_mm : float
        Mean framewise displacement without sudden jumps, mm.
    spikes : float
        Share of volumes with a sudden jump.
    amplitude : float
        SD of the regional series as a share of the intensity.
    noise : float
        SD of thermal noise as a share of the intensity of grey matter.
    """

    t1w_mm: float = 2.0
    bold_mm: tuple[float, float, float] = (3.0, 3.0, 3.5)
    t_r_s: float = 2.0
    n_dummy: int = 2
    warp_mm: float = 4.0
    pose: tuple[float, float] = (5.0, 4.0)
    fd_mm: float = 0.1
    spikes: float = 0.02
    amplitude: float = 0.012
    noise: float = 0.012


@dataclass(frozen=True, eq=False)
class Head:
    """Head of a participant, in a space of its own.

    Parameters
    ----------
    tissues : tuple of Image
        Share of cerebrospinal fluid, grey matter, white matter, skull, scalp and neck in each
        voxel; 2 mm, RAS axes.
    affine : ndarray, shape (4, 4)
        From the head to the template, before the deformation.
    to, back : Field
        The deformation and its inverse.
    """

    tissues: tuple[Image, ...]
    affine: Floats
    to: Field
    back: Field

    def to_template(self, points: Floats) -> Floats:
        """Map points of the head to the template.

        Parameters
        ----------
        points : ndarray, shape (n, 3)
            Points of the head, mm.

        Returns
        -------
        ndarray, shape (n, 3)
            Points of the template, mm.
        """
        return self.to(transforms.apply(self.affine, points))

    def from_template(self, points: Floats) -> Floats:
        """Map points of the template to the head; the inverse of `to_template`.

        Parameters
        ----------
        points : ndarray, shape (n, 3)
            Points of the template, mm.

        Returns
        -------
        ndarray, shape (n, 3)
            Points of the head, mm.
        """
        return transforms.apply(np.linalg.inv(self.affine), self.back(points))


def draw_head(spec: HeadSpec, rng: np.random.Generator) -> Head:
    """Draw a head with a random shape.

    Parameters
    ----------
    spec : HeadSpec
        Provides the size of the deformation.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    Head
        Tissues, and the transform to the template.
    """
    template = load_template()
    turn = rng.normal(0, np.radians(3), 3)
    affine = transforms.matrix_of([*rng.normal(0, 3, 3), *turn], _CENTRE)
    scale = np.eye(4)
    # heads are smaller than the template, which is a large brain
    scale[:3, :3] = np.diag(rng.uniform(1.0, 1.12, 3))
    affine = affine @ scale
    coarse = grid_over(template.brain, _FIELD_MM)
    velocity = rng.normal(0, 1, (*coarse.grid, 3))
    velocity = ndimage.gaussian_filter(velocity, (*[14 / _FIELD_MM] * 3, 0), mode="nearest")
    velocity *= spec.warp_mm / np.sqrt((velocity**2).sum(axis=3).mean())
    to, back = (_integrate(coarse.like(sign * velocity)) for sign in (1.0, -1.0))
    box = Image(np.zeros((110, 128, 118), np.float32), np.diag([_HEAD_MM] * 3 + [1.0]))
    box.affine[:3, 3] = [-109.0, -145.0, -123.0]
    empty = Head((), affine, to, back)
    where = empty.to_template(box.points())
    inside = template.brain.like(template.mask.astype(np.float32))
    brain = inside.at(where).reshape(box.grid)
    grey, white = (p.at(where).reshape(box.grid) for p in template.priors[1:])
    parts = (np.clip(brain - grey - white, 0, 1), grey, white, *_outer_tissues(brain > 0.5, box))
    return Head(tuple(box.like(p.astype(np.float32)) for p in parts), affine, to, back)


def _integrate(velocity: Image) -> Field:
    """Integrate a velocity field over unit time by scaling and squaring (Arsigny 2006)."""
    field = Field(velocity.like((velocity.data / 2**6).astype(np.float32)))
    points = velocity.points()
    for _ in range(6):
        moved = field(field(points)) - points
        field = Field(velocity.like(moved.reshape(velocity.data.shape).astype(np.float32)))
    return field


def _outer_tissues(brain: npt.NDArray[np.bool_], box: Image) -> tuple[npt.NDArray[np.float32], ...]:
    """Place skull, scalp and neck around a brain, with a rim of fluid in between.

    Returns
    -------
    tuple of ndarray
        Share of skull, scalp and neck in each voxel.
    """
    smooth = ndimage.gaussian_filter(brain.astype(np.float32), 6 / _HEAD_MM) > 0.4
    distance = ndimage.distance_transform_edt(~(smooth | brain), sampling=_HEAD_MM)
    skull = (distance > 2) & (distance <= 8)
    scalp = (distance > 8) & (distance <= 14)
    points = box.points().reshape(*box.grid, 3)
    middle = points[brain].mean(axis=0)
    bottom = points[brain][:, 2].min()
    away = ((points[..., :2] - middle[:2]) / [52.0, 62.0]) ** 2
    neck = (away.sum(axis=3) < 1) & (points[..., 2] < bottom + 25) & (distance > 8)
    out = (skull, scalp & ~neck, neck)
    return tuple(ndimage.gaussian_filter(p.astype(np.float32), 0.5) for p in out)


def _intensity(head: Head, values: tuple[float, ...]) -> Image:
    total = sum(v * np.asarray(t.data) for v, t in zip(values, head.tissues, strict=True))
    return head.tissues[0].like(np.asarray(total, np.float32))


def draw_pose(spec: HeadSpec, rng: np.random.Generator) -> Floats:
    """Draw the position of a head in the scanner in one session.

    Parameters
    ----------
    spec : HeadSpec
        Provides the SD of the position.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    ndarray, shape (4, 4)
        Rigid transform from the head to the scanner, mm.
    """
    mm, degrees = spec.pose
    return transforms.matrix_of(
        [*rng.normal(0, mm, 3), *rng.normal(0, np.radians(degrees), 3)], _CENTRE
    )


def draw_t1w(head: Head, pose: Floats, spec: HeadSpec, rng: np.random.Generator) -> Image:
    """Simulate a T1-weighted image with a bias field and Rician noise.

    Parameters
    ----------
    head : Head
        Head to scan.
    pose : ndarray, shape (4, 4)
        From the head to the scanner; see `draw_pose`.
    spec : HeadSpec
        Provides the voxel size.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    Image
        Image of int16, RAS axes.
    """
    size = spec.t1w_mm
    shape = tuple(round(n / size) for n in (190.0, 230.0, 210.0))
    grid = Image(np.zeros(shape, np.float32), np.diag([size, size, size, 1.0]))
    grid.affine[:3, 3] = _CENTRE - [0.0, 0.0, 12.0] - (np.array(shape) - 1) / 2 * size
    points = grid.points()
    values = _intensity(head, _T1W).at(transforms.apply(np.linalg.inv(pose), points))
    unit = (points - _CENTRE) / 100
    bias = np.exp(unit @ rng.normal(0, 0.12, 3) + (unit**2) @ rng.normal(0, 0.12, 3))
    real = values * bias * 8 + rng.normal(0, 12, len(points))
    noisy = np.hypot(real, rng.normal(0, 12, len(points)))
    return grid.like(np.rint(noisy).astype(np.int16).reshape(shape))
