"""Exclude runs by thresholds of duration, motion, coverage and registration."""

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.records import AnalysisSettings, Registration, RetainedData

__all__ = [
    "CODES",
    "DOUBTFUL_BOUNDARY_COST",
    "MAX_BOUNDARY_COST",
    "MAX_DISAGREEMENT_MM",
    "REGISTRATION_CODES",
    "exclude_run",
]


#: Keywords of exclusions by the registration of a run.
REGISTRATION_CODES = ("registration", "registration-disagrees")

#: Keywords of reasons for an exclusion, as opposed to a failure.
CODES = (
    "too-short",
    "too-little-data",
    "motion",
    "coverage",
    *REGISTRATION_CODES,
    "rated",
    "beyond-minutes",
    "visit-too-short",
    "part-too-short",
    "unknown-minutes",
    "run-order",
    "not-concatenated",
    "concatenated",
)

#: Largest boundary cost of the registration of a run. .5 is expected by chance.
MAX_BOUNDARY_COST = 0.38
#: Boundary cost above which the outlines of a run should be checked.
DOUBTFUL_BOUNDARY_COST = 0.3
#: Largest distance of the registration of a run from the position that the other runs imply, mm.
MAX_DISAGREEMENT_MM = 2.0

_MAX_SHARE_OF_MISSING_REGIONS = 0.5


def exclude_run(
    retained: RetainedData,
    settings: AnalysisSettings,
    coverage: Floats,
    registration: Registration = Registration(),  # noqa: B008 - frozen
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
    registration : Registration
        Quality of the registration. Missing values (NaN) exclude no run.

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
    return reasons + _exclude_by_registration(registration)


def _exclude_by_registration(registration: Registration) -> list[tuple[str, str]]:
    reasons = []
    if registration.boundary_cost > MAX_BOUNDARY_COST:
        reasons.append(
            (
                "registration",
                f"the registration to the T1-weighted image failed, its boundary cost of "
                f"{registration.boundary_cost:.2f} is above {MAX_BOUNDARY_COST:g}",
            )
        )
    if registration.disagreement_mm > MAX_DISAGREEMENT_MM:
        reasons.append(
            (
                "registration-disagrees",
                f"the registration to the T1-weighted image differs by "
                f"{registration.disagreement_mm:.1f} mm from that of the other runs, more than "
                f"{MAX_DISAGREEMENT_MM:g} mm",
            )
        )
    return reasons
