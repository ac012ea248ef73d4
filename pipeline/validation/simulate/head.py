"""A head with known truth: T1-weighted images and raw runs of it, as a scanner would give them.

The brain is the embedded template under a random diffeomorphism; skull, scalp and neck are put
around it. Where every point of it lies in the template is known, as are head motion, slice times,
series and position in the scanner.
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


_CENTRE = np.array([0.0, -18.0, 8.0])  # of the brain, mm
_HEAD_MM = 2.0
_FIELD_MM = 4.0
#: Intensities of cerebrospinal fluid, grey and white matter, skull, scalp, neck.
_T1W = (30.0, 65.0, 100.0, 8.0, 115.0, 50.0)


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """How heads are made and scanned.

    Parameters
    ----------
    t1w_mm : float
    bold_mm : tuple of three float
    t_r_s : float
        Repetition time, s.
    n_dummy : int
        Volumes before the steady state.
    warp_mm : float
        Root mean square of the random deformation.
    pose : tuple of two float
        Spread of a session's position in the scanner, mm and degrees.
    fd_mm : float
        Mean framewise displacement apart from sudden jumps.
    spikes : float
        Share of volumes with a sudden jump.
    amplitude : float
        One standard deviation of the regional series, as share of the intensity.
    noise : float
        Standard deviation of thermal noise, as share of the intensity of grey matter.
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
    """A person's head, in a space of its own.

    Parameters
    ----------
    tissues : tuple of Image
        Share of cerebrospinal fluid, grey and white matter, skull, scalp, neck; 2 mm, RAS.
    affine : ndarray of shape (4, 4)
        From the head to the template before the deformation.
    to, back : Field
        The deformation, and its inverse.
    """

    tissues: tuple[Image, ...]
    affine: Floats
    to: Field
    back: Field

    def to_template(self, points: Floats) -> Floats:
        """Take points (n, 3), mm, to the template."""
        return self.to(transforms.apply(self.affine, points))

    def from_template(self, points: Floats) -> Floats:
        """Take points of the template to the head."""
        return transforms.apply(np.linalg.inv(self.affine), self.back(points))


def draw_head(spec: HeadSpec, rng: np.random.Generator) -> Head:
    """Draw a head.

    Parameters
    ----------
    spec : HeadSpec
    rng : numpy.random.Generator

    Returns
    -------
    Head
    """
    template = load_template()
    turn = rng.normal(0, np.radians(3), 3)
    affine = transforms.matrix_of([*rng.normal(0, 3, 3), *turn], _CENTRE)
    scale = np.eye(4)
    scale[:3, :3] = np.diag(rng.uniform(1.0, 1.12, 3))  # the template is a large brain
    affine = affine @ scale
    coarse = grid_over(template.brain, _FIELD_MM)
    velocity = rng.normal(0, 1, (*coarse.grid, 3))
    velocity = ndimage.gaussian_filter(velocity, (*[14 / _FIELD_MM] * 3, 0), mode="nearest")
    velocity *= spec.warp_mm / np.sqrt((velocity**2).sum(axis=3).mean())
    to, back = (_integrated(coarse.like(sign * velocity)) for sign in (1.0, -1.0))
    box = Image(np.zeros((110, 128, 118), np.float32), np.diag([_HEAD_MM] * 3 + [1.0]))
    box.affine[:3, 3] = [-109.0, -145.0, -123.0]
    empty = Head((), affine, to, back)
    where = empty.to_template(box.points())
    inside = template.brain.like(template.mask.astype(np.float32))
    brain = inside.at(where).reshape(box.grid)
    grey, white = (p.at(where).reshape(box.grid) for p in template.priors[1:])
    parts = (np.clip(brain - grey - white, 0, 1), grey, white, *_around(brain > 0.5, box))
    return Head(tuple(box.like(p.astype(np.float32)) for p in parts), affine, to, back)


def _integrated(velocity: Image) -> Field:
    """Follow a velocity field for one unit of time, by scaling and squaring (Arsigny 2006)."""
    field = Field(velocity.like((velocity.data / 2**6).astype(np.float32)))
    points = velocity.points()
    for _ in range(6):
        moved = field(field(points)) - points
        field = Field(velocity.like(moved.reshape(velocity.data.shape).astype(np.float32)))
    return field


def _around(brain: npt.NDArray[np.bool_], box: Image) -> tuple[npt.NDArray[np.float32], ...]:
    """Skull, scalp and neck, in the place of air around a brain; a rim of fluid stays free."""
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
    """Draw a session's position in the scanner: from the head to the scanner, 4 x 4."""
    mm, degrees = spec.pose
    return transforms.matrix_of(
        [*rng.normal(0, mm, 3), *rng.normal(0, np.radians(degrees), 3)], _CENTRE
    )


def draw_t1w(head: Head, pose: Floats, spec: HeadSpec, rng: np.random.Generator) -> Image:
    """Scan a T1-weighted image: position, bias field, Rician noise.

    Parameters
    ----------
    head : Head
    pose : ndarray of shape (4, 4)
    spec : HeadSpec
    rng : numpy.random.Generator

    Returns
    -------
    Image
        Of int16, RAS axes.
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
