"""Assess data quality at the group level: exclusion by ratings, exclusion by arm, QC-FC.

QC-FC is the correlation of edges with head motion across participants.
"""

from collections.abc import Mapping, Sequence
from math import comb

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.study.ratings import Rating


def exclude_rated(
    person: str, session: str, ratings: Sequence[Rating]
) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the reasons for which raters excluded a session, and their doubts about it.

    A session is excluded if at least one rater excludes it, also if another rater keeps it.

    Parameters
    ----------
    person, session : str
        Key of the participant and session label, as in `Rating`; the session is empty if the data
        set has no sessions.
    ratings : sequence of Rating
        Ratings of all participants.

    Returns
    -------
    reasons : list of (str, str)
        Keyword and sentence of each exclusion, in the format of
        `circuitshift.pipeline.measure.run_quality.exclude_run`.
    doubts : list of str
        Sentences of the ratings ``doubt``, which do not exclude the session.
    """
    ours = [r for r in ratings if r.person == person and r.session in ("", session)]
    reasons = [("rated", rating.said()) for rating in ours if rating.rating == "exclude"]
    return reasons, [rating.said() for rating in ours if rating.rating == "doubt"]


def compare_exclusion(counts: Mapping[str, tuple[int, int]]) -> float:
    """Compare the proportions of excluded participants of two arms by Fisher's exact test.

    Parameters
    ----------
    counts : mapping of str to (int, int)
        Numbers of analysed and of excluded participants in each of two arms.

    Returns
    -------
    float
        Two-sided p: the sum of the probabilities of all tables with the same margins whose
        probability does not exceed that of the observed table.

    References
    ----------
    Fisher RA (1935). The logic of inductive inference. Journal of the Royal Statistical Society 98,
    39-82.

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
    """Correlate each edge with motion across participants (QC-FC).

    Parameters
    ----------
    edges : ndarray, shape (n_participants, n_edges)
        Fisher z, or change in Fisher z.
    motion : array_like, shape (n_participants,)
        Mean framewise displacement, or its change, mm. Participants with missing values are
        omitted.

    Returns
    -------
    ndarray, shape (n_edges,)
        Pearson correlation. NaN for edges that are missing in at least one participant; all NaN
        with fewer than five participants or constant motion.
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
    """Summarise the correlation of edges with motion, and its dependence on edge length.

    Parameters
    ----------
    edges : ndarray, shape (n_participants, n_edges)
        Fisher z, or change in Fisher z.
    motion : array_like, shape (n_participants,)
        Mean framewise displacement, or its change, mm.
    distance_mm : ndarray, shape (n_edges,), optional
        Length of each edge, mm.

    Returns
    -------
    dict of str to float
        ``qcfc_median_abs_r``: median absolute correlation (Ciric 2017,
        doi:10.1016/j.neuroimage.2017.03.020). ``qcfc_null_median_abs_r``: the median expected
        without any association, from the normal distribution of Fisher z with variance
        1 / (n - 3). ``qcfc_n_participants``: number of participants. ``qcfc_distance_rho``, only
        with `distance_mm`: see `distance_dependence`. Empty if `qcfc_edges` is NaN for all edges.
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
    """Compute the rank correlation of QC-FC with the length of edges.

    Motion increases short-range and decreases long-range correlations (Power 2012,
    doi:10.1016/j.neuroimage.2011.10.018), so that a negative value indicates an effect of motion.
    The measure is that of Parkes 2018 (doi:10.1016/j.neuroimage.2017.12.073).

    Parameters
    ----------
    r : ndarray, shape (n_edges,)
        Correlations from `qcfc_edges`.
    distance_mm : ndarray, shape (n_edges,)
        Length of each edge, mm.

    Returns
    -------
    float
        Spearman's rho over the edges with both values; NaN with fewer than three such edges, or if
        one of the variables is constant.
    """
    from scipy.stats import rankdata  # noqa: PLC0415 - the import takes half a second

    available = np.isfinite(r) & np.isfinite(distance_mm)
    if available.sum() < 3:
        return float("nan")
    ranks = np.array([rankdata(r[available]), rankdata(distance_mm[available])])
    if (np.ptp(ranks, axis=1) == 0).any():
        return float("nan")
    return float(np.corrcoef(ranks)[0, 1])
