"""Register, correct for bias and segment images with ANTs (the extra ``preproc``).

ANTs runs on one thread with a fixed seed. Its sums depend on the number of threads, and the same
images must give the same bytes on every machine.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io.images import Image, grid_over
from circuitshift.pipeline.preproc import transforms

__all__ = ["Warp", "bias_corrected", "normalise", "rigid_to", "tissues"]


_SEED = 1
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_REGISTRATION_MM = 2.0
#: Iterations of SyN at 8, 4 and 2 mm.
_SYN_ITERATIONS = (100, 70, 20)


def _ants() -> Any:  # noqa: ANN401 - an untyped library
    """Import ANTs, restricted to one thread."""
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    os.environ["ANTS_RANDOM_SEED"] = str(_SEED)  # some functions of ANTs ignore their seed argument
    try:
        import ants  # noqa: PLC0415 - optional, and slow to import
    except ImportError as error:
        raise InputError(
            f"preprocessing of raw images requires ANTs, which is not installed ({error}); run "
            "pip install 'circuitshift[preproc]', or provide derivatives of fMRIPrep"
        ) from None
    return ants


@dataclass(frozen=True, eq=False)
class Warp:
    """Diffeomorphism between the brain of a participant and a template.

    Parameters
    ----------
    affine : ndarray, shape (4, 4)
        From the template to the participant, mm.
    forward, backward : Image
        Displacements, mm, shape (x, y, z, 3), on the template's grid. A point p of the template
        corresponds to ``affine(p + forward(p))``. A point q of the participant corresponds to
        ``r + backward(r)``, with r the template point ``affine^-1(q)``.
    """

    affine: Floats
    forward: Image
    backward: Image

    def to_participant(self, points: Floats) -> Floats:
        """Map points of the template to the participant.

        Parameters
        ----------
        points : ndarray, shape (n, 3)
            Points of the template, mm.

        Returns
        -------
        ndarray, shape (n, 3)
            Points of the participant, mm.
        """
        moved = np.asarray(points + _displacement(self.forward, points), np.float64)
        return transforms.apply(self.affine, moved)

    def to_template(self, points: Floats) -> Floats:
        """Map points of the participant to the template.

        Parameters
        ----------
        points : ndarray, shape (n, 3)
            Points of the participant, mm.

        Returns
        -------
        ndarray, shape (n, 3)
            Points of the template, mm.
        """
        affine_points: Floats = transforms.apply(np.linalg.inv(self.affine), points)
        return affine_points + _displacement(self.backward, affine_points)


def _displacement(field: Image, points: Floats) -> Floats:
    """Interpolate a displacement field at points (n, 3), mm."""
    parts = [Image(field.data[..., k], field.affine).at(points) for k in range(3)]
    return np.asarray(np.stack(parts, axis=1), float)


def _to_ants(image: Image) -> Any:  # noqa: ANN401 - an untyped library
    """Convert an image to ANTs, whose coordinates are LPS."""
    zooms = image.zooms
    affine = _LPS @ image.affine
    return _ants().from_numpy(
        np.ascontiguousarray(image.data, np.float32),
        origin=affine[:3, 3].tolist(),
        spacing=zooms.tolist(),
        direction=affine[:3, :3] / zooms,
    )


def _matrix(path: str) -> Floats:
    """Read an affine transform of ITK as a 4 x 4 matrix in RAS coordinates."""
    transform = _ants().read_transform(path)
    values = np.asarray(transform.parameters, float)
    centre = np.asarray(transform.fixed_parameters, float)
    out = np.eye(4)
    out[:3, :3] = values[:9].reshape(3, 3)
    out[:3, 3] = values[9:] + centre - out[:3, :3] @ centre
    return np.asarray(_LPS @ out @ _LPS)


def _field(path: str) -> Image:
    """Read a displacement field of ITK in RAS coordinates."""
    import nibabel as nib  # noqa: PLC0415 - .3 s

    image: Any = nib.load(path)
    data = np.asarray(image.dataobj, np.float32).squeeze() * np.array([-1, -1, 1], np.float32)
    return Image(data, np.asarray(image.affine, float))


def bias_corrected(image: Image, mask: Bools, *, shrink: int = 4) -> Image:
    """Correct slow variation of intensity with N4 (Tustison 2010, doi:10.1109/TMI.2010.2046908).

    Parameters
    ----------
    image : Image
        Image to correct.
    mask : ndarray of bool
        Voxels from which the bias field is estimated.
    shrink : int
        Factor by which the image is downsampled for the estimate.

    Returns
    -------
    Image
        Corrected image with unchanged mean intensity in the mask.

    Raises
    ------
    InputError
        If ANTs is not installed.
    """
    ants = _ants()
    values = np.maximum(np.asarray(image.data, np.float32), 0)
    level = float(values[mask].mean()) or 1.0
    ants_image = _to_ants(image.like(values / level * 100))
    shrink = int(max(1, min(shrink, min(image.grid) // 8)))
    field = ants.n4_bias_field_correction(
        ants_image,
        mask=_to_ants(image.like(mask.astype(np.float32))),
        shrink_factor=shrink,
        convergence={"iters": [50, 50, 50, 50], "tol": 1e-6},
        return_bias_field=True,
    ).numpy()
    out = values / np.maximum(field, 0.05)
    return image.like((out * (level / max(float(out[mask].mean()), 1e-9))).astype(np.float32))


def rigid_to(
    fixed: Image, moving: Image, *, mask: Bools | None = None, start: Floats | None = None
) -> Floats:
    """Find the rigid transform between images of any contrast by mutual information.

    Parameters
    ----------
    fixed, moving : Image
        Images to align; without `mask`, they are zero outside the brain.
    mask : ndarray of bool, optional
        Voxels of `fixed` that are compared.
    start : ndarray, shape (4, 4), optional
        Initial rigid transform from `fixed` to `moving`; by default, the centres of intensity are
        aligned.

    Returns
    -------
    ndarray, shape (4, 4)
        Maps points of `fixed`, mm, to `moving`.

    Raises
    ------
    InputError
        If ANTs is not installed.
    """
    ants = _ants()
    if start is not None:  # the moving image is placed at the initial position
        moving = Image(moving.data, np.linalg.inv(start) @ moving.affine)
    with _scratch_folder() as folder:
        done = ants.registration(
            fixed=_to_ants(fixed),
            moving=_to_ants(moving),
            initial_transform=None if start is None else "Identity",
            mask=None if mask is None else _to_ants(fixed.like(mask.astype(np.float32))),
            type_of_transform="Rigid",
            aff_metric="mattes",
            aff_sampling=32,
            aff_random_sampling_rate=0.25,
            aff_iterations=(500, 250, 100, 20),
            aff_shrink_factors=(6, 4, 2, 1),
            aff_smoothing_sigmas=(4, 2, 1, 0),
            random_seed=_SEED,
            outprefix=f"{folder}/r",
        )
        found = _matrix(done["fwdtransforms"][0])
        return found if start is None else np.asarray(start @ found)


def normalise(brain: Image, template: Image) -> Warp:
    """Normalise a brain to a template with an affine transform and SyN.

    Parameters
    ----------
    brain, template : Image
        T1-weighted images, zero outside the brain.

    Returns
    -------
    Warp
        Transform between both, sampled on a grid of 2 mm.

    Raises
    ------
    InputError
        If ANTs is not installed.

    References
    ----------
    Avants 2008, doi:10.1016/j.media.2007.06.004
    """
    ants = _ants()
    fixed = template.onto(grid_over(template, _REGISTRATION_MM))
    moving = brain.onto(grid_over(brain, _REGISTRATION_MM))
    with _scratch_folder() as folder:
        done = ants.registration(
            fixed=_to_ants(fixed),
            moving=_to_ants(moving),
            type_of_transform="SyN",
            syn_metric="mattes",
            syn_sampling=32,
            reg_iterations=_SYN_ITERATIONS,
            random_seed=_SEED,
            outprefix=f"{folder}/n",
        )
        warp, affine = done["fwdtransforms"]
        return Warp(_matrix(affine), _field(warp), _field(done["invtransforms"][1]))


def tissues(brain: Image, mask: Bools, priors: tuple[Image, ...]) -> tuple[Image, ...]:
    """Segment a brain into tissues with Atropos (Avants 2011, doi:10.1007/s12021-011-9109-y).

    Parameters
    ----------
    brain : Image
        Bias-corrected T1-weighted image.
    mask : ndarray of bool
        Brain mask.
    priors : tuple of Image
        Prior probability of each tissue on the same grid. If empty, three classes are found from
        the intensity alone.

    Returns
    -------
    tuple of Image
        Posterior probability of each tissue.

    Raises
    ------
    InputError
        If ANTs is not installed.
    """
    ants = _ants()
    # ANTs passes priors in files whose headers round the origin, so that ITK finds a mismatch
    at_origin = np.diag([*brain.zooms, 1.0])

    def to_ants(data: npt.NDArray[Any]) -> Any:  # noqa: ANN401 - an untyped library
        return _to_ants(Image(np.asarray(data, np.float32), at_origin))

    with _scratch_folder():
        done = ants.atropos(
            a=to_ants(brain.data),
            x=to_ants(mask),
            i=[to_ants(prior.data) for prior in priors] or "kmeans[3]",
            m="[0.1,1x1x1]",
            c="[5,0]",
            priorweight=0.25,
            r=0,  # by default, Atropos takes its seed from the clock
        )
        return tuple(brain.like(p.numpy().astype(np.float32)) for p in done["probabilityimages"])


@contextmanager
def _scratch_folder() -> Iterator[str]:
    """Provide a folder for the temporary files of ANTs, which ANTs itself does not delete."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            yield folder
        finally:
            tempfile.tempdir = before
