"""Find the series and the motion of the runs of each visit of the comparison."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.study.pairing import Cohort
from circuitshift.pipeline.study.verdict_file import Context

__all__ = ["VisitRun", "change_of_visits", "runs_of_visits", "visits_of"]


@dataclass(frozen=True, slots=True)
class VisitRun:
    """The files of one run with regional series.

    Parameters
    ----------
    person, session : str
        Key of the participant, and session label.
    series : Path
        Denoised series of the retained volumes.
    motion, outliers : Path or None
        Framewise displacement of all volumes, and the mask of volumes that were not retained; None
        if motion was not available.
    about : dict
        Content of the JSON file of the series.
    """

    person: str
    session: str
    series: Path
    motion: Path | None
    outliers: Path | None
    about: dict[str, Any]

    def retained_fd_mm(self) -> Floats | None:
        """Return the framewise displacement of the retained volumes, mm.

        Returns
        -------
        ndarray, shape (n_retained,), or None
            NaN for volumes without a value, such as the first; None if motion is not available.
        """
        if self.motion is None or self.outliers is None:
            return None
        fd = tables.read_series(self.motion)[1][:, 0]
        return np.asarray(fd[tables.read_series(self.outliers)[1][:, 0] == 0], float)


def visits_of(context: Context) -> tuple[str, ...]:
    """Return the sessions of the comparison: two, or four in a crossover.

    Parameters
    ----------
    context : Context
        Data and design of the study.

    Returns
    -------
    tuple of str
        Baseline, follow-up and, in a crossover, baseline and follow-up of the control condition.
    """
    design = context.design
    pair = (design.baseline, design.followup)
    if not design.control_baseline:
        return pair
    return (*pair, design.control_baseline, design.control_followup)


def runs_of_visits(context: Context, cohort: Cohort, strategy: str) -> list[VisitRun]:
    """Return the runs with series of the participants with all visits of the comparison.

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
    list of VisitRun
        In the order of the measurements; runs without series, such as matrices, are omitted.
    """
    participants = {member.participant for member in cohort.pairs}
    sessions = set(visits_of(context))
    out = []
    for row in context.measurements.rows:
        ours = row["person"] in participants and row["session"] in sessions
        same = row["strategy"] == strategy and row["atlas"] == context.atlas.name
        if ours and same and row["status"] == "included":
            run = _run_of(row["person"], row["session"], Path(row["root"]), row["relmat"])
            out += [run] if run is not None else []
    return out


def _run_of(person: str, session: str, root: Path, matrix: str) -> VisitRun | None:
    """Return the run whose matrix is given; None if its series were not written."""
    sidecar = (root / matrix).with_suffix(".json")
    if not sidecar.exists():
        return None
    names = {
        str(name).rsplit("_", 1)[-1]: root / str(name)
        for name in tables.read_json(sidecar).get("Files", {})
    }
    series = names.get("timeseries.tsv")
    if series is None or not series.exists():
        return None
    about = series.with_suffix(".json")
    return VisitRun(
        person=person,
        session=session,
        series=series,
        motion=names.get("motion.tsv"),
        outliers=names.get("outliers.tsv"),
        about=tables.read_json(about) if about.exists() else {},
    )


def change_of_visits(
    context: Context,
    participants: Sequence[str],
    values: dict[tuple[str, str], list[Floats]],
    *,
    mean: Callable[[list[Floats]], Floats] = lambda parts: np.mean(parts, axis=0),
) -> Floats | None:
    """Return the change of a quantity that was computed for each run.

    Parameters
    ----------
    context : Context
        Data and design of the study.
    participants : sequence of str
        Keys of the participants.
    values : dict of (participant, session) to list of ndarray, shape (n_values,)
        Quantity of each run.
    mean : callable
        Average over the runs of a visit.

    Returns
    -------
    ndarray, shape (n_participants, n_values), or None
        Follow-up minus baseline, in a crossover minus that of the control condition; NaN for
        participants in whom a visit has no value. None if no participant has all values.
    """
    visits = visits_of(context)
    complete = {p for p in participants if all(values.get((p, v)) for v in visits)}
    if not complete:
        return None
    by_visit = [
        {p: mean(values[p, visit]) for p in participants if p in complete} for visit in visits
    ]
    size = len(next(iter(by_visit[0].values())))

    def of_visit(k: int) -> Floats:
        return np.array([by_visit[k].get(p, np.full(size, np.nan)) for p in participants])

    change = of_visit(1) - of_visit(0)
    return change if len(visits) == 2 else np.asarray(change - (of_visit(3) - of_visit(2)))
