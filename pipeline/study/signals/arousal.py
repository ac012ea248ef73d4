"""Collect measures of arousal at each visit: time of day, global signal, heart and breathing."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.bids.participants import ParticipantTable
from circuitshift.pipeline.study.resolution.observe import acquisition_days
from circuitshift.pipeline.study.signals.physiology import read_physiology, summarise_run
from circuitshift.pipeline.study.signals.visit_runs import runs_of_visits, visits_of
from circuitshift.pipeline.study.verdict_file import Context, Fitted

__all__ = ["GLOBAL_SIGNAL_KEY", "arousal_of_visits"]

#: Key of the JSON file of a series: amplitude of the global signal before denoising, percent.
GLOBAL_SIGNAL_KEY = "GlobalSignalStandardDeviationPercent"
_TIME = "time of day, hours"
_GLOBAL = "global-signal amplitude before denoising, log percent"


def arousal_of_visits(context: Context, fitted: Fitted) -> dict[str, Floats]:
    """Collect the measures of arousal that are available for the visits of the comparison.

    Parameters
    ----------
    context : Context
        Data and design of the study.
    fitted : Fitted
        Primary analysis.

    Returns
    -------
    dict of str to ndarray, shape (n_participants, n_visits)
        Measures that at least one participant has at all visits: time of day (``acq_time``),
        amplitude of the global signal, and summaries of recordings (``*_physio.tsv.gz``) in the
        folder of the runs; NaN where unavailable. Measures are averaged over the runs of a visit.
    """
    participants = [member.participant for member in fitted.cohort.pairs]
    visits = visits_of(context)
    table = context.measurements.participants.get("")
    found: dict[str, dict[tuple[str, str], list[float]]] = {}

    def add(measure: str, key: tuple[str, str], value: float) -> None:
        found.setdefault(measure, {}).setdefault(key, []).append(value)

    if table is not None:
        for key, hour in _hours(table, participants, visits).items():
            add(_TIME, key, hour)
    recordings = _recordings(table)
    for run in runs_of_visits(context, fitted.cohort, fitted.strategy):
        key = run.person, run.session
        amplitude = run.about.get(GLOBAL_SIGNAL_KEY)
        if isinstance(amplitude, int | float) and amplitude > 0:
            add(_GLOBAL, key, float(np.log(amplitude)))
    for row in context.measurements.rows:
        if not _is_used(row, context, fitted):
            continue
        for path in recordings.get(row["run"], ()):
            for measure, value in _summary(path).items():
                add(measure, (row["person"], row["session"]), value)
    out = {
        measure: np.array(
            [[np.mean(values.get((p, v), [np.nan])) for v in visits] for p in participants]
        )
        for measure, values in found.items()
    }
    return {name: values for name, values in out.items() if np.isfinite(values).all(axis=1).any()}


def _is_used(row: Mapping[str, str], context: Context, fitted: Fitted) -> bool:
    """Return whether a row is a run of the primary analysis."""
    return (
        row["status"] in ("included", "combined")
        and row["strategy"] == fitted.strategy
        and row["atlas"] == context.atlas.name
    )


def _hours(
    table: ParticipantTable, participants: list[str], visits: tuple[str, ...]
) -> dict[tuple[str, str], float]:
    """Return the hour of the day of each visit; empty if the dates have no time."""
    days = acquisition_days(table, dict.fromkeys(participants, visits))
    hours = {key: 24 * (day % 1) for key, day in days.items()}
    return hours if any(hour > 0 for hour in hours.values()) else {}


def _recordings(table: ParticipantTable | None) -> dict[str, list[Path]]:
    """Return the recordings of the data set by the name of their run.

    The name of a recording is that of its run with the entity ``recording``, if a run has several.
    """
    out: dict[str, list[Path]] = {}
    if table is None or table.folder == Path():
        return out
    for path in sorted(table.folder.glob("sub-*/**/*_physio.tsv.gz")):
        run = re.sub(r"_recording-[^_]+", "", path.name.removesuffix("_physio.tsv.gz"))
        out.setdefault(run, []).append(path)
    return out


def _summary(path: Path) -> dict[str, float]:
    """Summarise one recording; empty if it cannot be read."""
    for sidecar in _sidecars(path):
        if sidecar.exists():
            try:
                return summarise_run(*read_physiology(path, sidecar))
            except ValueError:  # a damaged recording must not stop the study
                return {}
    return {}


def _sidecars(path: Path) -> list[Path]:
    """Return the JSON files that may describe a recording (inheritance of BIDS), nearest first."""
    name = path.name.removesuffix(".tsv.gz")
    root = next((p.parent for p in path.parents if re.fullmatch(r"sub-[^_]+", p.name)), path.parent)
    entities = dict(part.split("-", 1) for part in name.split("_") if "-" in part)
    task, recording = entities.get("task", ""), entities.get("recording", "")
    ends = [f"recording-{recording}_physio"] if recording else []
    names = [f"task-{task}_{end}" for end in (*ends, "physio")] + [*ends, "physio"]
    return [path.with_name(f"{name}.json"), *(root / f"{end}.json" for end in names)]
