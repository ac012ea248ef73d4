"""Exclude runs by thresholds of duration, motion and coverage."""

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.records import AnalysisSettings, RetainedData

__all__ = [
    "CODES",
    "exclude_run",
]


#: Keywords of reasons for an exclusion, as opposed to a failure.
CODES = (
    "too-short",
    "too-little-data",
    "motion",
    "coverage",
    "rated",
    "beyond-minutes",
    "visit-too-short",
    "part-too-short",
    "unknown-minutes",
    "run-order",
    "not-concatenated",
    "concatenated",
)

_MAX_SHARE_OF_MISSING_REGIONS = 0.5


def exclude_run(
    retained: RetainedData, settings: AnalysisSettings, coverage: Floats
) -> list[tuple[str, str]]:
    """Return the reasons for which a run is excluded from the analysis.

    Parameters
    ----------
    retained : RetainedData
        Retained minutes and motion of the run. A run with missing minutes or motion (NaN) is not
        excluded for this reason.
    settings : AnalysisSettings
        Thresholds of minutes, motion and coverage.
    coverage : ndarray, shape (n_regions,)
        Share of the voxels of each region that have signal.

    Returns
    -------
    list of (str, str)
        Keyword and sentence of each reason; empty if the run is included.
    """
    reasons = []
    if retained.minutes < settings.min_minutes:
        reasons.append(
            (
                "too-short",
                f"{retained.minutes:.1f} minutes were retained, fewer than "
                f"{settings.min_minutes:g}",
            )
        )
    if retained.mean_fd_mm > settings.max_mean_fd_mm:
        reasons.append(
            (
                "motion",
                f"mean framewise displacement {retained.mean_fd_mm:.3f} mm is above "
                f"{settings.max_mean_fd_mm:g} mm",
            )
        )
    missing = float(np.mean(~(coverage >= settings.min_coverage)))
    if missing > _MAX_SHARE_OF_MISSING_REGIONS:
        reasons.append(("coverage", f"{missing:.0%} of the regions have too little signal"))
    return reasons
