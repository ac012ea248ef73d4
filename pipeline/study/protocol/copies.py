"""Refuse data that occur twice in a study."""

from collections.abc import Collection, Iterable, Sequence

from circuitshift.pipeline.errors import InputProblem
from circuitshift.pipeline.study.protocol.acquired import AcquiredRun
from circuitshift.pipeline.study.tables import participant_id_of

__all__ = ["copied_runs"]


def copied_runs(
    runs: Iterable[AcquiredRun], ignored: Collection[str] = ()
) -> tuple[InputProblem, ...]:
    """Find runs with identical content under two participants, visits or runs.

    Runs are copies if their image, series or matrix is the same file, or if the measured matrices
    are identical, which finds an image that was compressed again.

    Parameters
    ----------
    runs : iterable of AcquiredRun
        All included runs.
    ignored : collection of str
        Keys of participants who are not analysed.

    Returns
    -------
    tuple of InputProblem
        One problem for each set of runs with the same content.
    """
    by_content: dict[str, list[AcquiredRun]] = {}
    for run in runs:
        if run.person not in ignored:
            for content in run.contents:
                by_content.setdefault(content, []).append(run)
    sets = {tuple((r.person, r.run) for r in same): same for same in by_content.values()}
    return tuple(_problem(same) for same in sets.values() if len(same) > 1)


def _problem(runs: Sequence[AcquiredRun]) -> InputProblem:
    """Name the copies, and state what to do."""
    names = [_name(run) for run in runs]
    if len(set(names)) < len(names):  # two runs of one visit
        names = [f"{name} ({run.run})" for name, run in zip(names, runs, strict=True)]
    return InputProblem(
        "measured data",
        f"{', '.join(names[:-1])} and {names[-1]} have identical data, although no scan is "
        "repeated exactly",
        "replace each copy by the scan that its name states and run the participant level again, "
        "or exclude these sessions by a rating",
    )


def _name(run: AcquiredRun) -> str:
    return participant_id_of(run.person) + (f" ses-{run.session}" if run.session else "")
