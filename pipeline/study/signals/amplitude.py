"""Collect the amplitude of the denoised series of each region at each visit."""

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.study.pairing import Cohort
from circuitshift.pipeline.study.signals.visit_runs import runs_of_visits, visits_of
from circuitshift.pipeline.study.verdict_file import Context

__all__ = ["AMPLITUDE_KEY", "TSNR_KEY", "log_amplitude", "signal_quality"]

#: Key of the JSON file of a series: standard deviation of each region, in percent of its mean.
AMPLITUDE_KEY = "StandardDeviationPercent"
#: Key of the JSON file of a series: temporal signal-to-noise ratio of each region's voxels.
TSNR_KEY = "TemporalSignalToNoise"


def log_amplitude(context: Context, cohort: Cohort, strategy: str) -> Floats | None:
    """Return the log standard deviation of each region's series at the visits of the comparison.

    Parameters
    ----------
    context : Context
        Data and design of the study.
    cohort : Cohort
        Participants with all visits.
    strategy : str
        Name of the denoising strategy.

    Returns
    -------
    ndarray, shape (n_participants, n_visits, n_regions), or None
        Natural logarithm, averaged over the runs of a visit; NaN for visits with a run of unknown
        amplitude. None if no visit has one.
    """
    return _log_of(AMPLITUDE_KEY, context, cohort, strategy)


def _log_of(key: str, context: Context, cohort: Cohort, strategy: str) -> Floats | None:
    """Return the log of a quantity of each region, (n_participants, n_visits, n_regions)."""
    participants = [member.participant for member in cohort.pairs]
    visits = visits_of(context)
    labels = context.atlas.labels
    found: dict[tuple[str, str], list[Floats]] = {}
    for run in runs_of_visits(context, cohort, strategy):
        stated = run.about.get(key) or {}
        values = np.array([_number(stated.get(label)) for label in labels])
        found.setdefault((run.person, run.session), []).append(np.log(values))
    unknown = [np.full(len(labels), np.nan)]
    out = np.array(
        [[np.mean(found.get((p, v), unknown), axis=0) for v in visits] for p in participants]
    )
    return out if np.isfinite(out).any() else None


def signal_quality(context: Context, cohort: Cohort, strategy: str) -> Floats | None:
    """Return the change of each region's temporal signal-to-noise ratio, on the log scale.

    Parameters
    ----------
    context : Context
        Data and design of the study.
    cohort : Cohort
        Participants with all visits.
    strategy : str
        Name of the denoising strategy.

    Returns
    -------
    ndarray, shape (n_participants, n_regions), or None
        Change of the natural logarithm of mean over standard deviation, where the standard
        deviation is that of the denoised series; in a crossover minus that of the control
        condition. NaN where it is unknown; None if it is unknown for all.

    Notes
    -----
    The amplitude of denoised series is unknown if parts of runs or concatenated runs are analysed.
    The ratio of the voxels before denoising is used for all participants if it is known at more
    visits.
    """
    log_sd = log_amplitude(context, cohort, strategy)
    quality = None if log_sd is None else -log_sd
    if _n_visits(quality) < len(cohort.pairs) * len(visits_of(context)):
        before = _log_of(TSNR_KEY, context, cohort, strategy)
        quality = before if _n_visits(before) > _n_visits(quality) else quality
    if quality is None:
        return None
    change = quality[:, 1] - quality[:, 0]
    if quality.shape[1] == 4:
        change = change - (quality[:, 3] - quality[:, 2])
    return change if np.isfinite(change).any() else None


def _n_visits(values: Floats | None) -> int:
    """Count the visits of participants with a known value."""
    return 0 if values is None else int(np.isfinite(values).any(axis=2).sum())


def _number(value: object) -> float:
    """Return a positive number, and NaN for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    return float(value) if is_number else float("nan")  # type: ignore[arg-type]
