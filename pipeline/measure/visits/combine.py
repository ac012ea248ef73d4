"""Use the first minutes of each visit, and concatenate the series of its runs.

Both are applied to series that were denoised over the complete run, as in XCP-D: a filter and a
regression over a part of a run would leave other residuals.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, time
from functools import partial

import numpy as np

from circuitshift.pipeline import edges as connectivity
from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.bids.run_metadata import metadata_of
from circuitshift.pipeline.errors import CircuitshiftError
from circuitshift.pipeline.measure import run_quality as quality
from circuitshift.pipeline.measure.denoise import MIN_DOF
from circuitshift.pipeline.measure.outputs import RunOutput, coverage_of, stem_of
from circuitshift.pipeline.records import AnalysisSettings, Registration, RetainedData, Run

__all__ = [
    "combining_prose",
    "concatenate_series",
    "cut_output",
    "in_order",
    "use_first_minutes",
    "visit_run",
]

#: Share of a volume by which the retained minutes of a visit may miss the requested minutes, so
#: that rounding does not decide.
_TOLERANCE = 1e-6
_MIN_VOLUMES = 4  # for a correlation
_ACQUIRED = ("AcquisitionDateTime", "AcquisitionTime")


def in_order(runs: Sequence[Run]) -> list[Run] | None:
    """Sort the runs of a visit by run number, or by the time of their acquisition.

    Parameters
    ----------
    runs : sequence of Run
        Runs of one visit.

    Returns
    -------
    list of Run, or None
        None if neither the run numbers nor the times in the JSON files are complete and distinct.
    """
    if len(runs) < 2:
        return list(runs)
    ways: list[Callable[[Run], str]] = [_number]
    ways += [partial(_acquired, name=name) for name in _ACQUIRED]
    for way in ways:
        keys = [way(run) for run in runs]
        if all(keys) and len(set(keys)) == len(runs):
            return [runs[k] for k in sorted(range(len(runs)), key=keys.__getitem__)]
    return None


def _number(run: Run) -> str:
    """Return the run number in a form that is sorted by its value; empty if there is none."""
    return run.run.zfill(9) if run.run.isdecimal() else ""


def _acquired(run: Run, *, name: str) -> str:
    """Return the time of acquisition in the JSON files of a run; empty if it is not stated."""
    try:
        text = str(metadata_of(run).get(name, ""))
        form = time if name == "AcquisitionTime" else datetime
        return form.fromisoformat(text).replace(tzinfo=None).isoformat(timespec="microseconds")
    except (CircuitshiftError, ValueError):
        return ""


def visit_run(runs: Sequence[Run]) -> Run:
    """Return the visit of runs as a run: it has the entities that all of them share."""
    first = runs[0]
    shared = set(first.entities).intersection(*(run.entities for run in runs))
    entities = tuple(pair for pair in first.entities if pair in shared)
    return replace(first, run=dict(entities).get("run", ""), entities=entities)


def use_first_minutes(
    outputs: Sequence[RunOutput], settings: AnalysisSettings, *, is_ordered: bool
) -> list[RunOutput]:
    """Retain the first minutes of a visit, and state which of its runs are not used.

    Parameters
    ----------
    outputs : sequence of RunOutput
        Complete runs of one visit with the same atlas and strategy, in temporal order.
    settings : AnalysisSettings
        Thresholds for complete runs, minutes of each visit, and whether its runs are concatenated.
    is_ordered : bool
        Whether the order of the runs is known.

    Returns
    -------
    list of RunOutput
        The same runs with their reasons for an exclusion. The run in which the minutes end is cut.
    """
    judged = [_judged(output, settings) for output in outputs]
    usable = [k for k, output in enumerate(judged) if not output.reasons]
    wanted = settings.visit_minutes
    if wanted is None or not usable:
        return judged
    if len(usable) > 1 and not is_ordered:
        return _all_excluded(
            judged,
            "run-order",
            f"the order of the {len(usable)} runs of this visit is unknown, so that its first "
            f"{wanted:g} minutes cannot be chosen, add AcquisitionTime to their JSON files or run- "
            "numbers to their names",
        )
    total = sum(judged[k].retained.minutes for k in usable)
    volume = max(_volume_min(judged[k]) for k in usable)
    if total < wanted - _TOLERANCE * volume:
        return _all_excluded(
            judged,
            "visit-too-short",
            f"{total:.2f} minutes were retained in this visit, fewer than the {wanted:g} of "
            "--visit-minutes",
        )
    left = wanted
    for k in usable:
        output = judged[k]
        n = math.ceil(left / _volume_min(output) - _TOLERANCE)
        if n <= 0:
            reason = f"the first {wanted:g} retained minutes of this visit are in earlier runs"
            judged[k] = replace(output, reasons=(("beyond-minutes", reason),))
        elif n < output.retained.n_retained:
            is_alone = settings.combine_runs == "average" or k == usable[0]
            cut = cut_output(output, n, settings, is_alone=is_alone)
            if cut is None:
                return _all_excluded(
                    judged,
                    "part-too-short",
                    f"the first {wanted:g} retained minutes of this visit end after {n} volumes of "
                    "its last run, too few for a correlation of their own, use other "
                    "--visit-minutes or --combine-runs concatenate",
                )
            judged[k] = cut
        left -= output.retained.minutes
    return judged


def _judged(output: RunOutput, settings: AnalysisSettings) -> RunOutput:
    """Apply the thresholds of complete runs."""
    if output.reasons:  # it cannot be denoised
        return output
    coverage = coverage_of(output)
    reasons = quality.exclude_run(output.retained, settings, coverage, output.registration)
    if settings.visit_minutes is not None and not np.isfinite(output.retained.minutes):
        reason = "its repetition time is unknown, add RepetitionTime in s to its JSON file"
        reasons.append(("unknown-minutes", reason))
    return replace(output, reasons=tuple(reasons))


def _volume_min(output: RunOutput) -> float:
    """Return the repetition time, min."""
    return output.retained.minutes / output.retained.n_retained


def _all_excluded(outputs: Sequence[RunOutput], code: str, reason: str) -> list[RunOutput]:
    """Exclude all usable runs of a visit for the same reason, as complete runs."""
    return [replace(o, reasons=o.reasons or ((code, reason),)) for o in outputs]


def cut_output(
    output: RunOutput, n_used: int, settings: AnalysisSettings, *, is_alone: bool
) -> RunOutput | None:
    """Return the first retained volumes of a run.

    Parameters
    ----------
    output : RunOutput
        Complete run.
    n_used : int
        Number of retained volumes that are used.
    settings : AnalysisSettings
        Estimator of edges.
    is_alone : bool
        Whether the correlation of these volumes is used by itself, and not as a part of
        concatenated series.

    Returns
    -------
    RunOutput or None
        None if these volumes are used by themselves and have fewer residual degrees of freedom
        than `circuitshift.pipeline.measure.denoise.MIN_DOF`.

    Notes
    -----
    The regression of the complete run costs the same share of the degrees of freedom in each of
    its parts, therefore they are proportional to the number of volumes.
    """
    assert output.series is not None  # noqa: S101 - matrices are refused
    series = output.series[:n_used]
    before = output.retained
    share = n_used / before.n_retained
    dof = before.residual_dof * share
    if is_alone and dof < MIN_DOF:
        return None
    matrix = np.full_like(output.matrix, np.nan)
    if n_used >= _MIN_VOLUMES:  # a shorter part of concatenated series has no matrix of its own
        matrix = connectivity.correlation(series, settings.estimator)
    keep, fd = output.keep, before.mean_fd_mm
    if keep is not None:
        keep = keep & (np.cumsum(keep) <= n_used)
        if output.fd_mm is not None:
            used = output.fd_mm[keep & np.isfinite(output.fd_mm)]
            fd = float(used.mean()) if used.size else float("nan")
    minutes = _volume_min(output) * n_used
    retained = replace(before, n_retained=n_used, minutes=minutes, residual_dof=dof, mean_fd_mm=fd)
    return replace(
        output,
        matrix=matrix,
        retained=retained,
        series=series,
        keep=keep,
        cut_at_min=minutes,
        amplitude_percent=None,  # that of the complete run
        global_signal_percent=float("nan"),
    )


def concatenate_series(
    outputs: Sequence[RunOutput], runs: Sequence[Run], visit: Run, settings: AnalysisSettings
) -> tuple[list[RunOutput], RunOutput | None]:
    """Concatenate the standardised series of the usable runs of a visit.

    Parameters
    ----------
    outputs : sequence of RunOutput
        Runs of one visit with the same atlas and strategy, from `use_first_minutes`.
    runs : sequence of Run
        Source run of each of `outputs`.
    visit : Run
        The visit, from `visit_run`, after which the result is named.
    settings : AnalysisSettings
        Estimator of edges and smallest coverage.

    Returns
    -------
    outputs : list of RunOutput
        The same runs; those that were concatenated say so.
    whole : RunOutput or None
        Edges of the concatenated series; None if fewer than two runs are usable.

    Notes
    -----
    Each run is scaled to mean 0 and variance 1, so that differences between runs in level and
    amplitude are no part of the correlation. A region that is missing in one of the runs is
    missing in the visit.
    """
    usable = [k for k, output in enumerate(outputs) if not output.reasons]
    if len(usable) < 2:
        return list(outputs), None
    parts = [outputs[k] for k in usable]
    reason = _obstacle(parts, runs, visit)
    if reason:
        return _all_excluded(outputs, "not-concatenated", reason), None
    series = np.vstack([_standardised(part.series) for part in parts])
    matrix = connectivity.correlation(series, settings.estimator)
    whole = replace(
        parts[0],
        matrix=matrix,
        retained=_sum([part.retained for part in parts]),
        coverage=None,
        parcels=None,
        signal=None,
        tsnr=_mean_tsnr(parts),
        series=series,
        keep=None,
        fd_mm=None,
        std_dvars=None,
        median_tsnr=float("nan"),
        views=(),
        notes=(),
        cut_at_min=None,
        amplitude_percent=None,
        global_signal_percent=float("nan"),
        registration=Registration(),
        sources=tuple(runs[k].path.name for k in usable),
    )
    # minutes and motion of the parts were already compared with their thresholds
    nan = float("nan")
    unknown = replace(whole.retained, minutes=nan, mean_fd_mm=nan)
    reasons = tuple(quality.exclude_run(unknown, settings, coverage_of(whole)))
    named = [replace(o, part_of="" if o.reasons else stem_of(visit)) for o in outputs]
    return named, replace(whole, reasons=reasons)


def _obstacle(parts: Sequence[RunOutput], runs: Sequence[Run], visit: Run) -> str:
    """Return why the runs of a visit cannot be concatenated; empty if they can."""
    times = sorted({round(60 * _volume_min(part), 3) for part in parts})
    if len(times) > 1 and np.isfinite(times).all():
        listed = " and ".join(f"{t:g}" for t in times)
        return (
            f"the runs of this visit have repetition times of {listed} s, use --combine-runs "
            "average or choose runs by --bids-filter-file"
        )
    if any(set(run.entities) == set(visit.entities) for run in runs):
        return (
            f"one of the runs of this visit is named {stem_of(visit)}, as their concatenation "
            "would be, add run- numbers to the names of all of them"
        )
    return ""


def _standardised(series: Floats | None) -> Floats:
    """Scale series to mean 0 and sample variance 1; NaN for regions without variance."""
    assert series is not None  # noqa: S101 - matrices are refused
    centred: Floats = series - series.mean(axis=0)
    if len(series) == 1:
        return centred
    spread = centred.std(axis=0, ddof=1)
    is_constant = ~(spread > 1e-12 * np.abs(series).max(axis=0, initial=0.0))
    return np.asarray(centred / np.where(is_constant, np.nan, spread), float)


def _mean_tsnr(parts: Sequence[RunOutput]) -> Floats | None:
    """Average the temporal signal-to-noise ratio of regions, weighted by retained volumes."""
    known = [part.tsnr for part in parts if part.tsnr is not None]
    if len(known) < len(parts):
        return None
    weights = [part.retained.n_retained for part in parts]
    return np.asarray(np.average(known, axis=0, weights=weights), float)


def _sum(parts: Sequence[RetainedData]) -> RetainedData:
    """Add up the retained data of runs; means are weighted by their retained volumes."""
    weights = [part.n_retained for part in parts]
    return RetainedData(
        n_volumes=sum(part.n_volumes for part in parts),
        n_dummy=sum(part.n_dummy for part in parts),
        n_censored=sum(part.n_censored for part in parts),
        n_retained=sum(weights),
        minutes=sum(part.minutes for part in parts),
        n_regressors=sum(part.n_regressors for part in parts),
        residual_dof=sum(part.residual_dof for part in parts),
        mean_fd_mm=float(np.average([part.mean_fd_mm for part in parts], weights=weights)),
        variance_removed=float(
            np.average([part.variance_removed for part in parts], weights=weights)
        ),
    )


def combining_prose(settings: AnalysisSettings) -> str:
    """Describe how the runs of a session are combined, as the end of a sentence.

    Parameters
    ----------
    settings : AnalysisSettings
        Minutes of each visit, and how its runs are combined.

    Returns
    -------
    str
    """
    text = "runs of a session were averaged with their residual degrees of freedom as weights"
    if settings.combine_runs == "concatenate":
        text = "the runs of a session were standardised, concatenated and correlated as one series"
    if settings.visit_minutes is None:
        return text
    return (
        f"{text}; the first {settings.visit_minutes:g} retained minutes of each session were used, "
        "and sessions with fewer were excluded"
    )
