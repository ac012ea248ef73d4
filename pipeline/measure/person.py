"""One person's runs -> regional series, edges and quality, as files.

The file-level shell around `extract`, `denoise` and `connectivity`: it reads, calls, writes, and
turns every fault of one run into a row of ``sub-X_runs.tsv``, so that the other runs and people go
on. An output whose inputs, code and settings are unchanged is not computed again.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.records import Atlas
from circuitshift.pipeline import edges as connectivity
from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.bids.input_types import input_type_of, is_image
from circuitshift.pipeline.errors import (
    CircuitshiftError,
    InputError,
    InputProblem,
    OutputError,
    TableError,
)
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.nifti import Header, read_header
from circuitshift.pipeline.io.provenance import code_hash, inputs_hash
from circuitshift.pipeline.measure import denoise, extract
from circuitshift.pipeline.measure import quality_images as views
from circuitshift.pipeline.measure import voxelwise as voxels
from circuitshift.pipeline.measure.atlas_files import atlas_for, read_atlas
from circuitshift.pipeline.measure.outputs import (
    RunOutput,
    desc_of,
    estimator_of,
    is_complete,
    outputs_of,
    runs_table,
    stem_of,
    write_product,
)
from circuitshift.pipeline.preproc.person import read_record
from circuitshift.pipeline.records import AS_GIVEN, AnalysisSettings, RetainedData, Run, Strategy

__all__ = [
    "RUNS_COLUMNS",
    "ParticipantFiles",
    "is_measured",
    "measure_participant",
    "record_crash",
]


#: Columns of ``sub-X_runs.tsv``, and what they mean.
RUNS_COLUMNS: dict[str, str] = {
    "run": "Name of the input file up to its suffix",
    "session": "Session label",
    "atlas": "Atlas name",
    "strategy": "Denoising strategy",
    "status": "included, excluded (measured, but below a threshold), or failed (not measured)",
    "code": "Why it is not included, as a word",
    "reason": "Why it is not included, as a sentence; a note when it is",
    "n_volumes": "Volumes in the run",
    "n_dummy": "Non-steady-state volumes dropped at its start",
    "n_censored": "Volumes censored for motion",
    "n_retained": "Volumes that entered connectivity",
    "minutes": "Retained volumes times repetition time, min",
    "n_regressors": "Rank of the nuisance regressors after filtering",
    "residual_dof": "Residual degrees of freedom; the weight of this run in its session",
    "mean_fd_mm": "Mean framewise displacement of the retained volumes, mm",
    "variance_removed": "Share of a region's variance that the regressors took, after detrending "
    "and filtering; median over regions",
    "median_tsnr": "Temporal signal-to-noise ratio before denoising, median over the voxels of the "
    "mask",
    "n_regions": "Regions of the atlas",
    "n_regions_lost": "Regions without enough signal; their edges are n/a",
    "relmat": "Edge matrix, relative to the output folder",
}


class ParticipantFiles(NamedTuple):
    """What `measure_participant` makes."""

    runs: Path


def measure_participant(
    runs: Sequence[Run],
    problems: Sequence[InputProblem],
    *,
    participant: str,
    settings: AnalysisSettings,
    out_dir: Path,
) -> ParticipantFiles:
    """Measure every run of one person and write what was found.

    Parameters
    ----------
    runs : sequence of Run
        Of one person of one data set.
    problems : sequence of Fault
        What the index found wrong with this person; each becomes a row with status ``failed``.
    participant : str
        Label without ``sub-``.
    settings : Science
    out_dir : Path
        Root of the output data set.

    Returns
    -------
    PersonFiles
        ``sub-X_runs.tsv`` is written even when every run failed.
    """
    rows = [
        _failed(problem.where, "", "input", f"{problem.what}; {problem.fix}")
        for problem in problems
    ]
    for run in runs:
        rows += _measure_or_record(run, settings, out_dir)
    return ParticipantFiles(_write_rows(rows, participant, out_dir))


def record_crash(participant: str, reason: str, *, out_dir: Path) -> ParticipantFiles:
    """Add a row with status ``failed`` for an error that nobody foresaw.

    Parameters
    ----------
    participant : str
        Label without ``sub-``.
    reason : str
        One sentence that says where the whole error is.
    out_dir : Path
        Root of the output data set.

    Returns
    -------
    PersonFiles
    """
    path = runs_table(participant, out_dir)
    before: list[dict[str, object]] = []
    if path.exists():
        before = [dict(row) for row in tables.read_table(path).rows() if row["code"] != "crash"]
    rows = [*before, _failed(f"sub-{participant}", "", "crash", reason)]
    return ParticipantFiles(_write_rows(rows, participant, out_dir))


def _write_rows(rows: Sequence[Mapping[str, object]], participant: str, out_dir: Path) -> Path:
    path = runs_table(participant, out_dir)
    columns = {name: [row.get(name) for row in rows] for name in RUNS_COLUMNS}
    sidecar = {k: {"Description": v} for k, v in RUNS_COLUMNS.items()}
    tables.write_table(path, columns, sidecar=sidecar)
    return path


def _failed(where: str, session: str, code: str, reason: str) -> dict[str, object]:
    return {
        "run": Path(where).name or where,
        "session": session or None,
        "status": "failed",
        "code": code,
        "reason": reason,
    }


def is_measured(run: Run, settings: AnalysisSettings, out_dir: Path) -> bool:
    """Tell whether all outputs of a run are there and valid, so that measuring would skip it.

    Parameters
    ----------
    run : Run
    settings : Science
    out_dir : Path
        Root of the output data set.

    Returns
    -------
    bool
    """
    checked, problems, _ = bids.check_run(run)
    if problems:
        return False
    return _finished(checked, settings, out_dir, _key(checked, settings)) is not None


def _measure_or_record(
    run: Run, settings: AnalysisSettings, out_dir: Path
) -> list[dict[str, object]]:
    """Measure one run; a fault becomes a row."""
    try:
        _refuse_vanished(run)
        run, problems, notes = bids.check_run(run)
        if problems:
            reason = "; ".join(f"{Path(f.where).name}: {f.what}; {f.fix}" for f in problems)
            return [_failed(stem_of(run), run.session, "input", reason)]
        key = _key(run, settings)
        done = _finished(run, settings, out_dir, key)
        if done is not None:
            return done
        rows: list[dict[str, object]] = []
        failures: list[dict[str, object]] = []
        for made in _MEASURES[input_type_of(run).content](run, settings, out_dir, failures):
            about = {**key, "Notes": [*notes, *_space_note(made.atlas, run)]}
            rows.append(write_product(made, run, settings, out_dir=out_dir, sidecar=about))
        return [*rows, *failures]
    except OutputError:  # no fault of this run: everything has to wait
        raise
    except CircuitshiftError as error:
        return [_failed(stem_of(run), run.session, _code(error), str(error))]
    except OSError as error:
        if error.filename is None:
            raise
        reason = f"{error.filename}: it cannot be read ({error.strerror}); see to the disk it is on"
        return [_failed(stem_of(run), run.session, "input", reason)]


def _refuse_vanished(run: Run) -> None:
    """Say which file of a run has gone since the data set was indexed."""
    files = [path for path in (run.path, run.mask, run.confounds) if path is not None]
    gone = [path for path in files if not path.exists()]
    if gone:
        raise InputError(
            f"{', '.join(map(str, gone))}: gone since the data set was indexed; fetch or write it "
            "again"
        )


def _space_note(atlas: Atlas, run: Run) -> list[str]:
    """Say that an image and its atlas are in different template spaces."""
    if not is_image(run) or not (atlas.space and run.space) or atlas.space == run.space:
        return []
    return [
        f"Atlas {atlas.name} is in {atlas.space} and the images are in {run.space}: regions are "
        "displaced by up to a few millimetres."
    ]


def _code(error: CircuitshiftError) -> str:
    """``TooLittleDataError`` becomes ``too-little-data``."""
    name = type(error).__name__.removesuffix("Error")
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).strip("-")


def _key(run: Run, settings: AnalysisSettings) -> dict[str, str]:
    """Hashes that decide whether an output is still valid."""
    files = [Path(name) for name in (*settings.atlases, *settings.strategy_files)]
    inputs = inputs_hash(
        (run.path, run.mask, run.confounds, *(file for file in files if file.is_file())),
        run.t_r_s,
        run.entities,
    )
    return {
        "InputsHash": inputs,
        "CodeHash": code_hash(),
        "ScienceHash": settings.measuring().digest(),
    }


def _wanted(run: Run, settings: AnalysisSettings) -> list[tuple[str, str, str]]:
    """Atlas, strategy and desc of every product of a run."""
    if not is_image(run):
        return [(run.atlas, AS_GIVEN, "")]
    strategies = _strategies(settings)
    return [
        (atlas_for(source, run.space).name, strategy.name, desc_of(strategy, settings))
        for source in settings.atlases
        for strategy in strategies
    ]


def _strategies(settings: AnalysisSettings) -> list[Strategy]:
    available = denoise.load_strategies(tuple(map(Path, settings.strategy_files)))
    return [denoise.get_strategy(name, available) for name in settings.strategies]


def _finished(
    run: Run, settings: AnalysisSettings, out_dir: Path, key: Mapping[str, str]
) -> list[dict[str, object]] | None:
    """Rows of a run whose outputs are all there and still valid; else None."""
    rows: list[dict[str, object]] = []
    for atlas, _, desc in _wanted(run, settings):
        files = outputs_of(run, atlas, desc, estimator_of(run, settings))
        try:
            content = tables.read_json((out_dir / files["relmat"]).with_suffix(".json"))
        except TableError:  # not there, or no longer whole
            return None
        if "Files" not in content or any(content.get(name) != value for name, value in key.items()):
            return None
        if not all(is_complete(out_dir / name, seen) for name, seen in content["Files"].items()):
            return None
        if not all((out_dir / name).exists() for name in content.get("Views", ())):
            return None
        rows.append(dict(content["Row"]))
    return rows


def _from_bold(
    run: Run, settings: AnalysisSettings, out_dir: Path, failures: list[dict[str, object]]
) -> Iterable[RunOutput]:
    """Extract once, then clean under every strategy; a strategy that fails becomes a row."""
    assert run.t_r_s is not None  # noqa: S101 - for the type checker; check_run saw to it
    mask = None if run.mask is None else extract.read_mask(run.mask)
    atlases = [atlas_for(source, run.space) for source in settings.atlases]
    parts = [_parcellation(atlas, run, mask) for atlas in atlases]
    inside = None if mask is None else mask[0]
    watch = views.VoxelCollector.of(run, inside, settings.dummy_scans)
    found, blocks, spheres = _extracted(run, parts, watch)
    for strategy in _strategies(settings):
        try:
            regressors = _regressors(run, strategy, settings, found.n_volumes)
            seen: list[str] = []
            if blocks is not None and strategy.name == settings.strategies[0]:
                seen = views.write_views(
                    run,
                    (blocks, spheres),
                    parts[0],
                    regressors=regressors,
                    strategy=strategy,
                    out_dir=out_dir,
                )
            for part, raw, coverage in zip(parts, found.series, found.coverage, strict=False):
                series = np.where(coverage >= settings.min_coverage, raw, np.nan)
                cleaned, kept = denoise.clean(series, regressors, strategy, run.t_r_s)
                yield RunOutput(
                    part.atlas,
                    strategy.name,
                    desc_of(strategy, settings),
                    connectivity.correlation(cleaned, settings.estimator),
                    kept,
                    coverage,
                    part,
                    cleaned,
                    regressors.keep,
                    regressors.fd_mm,
                    regressors.std_dvars,
                    float("nan") if blocks is None else blocks.median_tsnr,
                    tuple(seen),
                )
        except CircuitshiftError as error:
            row = _failed(stem_of(run), run.session, _code(error), str(error))
            failures.append(row | {"strategy": strategy.name})


def _extracted(
    run: Run, parts: Sequence[extract.Parcellation], watch: views.VoxelCollector | None
) -> tuple[extract.Extraction, voxels.VoxelBlocks | None, Floats | None]:
    """Read the run once: regional series, then blocks of voxels and the series of the seeds."""
    if watch is None:
        return extract.extract(run.path, parts), None, None
    seeds = [] if watch.seeds is None else [watch.seeds]
    found = extract.extract(run.path, [*parts, *seeds], followers=[watch.voxels])
    return found, watch.voxels.blocks(), found.series[len(parts)] if seeds else None


def _parcellation(
    atlas: Atlas, run: Run, mask: tuple[npt.NDArray[np.bool_], Header] | None
) -> extract.Parcellation:
    """Place an atlas on the grid of a run."""
    if mask is None:
        header = read_header(run.path)
        return extract.parcellate(atlas, header.affine, header.grid, None)
    inside, header = mask
    return extract.parcellate(atlas, header.affine, header.grid, inside)


def _regressors(
    run: Run, strategy: Strategy, settings: AnalysisSettings, n_volumes: int
) -> denoise.Regressors:
    assert run.confounds is not None  # noqa: S101 - for the type checker; the index saw to it
    return denoise.load_regressors(
        run.confounds, strategy, n_volumes=n_volumes, dummy_scans=settings.dummy_scans
    )


def _from_series(
    run: Run, settings: AnalysisSettings, out_dir: Path, failures: list[dict[str, object]]
) -> Iterable[RunOutput]:
    """Edges of somebody's regional series, which are taken as they are."""
    del failures
    labels, given = tables.read_series(run.path)
    atlas = _atlas_of(run, out_dir)
    series = _in_order(run, atlas, labels, given.T).T
    n = len(series)
    minutes = np.nan if run.t_r_s is None else n * run.t_r_s / 60
    kept = RetainedData(n, 0, 0, n, minutes, 0, float(n), float("nan"))
    matrix = connectivity.correlation(series, settings.estimator)
    yield RunOutput(atlas, AS_GIVEN, "", matrix, kept, series=series)


def _from_matrix(
    run: Run, settings: AnalysisSettings, out_dir: Path, failures: list[dict[str, object]]
) -> Iterable[RunOutput]:
    """Somebody's edge matrix, which is taken as it is."""
    del settings, failures
    labels, given = tables.read_matrix(run.path)
    atlas = _atlas_of(run, out_dir)
    if np.nanmax(np.abs(given), initial=0.0) > 1 + 1e-6:
        raise TableError(
            f"{run.path}: it holds values beyond +-1; give correlations (r), not Fisher z"
        )
    rows = _in_order(run, atlas, labels, given)
    matrix = _in_order(run, atlas, labels, rows.T).T
    nan = float("nan")
    yield RunOutput(atlas, AS_GIVEN, "", matrix, RetainedData(0, 0, 0, 0, nan, 0, 1.0, nan))


#: How a run is measured, by the content of its input type.
_MEASURES = {"image": _from_bold, "series": _from_series, "matrix": _from_matrix}


def _in_order(run: Run, atlas: Atlas, labels: Sequence[str], rows: Floats) -> Floats:
    """Put rows in the order of the atlas, by name; a region that is not there is NaN."""
    place = {label: k for k, label in enumerate(labels)}
    extra = sorted(set(labels) - set(atlas.labels))
    if extra:
        raise TableError(
            f"{run.path}: {len(extra)} of its columns are not in atlas {atlas.name} "
            f"({', '.join(extra[:5])}{', ...' * (len(extra) > 5)}); give the atlas that it was "
            "made with by --atlas"
        )
    out = np.full((len(atlas.regions), rows.shape[1]), np.nan)
    for k, label in enumerate(atlas.labels):
        if label in place:
            out[k] = rows[place[label]]
    return out


def _atlas_of(run: Run, out_dir: Path) -> Atlas:
    return read_atlas(out_dir, run.atlas)


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
    """Measure the runs that were preprocessed, as if fMRIPrep had written them.

    Parameters
    ----------
    records : sequence of Path
        Of `preprocess_run`, one for each run.
    problems : sequence of Fault
        What the index found wrong with this person.
    participant : str
    settings : Science
    preproc_dir : Path
        Root of the derivatives.
    data_set : str
        Name of the data set; empty for the main one.
    out_dir : Path
        Root of the output data set.

    Returns
    -------
    PersonFiles
        A run that could not be preprocessed has a row with status ``failed``.
    """
    made: set[str] = set()
    failures = list(problems)
    for record in records:
        content = read_record(record)
        if "fault" in content:
            stem = record.name.removesuffix("_bold.json")
            what, _, fix = str(content["fault"]).rpartition("; ")
            problem = (what, fix) if what else (fix, "mend it and run again")
            failures.append(InputProblem(stem, *problem, participant))
        made |= set(content.get("files", []))
    query = bids.Query(
        participants=(participant,), spaces=(settings.template,), input_types=("bold",)
    )
    found = bids.find_runs(preproc_dir, query, dataset=data_set) if made else bids.FoundRuns(())
    runs = [run for run in found.runs if run.path.relative_to(preproc_dir).as_posix() in made]
    return measure_participant(
        runs, failures, participant=participant, settings=settings, out_dir=out_dir
    )
