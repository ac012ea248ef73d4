"""Measure one run: compute regional series and edges from an image, series or matrix.

`circuitshift.pipeline.measure.person` decides which runs are measured. A change in this module, or
in a module that it imports, invalidates existing outputs.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.records import Atlas
from circuitshift.pipeline import edges as connectivity
from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.bids.input_types import input_type_of
from circuitshift.pipeline.errors import CircuitshiftError, TableError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.nifti import Header, read_header
from circuitshift.pipeline.measure import denoise, extract
from circuitshift.pipeline.measure import quality_images as views
from circuitshift.pipeline.measure import voxelwise as voxels
from circuitshift.pipeline.measure.atlas_files import atlas_for, read_atlas
from circuitshift.pipeline.measure.outputs import RunOutput, desc_of, stem_of, write_product
from circuitshift.pipeline.records import AS_GIVEN, AnalysisSettings, RetainedData, Run, Strategy

__all__ = ["error_code", "failed_row", "measure_run", "strategies_of"]

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
    mask = None if run.mask is None else extract.read_mask(run.mask)
    atlases = [atlas_for(source, run.space) for source in settings.atlases]
    parts = [_parcellation(atlas, run, mask) for atlas in atlases]
    inside = None if mask is None else mask[0]
    collector = views.VoxelCollector.of(run, inside, settings.dummy_scans)
    extraction, blocks, spheres = _extracted(run, parts, collector)
    for strategy in strategies_of(settings):
        try:
            regressors = _regressors(run, strategy, settings, extraction.n_volumes)
            view_files: list[str] = []
            if blocks is not None and strategy.name == settings.strategies[0]:
                view_files = views.write_views(
                    run,
                    (blocks, spheres),
                    parts[0],
                    regressors=regressors,
                    strategy=strategy,
                    out_dir=out_dir,
                )
            for part, raw, coverage in zip(
                parts, extraction.series, extraction.coverage, strict=False
            ):
                series = np.where(coverage >= settings.min_coverage, raw, np.nan)
                cleaned, retained = denoise.clean(series, regressors, strategy, run.t_r_s)
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
                )
        except CircuitshiftError as error:
            row = failed_row(stem_of(run), run.session, error_code(error), str(error))
            failures.append(row | {"strategy": strategy.name})


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
    """Assign the voxels of a run to the regions of an atlas."""
    if mask is None:
        header = read_header(run.path)
        return extract.parcellate(atlas, header.affine, header.grid, None)
    inside, header = mask
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
    labels, values = tables.read_series(run.path)
    atlas = _atlas_of(run, out_dir)
    series = _in_order(run, atlas, labels, values.T).T
    n = len(series)
    minutes = np.nan if run.t_r_s is None else n * run.t_r_s / 60
    retained = RetainedData(n, 0, 0, n, minutes, 0, float(n), float("nan"))
    matrix = connectivity.correlation(series, settings.estimator)
    yield RunOutput(atlas, AS_GIVEN, "", matrix, retained, series=series)


def _from_matrix(
    run: Run, settings: AnalysisSettings, out_dir: Path, failures: list[Row]
) -> Iterable[RunOutput]:
    """Return an edge matrix of other software without changes, in the order of the atlas."""
    del settings, failures
    labels, values = tables.read_matrix(run.path)
    atlas = _atlas_of(run, out_dir)
    if np.nanmax(np.abs(values), initial=0.0) > 1 + 1e-6:
        raise TableError(
            f"{run.path}: it contains values outside -1 to 1; provide correlations (r), not "
            "Fisher z"
        )
    rows = _in_order(run, atlas, labels, values)
    matrix = _in_order(run, atlas, labels, rows.T).T
    nan = float("nan")
    yield RunOutput(atlas, AS_GIVEN, "", matrix, RetainedData(0, 0, 0, 0, nan, 0, 1.0, nan))


#: Function that measures a run, by the content of its input type.
_MEASURE_BY_CONTENT = {"image": _from_bold, "series": _from_series, "matrix": _from_matrix}


def _in_order(run: Run, atlas: Atlas, labels: Sequence[str], rows: Floats) -> Floats:
    """Sort rows into the order of the atlas by name; rows of missing regions are NaN."""
    place = {label: k for k, label in enumerate(labels)}
    extra = sorted(set(labels) - set(atlas.labels))
    if extra:
        raise TableError(
            f"{run.path}: {len(extra)} of its columns are not in atlas {atlas.name} "
            f"({', '.join(extra[:5])}{', ...' * (len(extra) > 5)}); specify the atlas with which "
            "it was computed by --atlas"
        )
    out = np.full((len(atlas.regions), rows.shape[1]), np.nan)
    for k, label in enumerate(atlas.labels):
        if label in place:
            out[k] = rows[place[label]]
    return out


def _atlas_of(run: Run, out_dir: Path) -> Atlas:
    return read_atlas(out_dir, run.atlas)
