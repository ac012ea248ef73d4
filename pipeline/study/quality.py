"""Data quality at the group level: exclusion by ratings, arms compared, QC-FC."""

from collections.abc import Mapping, Sequence
from math import comb

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.study.ratings import Rating


def exclude_rated(
    person: str, session: str, ratings: Sequence[Rating]
) -> tuple[list[tuple[str, str]], list[str]]:
    """Say why a session must not enter the analysis by the judgement of those who looked at it.

    One rater who excludes is enough; ratings ``keep`` undo nothing.

    Parameters
    ----------
    person, session : str
        As in `Rating`; the session is empty when the data set has none.
    ratings : sequence of Rating
        Of anybody.

    Returns
    -------
    reasons : list of (str, str)
        As `exclude_run`.
    doubts : list of str
        What ratings ``doubt`` say; the session stays.
    """
    ours = [r for r in ratings if r.person == person and r.session in ("", session)]
    reasons = [("rated", rating.said()) for rating in ours if rating.rating == "exclude"]
    return reasons, [rating.said() for rating in ours if rating.rating == "doubt"]


def compare_exclusion(counts: Mapping[str, tuple[int, int]]) -> float:
    """Compare two arms by how many people were lost: Fisher's exact test, two-sided.

    Parameters
    ----------
    counts : mapping of str to (int, int)
        People analysed and people lost, for each of two arms.

    Returns
    -------
    float
        Sum of the probabilities of all tables with these margins that are no likelier than the
        one observed (Fisher 1935).

    Examples
    --------
    >>> round(compare_exclusion({"treated": (1, 9), "control": (11, 3)}), 6)
    0.002759
    """
    (a, b), (c, d) = counts.values()
    first, missing, n = a + b, b + d, a + b + c + d
    ways = [
        comb(missing, k) * comb(n - missing, first - k)
        for k in range(max(0, missing - (c + d)), min(missing, first) + 1)
    ]
    observed = comb(missing, b) * comb(n - missing, first - b)
    return float(sum(w for w in ways if w <= observed) / sum(ways))


def qcfc_edges(edges: Floats, motion: Sequence[float] | Floats) -> Floats:
    """Correlate every edge with motion over people: QC-FC.

    Parameters
    ----------
    edges : ndarray of shape (n_participants, n_edges)
        Fisher z, or their change.
    motion : array_like of shape (n_participants,)
        Mean framewise displacement, or its change, mm; people whose motion is unknown are left out.

    Returns
    -------
    ndarray of shape (n_edges,)
        Pearson r; NaN for edges that somebody lacks, and everywhere with fewer than five people
        or with motion that does not vary.
    """
    fd = np.asarray(motion, float)
    available = np.isfinite(fd)
    edges, fd = edges[available], fd[available]
    out = np.full(edges.shape[1], np.nan)
    whole = np.isfinite(edges).all(axis=0)
    if len(fd) < 5 or not whole.any() or fd.std() == 0:
        return out
    centred = edges[:, whole] - edges[:, whole].mean(axis=0)
    about = fd - fd.mean()
    norm = np.sqrt((centred**2).sum(axis=0) * (about @ about))
    out[whole] = np.divide(about @ centred, norm, out=np.zeros(centred.shape[1]), where=norm > 0)
    return out


def qcfc(
    edges: Floats, motion: Sequence[float] | Floats, distance_mm: Floats | None = None
) -> dict[str, float]:
    """Summarise how edges go with motion over people, and whether short ones do so more.

    Parameters
    ----------
    edges : ndarray of shape (n_participants, n_edges)
        Fisher z, or their change.
    motion : array_like of shape (n_participants,)
        Mean framewise displacement, or its change, mm.
    distance_mm : ndarray of shape (n_edges,), optional
        Length of each edge.

    Returns
    -------
    dict
        ``qcfc_median_abs_r``: median absolute correlation (Ciric 2017,
        doi:10.1016/j.neuroimage.2017.03.020); ``qcfc_null_median_abs_r``: what chance gives with
        so many people, from a normal Fisher z; ``qcfc_n_participants``; with `distance_mm` also
        ``qcfc_distance_rho``, see `distance_dependence`. Empty where `qcfc_edges` knows no edge.
    """
    r = qcfc_edges(edges, motion)
    if not np.isfinite(r).any():
        return {}
    n = int(np.isfinite(np.asarray(motion, float)).sum())
    out = {
        "qcfc_median_abs_r": float(np.nanmedian(np.abs(r))),
        "qcfc_null_median_abs_r": float(np.tanh(0.6744897501960817 / np.sqrt(n - 3))),
        "qcfc_n_participants": float(n),
    }
    if distance_mm is not None:
        out["qcfc_distance_rho"] = distance_dependence(r, distance_mm)
    return out


def distance_dependence(r: Floats, distance_mm: Floats) -> float:
    """Rank correlation of QC-FC with the length of edges.

    Motion adds to short edges and takes from long ones, so that a negative value is a trace of
    motion (Power 2012, doi:10.1016/j.neuroimage.2011.10.018; the measure is that of Parkes 2018,
    doi:10.1016/j.neuroimage.2017.12.073).

    Parameters
    ----------
    r : ndarray of shape (n_edges,)
        From `qcfc_edges`.
    distance_mm : ndarray of shape (n_edges,)

    Returns
    -------
    float
        Spearman's rho over the edges where both are known; NaN with fewer than three, or when
        one of them does not vary.
    """
    from scipy.stats import rankdata  # noqa: PLC0415 - half a second of import

    available = np.isfinite(r) & np.isfinite(distance_mm)
    if available.sum() < 3:
        return float("nan")
    ranks = np.array([rankdata(r[available]), rankdata(distance_mm[available])])
    if (np.ptp(ranks, axis=1) == 0).any():
        return float("nan")
    return float(np.corrcoef(ranks)[0, 1])
