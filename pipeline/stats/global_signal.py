"""Detect from edges whether the global signal was regressed out before they were estimated.

Regression of the global signal centres each participant's edges near zero, whatever they were
before (Murphy et al. 2009, doi:10.1016/j.neuroimage.2008.09.036), so that both their mean and its
differences between participants nearly vanish. Without it, edges are positive on average, and
participants differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Literal

import numpy as np

from circuitshift.pipeline.arrays import Floats, Ints
from circuitshift.pipeline.edges import edge_ends

__all__ = [
    "GlobalSignalDetection",
    "GlobalSignalStatus",
    "global_signal_effect",
    "global_signal_share",
    "global_signal_status",
    "global_signal_was_removed",
]

# Both numbers are in units of the standard deviation of edges within participants. Measured on
# real series without and with regression of the global signal (the mean of all regions, also
# weighted unequally and with noise of .3 and .6 of its standard deviation, as the mean of a whole
# brain differs from that of the regions):
#                                                     mean          spread
#   psilocybin, AAL 90, 9 participants    without     .60 to .83    .21 to .30
#   4 sessions, no other denoising        with        .01 to .07    .00 to .04
#   traumatic brain injury, CONN 132,     without     .26 to .33    .06 to .12
#   12 + 12 participants, 5 sessions      with        .01 to .10    .01 to .05
#   deep brain stimulation, 46 to 60      without     .29 to .42    .07 to .17
#   regions, 16 participants, 4 sessions
#   simulated (test_global_signal.py),    without     .28 to 1.2    .03 to .39
#   60 regions, 12 participants           with        .00 to .10    .00 to .05
# tests/real/test_global_signal.py repeats the first.
_REMOVED_MEAN = 0.14
_REMOVED_SPREAD = 0.08
_KEPT_MEAN = 0.20
_MIN_PARTICIPANTS = 5


@dataclass(frozen=True, slots=True)
class GlobalSignalDetection:
    """Whether the global signal was regressed out, as far as edges show it.

    Parameters
    ----------
    removed : bool or None
        None if the edges do not decide it.
    mean : float
        Mean edge over participants, in units of the standard deviation of edges within
        participants.
    spread : float
        Standard deviation of the participants' mean edges, in the same units.
    reason : str
        What was found, as a sentence.
    """

    removed: bool | None
    mean: float
    spread: float
    reason: str


def global_signal_was_removed(z: Floats) -> GlobalSignalDetection:
    """Detect whether the global signal was regressed out of the series behind edges.

    Parameters
    ----------
    z : ndarray of shape (n_participants, n_edges)
        Fisher-z transformed Pearson correlations of all edges of an atlas, one session of each
        participant. NaN where missing. Partial correlations are centred near zero in any case,
        so that this function does not apply to them.

    Returns
    -------
    GlobalSignalDetection
        `removed` is true if the mean edge is below .14 and its spread below .08, false if the mean
        is above .20, and None in between, with fewer than five participants, or without edges.
    """
    available = np.isfinite(z)
    used = np.asarray(z)[available.sum(axis=1) > 1]
    if len(used) < _MIN_PARTICIPANTS:
        nan = float("nan")
        reason = (
            f"{len(used)} participants have edges, fewer than {_MIN_PARTICIPANTS}, so that whether "
            "the global signal was regressed out cannot be seen."
        )
        return GlobalSignalDetection(None, nan, nan, reason)
    used = np.where(np.isfinite(used), used, np.nan)
    means = np.nanmean(used, axis=1)
    scale = float(np.mean(np.nanstd(used, axis=1)))
    if scale < 1e-9:
        nan = float("nan")
        return GlobalSignalDetection(None, nan, nan, "All edges of a participant are equal.")
    mean, spread = abs(float(means.mean())) / scale, float(means.std(ddof=1)) / scale
    numbers = (
        f"the mean edge is {float(means.mean()):.3f} ({mean:.2f} standard deviations of edges) and "
        f"varies between participants by {float(means.std(ddof=1)):.3f} ({spread:.2f})"
    )
    if mean < _REMOVED_MEAN and spread < _REMOVED_SPREAD:
        reason = f"The edges look as if the global signal was regressed out: {numbers}."
        return GlobalSignalDetection(True, mean, spread, reason)
    if mean > _KEPT_MEAN:
        reason = f"The edges look as if the global signal was not regressed out: {numbers}."
        return GlobalSignalDetection(False, mean, spread, reason)
    reason = f"Whether the global signal was regressed out is unclear: {numbers}."
    return GlobalSignalDetection(None, mean, spread, reason)


@dataclass(frozen=True, slots=True)
class GlobalSignalStatus:
    """Whether the global signal was regressed out in a study.

    Parameters
    ----------
    removed : bool or None
        None if it is neither declared nor visible, or differs between runs.
    source : {"strategy", "stated", "declared", "detected", "unknown", "differs"}
        How it is known: by the denoising strategy, the study file, the files of the runs, or the
        edges.
    warnings : tuple of str
        Contradictions between runs, or between declaration and edges, one sentence each.
    """

    removed: bool | None
    source: Literal["strategy", "stated", "declared", "detected", "unknown", "differs"]
    warnings: tuple[str, ...] = ()


def global_signal_status(
    declared: Sequence[bool | None],
    detection: GlobalSignalDetection,
    *,
    by: str = "The files of the runs state",
) -> GlobalSignalStatus:
    """Combine what the runs of a study declare with what their edges show.

    Parameters
    ----------
    declared : sequence of bool or None
        Declaration of each run; None where there is none.
    detection : GlobalSignalDetection
        Of the edges of one session of all participants.
    by : str
        Who declares it, as the start of a sentence.

    Returns
    -------
    GlobalSignalStatus
        A declaration counts if no run declares the opposite; runs without one are taken to be like
        the others. Without any declaration, the detection counts.
    """
    n_removed, n_kept = sum(v is True for v in declared), sum(v is False for v in declared)
    if n_removed and n_kept:
        warning = (
            f"The global signal was regressed out of {n_removed} runs and not of {n_kept}, so that "
            "their mean connectivity cannot be compared; use one kind of denoising for all runs."
        )
        return GlobalSignalStatus(None, "differs", (warning,))
    if n_removed or n_kept:
        removed = n_removed > 0
        contradicts = detection.removed is not None and detection.removed is not removed
        warnings = (
            f"{by} that the global signal was {'' if removed else 'not '}regressed out, and the "
            f"analysis relies on it, but the edges contradict it. {detection.reason}",
        )
        return GlobalSignalStatus(removed, "declared", warnings if contradicts else ())
    if detection.removed is not None:
        return GlobalSignalStatus(detection.removed, "detected")
    return GlobalSignalStatus(None, "unknown")


_LARGEST_Z = 3.0  # r = .995; derivatives of Fisher z grow without bound as r approaches 1


def global_signal_effect(z: Floats) -> Floats:
    """Compute the change in Fisher z expected from a larger global signal.

    The global signal is the mean of the standardised series of all regions. If its amplitude
    increases, the correlation of two regions increases in proportion to how strongly both follow
    it. This function returns the derivative of each edge's Fisher z with respect to the log
    amplitude.

    Parameters
    ----------
    z : ndarray, shape (..., n_edges)
        Fisher z of the Pearson correlations of all pairs of regions, in the order of
        ``numpy.triu_indices``; NaN where missing.

    Returns
    -------
    ndarray, shape (..., n_edges)
        Fisher z per unit of log amplitude; NaN where the edge is missing.

    Notes
    -----
    With rho_u the correlation of region u with the global signal, a common signal that is larger
    by the factor 1 + a changes r(u, v) by a [2 rho_u rho_v - r(u, v) (rho_u^2 + rho_v^2)] to first
    order, and dz/dr = 1 / (1 - r^2). rho_u is the sum of row u of the correlation matrix divided by
    the root of the sum of the matrix. The correlations of the regions of the matrix determine it,
    so that all edges are needed, also those that belong to circuits. Regions without any edge are
    omitted. Where single edges of a region are missing, their mean is taken to be that of the
    region's other edges. The sum of the matrix is taken to be at least that of independent regions,
    which bounds rho after regression of the global signal.
    """
    r = np.tanh(np.clip(z, -_LARGEST_Z, _LARGEST_Z))
    rows, total, n_regions = _row_sums(r)
    rho = rows / np.sqrt(np.maximum(np.maximum(total, n_regions), 1.0))[..., None]
    i, j = edge_ends(rows.shape[-1])
    out = rho[..., i]
    out *= rho[..., j]
    out *= 2.0
    squared = rho**2
    lost = squared[..., i]
    lost += squared[..., j]
    lost *= r
    out -= lost
    r *= r
    out /= np.subtract(1.0, r, out=r)
    return np.asarray(out)


def global_signal_share(z: Floats) -> Floats:
    """Compute the variance of the global signal relative to that of independent regions.

    Parameters
    ----------
    z : ndarray, shape (n_participants, n_edges)
        Fisher z of the correlations of all pairs of regions; NaN where missing.

    Returns
    -------
    ndarray, shape (n_participants,)
        Variance of the mean of the standardised series, multiplied by the number of regions. It
        is 1 for independent regions, larger where correlations are positive on average, and near
        0 after regression of the global signal; NaN without edges.
    """
    _, total, n_regions = _row_sums(np.tanh(np.clip(z, -_LARGEST_Z, _LARGEST_Z)))
    out = np.full(total.shape, np.nan)
    np.divide(total, n_regions, out=out, where=n_regions > 0)
    return out


def _row_sums(r: Floats) -> tuple[Floats, Floats, Floats]:
    """Sum correlation matrices over rows; also return their sums and numbers of regions."""
    n_edges = r.shape[-1]
    n = (1 + isqrt(1 + 8 * n_edges)) // 2
    i, j = edge_ends(n)
    available = np.isfinite(r)
    complete = bool(available.all())
    sums = _sum_by_region(r if complete else np.where(available, r, 0.0), i, j, n)
    count = np.full(sums.shape, n - 1.0)
    if not complete:
        count = _sum_by_region(available.astype(float), i, j, n)
    present = count > 0
    n_regions = present.sum(axis=-1).astype(float)
    mean = np.divide(sums, count, out=np.zeros_like(sums), where=present)
    rows = np.where(present, 1.0 + (n_regions[..., None] - 1.0) * mean, 0.0)
    return rows, rows.sum(axis=-1), n_regions


def _sum_by_region(values: Floats, i: Ints, j: Ints, n: int) -> Floats:
    """Sum edges over the edges of each region, shape (..., n_regions)."""
    square = np.zeros((*values.shape[:-1], n, n))
    square[..., i, j] = values
    return np.asarray(square.sum(axis=-1) + square.sum(axis=-2))
