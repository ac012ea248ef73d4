"""Measure a series or matrix that another program made."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from circuitshift.atlases.records import Atlas
from circuitshift.pipeline import edges as connectivity
from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.bids.input_types import read_table
from circuitshift.pipeline.errors import TableError
from circuitshift.pipeline.measure.atlas_files import name_columns, read_atlas
from circuitshift.pipeline.measure.given.companions import (
    Companions,
    companions_of,
    read_coverage,
)
from circuitshift.pipeline.measure.given.declared import declared_about
from circuitshift.pipeline.measure.given.matrix_values import list_regions, to_correlations
from circuitshift.pipeline.measure.given.retained import retained_volumes
from circuitshift.pipeline.measure.outputs import RunOutput, percent_of_mean
from circuitshift.pipeline.records import AS_GIVEN, AnalysisSettings, Run

__all__ = ["matrix_output", "series_output"]

# Description of matrices that XCP-D computed from a given number of volumes.
_EXACT = re.compile(r"(\d+)volumes")


def series_output(run: Run, settings: AnalysisSettings, out_dir: Path) -> RunOutput:
    """Compute the edges of regional series of another program.

    Volumes that are not data are left out, and regions with too little coverage are missing.

    Parameters
    ----------
    run : Run
        Run of regional time series.
    settings : AnalysisSettings
        Its atlases name columns without names; its estimator and threshold of coverage apply.
    out_dir : Path
        Root of the output data set, which contains the regions of the atlas.

    Returns
    -------
    RunOutput

    Raises
    ------
    TableError
        If a table is malformed, its length contradicts the tables beside it, or its regions are
        not those of the atlas.
    TooLittleDataError
        If too few volumes are data.
    """
    table = read_table(run)
    atlas = read_atlas(out_dir, run.atlas)
    names = name_columns(run, table, settings)
    beside = companions_of(run)
    declared = declared_about(run, beside)
    volumes = retained_volumes(run.path, len(table.values), beside, declared.mean_fd_mm)
    given = table.values if volumes.rows is None else table.values[volumes.rows]
    series = _in_order(run, atlas, names.labels, given.T).T
    with np.errstate(invalid="ignore"):
        is_constant = (series == series[:1]).all(axis=0) | np.isnan(series).any(axis=0)
    covered = _covered(run, atlas, beside, settings)
    series = np.where(covered.lost, np.nan, series)
    matrix = connectivity.correlation(series, settings.estimator)
    notes = [*table.notes, *names.notes, *volumes.notes, *covered.notes]
    notes += _missing_note(run, atlas, is_constant & ~covered.lost, "constant or n/a series")
    return RunOutput(
        atlas,
        AS_GIVEN,
        "",
        matrix,
        volumes.record(run.t_r_s),
        _share(covered, matrix),
        series=series,
        notes=tuple(notes),
        global_signal_removed=declared.global_signal_removed,
        given={"GlobalSignalDeclaredBy": declared.source, "TakenFor": "series"},
        amplitude_percent=percent_of_mean(series.std(axis=0, ddof=1), series),
    )


def matrix_output(run: Run, settings: AnalysisSettings, out_dir: Path) -> RunOutput:
    """Return the correlations of a matrix of another program, in the order of the atlas.

    Parameters
    ----------
    run : Run
        Run of a matrix of correlations or Fisher z.
    settings : AnalysisSettings
        As of `series_output`.
    out_dir : Path
        Root of the output data set, which contains the regions of the atlas.

    Returns
    -------
    RunOutput

    Raises
    ------
    TableError
        If a table is malformed, holds other values, or its regions are not those of the atlas.
    """
    table = read_table(run)
    atlas = read_atlas(out_dir, run.atlas)
    names = name_columns(run, table, settings)
    beside = companions_of(run)
    declared = declared_about(run, beside)
    exact = _EXACT.fullmatch(dict(run.entities).get("desc", ""))
    volumes = retained_volumes(
        run.path,
        None,
        beside,
        declared.mean_fd_mm,
        n_exact=int(exact[1]) if exact is not None else None,
    )
    values = to_correlations(run.path, table.values, declared.values)
    rows = _in_order(run, atlas, names.labels, values.matrix)
    matrix = _in_order(run, atlas, names.labels, rows.T).T
    is_empty = np.isnan(np.diag(matrix))
    covered = _covered(run, atlas, beside, settings)
    matrix[covered.lost, :] = matrix[:, covered.lost] = np.nan
    notes = [*table.notes, *names.notes, *values.notes, *volumes.notes, *covered.notes]
    notes += _missing_note(run, atlas, is_empty & ~covered.lost, "rows of zeros or n/a")
    return RunOutput(
        atlas,
        AS_GIVEN,
        "",
        matrix,
        volumes.record(run.t_r_s),
        _share(covered, matrix),
        notes=tuple(notes),
        global_signal_removed=declared.global_signal_removed,
        given={"GlobalSignalDeclaredBy": declared.source, "TakenFor": values.taken_for},
    )


class _Covered(NamedTuple):
    """Regions of a series or matrix by their table of coverage."""

    lost: Bools
    share: Floats | None
    notes: tuple[str, ...]


def _covered(run: Run, atlas: Atlas, beside: Companions, settings: AnalysisSettings) -> _Covered:
    """Find the regions whose coverage is below the threshold."""
    if beside.coverage is None:
        return _Covered(np.zeros(len(atlas.regions), bool), None, ())
    share = read_coverage(beside.coverage, atlas.labels)
    lost = share < settings.min_coverage
    if not lost.any():
        return _Covered(lost, None, ())
    note = (
        f"{run.path.name}: {list_regions(atlas.labels, lost)} have a coverage below "
        f"{settings.min_coverage:g} by {beside.coverage.name} and are missing."
    )
    return _Covered(lost, np.where(np.isnan(share), 1.0, share), (note,))


def _share(covered: _Covered, matrix: Floats) -> Floats | None:
    """Return the coverage of each region, 0 for those without edges; None without a table."""
    if covered.share is None:
        return None
    return np.where(np.isnan(np.diag(matrix)), 0.0, covered.share)


def _missing_note(run: Run, atlas: Atlas, missing: Bools, what: str) -> tuple[str, ...]:
    """Count and name the regions without data."""
    if not missing.any():
        return ()
    found = list_regions(atlas.labels, missing)
    return (f"{run.path.name}: {found} are missing: {what}.",)


def _in_order(run: Run, atlas: Atlas, labels: Sequence[str], rows: Floats) -> Floats:
    """Sort rows into the order of the atlas by name; rows of missing regions are NaN."""
    place = {label: k for k, label in enumerate(labels)}
    extra = sorted(set(labels) - set(atlas.labels) - {""})
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
