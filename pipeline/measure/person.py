"""Measure all runs of a participant and write a table with the status of each run.

If a run cannot be measured, the table ``sub-X_runs.tsv`` contains the reason, and the other runs
are measured. Outputs that are still valid (`circuitshift.pipeline.measure.validity`) are not
computed again.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from circuitshift.atlases.records import Atlas
from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.bids.input_types import is_image
from circuitshift.pipeline.bids.runs.acquisition import acquisition_of
from circuitshift.pipeline.bids.runs.confound_values import dummy_note
from circuitshift.pipeline.bids.runs.identical import copies_among
from circuitshift.pipeline.errors import (
    CircuitshiftError,
    InputError,
    InputProblem,
    TableError,
)
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.digests import UNREAD, Digests, recorded_digests
from circuitshift.pipeline.io.provenance import hash_of
from circuitshift.pipeline.measure.outputs import runs_table, stem_of
from circuitshift.pipeline.measure.run import (
    failed_row,
    failure_of,
    measure_run,
    measure_visit,
)
from circuitshift.pipeline.measure.validity import about_run, finished_rows, note_outputs, run_key
from circuitshift.pipeline.measure.visits.combine import in_order, visit_run
from circuitshift.pipeline.records import AnalysisSettings, Run

__all__ = [
    "RUNS_COLUMNS",
    "ParticipantFiles",
    "are_measured",
    "is_measured",
    "measure_participant",
    "measure_preprocessed",
    "measured_together",
    "preprocessed_runs",
    "record_crash",
]

Row = dict[str, object]

#: Columns of ``sub-X_runs.tsv`` and their descriptions.
RUNS_COLUMNS: dict[str, str] = {
    "run": "Name of the input file up to its suffix",
    "session": "Session label",
    "atlas": "Atlas name",
    "strategy": "Denoising strategy",
    "status": "included, excluded (measured, but below a threshold), combined (part of the "
    "concatenated series of its visit, which are another row), or failed (not measured)",
    "code": "Reason for exclusion or failure as a keyword; several are separated by semicolons",
    "reason": "Reason for exclusion or failure as a sentence; for included series and matrices of "
    "other programs, what was resolved while reading them",
    "n_volumes": "Number of volumes of the run",
    "n_dummy": "Number of non-steady-state volumes that were dropped at the start",
    "n_censored": "Number of volumes that were censored for motion",
    "n_retained": "Number of volumes from which connectivity was estimated",
    "minutes": "Retained volumes times repetition time, min",
    "n_regressors": "Rank of the nuisance regressors after filtering",
    "residual_dof": "Residual degrees of freedom; the weight of this run in its session",
    "mean_fd_mm": "Mean framewise displacement of the retained volumes, mm",
    "variance_removed": "Share of the variance of a region that the regressors removed, after "
    "detrending and filtering; median over regions",
    "median_tsnr": "Temporal signal-to-noise ratio before denoising, median over the voxels of the "
    "mask",
    "boundary_cost": "Boundary cost of the registration to the T1-weighted image, from 0 to 1, .5 "
    "by chance; n/a if circuitshift did not preprocess the run",
    "registration_disagreement_mm": "Distance of the registration from the position that the other "
    "runs of the participant imply, mm; n/a for a single run",
    "n_regions": "Number of regions of the atlas",
    "n_regions_lost": "Number of regions with too little signal, whose edges are n/a",
    "global_signal_removed": "Whether the global signal was regressed out: by the strategy or, for "
    "series and matrices, by their JSON files or design; n/a if unknown",
    "relmat": "Path of the edge matrix, relative to the output folder",
}


class ParticipantFiles(NamedTuple):
    """Path of the table that `measure_participant` writes."""

    runs: Path


def measure_participant(
    runs: Sequence[Run],
    problems: Sequence[InputProblem],
    *,
    participant: str,
    settings: AnalysisSettings,
    out_dir: Path,
) -> ParticipantFiles:
    """Measure all runs of one participant and write their outputs and the table of runs.

    Parameters
    ----------
    runs : sequence of Run
        Runs of one participant of one data set.
    problems : sequence of InputProblem
        Problems of files of this participant; each becomes a row with status ``failed``.
    participant : str
        Label without ``sub-``.
    settings : AnalysisSettings
        Settings of the measurement.
    out_dir : Path
        Root of the output data set.

    Returns
    -------
    ParticipantFiles
        Path of ``sub-X_runs.tsv``, which is written also if all runs failed.

    Raises
    ------
    OutputError
        If outputs cannot be written.
    """
    rows = _problem_rows(problems)
    with recorded_digests(f"sub-{participant}", out_dir) as digests:
        copies = _copies(runs, digests)
        for together in measured_together(runs, settings):
            rows += _rows_or_failures(together, settings, out_dir, digests, copies=copies)
    return ParticipantFiles(_write_rows(rows, participant, out_dir))


def is_measured(
    runs: Sequence[Run],
    problems: Sequence[InputProblem],
    *,
    participant: str,
    settings: AnalysisSettings,
    out_dir: Path,
    digests: Digests,
) -> bool:
    """Return whether all outputs of a participant exist and are valid.

    In this case, `measure_participant` would change nothing.

    Parameters
    ----------
    runs : sequence of Run
        Runs of one participant of one data set.
    problems : sequence of InputProblem
        Problems of files of this participant.
    participant : str
        Label without ``sub-``.
    settings : AnalysisSettings
        Settings of the measurement.
    out_dir : Path
        Root of the output data set.
    digests : Digests
        Digests of files.

    Returns
    -------
    bool
    """
    rows = _problem_rows(problems)
    copies = _copies(runs, digests)
    for together in measured_together(runs, settings):
        done = _rows_without_measuring(together, settings, out_dir, digests, copies=copies)
        if done is None:
            return False
        rows += done
    return _is_written(runs_table(participant, out_dir), _columns(rows))


def measured_together(runs: Sequence[Run], settings: AnalysisSettings) -> list[list[Run]]:
    """Group the runs whose outputs depend on each other.

    Parameters
    ----------
    runs : sequence of Run
        Runs of one participant.
    settings : AnalysisSettings
        Settings of the measurement.

    Returns
    -------
    list of list of Run
        The runs of each visit if the settings combine them, otherwise each run by itself.
    """
    if not settings.needs_visits:
        return [[run] for run in runs]
    visits: dict[str, list[Run]] = {}
    for run in runs:
        visits.setdefault(run.session, []).append(run)
    return list(visits.values())


def are_measured(
    together: Sequence[Run], settings: AnalysisSettings, out_dir: Path, digests: Digests
) -> bool:
    """Return whether all outputs of runs exist and are valid.

    Parameters
    ----------
    together : sequence of Run
        Runs as selected, from `measured_together`; their metadata are checked here.
    settings : AnalysisSettings
        Settings of the measurement.
    out_dir : Path
        Root of the output data set.
    digests : Digests
        Digests of files.

    Returns
    -------
    bool
    """
    rows = _rows_without_measuring(together, settings, out_dir, digests, copies={})
    return rows is not None and all(row["status"] != "failed" for row in rows)


def record_crash(participant: str, reason: str, *, out_dir: Path) -> ParticipantFiles:
    """Add a row with status ``failed`` for an unexpected error.

    Parameters
    ----------
    participant : str
        Label without ``sub-``.
    reason : str
        Sentence that names the file with the complete error.
    out_dir : Path
        Root of the output data set.

    Returns
    -------
    ParticipantFiles
        Path of ``sub-X_runs.tsv``.
    """
    path = runs_table(participant, out_dir)
    before: list[Row] = []
    if path.exists():
        before = [dict(row) for row in tables.read_table(path).rows() if row["code"] != "crash"]
    rows = [*before, failed_row(f"sub-{participant}", "", "crash", reason)]
    return ParticipantFiles(_write_rows(rows, participant, out_dir))


def _problem_rows(problems: Sequence[InputProblem]) -> list[Row]:
    return [
        failed_row(problem.where, "", "input", f"{problem.what}; {problem.fix}")
        for problem in problems
    ]


def _columns(rows: Sequence[Mapping[str, object]]) -> dict[str, list[object]]:
    return {name: [row.get(name) for row in rows] for name in RUNS_COLUMNS}


def _write_rows(rows: Sequence[Mapping[str, object]], participant: str, out_dir: Path) -> Path:
    """Write the table of runs, unless it exists with the same content."""
    path, columns = runs_table(participant, out_dir), _columns(rows)
    if not _is_written(path, columns):
        sidecar = {k: {"Description": v} for k, v in RUNS_COLUMNS.items()}
        tables.write_table(path, columns, sidecar=sidecar)
    return path


def _is_written(path: Path, columns: Mapping[str, Sequence[object]]) -> bool:
    try:
        has_sidecar = path.with_suffix(".json").exists()
        return has_sidecar and tables.read_text(path) == tables.table_text(columns)
    except TableError:
        return False


def _copies(runs: Sequence[Run], digests: Digests) -> dict[Run, str]:
    """Return a sentence for each run of a participant whose data are those of another run."""
    contents = []
    for run in runs:
        try:
            content = digests.of(run.path)
        except (OSError, InputError):  # reported where the run is measured
            content = ""
        contents.append((run, "" if content == UNREAD else content))
    return copies_among(contents)


class _Checked(NamedTuple):
    """A run that can be measured, what its outputs depend on, notes and its acquisition."""

    run: Run
    key: Mapping[str, str]
    notes: tuple[str, ...]
    facts: Mapping[str, object]


class _Together(NamedTuple):
    """Runs that are measured together, in temporal order, and the rows of those that cannot be."""

    checked: list[_Checked]
    failures: list[Row]
    is_ordered: bool
    is_read: bool  # False if a run could not be checked because of an error


def _check(
    runs: Sequence[Run],
    settings: AnalysisSettings,
    out_dir: Path,
    digests: Digests,
    *,
    copies: Mapping[Run, str],
) -> _Together:
    """Check the metadata of runs and hash what they depend on; errors become rows."""
    checked: list[_Checked] = []
    failures: list[Row] = []
    is_read = True
    for run in runs:
        try:
            _check_files_exist(run)
            complete, problems, notes = bids.check_run(run)
            if problems:
                failures += _unusable(complete, problems)
                continue
            if copied := copies.get(run):
                failures.append(failed_row(stem_of(run), run.session, "identical-data", copied))
                continue
            key = run_key(complete, settings, out_dir, digests)
            checked.append(_Checked(complete, key, notes, acquisition_of(complete)))
        except (CircuitshiftError, OSError) as error:
            failures.append(failure_of(run, error))
            is_read = False
    if not settings.needs_visits:
        return _Together(checked, failures, True, is_read)
    order = in_order([c.run for c in checked])
    if order is not None:
        checked.sort(key=lambda c: order.index(c.run))
    # each output depends on all runs of the visit and on their order
    of_visit = hash_of([c.key["InputsHash"] for c in checked], order is not None)
    checked = [
        c._replace(key={**c.key, "InputsHash": hash_of(c.key["InputsHash"], of_visit)})
        for c in checked
    ]
    return _Together(checked, failures, order is not None, is_read)


def _rows_or_failures(
    runs: Sequence[Run],
    settings: AnalysisSettings,
    out_dir: Path,
    digests: Digests,
    *,
    copies: Mapping[Run, str],
) -> list[Row]:
    """Measure runs unless their outputs are valid; return an error as a row."""
    found = _check(runs, settings, out_dir, digests, copies=copies)
    done = _finished(found, settings, out_dir, digests, update=True)
    if done is not None:
        return done
    measured = [c.run for c in found.checked]
    about = {c.run: c for c in _with_visit(found.checked, settings)}
    confounds_notes = cache(partial(_confounds_notes, settings=settings))

    def sidecar(run: Run, atlas: Atlas) -> dict[str, object]:
        placed = atlas if is_image(run) else None
        _, key, notes, facts = about[run]
        noted: dict[str, object] = {}
        if is_image(run) and run in measured:
            noted = {"InputNotes": confounds_notes(run)}
        return {**about_run(run, placed, notes, out_dir, acquisition=facts), **key, **noted}

    if settings.needs_visits:
        rows = measure_visit(
            measured, settings, out_dir, is_ordered=found.is_ordered, about=sidecar
        )
    else:
        (run,) = measured
        try:
            rows = measure_run(run, settings, out_dir, about=partial(sidecar, run))
        except (CircuitshiftError, OSError) as error:
            rows = [failure_of(run, error)]
    note_outputs(rows, out_dir, digests)
    return [*rows, *found.failures]


def _with_visit(checked: Sequence[_Checked], settings: AnalysisSettings) -> list[_Checked]:
    """Add the visit itself, whose outputs are those of the concatenated series."""
    if settings.combine_runs != "concatenate" or len(checked) < 2:
        return list(checked)
    visit = visit_run([c.run for c in checked])
    key = {**checked[0].key, "SourceDigest": ""}  # it is no copy of its first run
    return [*checked, _Checked(visit, key, (), {})]


def _finished(
    found: _Together,
    settings: AnalysisSettings,
    out_dir: Path,
    digests: Digests,
    *,
    update: bool = False,
) -> list[Row] | None:
    """Return the rows of runs if all their outputs exist and are valid, otherwise None."""
    rows: list[Row] = []
    for number, checked in enumerate(_with_visit(found.checked, settings)):
        combined = {(r["atlas"], r["strategy"]) for r in rows if r["status"] == "combined"}
        is_visit = number == len(found.checked)
        done = finished_rows(
            checked.run,
            settings,
            out_dir,
            key=checked.key,
            about=partial(
                about_run,
                checked.run,
                notes=checked.notes,
                out_dir=out_dir,
                acquisition=checked.facts,
            ),
            digests=digests,
            update=update,
            kinds=combined if is_visit else None,
        )
        if done is None:
            return None
        rows += done
    return [*rows, *found.failures]


def _confounds_notes(run: Run, settings: AnalysisSettings) -> list[str]:
    """Note traces of volumes before the steady state in the confounds of a run."""
    if run.confounds is None or settings.dummy_scans is not None:
        return []
    table = tables.read_table(run.confounds)
    columns = {}
    for name in table.columns:
        with suppress(TableError):  # reported where the column is used
            columns[name] = table.numbers(name)
    note = dummy_note(run.confounds, columns)
    return [note] if note else []


def _rows_without_measuring(
    runs: Sequence[Run],
    settings: AnalysisSettings,
    out_dir: Path,
    digests: Digests,
    *,
    copies: Mapping[Run, str],
) -> list[Row] | None:
    """Return the rows of runs if they can be determined without measuring, otherwise None."""
    found = _check(runs, settings, out_dir, digests, copies=copies)
    return _finished(found, settings, out_dir, digests) if found.is_read else None


def _unusable(run: Run, problems: Sequence[InputProblem]) -> list[Row]:
    reason = "; ".join(f"{Path(p.where).name}: {p.what}; {p.fix}" for p in problems)
    return [failed_row(stem_of(run), run.session, "input", reason)]


def _check_files_exist(run: Run) -> None:
    """Raise an error if files of a run were removed after the data set was indexed."""
    files = [path for path in (run.path, run.mask, run.confounds) if path is not None]
    gone = [path for path in files if not path.exists()]
    if gone:
        raise InputError(
            f"{', '.join(map(str, gone))}: gone since the data set was indexed; restore the file "
            "and run again"
        )


def measure_preprocessed(
    records: Sequence[Path],
    problems: Sequence[InputProblem],
    *,
    participant: str,
    settings: AnalysisSettings,
    preproc_dir: Path,
    data_set: str,
    out_dir: Path,
) -> ParticipantFiles:
    """Measure the runs of a participant that circuitshift preprocessed.

    Parameters
    ----------
    records : sequence of Path
        JSON records of `circuitshift.pipeline.preproc.person.preprocess_run`, one per run.
    problems : sequence of InputProblem
        Problems of files of this participant.
    participant : str
        Label without ``sub-``.
    settings : AnalysisSettings
        Settings of the measurement.
    preproc_dir : Path
        Root of the preprocessed data set.
    data_set : str
        Name of the data set; empty for the main data set.
    out_dir : Path
        Root of the output data set.

    Returns
    -------
    ParticipantFiles
        Path of ``sub-X_runs.tsv``. A run that could not be preprocessed has a row with status
        ``failed``.
    """
    runs, failures = preprocessed_runs(
        records,
        participant=participant,
        settings=settings,
        preproc_dir=preproc_dir,
        data_set=data_set,
    )
    return measure_participant(
        runs,
        [*problems, *failures],
        participant=participant,
        settings=settings,
        out_dir=out_dir,
    )


def preprocessed_runs(
    records: Sequence[Path],
    *,
    participant: str,
    settings: AnalysisSettings,
    preproc_dir: Path,
    data_set: str,
) -> tuple[list[Run], list[InputProblem]]:
    """Find the runs that preprocessing wrote for a participant.

    Parameters
    ----------
    records : sequence of Path
        JSON records of `circuitshift.pipeline.preproc.person.preprocess_run`, one per run.
    participant : str
        Label without ``sub-``.
    settings : AnalysisSettings
        Settings with the template space.
    preproc_dir : Path
        Root of the preprocessed data set.
    data_set : str
        Name of the data set; empty for the main data set.

    Returns
    -------
    runs : list of Run
        Preprocessed runs.
    failures : list of InputProblem
        Runs that could not be preprocessed.
    """
    from circuitshift.pipeline.preproc.person import read_record  # noqa: PLC0415 - scipy

    written: set[str] = set()
    failures: list[InputProblem] = []
    for record in records:
        content = read_record(record)
        if "fault" in content:
            stem = record.name.removesuffix("_bold.json")
            what, _, fix = str(content["fault"]).rpartition("; ")
            problem = (what, fix) if what else (fix, "correct this and run again")
            failures.append(InputProblem(stem, *problem, participant))
        written |= set(content.get("files", []))
    if not written:
        return [], failures
    tasks = {name.get("task") for path in written if (name := bids.parse_name(Path(path).name))}
    query = bids.Query(
        participants=(participant,),
        tasks=tuple(sorted(tasks - {""})),  # chosen before the images were preprocessed
        spaces=(settings.template,),
        input_types=("bold",),
    )
    found = bids.find_runs(preproc_dir, query, dataset=data_set, only=written)
    return list(found.runs), failures
