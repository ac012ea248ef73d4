"""Conversion of the outputs of preprocessing to data of the participant report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.atomic_files import complete_files
from circuitshift.pipeline.errors import CircuitshiftError
from circuitshift.pipeline.io import images, tables
from circuitshift.pipeline.io.images import Image, to_ras
from circuitshift.pipeline.preproc.output_names import (
    anat_path,
    anatomy_record,
    structure_path,
    structure_record,
)
from circuitshift.pipeline.preproc.structure.table import WHOLE

__all__ = [
    "Overlay",
    "PreprocView",
    "RunView",
    "SessionView",
    "StructureView",
    "view_preproc",
    "view_structure",
]


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """An image, and outlines that should follow its structures.

    Parameters
    ----------
    image : Image
        Image with RAS axes.
    outlines : tuple of (str, Image)
        Name of each outline, and an image with values above .5 inside it.
    """

    image: Image
    outlines: tuple[tuple[str, Image], ...]


@dataclass(frozen=True, slots=True, eq=False)
class RunView:
    """One preprocessed run.

    Parameters
    ----------
    label : str
        Name of the run.
    quality : mapping of str to float
        Quality measures of ``log/*_bold.json``.
    notes : tuple of str
        Steps that were omitted, with the reason.
    slice_timing : bool
        Whether slice timing was corrected.
    overlay : Overlay
        Mean volume in the space of the template.
    native : Overlay
        Reference of the run in the space of the T1-weighted image, as it was registered.
    reference : str
        Image that was registered to the T1-weighted image.
    """

    label: str
    quality: Mapping[str, float]
    notes: tuple[str, ...]
    slice_timing: bool
    overlay: Overlay
    native: Overlay
    reference: str


@dataclass(frozen=True, slots=True, eq=False)
class PreprocView:
    """Preprocessing of one participant.

    Parameters
    ----------
    template : str
        Name of the template.
    sources : tuple of str
        Names of the T1-weighted images.
    quality : mapping of str to float
        Quality measures of ``log/*_anatomy.json``.
    anatomy, normalised : Overlay
        The T1-weighted image in its own space, and in the space of the template with the outlines
        of the template.
    runs : tuple of RunView
        Runs that were preprocessed.
    """

    template: str
    sources: tuple[str, ...]
    quality: Mapping[str, float]
    anatomy: Overlay
    normalised: Overlay
    runs: tuple[RunView, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SessionView:
    """Structure of one session.

    Parameters
    ----------
    session : str
        Label; may be empty.
    quality : mapping of str to float
        Quality of the alignment with the template; empty for the only session.
    head, deep : mapping of str to float
        Volumes of the whole head, and of the deep grey matter of the first atlas, mm^3.
    aligned, volume : Overlay or None
        T1-weighted image of the session, and its volume relative to the template; None for the
        only session.
    """

    session: str
    quality: Mapping[str, float]
    head: Mapping[str, float]
    deep: Mapping[str, float]
    aligned: Overlay | None
    volume: Overlay | None


@dataclass(frozen=True, slots=True, eq=False)
class StructureView:
    """Structure of each session of one participant.

    Parameters
    ----------
    sessions : tuple of SessionView
        Sessions in the order of their labels.
    table : str
        Path of the table, relative to the root of the derivatives.
    atlases : tuple of str
        Names of the atlases.
    notes : tuple of str
        Notes on the atlases.
    fault : str
        Reason if the structure could not be measured.
    """

    sessions: tuple[SessionView, ...] = ()
    table: str = ""
    atlases: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    fault: str = ""


def view_preproc(participant: str, preproc_dir: Path) -> PreprocView | None:
    """Read the data on preprocessing for the report of a participant.

    Parameters
    ----------
    participant : str
        Label without ``sub-``.
    preproc_dir : Path
        Root of the preprocessed derivative.

    Returns
    -------
    PreprocView or None
        None if circuitshift did not preprocess the anatomy of this participant. Failed runs are
        omitted; the report lists them among the errors.
    """
    record = preproc_dir / anatomy_record(participant)
    anatomy: dict[str, Any] = tables.read_json(record) if record.exists() else {"fault": ""}
    if "fault" in anatomy:
        return None
    template = str(anatomy["template"])
    native = _anatomy(participant, preproc_dir)
    runs = []
    for path in complete_files(record.parent.glob("*_bold.json")):
        content = tables.read_json(path)
        if "fault" not in content:
            label = path.name.removesuffix("_bold.json")
            runs.append(_run(label, content, (participant, native), preproc_dir))
    return PreprocView(
        template=template,
        sources=tuple(anatomy["sources"]),
        quality=anatomy["quality"],
        anatomy=native,
        normalised=_normalised(participant, template, preproc_dir),
        runs=tuple(runs),
    )


def _anatomy(participant: str, root: Path) -> Overlay:
    t1w = to_ras(images.read(root / anat_path(participant, "T1w", ("desc", "preproc"))))
    brain = to_ras(images.read(root / anat_path(participant, "mask", ("desc", "brain"))))
    white = to_ras(images.read(root / anat_path(participant, "probseg", ("label", "WM"))))
    return Overlay(t1w, (("brain mask", brain), ("white matter", white)))


def _normalised(participant: str, template: str, root: Path) -> Overlay:
    from circuitshift.pipeline.preproc.template import load_template  # noqa: PLC0415 - scipy

    t1w = images.read(
        root / anat_path(participant, "T1w", ("space", template), ("desc", "preproc"))
    )
    try:
        target = load_template(template)
    except CircuitshiftError:  # reports can be rewritten on computers without the template
        return Overlay(to_ras(t1w), ())
    brain = target.brain.like(target.mask.astype(np.float32))
    outlines = [("template's brain", brain)]
    if target.priors:
        outlines.append(("template's white matter", target.priors[2]))
    return Overlay(to_ras(t1w), tuple((name, to_ras(image)) for name, image in outlines))


def _run(
    label: str, content: Mapping[str, Any], person: tuple[str, Overlay], root: Path
) -> RunView:
    participant, anatomy = person
    files = {Path(name).name.rpartition("_")[2]: root / name for name in content["files"]}
    mean = images.read(files["boldref.nii.gz"])
    mask = images.read(files["mask.nii.gz"])
    template = str(content["template"])
    labels = images.read(root / anat_path(participant, "dseg", ("space", template)))
    own = _on_grid(labels, mean)
    white = mean.like((own == 2).astype(np.float32))
    return RunView(
        label=label,
        quality=content["quality"],
        notes=tuple(content["notes"]),
        slice_timing=bool(content["slice_timing"]),
        reference=str(content["reference"]),
        overlay=Overlay(mean, (("mask of the run", mask), ("white matter of the T1w", white))),
        native=_registered(content, anatomy, root),
    )


def _registered(content: Mapping[str, Any], anatomy: Overlay, root: Path) -> Overlay:
    """Resample the reference of a run to the grid of the T1-weighted image, as registered."""
    from circuitshift.pipeline.preproc import transforms  # noqa: PLC0415 - scipy

    reference = images.read(root / content["registered"])
    (to_reference,) = transforms.read_affines(root / content["registration"])
    grid = anatomy.image
    where = transforms.apply(to_reference, grid.points())
    return Overlay(grid.like(reference.at(where).reshape(grid.grid)), anatomy.outlines)


def _on_grid(labels: Image, grid: Image) -> npt.NDArray[np.intp]:
    values = labels.at(grid.points(), order=0).reshape(grid.grid)
    return np.rint(values).astype(np.intp)


def view_structure(
    participant: str, preproc_dir: Path, record: Path | None = None
) -> StructureView | None:
    """Read the structure of each session for the report of a participant.

    Parameters
    ----------
    participant : str
        Label without ``sub-``.
    preproc_dir : Path
        Root of the preprocessed derivative.
    record : Path, optional
        Record of the structure, if it is not in its usual place.

    Returns
    -------
    StructureView or None
        None if the structure was not measured. If measuring failed, only the reason is given.
    """
    path = record or preproc_dir / structure_record(participant)
    if not path.exists():
        return None
    content: dict[str, Any] = tables.read_json(path)
    if "fault" in content:
        return StructureView(fault=str(content["fault"]))
    table = structure_path(participant)
    rows = [
        (row, float(row["volume"]))
        for row in tables.read_table(preproc_dir / table).rows()
        if row["volume"] != tables.NOT_AVAILABLE
    ]
    from circuitshift.pipeline.preproc.structure.volumes import is_deep_grey  # noqa: PLC0415 - scipy

    files = [preproc_dir / name for name in content["files"]]
    sessions = []
    for session, quality in content["sessions"].items():
        label = session or tables.NOT_AVAILABLE
        own = [(row, volume) for row, volume in rows if row["session"] == label]
        first = [(row, volume) for row, volume in own if row["atlas"] == content["atlases"][0]]
        in_session = [path for path in files if f"_ses-{session}_" in path.name]
        sessions.append(
            SessionView(
                session=session,
                quality=quality,
                head={row["region"]: volume for row, volume in own if row["atlas"] == WHOLE},
                deep={row["region"]: v for row, v in first if is_deep_grey(row["region"])},
                aligned=_in_t1w_space(in_session, "_T1w.nii.gz", participant, preproc_dir),
                volume=_in_t1w_space(in_session, "_jacobian.nii.gz", participant, preproc_dir),
            )
        )
    return StructureView(
        sessions=tuple(sessions),
        table=table.as_posix(),
        atlases=tuple(content["atlases"]),
        notes=tuple(content["notes"]),
    )


def _in_t1w_space(files: Sequence[Path], end: str, participant: str, root: Path) -> Overlay | None:
    """Return an image of a session with the outlines of the participant's brain."""
    found = [path for path in files if path.name.endswith(end)]
    if not found:
        return None
    return Overlay(to_ras(images.read(found[0])), _anatomy(participant, root).outlines)
