"""Quality: what moves, what is left, and the one place that excludes."""

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.records import AnalysisSettings, RetainedData

__all__ = [
    "CODES",
    "exclude_run",
]


#: Reasons to leave a run out that are no failures.
CODES = ("too-short", "motion", "coverage", "rated")

_MOST_REGIONS_LOST = 0.5


def exclude_run(
    kept: RetainedData, settings: AnalysisSettings, coverage: Floats
) -> list[tuple[str, str]]:
    """Say why a run must not enter the analysis.

    Parameters
    ----------
    kept : Kept
        Unknown minutes or motion (NaN) exclude nobody.
    settings : AnalysisSettings
        Thresholds.
    coverage : ndarray of shape (n_regions,)
        Share of each region that carries signal.

    Returns
    -------
    list of (str, str)
        Code and sentence of every reason; empty when the run may enter.
    """
    reasons = []
    if kept.minutes < settings.min_minutes:
        reasons.append(
            (
                "too-short",
                f"{kept.minutes:.1f} minutes are left of it, fewer than {settings.min_minutes:g}",
            )
        )
    if kept.mean_fd_mm > settings.max_mean_fd_mm:
        reasons.append(
            (
                "motion",
                f"mean framewise displacement {kept.mean_fd_mm:.3f} mm is above "
                f"{settings.max_mean_fd_mm:g}",
            )
        )
    missing = float(np.mean(~(coverage >= settings.min_coverage)))
    if missing > _MOST_REGIONS_LOST:
        reasons.append(("coverage", f"{missing:.0%} of the regions carry too little signal"))
    return reasons
