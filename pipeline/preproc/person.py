"""Preprocess the raw images of one participant in steps, each of which is done once.

The steps prepare the anatomy, estimate the head motion of a run, register all runs to the anatomy,
transform a run to the template and, on request, measure the structure of each session; each is a
node of the workflow. Each step writes a record to ``log/`` with its inputs, its files and their
quality, or with the reason of its failure. Steps with a valid record are not repeated.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from circuitshift.atlases.load import load_atlas
from circuitshift.pipeline.bids.raw_records import RawAnat, RawBold, RawParticipant
from circuitshift.pipeline.errors import CircuitshiftError, ImageError, OutputError, TableError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.digests import Digests, recorded_digests
from circuitshift.pipeline.io.provenance import code_hash, hash_of
from circuitshift.pipeline.preproc import derivatives
from circuitshift.pipeline.preproc.output_names import (
    anatomy_record,
    bold_record,
    coregistration_record,
    structure_record,
)
from circuitshift.pipeline.preproc.structure import products
from circuitshift.pipeline.preproc.template import template_files
from circuitshift.pipeline.records import AnalysisSettings

__all__ = [
    "Record",
    "coregister_runs",
    "estimate_run_motion",
    "is_preprocessed",
    "measure_participant_structure",
    "prepare_participant_anatomy",
    "preprocess_run",
    "read_record",
    "voxel_size",
]

_CODE = derivatives.__name__
_STRUCTURE_CODE = products.__name__


class Record(NamedTuple):
    """Path of the record that a step has written."""

    record: Path


def voxel_size(bolds: Sequence[RawBold]) -> float:
    """Choose the voxel size of all runs: that of the finest run, to 0.5 mm, and at least 2 mm."""
    finest = min(math.prod(bold.zooms_mm) for bold in bolds) ** (1 / 3)
    return float(max(2.0, round(finest * 2) / 2))


# ---------------------------------------------------------------------------------- records


def read_record(path: Path) -> dict[str, Any]:
    """Read the record of a step; a step without a record has failed."""
    if not path.exists():
        return {"fault": "the preceding step did not finish; see logs/", "where": path.name}
    return tables.read_json(path)


def _valid_record(record: Path, key: str, out_dir: Path) -> dict[str, Any] | None:
    """Return the record of a step that was computed from the same inputs with the same code.

    The record is None if it is missing or damaged, or if a file of the step is missing.
    """
    if not record.exists():
        return None
    try:
        content = tables.read_json(record)
    except TableError:
        return None
    complete = all((out_dir / name).exists() for name in content.get("files", []))
    return content if content.get("key") == key and complete else None


def _step(
    record: Path,
    key: str,
    work: Callable[[], Mapping[str, object]],
    *,
    out_dir: Path,
    notes: Sequence[str] | None = None,
) -> Record:
    """Run a step unless its record is valid; an error is written to the record.

    Notes describe the indexed input. If only the notes have changed, only the record is rewritten.
    """
    about = {} if notes is None else {"notes": list(notes)}
    content: Mapping[str, object] | None = _valid_record(record, key, out_dir)
    if content is not None and content == {**content, **about}:
        return Record(record)
    if content is None:
        record.unlink(missing_ok=True)
        record.parent.mkdir(parents=True, exist_ok=True)
        try:
            content = {"key": key, **work()}
        except OutputError:  # not caused by the data of this participant
            raise
        except CircuitshiftError as error:
            content, about = {"fault": str(error)}, {}
    tables.write_json(record, {**content, **about})
    return Record(record)


# ---------------------------------------------------------------------------------- validity


def is_preprocessed(
    raw: RawParticipant, settings: AnalysisSettings, out_dir: Path, digests: Digests
) -> bool:
    """Return whether all steps of a participant have a valid record and would be skipped.

    Parameters
    ----------
    raw : RawParticipant
        Raw images of the participant.
    settings : AnalysisSettings
        Template, volumes before the steady state, slice timing correction, and structure with
        the atlases.
    out_dir : Path
        Root of the derivatives.
    digests : Digests
        Digests of files that were computed before.

    Returns
    -------
    bool
        Whether nothing has to be computed.
    """
    anatomy = _anatomy_key(raw.anats, settings.template, digests)
    steps: list[tuple[Path, str, dict[str, object]]] = [
        (anatomy_record(raw.participant), anatomy, {})
    ]
    motions = [_motion_key(bold, settings.dummy_scans, digests) for bold in raw.bolds]
    registered = _coregistration_key(raw.bolds, anatomy, motions)
    steps.append((coregistration_record(raw.participant), registered, {}))
    for bold, motion in zip(raw.bolds, motions, strict=True):
        how = (settings.template, voxel_size(raw.bolds), settings.slice_timing)
        run = _run_key(bold, [anatomy, motion, registered], how, digests)
        steps.append((bold_record(bold, "motion"), motion, {}))
        steps.append((bold_record(bold), run, {"notes": list(bold.notes)}))
    if settings.structure:
        structure = _structure_key(raw.anats, anatomy, settings, digests)
        steps.append((structure_record(raw.participant), structure, {}))
    for record, key, about in steps:
        content = _valid_record(out_dir / record, key, out_dir)
        if content is None or content != {**content, **about}:
            return False
    return True


def _anatomy_key(anats: Sequence[RawAnat], template: str, digests: Digests) -> str:
    images_of = [(anat.path.name, digests.of(anat.path)) for anat in anats]
    return hash_of(images_of, _template_key(template, digests), code_hash(_CODE))


def _motion_key(bold: RawBold, dummy_scans: int | None, digests: Digests) -> str:
    references = [digests.of(path) for path in bold.sbref]
    return hash_of(bold.path.name, digests.of(bold.path), references, dummy_scans, code_hash(_CODE))


def _coregistration_key(
    bolds: Sequence[RawBold], anatomy: str | None, motions: Sequence[str | None]
) -> str:
    """Hash the inputs of the registration of all runs, which are results of preceding steps."""
    return hash_of([bold.path.name for bold in bolds], anatomy, list(motions), code_hash(_CODE))


def _run_key(
    bold: RawBold,
    before: Sequence[str | None],
    how: tuple[str, float, bool],
    digests: Digests,
) -> str:
    """Hash the inputs of a preprocessed run; `before` are the keys of the preceding steps."""
    image = (bold.path.name, digests.of(bold.path))
    timing = (bold.t_r_s, bold.slice_times_s, bold.slice_axis)
    template = _template_key(how[0], digests)
    return hash_of(image, list(before), how, timing, template, code_hash(_CODE))


def _structure_key(
    anats: Sequence[RawAnat],
    anatomy: str | None,
    settings: AnalysisSettings,
    digests: Digests,
) -> str:
    """Hash the inputs of the structure per session; `anatomy` is the key of the anatomy."""
    atlases = [load_atlas(source, space=settings.template) for source in settings.atlases]
    about = [(a.name, a.kind, a.space, a.regions, a.image and digests.of(a.image)) for a in atlases]
    sessions = [(anat.session, anat.path.name, digests.of(anat.path)) for anat in anats]
    return hash_of(sessions, anatomy, about, settings.structure, code_hash(_STRUCTURE_CODE))


def _template_key(template: str, digests: Digests) -> object:
    return template, [digests.of(path) for path in template_files(template)]


# ---------------------------------------------------------------------------------- steps


def prepare_participant_anatomy(
    anats: Sequence[RawAnat], *, participant: str, template: str, out_dir: Path
) -> Record:
    """Prepare a participant's anatomy and write it.

    Parameters
    ----------
    anats : sequence of RawAnat
        T1-weighted images of the participant.
    participant : str
        Label of the participant.
    template : str
        Name of the template; see `load_template`.
    out_dir : Path
        Root of the derivatives.

    Returns
    -------
    Record
        Path of the record, which contains the reason if the step failed.
    """
    with recorded_digests(f"sub-{participant}", out_dir) as digests:
        key = _anatomy_key(anats, template, digests)

    def work() -> Mapping[str, object]:
        return derivatives.write_anatomy(anats, template, out_dir)

    return _step(out_dir / anatomy_record(participant), key, work, out_dir=out_dir)


def estimate_run_motion(bold: RawBold, *, dummy_scans: int | None = None, out_dir: Path) -> Record:
    """Estimate the head motion of a run, and write its reference and matrices.

    Parameters
    ----------
    bold : RawBold
        Raw run.
    dummy_scans : int, optional
        Number of volumes before the steady state; estimated if None.
    out_dir : Path
        Root of the derivatives.

    Returns
    -------
    Record
        Path of the record, which contains the reason if the step failed.
    """
    with recorded_digests(f"sub-{bold.participant}", out_dir) as digests:
        key = _motion_key(bold, dummy_scans, digests)

    def work() -> Mapping[str, object]:
        return derivatives.write_motion(bold, dummy_scans, out_dir)

    return _step(out_dir / bold_record(bold, "motion"), key, work, out_dir=out_dir)


def coregister_runs(
    bolds: Sequence[RawBold],
    anatomy: Path,
    motions: Sequence[Path],
    *,
    participant: str,
    out_dir: Path,
) -> Record:
    """Register all runs of a participant to the T1-weighted image, and write the transforms.

    Parameters
    ----------
    bolds : sequence of RawBold
        Raw runs of all sessions.
    anatomy : Path
        Record of the anatomy.
    motions : sequence of Path
        Records of the head motion of the runs; runs for which it failed are omitted.
    participant : str
        Label of the participant.
    out_dir : Path
        Root of the derivatives.

    Returns
    -------
    Record
        Path of the record, which contains the reason if the step failed.
    """
    prepared = read_record(anatomy)
    moved = [read_record(path) for path in motions]
    key = _coregistration_key(bolds, prepared.get("key"), [m.get("key") for m in moved])

    def work() -> Mapping[str, object]:
        if "fault" in prepared:
            raise ImageError(str(prepared["fault"]))
        usable = [b for b, m in zip(bolds, moved, strict=True) if "fault" not in m]
        return derivatives.write_coregistration(usable, out_dir)

    return _step(out_dir / coregistration_record(participant), key, work, out_dir=out_dir)


def preprocess_run(
    bold: RawBold,
    anatomy: Path,
    motion: Path,
    coregistration: Path,
    *,
    template: str,
    voxel_mm: float,
    slice_timing: bool,
    out_dir: Path,
) -> Record:
    """Resample a run to the template in one interpolation, and write it with its confounds.

    Parameters
    ----------
    bold : RawBold
        Raw run.
    anatomy, motion, coregistration : Path
        Records of the preceding steps.
    template : str
        Name of the template; see `load_template`.
    voxel_mm : float
        Isotropic voxel size of the output, mm.
    slice_timing : bool
        Whether slice timing is corrected if the slice times are available.
    out_dir : Path
        Root of the derivatives.

    Returns
    -------
    Record
        Path of the record, which contains the reason if the step failed.
    """
    before = [read_record(path) for path in (anatomy, motion, coregistration)]
    how = (template, voxel_mm, slice_timing)
    with recorded_digests(f"sub-{bold.participant}", out_dir) as digests:
        key = _run_key(bold, [content.get("key") for content in before], how, digests)

    def work() -> Mapping[str, object]:
        for content in before:
            if "fault" in content:
                raise ImageError(str(content["fault"]))
        return derivatives.write_preprocessed_run(bold, (before[1], before[2]), how, out_dir)

    return _step(out_dir / bold_record(bold), key, work, out_dir=out_dir, notes=bold.notes)


def measure_participant_structure(
    anats: Sequence[RawAnat],
    anatomy: Path,
    *,
    participant: str,
    settings: AnalysisSettings,
    out_dir: Path,
) -> Record:
    """Measure the structure of each session of a participant, and write it.

    Parameters
    ----------
    anats : sequence of RawAnat
        T1-weighted images of the participant.
    anatomy : Path
        Record of the anatomy.
    participant : str
        Label of the participant.
    settings : AnalysisSettings
        Template, atlases, and what is measured.
    out_dir : Path
        Root of the derivatives.

    Returns
    -------
    Record
        Path of the record, which contains the reason if the step failed.
    """
    before = read_record(anatomy)
    with recorded_digests(f"sub-{participant}", out_dir) as digests:
        key = _structure_key(anats, before.get("key"), settings, digests)

    def work() -> Mapping[str, object]:
        if "fault" in before:
            raise ImageError(str(before["fault"]))
        return products.write_structure(
            anats,
            template=settings.template,
            atlases=settings.atlases,
            out_dir=out_dir,
        )

    return _step(out_dir / structure_record(participant), key, work, out_dir=out_dir)
