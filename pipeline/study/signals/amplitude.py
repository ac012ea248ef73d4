"""Collect the amplitude of the denoised series of each region at each visit."""

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.study.signals.visit_runs import runs_of_visits, visits_of
from circuitshift.pipeline.study.verdict_file import Context, Fitted

__all__ = ["AMPLITUDE_KEY", "log_amplitude"]

#: Key of the JSON file of a series: standard deviation of each region, in percent of its mean.
AMPLITUDE_KEY = "StandardDeviationPercent"


def log_amplitude(context: Context, fitted: Fitted) -> Floats | None:
    """Return the log standard deviation of each region's series at the visits of the comparison.

    Parameters
    ----------
    context : Context
        Data and design of the study.
    fitted : Fitted
        Primary analysis.

    Returns
    -------
    ndarray, shape (n_participants, n_visits, n_regions), or None
        Natural logarithm, averaged over the runs of a visit; NaN for visits with a run of unknown
        amplitude. None if no visit has one.
    """
    participants = [member.participant for member in fitted.cohort.pairs]
    visits = visits_of(context)
    labels = context.atlas.labels
    found: dict[tuple[str, str], list[Floats]] = {}
    for run in runs_of_visits(context, fitted):
        stated = run.about.get(AMPLITUDE_KEY) or {}
        values = np.array([_number(stated.get(label)) for label in labels])
        found.setdefault((run.person, run.session), []).append(np.log(values))
    unknown = [np.full(len(labels), np.nan)]
    out = np.array(
        [[np.mean(found.get((p, v), unknown), axis=0) for v in visits] for p in participants]
    )
    return out if np.isfinite(out).any() else None


def _number(value: object) -> float:
    """Return a positive number, and NaN for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    return float(value) if is_number else float("nan")  # type: ignore[arg-type]
