"""Compute and write the structure of the brain in each session of one participant."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.load import load_atlas
from circuitshift.atlases.records import Atlas
from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.bids.raw_records import RawAnat
from circuitshift.pipeline.errors import ImageError
from circuitshift.pipeline.io import images, tables
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc import registration as register
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc.anatomy import Brain
from circuitshift.pipeline.preproc.derivatives import read_brain
from circuitshift.pipeline.preproc.output_names import session_path, warp_path, xfm_path
from circuitshift.pipeline.preproc.structure.deformation import (
    jacobian,
    no_displacement,
    session_displacement,
)
from circuitshift.pipeline.preproc.structure.table import (
    WHOLE,
    RegionValues,
    write_structure_table,
)
from circuitshift.pipeline.preproc.structure.volumes import is_deep_grey, region_sums, regions_at

__all__ = ["Parcels", "measure_session", "session_image", "write_structure"]

_FOLDED = 0.001  # largest accepted share of points at which the deformation is not invertible
_TISSUES = ("cerebrospinal fluid", "grey matter", "white matter")


@dataclass(frozen=True, slots=True, eq=False)
class Parcels:
    """An atlas in the within-participant template.

    Parameters
    ----------
    atlas : Atlas
        Atlas.
    regions : ndarray of int, shape of the grid
        Position of each voxel's region in ``atlas.regions``; -1 outside all regions.
    """

    atlas: Atlas
    regions: npt.NDArray[np.intp]


def session_image(
    t1ws: Sequence[Image], to_inputs: Sequence[Floats], grid: Image, mask: Bools
) -> Image:
    """Average the T1-weighted images of a session in the participant's space, without bias.

    Parameters
    ----------
    t1ws : sequence of Image
        T1-weighted images of one session.
    to_inputs : sequence of ndarray, shape (4, 4)
        From the participant's space, mm, to each image.
    grid : Image
        Grid of the participant's space.
    mask : ndarray of bool
        Brain mask on `grid`, in which the bias field is estimated.

    Returns
    -------
    Image
        Average of the images, each interpolated once by cubic splines and corrected for bias (N4).
    """
    points = grid.points()
    total = np.zeros(grid.grid, np.float32)
    for image, matrix in zip(t1ws, to_inputs, strict=True):
        values = image.at(transforms.apply(matrix, points), order=3)
        moved = grid.like(np.maximum(values, 0).reshape(grid.grid))
        total += register.bias_corrected(moved, mask).data
    return grid.like(total / len(t1ws))


def measure_session(
    brain: Brain,
    parcels: Sequence[Parcels],
    session: str,
    volume: Image,
) -> Iterator[RegionValues]:
    """Measure the regions of all atlases, and the whole head, in one session.

    Parameters
    ----------
    brain : Brain
        Within-participant template.
    parcels : sequence of Parcels
        Atlases on the grid of the template.
    session : str
        Label of the session.
    volume : Image
        Volume of each point in the session relative to the template; see `jacobian`.

    Yields
    ------
    RegionValues
        First of the whole head, then of each atlas. The volume of the head, ``intracranial``, is
        the volume inside the brain mask, which includes cerebrospinal fluid.
    """
    inside = brain.mask
    points = brain.t1w.points()[inside.ravel()]
    cubic_mm = volume.at(points).astype(float) * abs(float(np.linalg.det(brain.t1w.affine[:3, :3])))
    tissues = [np.asarray(tissue.data, float)[inside] for tissue in brain.tissues]
    sums = [cubic_mm.sum(), *((cubic_mm * tissue).sum() for tissue in tissues)]
    yield RegionValues(session, WHOLE, ("intracranial", *_TISSUES), {"volume": np.array(sums)})
    for one in parcels:
        n = len(one.atlas.regions)
        regions = one.regions[inside]
        deep = np.array([is_deep_grey(f"{r.label} {r.network}") for r in one.atlas.regions])
        values = {
            "volume": region_sums(regions, n, cubic_mm),
            "grey_matter": np.where(deep, np.nan, region_sums(regions, n, cubic_mm * tissues[1])),
        }
        yield RegionValues(session, one.atlas.name, one.atlas.labels, values)


def write_structure(
    anats: Sequence[RawAnat],
    *,
    template: str,
    atlases: Sequence[str],
    out_dir: Path,
) -> Mapping[str, object]:
    """Measure the structure of each session of a participant, and write it.

    Parameters
    ----------
    anats : sequence of RawAnat
        T1-weighted images of one participant, from which the anatomy was prepared.
    template : str
        Name of the template of the anatomy.
    atlases : sequence of str
        Names or paths of atlases of labels or spheres.
    out_dir : Path
        Root of the derivatives, which contains the participant's anatomy.

    Returns
    -------
    mapping
        Content of the record: files, sessions with quality, and notes.

    Raises
    ------
    ImageError
        If a session cannot be aligned with the others.
    InputError
        If an atlas cannot be used for volumes.
    """
    label = anats[0].participant
    brain = read_brain(label, out_dir)
    field = transforms.read_field(out_dir / warp_path(label, template, "T1w"))
    parcels = [_parcels(load_atlas(source, space=template), brain, field) for source in atlases]
    by_session: dict[str, list[RawAnat]] = {}
    for anat in anats:
        by_session.setdefault(anat.session, []).append(anat)
    files: list[Path] = []
    rows: list[RegionValues] = []
    quality: dict[str, dict[str, float]] = {}
    for session, own in sorted(by_session.items()):
        if len(by_session) == 1:
            displacement = no_displacement(brain.t1w, brain.mask)
            quality[session] = {}
        else:
            image = _read_session(own, brain, out_dir)
            displacement = session_displacement(brain.t1w, image, brain.mask)
            quality[session] = _quality(brain, image, displacement, own[0].path)
            files += _write_session(own, image, jacobian(displacement), out_dir)
        volume = jacobian(displacement)
        rows += measure_session(brain, parcels, session, volume)
    table = write_structure_table(out_dir, label, rows)
    return {
        "files": [path.as_posix() for path in (*files, table)],
        "sessions": quality,
        "atlases": [one.atlas.name for one in parcels],
        "notes": [note for one in parcels if (note := _space_note(one.atlas, template))],
    }


def _parcels(atlas: Atlas, brain: Brain, field: transforms.Field) -> Parcels:
    """Propagate the labels of an atlas to the within-participant template."""
    points = field(brain.t1w.points()[brain.mask.ravel()])
    regions = np.full(brain.t1w.grid, -1, np.intp)
    regions[brain.mask] = regions_at(atlas, points)
    return Parcels(atlas, regions)


def _read_session(anats: Sequence[RawAnat], brain: Brain, out_dir: Path) -> Image:
    t1ws = [images.read(anat.path) for anat in anats]
    to_inputs = [transforms.read_affines(out_dir / xfm_path(anat))[0] for anat in anats]
    return session_image(t1ws, to_inputs, brain.t1w, brain.mask)


def _quality(brain: Brain, image: Image, displacement: Image, path: Path) -> dict[str, float]:
    """Measure how well a session was aligned; raise an error if it was not."""
    points = brain.t1w.points()[brain.mask.ravel()]
    parts = [Image(displacement.data[..., k], displacement.affine) for k in range(3)]
    moved = np.stack([part.at(points) for part in parts], axis=1)
    volume = jacobian(displacement).at(points)
    aligned = image.at(points + moved, order=3)
    similarity = float(np.corrcoef(aligned, brain.t1w.data[brain.mask])[0, 1])
    if (volume <= 0).mean() > _FOLDED:
        raise ImageError(
            f"{path}: the session cannot be aligned with the other sessions of the participant; "
            "compare their images in the report, and remove a damaged image"
        )
    return {
        "similarity": similarity,
        "rms_mm": float(np.sqrt((moved**2).sum(axis=1).mean())),
        "smallest": float(np.percentile(volume, 0.1)),
        "largest": float(np.percentile(volume, 99.9)),
    }


def _write_session(
    anats: Sequence[RawAnat], image: Image, volume: Image, out_dir: Path
) -> list[Path]:
    t1w = session_path(anats[0], "T1w", ("desc", "preproc"))
    images.write(out_dir / t1w, image)
    sources = [f"bids:raw:{anat.path.name}" for anat in anats]
    sidecar = (out_dir / t1w).with_name(t1w.name.replace(".nii.gz", ".json"))
    tables.write_json(sidecar, {"Sources": sources, "SkullStripped": False})
    change = session_path(anats[0], "jacobian")
    images.write(out_dir / change, volume)
    return [t1w, change]


def _space_note(atlas: Atlas, template: str) -> str:
    if not atlas.space or atlas.space == template:
        return ""
    return (
        f"Atlas {atlas.name} is in {atlas.space} and the template is {template}: regions are "
        "displaced by up to a few millimetres."
    )
