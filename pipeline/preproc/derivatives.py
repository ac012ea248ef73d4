"""Compute and write the preprocessed images and confounds of one participant.

`circuitshift.pipeline.preproc.person` decides which steps are run. Preprocessed images are outdated
when this module, or a module that it imports, has changed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Bools
from circuitshift.pipeline.bids.raw_records import RawAnat, RawBold
from circuitshift.pipeline.bids.runs.acquisition import scanner_facts
from circuitshift.pipeline.bids.runs.registration import REGISTRATION_KEYS
from circuitshift.pipeline.errors import ImageError
from circuitshift.pipeline.io import images, tables
from circuitshift.pipeline.io.images import Image, grid_over, relative_signal
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc import transforms as xfm
from circuitshift.pipeline.preproc.anatomy import Anatomy, Brain, prepare_anatomy
from circuitshift.pipeline.preproc.confounds import (
    Voxels,
    confounds,
    framewise_displacement,
    non_steady_state,
    write_confounds,
)
from circuitshift.pipeline.preproc.coregistration.agreement import register_runs
from circuitshift.pipeline.preproc.motion import (
    HeadMotion,
    estimate_motion,
    parameters_in_image,
    relative_to,
)
from circuitshift.pipeline.preproc.output_names import (
    anat_path,
    bold_path,
    coregistration_path,
    func_path,
    reference_path,
    run_stem,
    warp_path,
    xfm_path,
)
from circuitshift.pipeline.preproc.resampling import (
    correct_slice_timing,
    resample_run,
    signal_mask,
)
from circuitshift.pipeline.preproc.template import Template, load_template
from circuitshift.pipeline.preproc.tissue_masks import noise_maps, noise_masks
from circuitshift.pipeline.records import MIN_SIGNAL, Run

__all__ = [
    "read_brain",
    "write_anatomy",
    "write_coregistration",
    "write_motion",
    "write_preprocessed_run",
]


_FIELD_MM = 2.0
_TISSUES = ("CSF", "GM", "WM")
_LEAST_SIMILARITY = 0.7  # correlation of an SBRef with the mean volume
_DSEG = (3, 1, 2)  # BIDS: 1 grey matter, 2 white matter, 3 cerebrospinal fluid


# ---------------------------------------------------------------------------------- anatomy


def write_anatomy(anats: Sequence[RawAnat], template: str, out_dir: Path) -> Mapping[str, object]:
    """Prepare a participant's anatomy and write it.

    Parameters
    ----------
    anats : sequence of RawAnat
        T1-weighted images of one participant.
    template : str
        Name of the template; see `load_template`.
    out_dir : Path
        Root of the derivatives.

    Returns
    -------
    mapping
        Content of the record: files, sources, template and quality.
    """
    target = load_template(template)
    found = prepare_anatomy([images.read(anat.path) for anat in anats], target)
    files = _write_anatomy(found, anats, target, out_dir)
    litres = float(found.brain.mask.sum() * np.prod(found.brain.t1w.zooms)) / 1e6
    return {
        "files": files,
        "sources": [anat.path.name for anat in anats],
        "template": template,
        "quality": {
            "n_t1w": len(anats),
            "brain_litres": litres,
            "mask_agreement": found.mask_agreement,
            "template_similarity": found.similarity,
        },
    }


def _write_anatomy(
    found: Anatomy, anats: Sequence[RawAnat], template: Template, out_dir: Path
) -> list[str]:
    label, name = anats[0].participant, template.name
    desc = ("desc", "preproc")
    files: list[Path] = []

    def put(image: Image, path: Path, *, standard: bool = False) -> None:
        images.write(out_dir / path, image, standard=standard)
        files.append(path)

    put(found.brain.t1w, anat_path(label, "T1w", desc))
    put(found.brain.t1w.like(found.brain.mask), anat_path(label, "mask", ("desc", "brain")))
    put(found.brain.t1w.like(_labels(found.brain.tissues)), anat_path(label, "dseg"))
    for tissue, image in zip(_TISSUES, found.brain.tissues, strict=True):
        put(image, anat_path(label, "probseg", ("label", tissue)))
    grid = template.brain
    points = found.warp.to_participant(grid.points())
    space = ("space", name)
    moved = grid.like(found.brain.t1w.at(points, order=3).reshape(grid.grid))
    put(moved, anat_path(label, "T1w", space, desc), standard=True)
    resampled = tuple(grid.like(t.at(points).reshape(grid.grid)) for t in found.brain.tissues)
    put(grid.like(_labels(resampled)), anat_path(label, "dseg", space), standard=True)
    inside = (
        found.brain.t1w.like(found.brain.mask.astype(np.float32)).at(points).reshape(grid.grid)
        > 0.5
    )
    put(grid.like(inside), anat_path(label, "mask", space, ("desc", "brain")), standard=True)
    for tissue, image in zip(_TISSUES, resampled, strict=True):
        put(image, anat_path(label, "probseg", space, ("label", tissue)), standard=True)
    for way, target, path in (
        (found.warp.to_participant, template.brain, warp_path(label, "T1w", name)),
        (found.warp.to_template, found.brain.t1w, warp_path(label, name, "T1w")),
    ):
        xfm.write_field(out_dir / path, xfm.sampled_field(way, grid_over(target, _FIELD_MM)))
        files.append(path)
    for anat, matrix in zip(anats, found.to_inputs, strict=True):
        path = xfm_path(anat)
        xfm.write_affines(out_dir / path, matrix[None])
        files.append(path)
    _write_anatomy_sidecars(label, anats, out_dir)
    return [path.as_posix() for path in files]


def _labels(tissues: Sequence[Image]) -> npt.NDArray[np.uint8]:
    """Label each voxel with its most likely tissue."""
    share = np.stack([np.asarray(t.data) for t in tissues])
    best = np.array(_DSEG, np.uint8)[share.argmax(axis=0)]
    return np.where(share.sum(axis=0) > 0.5, best, 0).astype(np.uint8)


def _write_anatomy_sidecars(label: str, anats: Sequence[RawAnat], out_dir: Path) -> None:
    sources = [f"bids:raw:{anat.path.name}" for anat in anats]
    content = {"Sources": sources, "SkullStripped": False}
    tables.write_json(out_dir / anat_path(label, "T1w", ("desc", "preproc"), end=".json"), content)
    about = {"Type": "Brain", "Sources": sources}
    tables.write_json(out_dir / anat_path(label, "mask", ("desc", "brain"), end=".json"), about)


# ---------------------------------------------------------------------------------- motion


def write_motion(bold: RawBold, dummy_scans: int | None, out_dir: Path) -> Mapping[str, object]:
    """Estimate the head motion of a run, and write its reference and matrices.

    Parameters
    ----------
    bold : RawBold
        Raw run.
    dummy_scans : int or None
        Number of volumes before the steady state; estimated if None.
    out_dir : Path
        Root of the derivatives.

    Returns
    -------
    mapping
        Content of the record: files, volumes before the steady state, centre of rotation, mm, and
        image of reference.

    Raises
    ------
    ImageError
        If fewer than two volumes are in the steady state, or the image contains no brain.
    """
    run = _read_run(bold)
    n_dummy = dummy_scans
    if n_dummy is None:
        mean = run.data.reshape(-1, run.data.shape[3]).mean(axis=0, dtype=float)
        n_dummy = non_steady_state(mean)
    if run.data.shape[3] - n_dummy < 2:
        raise ImageError(
            f"{bold.path}: {n_dummy} of {run.data.shape[3]} volumes are before the steady state"
        )
    found = estimate_motion(run, n_dummy=n_dummy)
    found, about = _referred(found, bold)
    if not signal_mask(found.reference).any():  # must not stop the registration of other runs
        raise ImageError(f"{bold.path}: the image contains no brain; check it or exclude the run")
    reference = reference_path(bold, "hmc")
    images.write(out_dir / reference, found.reference)
    matrices = _hmc(bold)
    xfm.write_affines(out_dir / matrices, found.matrices)
    return {
        "files": [reference.as_posix(), matrices.as_posix()],
        "n_dummy": n_dummy,
        "centre_mm": found.centre_mm.tolist(),
        **about,
    }


def _referred(found: HeadMotion, bold: RawBold) -> tuple[HeadMotion, dict[str, object]]:
    """Refer head motion to the SBRef, if there is one that resembles the mean of volumes."""
    if not bold.sbref:
        return found, {"reference": "mean volume"}
    sbref = images.read(bold.sbref[0])
    image = sbref.like(np.asarray(sbref.data, np.float32).reshape(sbref.grid))
    moved, similarity = relative_to(image, found)
    about: dict[str, object] = {"sbref_similarity": similarity}
    if not similarity >= _LEAST_SIMILARITY:
        return found, {"reference": "mean volume, as the SBRef differs from it"} | about
    return moved, {"reference": "SBRef"} | about


def _hmc(bold: RawBold) -> Path:
    pairs = (("from", "orig"), ("to", "boldref"), ("mode", "image"), ("desc", "hmc"))
    return func_path(bold, "xfm", *pairs, end=".txt")


def _read_run(bold: RawBold) -> Image:
    run = images.read(bold.path)
    if run.data.ndim != 4:
        raise ImageError(f"{bold.path}: the image contains one volume instead of a series")
    return run


# ---------------------------------------------------------------------------------- registration


def write_coregistration(bolds: Sequence[RawBold], out_dir: Path) -> Mapping[str, object]:
    """Register all runs of a participant to the T1-weighted brain, and write the transforms.

    Parameters
    ----------
    bolds : sequence of RawBold
        Runs of one participant whose head motion was estimated.
    out_dir : Path
        Root of the derivatives, which contains the participant's anatomy.

    Returns
    -------
    mapping
        Content of the record: files, and the quality of the registration of each run.

    Raises
    ------
    ImageError
        If no white matter or, in a reference, no signal was found.
    """
    if not bolds:
        return {"files": [], "runs": {}}
    references = [images.read(out_dir / reference_path(bold, "hmc")) for bold in bolds]
    results = register_runs(references, read_brain(bolds[0].participant, out_dir))
    files, runs = [], {}
    for bold, reference, found in zip(bolds, references, results, strict=True):
        path, image = coregistration_path(bold), reference_path(bold, "coreg")
        xfm.write_affines(out_dir / path, np.linalg.inv(found.matrix)[None])
        images.write(out_dir / image, reference)
        files += [path.as_posix(), image.as_posix()]
        is_alone = not np.isfinite(found.disagreement_mm)
        runs[run_stem(bold)] = {
            "boundary_cost": round(found.cost, 4),
            "disagreement_mm": None if is_alone else round(found.disagreement_mm, 3),
            "coregistration_dice": found.overlap,
            "boundary_in_view": found.visible,
        }
    return {"files": files, "runs": runs}


# ---------------------------------------------------------------------------------- the run


def write_preprocessed_run(
    bold: RawBold,
    before: tuple[Mapping[str, Any], Mapping[str, Any]],
    how: tuple[str, float, bool],
    out_dir: Path,
) -> Mapping[str, object]:
    """Resample a run to the template in one interpolation, and write it with its confounds.

    Parameters
    ----------
    bold : RawBold
        Raw run.
    before : (mapping, mapping)
        Records of the head motion of the run (see `write_motion`) and of the registration of all
        runs (see `write_coregistration`).
    how : (str, float, bool)
        Template, isotropic voxel size in mm, and whether slice timing is corrected.
    out_dir : Path
        Root of the derivatives, which contains the participant's anatomy.

    Returns
    -------
    mapping
        Content of the record: files, template, slice timing correction, names of the image that
        was registered and of its transform, and quality.
    """
    template, voxel_mm, slice_timing = how
    moved, registered = before[0], before[1]["runs"][run_stem(bold)]
    n_dummy, centre = int(moved["n_dummy"]), np.array(moved["centre_mm"])
    matrices = xfm.read_affines(out_dir / _hmc(bold))
    (back,) = xfm.read_affines(out_dir / coregistration_path(bold))
    person = read_brain(bold.participant, out_dir)
    field = xfm.read_field(out_dir / warp_path(bold.participant, "T1w", template))
    grid = grid_over(load_template(template).brain, voxel_mm)

    run = _read_run(bold)
    timed = bool(slice_timing and bold.slice_times_s)
    if timed:
        run = correct_slice_timing(
            run, bold.slice_times_s, bold.t_r_s, axis=bold.slice_axis, n_dummy=n_dummy
        )
    moved_run = resample_run(run, matrices, grid, lambda p: transforms.apply(back, field(p)))
    del run

    inside = _on(grid, field, person.t1w.like(person.mask.astype(np.float32))) > 0.5
    steady = moved_run.image.data[..., n_dummy:]
    mean = steady.mean(axis=3)
    seen = inside & moved_run.in_view & (steady.min(axis=3) > 0)
    mask = seen & _has_signal(mean, seen)
    maps = tuple(
        (grid.like(_on(grid, field, csf)), grid.like(_on(grid, field, white)))
        for csf, white in noise_maps(person)
    )
    noise = noise_masks(maps, mask)
    series = [moved_run.image.data[m].T for m in (mask, noise.csf, noise.white_matter)]
    reference = images.read(out_dir / reference_path(bold, "hmc"))
    parameters = parameters_in_image(matrices, centre, reference)
    columns, meta = confounds(
        Voxels(series[0], series[1], series[2]), parameters, bold.t_r_s, n_dummy=n_dummy
    )
    for name, rule in zip(("csf", "white_matter"), noise.rules, strict=True):
        meta[name] |= {"MmFromGreyMatter": rule[0], "LeastShare": rule[1]}

    files = [
        func_path(bold, "boldref", ("space", template)),
        func_path(bold, "mask", ("space", template), ("desc", "brain")),
        bold_path(bold, template),
        func_path(bold, "timeseries", ("desc", "confounds"), end=".tsv"),
    ]
    images.write(out_dir / files[0], grid.like(mean), standard=True)
    images.write(out_dir / files[1], grid.like(mask), standard=True)
    images.write(out_dir / files[2], moved_run.image, t_r_s=bold.t_r_s, standard=True)
    write_confounds(out_dir / files[3], columns, meta)
    about: dict[str, object] = {"SliceTimingCorrected": timed, "NonSteadyStateVolumes": n_dummy}
    quality = {key: registered[name] for name, key in REGISTRATION_KEYS.items()}
    about |= {key: value for key, value in quality.items() if value is not None}
    _write_bold_sidecar(bold, template, about, out_dir)
    spread = steady[mask].std(axis=1)
    fd = framewise_displacement(parameters)
    return {
        "files": [path.as_posix() for path in files],
        "template": template,
        "slice_timing": timed,
        "n_dummy": n_dummy,
        "reference": str(moved["reference"]),
        "registered": reference_path(bold, "coreg").as_posix(),
        "registration": coregistration_path(bold).as_posix(),
        "quality": {
            "n_volumes": bold.n_volumes,
            "voxel_mm": voxel_mm,
            **registered,
            "brain_in_view": float(seen.sum() / max(inside.sum(), 1)),
            "brain_with_signal": float(mask.sum() / max(inside.sum(), 1)),
            "mean_fd_mm": float(np.nanmean(fd)),
            "max_fd_mm": float(np.nanmax(fd)),
            "median_tsnr": float(np.median(mean[mask][spread > 0] / spread[spread > 0])),
            "csf_voxels": int(noise.csf.sum()),
            "white_matter_voxels": int(noise.white_matter.sum()),
        },
    }


def _has_signal(mean: npt.NDArray[np.float32], seen: Bools) -> Bools:
    """Find the voxels that are not below the floor of the signal of a run."""
    level = relative_signal(np.asarray(mean, float), seen)
    if level is None:
        return np.ones(seen.shape, bool)
    return np.asarray(level >= MIN_SIGNAL)


def _on(grid: Image, field: xfm.Field, image: Image) -> npt.NDArray[np.float32]:
    """Resample an image of the participant to the template."""
    return image.at(field(grid.points())).reshape(grid.grid)


def read_brain(participant: str, out_dir: Path) -> Brain:
    """Read the brain of a participant that `write_anatomy` wrote.

    Parameters
    ----------
    participant : str
        Label without ``sub-``.
    out_dir : Path
        Root of the derivatives.

    Returns
    -------
    Brain
        Brain in the participant's space.
    """
    t1w = images.read(out_dir / anat_path(participant, "T1w", ("desc", "preproc")))
    mask = images.read(out_dir / anat_path(participant, "mask", ("desc", "brain")))
    tissues = tuple(
        images.read(out_dir / anat_path(participant, "probseg", ("label", tissue)))
        for tissue in _TISSUES
    )
    return Brain(t1w, np.asarray(mask.data) > 0, tissues)


def _run_of(bold: RawBold) -> Run:
    """Return the record by which the sidecars of a raw run are found."""
    return Run(
        participant=bold.participant,
        session=bold.session,
        task=bold.task,
        run=bold.run,
        space="",
        res="",
        input_type="bold",
        path=bold.path,
        entities=bold.entities,
    )


def _write_bold_sidecar(
    bold: RawBold, template: str, about: Mapping[str, object], out_dir: Path
) -> None:
    content: dict[str, object] = {
        "RepetitionTime": bold.t_r_s,
        "SkullStripped": False,
        "NumberOfVolumesDiscardedByUser": 0,
        "TaskName": dict(bold.entities).get("task", ""),
        "Sources": [f"bids:raw:{bold.path.name}"],
        **about,
    }
    content |= scanner_facts(_run_of(bold))
    if about["SliceTimingCorrected"]:
        content["StartTime"] = (min(bold.slice_times_s) + max(bold.slice_times_s)) / 2
    path = func_path(bold, "bold", ("space", template), ("desc", "preproc"), end=".json")
    tables.write_json(out_dir / path, content)
