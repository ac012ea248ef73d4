"""Quality: what moves, what is left, and the one place that excludes."""

from collections.abc import Mapping, Sequence
from math import comb

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.ratings import Rating
from circuitshift.pipeline.records import Kept, Science

__all__ = ["CODES", "compare_exclusion", "exclude_rated", "exclude_run", "qcfc"]

Floats = npt.NDArray[np.float64]

#: Reasons to leave a run out that are no failures.
CODES = ("too-short", "motion", "coverage", "rated")

_MOST_REGIONS_LOST = 0.5


def exclude_run(kept: Kept, science: Science, coverage: Floats) -> list[tuple[str, str]]:
    """Say why a run must not enter the analysis.

    Parameters
    ----------
    kept : Kept
        Unknown minutes or motion (NaN) exclude nobody.
    science : Science
        Thresholds.
    coverage : ndarray of shape (n_regions,)
        Share of each region that carries signal.

    Returns
    -------
    list of (str, str)
        Code and sentence of every reason; empty when the run may enter.
    """
    reasons = []
    if kept.minutes < science.min_minutes:
        reasons.append(
            (
                "too-short",
                f"{kept.minutes:.1f} minutes are left of it, fewer than {science.min_minutes:g}",
            )
        )
    if kept.mean_fd_mm > science.max_mean_fd_mm:
        reasons.append(
            (
                "motion",
                f"mean framewise displacement {kept.mean_fd_mm:.3f} mm is above "
                f"{science.max_mean_fd_mm:g}",
            )
        )
    lost = float(np.mean(~(coverage >= science.min_coverage)))
    if lost > _MOST_REGIONS_LOST:
        reasons.append(("coverage", f"{lost:.0%} of the regions carry too little signal"))
    return reasons


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
    first, lost, n = a + b, b + d, a + b + c + d
    ways = [
        comb(lost, k) * comb(n - lost, first - k)
        for k in range(max(0, lost - (c + d)), min(lost, first) + 1)
    ]
    observed = comb(lost, b) * comb(n - lost, first - b)
    return float(sum(w for w in ways if w <= observed) / sum(ways))


def qcfc(edges: Floats, motion: Sequence[float] | Floats) -> dict[str, float]:
    """Relate edges to motion over people: QC-FC.

    Parameters
    ----------
    edges : ndarray of shape (n_people, n_edges)
        Fisher z, or their change; edges with NaN are left out.
    motion : array_like of shape (n_people,)
        Mean framewise displacement, or its change, mm.

    Returns
    -------
    dict
        ``qcfc_median_abs_r``: median absolute correlation (Ciric 2017,
        doi:10.1016/j.neuroimage.2017.03.020); ``qcfc_null_median_abs_r``: what chance gives with
        so many people, from a normal Fisher z; ``qcfc_n_people``. Empty below five people.
    """
    motion = np.asarray(motion, float)
    n = len(motion)
    whole = np.isfinite(edges).all(axis=0)
    if n < 5 or not whole.any() or motion.std() == 0:
        return {}
    centred = edges[:, whole] - edges[:, whole].mean(axis=0)
    about = motion - motion.mean()
    norm = np.sqrt((centred**2).sum(axis=0) * (about @ about))
    r = np.divide(about @ centred, norm, out=np.zeros(centred.shape[1]), where=norm > 0)
    return {
        "qcfc_median_abs_r": float(np.median(np.abs(r))),
        "qcfc_null_median_abs_r": float(np.tanh(0.6744897501960817 / np.sqrt(n - 3))),
        "qcfc_n_people": float(n),
    }
