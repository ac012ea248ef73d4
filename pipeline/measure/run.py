"""Measure one run: compute regional series and edges from an image, series or matrix.

`circuitshift.pipeline.measure.person` decides which runs are measured. A change in this module, or
in a module that it imports, invalidates existing outputs.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.records import Atlas
from circuitshift.pipeline import edges as connectivity
from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.bids.input_types import input_type_of
from circuitshift.pipeline.bids.runs.registration import registration_of
from circuitshift.pipeline.errors import (
    CircuitshiftError,
    InputError,
    OutputError,
    TooLittleDataError,
)
from circuitshift.pipeline.io.nifti import Header, read_header
from circuitshift.pipeline.measure import denoise, extract
from circuitshift.pipeline.measure import quality_images as views
from circuitshift.pipeline.measure import voxelwise as voxels
from circuitshift.pipeline.measure.atlas_files import atlas_for
from circuitshift.pipeline.measure.given.runs import matrix_output, series_output
from circuitshift.pipeline.measure.outputs import (
    RunOutput,
    desc_of,
    global_amplitude,
    percent_of_mean,
    stem_of,
    write_product,
)
from circuitshift.pipeline.measure.parcellation import region_means, restrict
from circuitshift.pipeline.measure.visits import combine
from circuitshift.pipeline.records import AnalysisSettings, RetainedData, Run, Strategy

__all__ = [
    "error_code",
    "failed_row",
    "failure_of",
    "measure_run",
    "measure_visit",
    "refuse_matrices",
    "strategies_of",
]

Row = dict[str, object]


def measure_run(
    run: Run,
    settings: AnalysisSettings,
    out_dir: Path,
    *,
    about: Callable[[Atlas], Mapping[str, object]],
) -> list[Row]:
    """Measure a run with every atlas and strategy, and write its outputs.

    Parameters
    ----------
    run : Run
        Run returned by `circuitshift.pipeline.bids.run_metadata.check_run`.
    settings : AnalysisSettings
        Settings of the measurement.
    out_dir : Path
        Root of the output data set.
    about : callable
        Function that takes an atlas and returns further content for the JSON file of a matrix.

    Returns
    -------
    list of dict
        Rows of ``sub-X_runs.tsv``, one per atlas and strategy. A strategy that fails has a row with
        status ``failed``.

    Raises
    ------
    CircuitshiftError
        If the run cannot be measured with any strategy.
    """
    rows: list[Row] = []
    failures: list[Row] = []
    for output in _MEASURE_BY_CONTENT[input_type_of(run).content](run, settings, out_dir, failures):
        rows.append(
            write_product(output, run, settings, out_dir=out_dir, sidecar=about(output.atlas))
        )
    return [*rows, *failures]


def measure_visit(
    runs: Sequence[Run],
    settings: AnalysisSettings,
    out_dir: Path,
    *,
    is_ordered: bool,
    about: Callable[[Run, Atlas], Mapping[str, object]],
) -> list[Row]:
    """Measure the runs of a visit together, for equal minutes or concatenated series.

    Parameters
    ----------
    runs : sequence of Run
        Runs of one visit with their repetition times, in temporal order.
    settings : AnalysisSettings
        Settings of the measurement.
    out_dir : Path
        Root of the output data set.
    is_ordered : bool
        Whether the order of the runs is known.
    about : callable
        Function that takes a run and an atlas and returns further content for the JSON file of a
        matrix.

    Returns
    -------
    list of dict
        Rows of ``sub-X_runs.tsv``: those of each run, then those of the concatenated series. A run
        or strategy that fails has a row with status ``failed``.
    """
    parts: list[tuple[Run, RunOutput]] = []
    failures: list[Row] = []
    for run in runs:
        try:
            measure = _MEASURE_BY_CONTENT[input_type_of(run).content]
            parts += [(run, output) for output in measure(run, settings, out_dir, failures)]
        except (CircuitshiftError, OSError) as error:
            failures.append(failure_of(run, error))
    own: list[tuple[Run, RunOutput]] = []
    whole: list[tuple[Run, RunOutput]] = []
    for kind in dict.fromkeys((output.atlas.name, output.strategy) for _, output in parts):
        sources = [run for run, o in parts if (o.atlas.name, o.strategy) == kind]
        outputs = [o for _, o in parts if (o.atlas.name, o.strategy) == kind]
        outputs = combine.use_first_minutes(outputs, settings, is_ordered=is_ordered)
        if settings.combine_runs == "concatenate":
            outputs, visit = combine.concatenate_series(
                outputs, sources, combine.visit_run(runs), settings
            )
            whole += [] if visit is None else [(combine.visit_run(runs), visit)]
        own += zip(sources, outputs, strict=True)
    own.sort(key=lambda part: runs.index(part[0]))
    rows = [
        write_product(output, run, settings, out_dir=out_dir, sidecar=about(run, output.atlas))
        for run, output in (*own, *whole)
    ]
    return [*rows, *failures]


def failure_of(run: Run, error: CircuitshiftError | OSError) -> Row:
    """Return an error as the row of a run that was not measured.

    Parameters
    ----------
    run : Run
        Run in which the error occurred.
    error : CircuitshiftError or OSError
        The error.

    Returns
    -------
    dict
        Row of ``sub-X_runs.tsv`` with status ``failed``.

    Raises
    ------
    OutputError, OSError
        If the error is not a problem of this run: it affects all outputs, or names no file.
    """
    if isinstance(error, CircuitshiftError) and not isinstance(error, OutputError):
        return failed_row(stem_of(run), run.session, error_code(error), str(error))
    if isinstance(error, OSError) and error.filename is not None:
        reason = f"{error.filename}: it cannot be read ({error.strerror}); check its disk"
        return failed_row(stem_of(run), run.session, "input", reason)
    raise error


def refuse_matrices(runs: Iterable[Run], settings: AnalysisSettings) -> None:
    """Refuse settings that need time series if a run is a matrix.

    Parameters
    ----------
    runs : iterable of Run
        Runs that will be measured.
    settings : AnalysisSettings
        Settings of the measurement.

    Raises
    ------
    InputError
        If minutes of visits or the concatenation of runs are requested for a matrix.
    """
    for run in runs if settings.needs_visits else ():
        if input_type_of(run).content == "matrix":
            raise InputError(
                f"{run.path}: --visit-minutes and --combine-runs concatenate need time series, but "
                "this is a matrix of correlations; omit these flags, or provide the time series "
                "from which it was computed"
            )


def failed_row(where: str, session: str, code: str, reason: str) -> Row:
    """Return the row of a run that was not measured.

    Parameters
    ----------
    where : str
        Name or path of the run.
    session : str
        Session label; may be empty.
    code, reason : str
        Reason as a keyword and as a sentence.

    Returns
    -------
    dict
        Row of ``sub-X_runs.tsv`` with status ``failed``.
    """
    return {
        "run": Path(where).name or where,
        "session": session or None,
        "status": "failed",
        "code": code,
        "reason": reason,
    }


def error_code(error: CircuitshiftError) -> str:
    """Return the keyword of an error: ``too-little-data`` for ``TooLittleDataError``."""
    name = type(error).__name__.removesuffix("Error")
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).strip("-")


def strategies_of(settings: AnalysisSettings) -> list[Strategy]:
    """Load the denoising strategies of the settings; the primary strategy is first."""
    available = denoise.load_strategies(tuple(map(Path, settings.strategy_files)))
    return [denoise.get_strategy(name, available) for name in settings.strategies]


def _from_bold(
    run: Run, settings: AnalysisSettings, out_dir: Path, failures: list[Row]
) -> Iterable[RunOutput]:
    """Extract series once and denoise them by each strategy; add a row for failed strategies."""
    assert run.t_r_s is not None  # noqa: S101 - for the type checker; check_run ensures it
    found = _measured_regions(run, settings)
    blocks = found.blocks
    registration = registration_of(run)
    for strategy in strategies_of(settings):
        try:
            regressors = _regressors(run, strategy, settings, found.n_volumes)
            view_files: list[str] = []
            if blocks is not None and strategy.name == settings.strategies[0]:
                view_files = views.write_views(
                    run,
                    (blocks, found.spheres),
                    found.regions[0].part,
                    regressors=regressors,
                    strategy=strategy,
                    out_dir=out_dir,
                )
            for part, raw, coverage, signal, tsnr in found.regions:
                series = np.where(coverage >= settings.min_coverage, raw, np.nan)
                cleaned, deviation, retained = denoise.clean_and_scale(
                    series, regressors, strategy, run.t_r_s
                )
                yield RunOutput(
                    part.atlas,
                    strategy.name,
                    desc_of(strategy, settings),
                    connectivity.correlation(cleaned, settings.estimator),
                    retained,
                    coverage,
                    part,
                    cleaned,
                    regressors.keep,
                    regressors.fd_mm,
                    regressors.std_dvars,
                    float("nan") if blocks is None else blocks.median_tsnr,
                    tuple(view_files),
                    global_signal_removed=strategy.gsr,
                    global_signal_percent=global_amplitude(series, regressors.keep),
                    amplitude_percent=percent_of_mean(deviation, series, regressors.keep),
                    signal=signal,
                    tsnr=tsnr,
                    registration=registration,
                )
        except CircuitshiftError as error:
            unusable = []
            if isinstance(error, TooLittleDataError):
                unusable = _unusable(
                    run, found, strategy, settings, out_dir=out_dir, reason=str(error)
                )
            yield from unusable
            if not unusable:
                row = failed_row(stem_of(run), run.session, error_code(error), str(error))
                failures.append(row | {"strategy": strategy.name})


def _unusable(
    run: Run,
    found: "_Measured",
    strategy: Strategy,
    settings: AnalysisSettings,
    *,
    out_dir: Path,
    reason: str,
) -> list[RunOutput]:
    """Return the quality of a run that is too short for a strategy, without connectivity.

    The list is empty if volumes and motion are unknown as well.
    """
    assert run.t_r_s is not None  # noqa: S101 - for the type checker; check_run ensures it
    try:
        plain = _regressors(run, denoise.load_strategies()["none"], settings, found.n_volumes)
    except CircuitshiftError:
        return []
    keep, n = plain.keep, int(plain.keep.sum())
    moved = plain.fd_mm[keep & np.isfinite(plain.fd_mm)]
    retained = RetainedData(
        n_volumes=keep.size,
        n_dummy=min(plain.n_dummy, keep.size),
        n_censored=0,
        n_retained=n,
        minutes=n * run.t_r_s / 60,
        n_regressors=0,
        residual_dof=float("nan"),
        mean_fd_mm=float(moved.mean()) if moved.size else float("nan"),
    )
    shown: list[str] = []
    if found.blocks is not None and strategy.name == settings.strategies[0]:
        shown = views.write_views(
            run,
            (found.blocks, None),
            found.regions[0].part,
            regressors=plain,
            strategy=None,
            out_dir=out_dir,
        )
    return [
        RunOutput(
            part.atlas,
            strategy.name,
            desc_of(strategy, settings),
            _without_edges(coverage >= settings.min_coverage),
            retained,
            coverage,
            part,
            keep=keep,
            fd_mm=plain.fd_mm,
            std_dvars=plain.std_dvars,
            median_tsnr=float("nan") if found.blocks is None else found.blocks.median_tsnr,
            views=tuple(shown),
            global_signal_removed=strategy.gsr,
            reasons=(("too-little-data", reason),),
            signal=signal,
            tsnr=tsnr,
            registration=registration_of(run),
        )
        for part, _, coverage, signal, tsnr in found.regions
    ]


def _without_edges(available: Bools) -> Floats:
    """Return a matrix without correlations, whose diagonal is 1 for regions with signal."""
    matrix = np.full((available.size, available.size), np.nan)
    np.fill_diagonal(matrix, np.where(available, 1.0, np.nan))
    return matrix


class _Regions(NamedTuple):
    """Regions of one atlas in a run, with their series before denoising."""

    part: extract.Parcellation
    series: Floats
    coverage: Floats
    signal: Floats | None
    tsnr: Floats | None


class _Measured(NamedTuple):
    """Regions of all atlases, and what is shown of the run."""

    regions: list[_Regions]
    n_volumes: int
    blocks: voxels.VoxelBlocks | None
    spheres: Floats | None


def _measured_regions(run: Run, settings: AnalysisSettings) -> _Measured:
    """Measure series, coverage and signal of all regions; voxels below the floor are left out."""
    mask = None if run.mask is None else extract.read_mask(run.mask)
    inside = None if mask is None else mask[0]
    atlases = [atlas_for(source, run.space) for source in settings.atlases]
    whole = [_parcellation(atlas, run, mask) for atlas in atlases]
    collector = views.VoxelCollector.of(run, inside, settings.dummy_scans)
    level, parts = None, whole
    if inside is not None:
        level, seen = _signal(run, inside, settings)
        parts = [restrict(part, seen) for part in whole]
        if collector is not None and collector.seeds is not None:
            collector = replace(collector, seeds=restrict(collector.seeds, seen))
    extraction, blocks, spheres = _extracted(run, parts, collector)
    regions = [
        _Regions(
            part,
            series,
            coverage,
            None if level is None else region_means(all_voxels, level),
            None if blocks is None else region_means(part, blocks.voxel_tsnr),
        )
        for part, all_voxels, series, coverage in zip(
            parts, whole, extraction.series, extraction.coverage, strict=False
        )
    ]
    return _Measured(regions, extraction.n_volumes, blocks, spheres)


def _signal(run: Run, inside: Bools, settings: AnalysisSettings) -> tuple[Floats | None, Bools]:
    """Return the relative signal of each voxel, and the part of the brain that is not below it."""
    try:
        n_dummy = denoise.count_dummy(run.confounds, settings.dummy_scans) if run.confounds else 0
    except CircuitshiftError:  # `load_regressors` reports the problem
        n_dummy = 0
    level = extract.signal_level(run.path, inside, n_dummy=n_dummy)
    if level is None:
        return None, inside
    # voxels that are not finite are not below it; `extract` finds them in all volumes
    below = (level < settings.min_signal).reshape(inside.shape, order="F")
    return level, inside & ~below


def _extracted(
    run: Run, parts: Sequence[extract.Parcellation], collector: views.VoxelCollector | None
) -> tuple[extract.Extraction, voxels.VoxelBlocks | None, Floats | None]:
    """Read the image once for regional series, blocks of voxels and series of the seeds."""
    if collector is None:
        return extract.extract(run.path, parts), None, None
    seeds = [] if collector.seeds is None else [collector.seeds]
    found = extract.extract(run.path, [*parts, *seeds], followers=[collector.voxels])
    return found, collector.voxels.blocks(), found.series[len(parts)] if seeds else None


def _parcellation(
    atlas: Atlas, run: Run, mask: tuple[npt.NDArray[np.bool_], Header] | None
) -> extract.Parcellation:
    """Assign the voxels of a run to the regions of an atlas, inside and outside the brain.

    Maps are limited to the brain mask, because their amplitudes would have to be solved twice.
    """
    header = read_header(run.path) if mask is None else mask[1]
    inside = mask[0] if mask is not None and atlas.kind == "maps" else None
    return extract.parcellate(atlas, header.affine, header.grid, inside)


def _regressors(
    run: Run, strategy: Strategy, settings: AnalysisSettings, n_volumes: int
) -> denoise.Regressors:
    assert run.confounds is not None  # noqa: S101 - for the type checker; find_runs ensures it
    return denoise.load_regressors(
        run.confounds, strategy, n_volumes=n_volumes, dummy_scans=settings.dummy_scans
    )


def _from_series(
    run: Run, settings: AnalysisSettings, out_dir: Path, failures: list[Row]
) -> Iterable[RunOutput]:
    """Compute edges from regional series of other software, without denoising."""
    del failures
    yield series_output(run, settings, out_dir)


def _from_matrix(
    run: Run, settings: AnalysisSettings, out_dir: Path, failures: list[Row]
) -> Iterable[RunOutput]:
    """Return an edge matrix of other software, in the order of the atlas."""
    del failures
    refuse_matrices([run], settings)
    yield matrix_output(run, settings, out_dir)


#: Function that measures a run, by the content of its input type.
_MEASURE_BY_CONTENT = {"image": _from_bold, "series": _from_series, "matrix": _from_matrix}
