"""Collect motion at each visit, and edges of volumes with less and with more motion."""

from collections.abc import Sequence

import numpy as np

from circuitshift.pipeline import edges as connectivity
from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.model.secondary.record import VisitMotion
from circuitshift.pipeline.study.signals.visit_runs import (
    VisitRun,
    change_of_visits,
    runs_of_visits,
    visits_of,
)
from circuitshift.pipeline.study.verdict_file import Context, Fitted

__all__ = ["motion_halves", "visit_motion"]

_MIN_VOLUMES = 20  # retained volumes of a half; correlations of fewer are noise


def visit_motion(context: Context, fitted: Fitted) -> VisitMotion:
    """Collect the motion of the visits of the comparison.

    Parameters
    ----------
    context : Context
        Data and design of the study.
    fitted : Fitted
        Primary analysis.

    Returns
    -------
    VisitMotion
        Motion of each visit and, where series and motion of the volumes are at hand, the change of
        edges in volumes with less and with more motion.
    """
    participants = [member.participant for member in fitted.cohort.pairs]
    lone = [member.participant for member in fitted.cohort.lone]

    def fd(people: Sequence[str], visits: Sequence[str]) -> Floats:
        return np.array(
            [[fitted.sessions[p, visit].mean_fd_mm for visit in visits] for p in people]
        ).reshape(len(people), len(visits))

    low, high = _halves(
        context, participants, runs_of_visits(context, fitted.cohort, fitted.strategy)
    )
    return VisitMotion(
        mean_fd_mm=fd(participants, visits_of(context)),
        lone_fd_mm=fd(lone, (context.design.baseline,))[:, 0],
        low_change=low,
        high_change=high,
    )


def _halves(
    context: Context, participants: Sequence[str], runs: Sequence[VisitRun]
) -> tuple[Floats | None, Floats | None]:
    """Return the change of edges in the volumes with less, and with more motion."""
    low: dict[tuple[str, str], list[Floats]] = {}
    high: dict[tuple[str, str], list[Floats]] = {}
    for run in runs:
        fd = run.retained_fd_mm()
        if fd is None:
            continue
        series = tables.read_series(run.series)[1]
        split = motion_halves(series, fd)
        if split is None:
            continue
        for store, part in zip((low, high), split, strict=True):
            found = connectivity.edges(part, context.settings.estimator)
            store.setdefault((run.person, run.session), []).append(found)
    return (
        change_of_visits(context, participants, low),
        change_of_visits(context, participants, high),
    )


def motion_halves(series: Floats, fd_mm: Floats) -> tuple[Floats, Floats] | None:
    """Divide the volumes of a run into the half with less and the half with more motion.

    Parameters
    ----------
    series : ndarray, shape (n_volumes, n_regions)
        Regional series.
    fd_mm : ndarray, shape (n_volumes,)
        Framewise displacement of the same volumes, mm. Volumes without a value are omitted.

    Returns
    -------
    tuple of two ndarray, or None
        Series of the half with less and of the half with more motion, which have equal numbers of
        volumes; of an odd number, the median is omitted. None if the lengths do not match, the
        motion does not vary, or a half has fewer than 20 volumes.
    """
    if len(series) != len(fd_mm):
        return None
    available = np.flatnonzero(np.isfinite(fd_mm))
    half = len(available) // 2
    if half < _MIN_VOLUMES or np.ptp(fd_mm[available]) == 0:
        return None
    order = available[np.argsort(fd_mm[available], kind="stable")]
    # volumes stay in temporal order within each half
    return series[np.sort(order[:half])], series[np.sort(order[-half:])]
