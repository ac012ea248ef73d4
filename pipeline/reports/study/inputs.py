"""Conversion of the outputs of the group level to the study report, without recomputing tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from circuitshift.atlases.atomic_files import complete_files
from circuitshift.pipeline.bids.description import simulation_sentence
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.digests import Digests, recorded_digests
from circuitshift.pipeline.io.provenance import code_hash, hash_of
from circuitshift.pipeline.measure.atlas_files import read_atlas
from circuitshift.pipeline.model.secondary.secondary import secondary_tables
from circuitshift.pipeline.reports.page import Row
from circuitshift.pipeline.reports.person.inputs import ReportFile
from circuitshift.pipeline.reports.study.content import StudyReport
from circuitshift.pipeline.reports.study.methods import methods_group
from circuitshift.pipeline.reports.study.page import write_study_report

__all__ = ["report_group"]

_EDGES = (
    "typical_z",
    "change_treated_z",
    "change_control_z",
    "reference_z",
    "estimate_z",
    "statistic",
    "p_corrected",
    "distance_mm",
    "qcfc_r",
    "qcfc_change_r",
)
_QUALITY = ("mean_fd_mm", "minutes", "residual_dof", "n_regions_lost", "boundary_cost")


def report_group(out_dir: Path, verdict: Path | None = None, *, again: bool = False) -> ReportFile:
    """Write ``group/report.html`` and ``group/references.bib`` unless they are up to date.

    Parameters
    ----------
    out_dir : Path
        Root of the output data set.
    verdict : Path, optional
        Path of ``verdict.json`` if it is not in its usual place.
    again : bool
        Write the files in any case.

    Returns
    -------
    ReportFile

    Raises
    ------
    InputError
        If the group level has not been run, or only by an earlier version.
    """
    folder = out_dir / "group"
    path = verdict or folder / "verdict.json"
    if not path.exists():
        raise InputError(f"{path} does not exist; run the group level first")
    target, bib = folder / "report.html", folder / "references.bib"
    with recorded_digests("group", out_dir) as digests:
        key = _page_key(path, out_dir, digests)
    is_written = target.exists() and bib.exists()
    if not again and is_written and key.encode() in target.read_bytes():
        return ReportFile(target)
    content = tables.read_json(path) | {"inputs_hash": key}
    if "settings" not in content:
        raise InputError(
            f"{path} was written by an earlier version of circuitshift, with other keys; "
            "run the group level again"
        )
    participants = _rows(folder / "circuits.tsv")
    exclusions = _rows(folder / "exclusions.tsv")
    atlas = read_atlas(out_dir, str(content["atlas"]))
    methods = methods_group(content, atlas)
    tables.write_text(bib, methods.bib)
    write_study_report(
        target,
        StudyReport(
            verdict=content,
            tests=_rows(folder / "tests.tsv"),
            participants=participants,
            exclusions=exclusions,
            quality=_quality(out_dir, content, [*exclusions, *participants]),
            change_by_strength=_edges(folder / "edges.tsv"),
            notes=tuple(content.get("notes") or ()),
            methods=methods.text,
            change=_rows(folder / "change.tsv"),
            secondary={
                table.name: _rows(path)
                for table in secondary_tables()
                if (path := folder / f"{table.name}.tsv").exists()
            },
            references=methods.references,
            regions=atlas.regions,
            pages=_pages(out_dir),
            files=_files(folder),
            simulated=_simulated(out_dir),
        ),
    )
    return ReportFile(target)


def _page_key(verdict: Path, out_dir: Path, digests: Digests) -> str:
    """Return a hash of all inputs of the page: group level, runs, regions and participant pages."""
    files = [verdict, *verdict.parent.glob("*.tsv"), *verdict.parent.glob("*.json")]
    files += out_dir.glob("**/sub-*/sub-*_runs.tsv")
    files += (out_dir / "sourcedata" / "atlases").glob("*")
    contents = [
        (path.relative_to(out_dir).as_posix() if path != verdict else "", digests.of(path))
        for path in complete_files(files)
    ]
    return hash_of(contents, _pages(out_dir), _simulated(out_dir), code_hash(__name__))


def _simulated(out_dir: Path) -> tuple[str, ...]:
    """Name the data sets of the study whose descriptions state that their data are simulated."""
    others = sorted((out_dir / "datasets").glob("*"))
    sentences = [simulation_sentence(out_dir), *(simulation_sentence(x, x.name) for x in others)]
    return tuple(filter(None, sentences))


def _rows(path: Path) -> list[dict[str, Any]]:
    return [dict(row) for row in tables.read_table(path).rows()]


def _quality(out_dir: Path, content: Row, available: Sequence[Row]) -> list[dict[str, object]]:
    """Return motion, minutes and coverage of every measured run of the primary analysis."""
    arms = {row["participant_id"]: row["arm"] for row in available}
    out: list[dict[str, object]] = []
    for path in sorted(out_dir.glob("**/sub-*/sub-*_runs.tsv")):
        parts = path.relative_to(out_dir).parts
        participant = (f"{parts[1]}:" if parts[0] == "datasets" else "") + path.parent.name
        for row in tables.read_table(path).rows():
            if (row["strategy"], row["atlas"]) == (content["strategy"], content["atlas"]):
                about = {
                    "participant_id": participant,
                    "arm": arms.get(participant, tables.NOT_AVAILABLE),
                    "session": row["session"],
                    "status": row["status"],
                }
                # tables of earlier versions lack some of the columns
                out.append(about | {n: row.get(n, tables.NOT_AVAILABLE) for n in _QUALITY})
    return out


def _edges(path: Path) -> dict[str, object]:
    """Return group means and tests of every edge, and the names of its circuits."""
    if not path.exists():
        return {}
    table = tables.read_table(path)
    circuits = table.column("circuits")
    return {name: table.numbers(name) for name in _EDGES} | {
        "is_circuit": np.array([text != tables.NOT_AVAILABLE for text in circuits]),
        "circuits": circuits,
    }


def _pages(out_dir: Path) -> dict[str, str]:
    """Return links from ``group/`` to the existing pages of participants."""
    out = {}
    for path in sorted(out_dir.glob("**/sub-*.html")):
        parts = path.relative_to(out_dir).parts
        participant = (f"{parts[1]}:" if parts[0] == "datasets" else "") + path.stem
        out[participant] = "../" + path.relative_to(out_dir).as_posix()
    return out


def _files(folder: Path) -> Mapping[str, Sequence[str]]:
    """Return the tables in the folder of the page, and the columns of each."""
    return {
        path.name: tuple(tables.read_json(path.with_suffix(".json")))
        for path in complete_files(folder.glob("*.tsv"))
        if path.with_suffix(".json").exists()
    } | {"verdict.json": (), "references.bib": ()}
