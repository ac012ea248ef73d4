"""Conversion of the outputs of a participant to the report, which can be rewritten at any time."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.atomic_files import complete_files
from circuitshift.atlases.records import Atlas
from circuitshift.atlases.resolve import load_circuits
from circuitshift.pipeline import edges as connectivity
from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.bids.description import simulation_sentence
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.digests import Digests, recorded_digests
from circuitshift.pipeline.io.provenance import code_hash, hash_of, versions
from circuitshift.pipeline.measure.atlas_files import read_atlas
from circuitshift.pipeline.measure.denoise import denoising_prose, get_strategy, load_strategies
from circuitshift.pipeline.measure.outputs import command_record, is_concatenated, runs_table
from circuitshift.pipeline.measure.visits.combine import combining_prose
from circuitshift.pipeline.records import AS_GIVEN, AnalysisSettings, RetainedData
from circuitshift.pipeline.reports.page import in_time
from circuitshift.pipeline.reports.person.content import (
    ParticipantReport,
    Removed,
    RunQuality,
    SessionEdges,
    read_views,
)
from circuitshift.pipeline.reports.person.context import others_of, ratings_of, seed_of, study_root
from circuitshift.pipeline.reports.person.methods import participant_bibtex
from circuitshift.pipeline.reports.person.page import write_participant_report
from circuitshift.pipeline.reports.person.preprocessing_inputs import view_preproc, view_structure
from circuitshift.pipeline.reports.person.problems import problems_of
from circuitshift.pipeline.reports.study.methods import EDGE_WORDS
from circuitshift.pipeline.study import pairing as change

__all__ = ["ReportFile", "is_reported", "report_participant"]

_Row = Mapping[str, str]


class ReportFile(NamedTuple):
    """Path of a report."""

    report: Path


def report_participant(
    participant: str,
    settings: AnalysisSettings,
    out_dir: Path,
    runs: Path | None = None,
    *,
    structure: Path | None = None,
    again: bool = False,
) -> ReportFile:
    """Write ``sub-X.html`` from the outputs of a participant, unless it is up to date.

    Parameters
    ----------
    participant : str
        Label without ``sub-``.
    settings : AnalysisSettings
        Settings of the analysis.
    out_dir : Path
        Root of the output data set.
    runs : Path, optional
        ``sub-X_runs.tsv``, if it is not in its usual place.
    structure : Path, optional
        Record of the structure of each session, if it is not in its usual place.
    again : bool
        Write the report in any case.

    Returns
    -------
    ReportFile

    Raises
    ------
    InputError
        If this participant has not been measured.
    """
    path = runs or runs_table(participant, out_dir)
    if not path.exists():
        raise InputError(f"{path} does not exist; run the participant level for sub-{participant}")
    target, bib = _page_files(participant, path, out_dir)
    with recorded_digests(f"sub-{participant}", out_dir) as digests:
        key = _page_key(participant, path, settings, out_dir=out_dir, digests=digests)
    if not again and _is_page_of(key, target, bib):
        return ReportFile(target)
    rows = list(tables.read_table(path).rows())
    usable = [row for row in rows if row["status"] != "failed"]
    failed = [row for row in rows if row["status"] == "failed"]
    first = _first_kind(usable, settings)
    primary = [row for row in usable if (row["atlas"], row["strategy"]) == first]
    edges, circuits = _sessions(primary, settings, out_dir)
    sessions = in_time(e.session for e in edges)
    ratings, unread = ratings_of(participant, out_dir)
    root, data_set = study_root(out_dir)
    content = ParticipantReport(
        participant=participant,
        runs=tuple(
            _run_quality(row, settings, out_dir) for row in primary if not is_concatenated(row)
        ),
        edges=edges,
        circuits=circuits,
        notes=(
            *dict.fromkeys(note for row in primary for note in _notes(row, out_dir)),
            *unread,
        ),
        problems=problems_of(failed, root / "logs"),
        provenance={**_provenance(primary, settings, out_dir), "inputs hash": key},
        preproc=view_preproc(participant, out_dir / "preproc"),
        structure=view_structure(participant, out_dir / "preproc", structure),
        left_out=problems_of(primary, root / "logs"),
        removed=tuple(
            _removed(row)
            for row in usable
            if row["atlas"] == first[0] and row["strategy"] != AS_GIVEN and not is_concatenated(row)
        ),
        others=others_of(participant, out_dir, sessions[0]) if sessions else None,
        ratings=ratings,
        data_set=data_set,
        simulated=simulation_sentence(out_dir),
    )
    write_participant_report(target, content)
    tables.write_text(bib, participant_bibtex(content))
    return ReportFile(target)


def is_reported(
    participant: str, settings: AnalysisSettings, out_dir: Path, digests: Digests
) -> bool:
    """Return whether the report of a participant exists and is up to date.

    Parameters
    ----------
    participant : str
        Label without ``sub-``.
    settings : AnalysisSettings
        Settings of the analysis.
    out_dir : Path
        Root of the output data set.
    digests : Digests
        Recorded digests of files.

    Returns
    -------
    bool
    """
    path = runs_table(participant, out_dir)
    target, bib = _page_files(participant, path, out_dir)
    if not (path.exists() and target.exists() and bib.exists()):
        return False
    key = _page_key(participant, path, settings, out_dir=out_dir, digests=digests)
    return _is_page_of(key, target, bib)


def _page_files(participant: str, runs: Path, out_dir: Path) -> tuple[Path, Path]:
    bib = runs.with_name(f"sub-{participant}_references.bib")
    return out_dir / f"sub-{participant}.html", bib


def _is_page_of(key: str, target: Path, bib: Path) -> bool:
    return target.exists() and bib.exists() and key.encode() in target.read_bytes()


def _page_key(
    participant: str, runs: Path, settings: AnalysisSettings, *, out_dir: Path, digests: Digests
) -> str:
    """Return a hash of all inputs of the page at the participant level.

    Results of the group level are not included; they are added when pages are requested again.
    """
    # sidecars contain the checksums of their tables and no date, so equal results give equal pages
    files = [*runs.parent.rglob("func/*.json"), *runs.parent.rglob("figures/*")]
    files += (runs.parent.parent / "preproc" / runs.parent.name / "log").glob("*.json")
    complete = complete_files(path for path in files if path.is_file())
    contents = sorted((path.name, digests.of(path)) for path in complete)
    definitions = [Path(file) for file in (*settings.circuits, *settings.strategy_files)]
    texts = [tables.read_text(file) for file in definitions]
    ratings = ratings_of(participant, out_dir)
    about = (settings.digest(), texts, ratings, simulation_sentence(out_dir))
    return hash_of(contents, tables.read_text(runs), *about, code_hash(__name__))


def _removed(row: _Row) -> Removed:
    return Removed(row["run"], row["strategy"], _retained_data(row), row["status"] != "excluded")


def _first_kind(rows: Sequence[_Row], settings: AnalysisSettings) -> tuple[str, str]:
    """Return the atlas and the strategy that the report shows."""
    if not rows:
        return "", ""
    names = {row["strategy"] for row in rows}
    strategy = settings.strategies[0] if settings.strategies[0] in names else rows[0]["strategy"]
    return rows[0]["atlas"], strategy


def _sidecar(row: _Row, out_dir: Path) -> dict[str, Any]:
    return tables.read_json((out_dir / row["relmat"]).with_suffix(".json"))


def _notes(row: _Row, out_dir: Path) -> list[str]:
    about = _sidecar(row, out_dir)
    return [str(note) for key in ("Notes", "InputNotes") for note in about.get(key) or []]


def _number(text: str) -> float:
    return float("nan") if text == tables.NOT_AVAILABLE else float(text)


def _sibling(row: _Row, suffix: str) -> str:
    """Return the name of another output of the same run, from the name of its matrix."""
    name = row["relmat"]
    if suffix in ("motion", "outliers"):
        name = re.sub(r"_(space|res|cohort|den|atlas|stat)-[^_]+", "", name)
        if suffix == "motion":
            name = re.sub(r"_desc-[^_]+", "", name)
    elif suffix == "timeseries":
        name = re.sub("_stat-[a-z]+correlation", "_stat-mean", name)
    else:  # coverage
        name = re.sub("_stat-[a-z]+correlation", "_stat-coverage", name)
        name = re.sub(r"_desc-[^_]+", "", name)
    return name.removesuffix("relmat.tsv") + f"{'bold' if suffix == 'coverage' else suffix}.tsv"


def _run_quality(row: _Row, settings: AnalysisSettings, out_dir: Path) -> RunQuality:
    atlas = read_atlas(out_dir, row["atlas"])
    fd, keep, dvars = _motion(row, out_dir)
    sidecar = _sidecar(row, out_dir)
    coverage, signal, tsnr = _coverage(row, atlas, out_dir)
    series = out_dir / _sibling(row, "timeseries")
    below = [n for n, c in zip(atlas.labels, coverage, strict=True) if c < settings.min_coverage]
    threshold = _threshold(row["strategy"], settings)
    return RunQuality(
        label=row["run"],
        session="" if row["session"] == tables.NOT_AVAILABLE else row["session"],
        fd_mm=fd,
        keep=keep,
        retained=_retained_data(row),
        coverage=coverage,
        coverage_labels=atlas.labels,
        below_coverage=tuple(below),
        min_coverage=settings.min_coverage,
        excluded=tuple(row["reason"].split("; ")) if row["status"] == "excluded" else (),
        strategy=row["strategy"],
        series=tables.read_series(series)[1] if series.exists() else None,
        networks=tuple(region.network for region in atlas.regions),
        fd_threshold_mm=threshold,
        std_dvars=dvars,
        median_tsnr=_number(row["median_tsnr"]),
        views=read_views(sidecar.get("Views") or (), out_dir),
        preprocessing_report=str(sidecar.get("PreprocessingReport") or ""),
        signal=signal,
        tsnr=tsnr,
        min_signal=settings.min_signal,
    )


def _threshold(strategy: str, settings: AnalysisSettings) -> float | None:
    """Return the framewise displacement above which volumes were censored, mm."""
    if strategy == AS_GIVEN:
        return None
    available = load_strategies(tuple(map(Path, settings.strategy_files)))
    return get_strategy(strategy, available).fd_threshold_mm


def _retained_data(row: _Row) -> RetainedData:
    counts = ("n_volumes", "n_dummy", "n_censored", "n_retained", "n_regressors")
    values: dict[str, Any] = {name: int(_number(row[name])) for name in counts}
    measured = ("minutes", "residual_dof", "mean_fd_mm", "variance_removed")
    values |= {name: _number(row[name]) for name in measured}
    return RetainedData(**values)


def _motion(row: _Row, out_dir: Path) -> tuple[Floats, npt.NDArray[np.bool_], Floats | None]:
    """Return framewise displacement, a mask of retained volumes, and DVARS; empty if missing."""
    name = "framewise_displacement"
    motion, outliers = (out_dir / _sibling(row, kind) for kind in ("motion", "outliers"))
    if not (motion.exists() and outliers.exists()):
        return np.empty(0), np.empty(0, bool), None
    table = tables.read_table(motion)
    dvars = table.numbers("std_dvars") if "std_dvars" in table.columns else None
    return table.numbers(name), tables.read_table(outliers).numbers(name) == 0, dvars


def _coverage(
    row: _Row, atlas: Atlas, out_dir: Path
) -> tuple[Floats, Floats | None, Floats | None]:
    """Return coverage, relative signal and signal-to-noise ratio of each region."""
    path = out_dir / _sibling(row, "coverage")
    if path.exists():
        table = tables.read_table(path)
        signal, tsnr = (table.numbers(name) for name in ("signal", "tsnr"))
        return (
            table.numbers("coverage"),
            signal if np.isfinite(signal).any() else None,
            tsnr if np.isfinite(tsnr).any() else None,
        )
    missing = set(_sidecar(row, out_dir).get("RegionsMissing") or [])
    return np.array([0.0 if label in missing else 1.0 for label in atlas.labels]), None, None


def _sessions(
    rows: Sequence[_Row], settings: AnalysisSettings, out_dir: Path
) -> tuple[tuple[SessionEdges, ...], dict[str, dict[str, float]]]:
    """Return edges and circuit values of each session, averaged over usable runs."""
    included = [row for row in rows if row["status"] == "included"]
    if not included:
        return (), {}
    atlas = read_atlas(out_dir, included[0]["atlas"])
    means = change.session_means(
        change.Measured(
            participant="",
            session="" if row["session"] == tables.NOT_AVAILABLE else row["session"],
            z=connectivity.fisher_z(
                connectivity.from_matrix(tables.read_matrix(out_dir / row["relmat"])[1])
            ),
            weight=_number(row["residual_dof"]),
            minutes=_number(row["minutes"]),
            mean_fd_mm=_number(row["mean_fd_mm"]),
            name=row["run"],
        )
        for row in included
    )
    networks = tuple(region.network for region in atlas.regions)
    circuits = load_circuits(atlas, files=tuple(map(Path, settings.circuits))).circuits
    values: dict[str, dict[str, float]] = {}
    features = FeatureSpace.of_edges(atlas.labels)
    edges = []
    for (_, session), measured in means.items():
        matrix = connectivity.to_matrix(measured.z, features.n_regions)
        edges.append(SessionEdges(session, matrix, networks))
        found = features.circuit_values(measured.z, circuits)
        for circuit, value in zip(circuits, found, strict=True):
            values.setdefault(circuit.name, {})[session] = float(value)
    return tuple(edges), values


def _provenance(rows: Sequence[_Row], settings: AnalysisSettings, out_dir: Path) -> dict[str, str]:
    out = {f"version of {name}": value for name, value in versions().items()}
    record = command_record(study_root(out_dir)[0])
    if record.exists():
        out["command"] = str(tables.read_json(record)["command"])
    out |= {"seed": seed_of(out_dir), "settings hash": settings.digest()}
    if settings.needs_visits:
        out["runs"] = combining_prose(settings)
    if rows:
        sidecar = _sidecar(rows[0], out_dir)
        out["code hash"] = str(sidecar.get("CodeHash", ""))
        if sidecar.get("Preprocessing"):
            out["preprocessing"] = str(sidecar["Preprocessing"])
        if sidecar.get("AtlasReference"):
            out["atlas reference"] = str(sidecar["AtlasReference"])
        out |= {
            "atlas": rows[0]["atlas"],
            "denoising": denoising_prose(rows[0]["strategy"], settings),
            "edges": EDGE_WORDS[settings.estimator],
        }
    return out
