"""Find the order of the conditions of a crossover, and warn where it cannot be separated."""

from collections.abc import Mapping, Sequence

from circuitshift.pipeline.io.tables import NOT_AVAILABLE
from circuitshift.pipeline.study.study_file import Design

__all__ = ["order_sentences", "treatment_first"]


def treatment_first(
    design: Design,
    columns: Mapping[str, Mapping[str, str]],
    dates: Mapping[tuple[str, str], float],
    participants: Sequence[str],
) -> dict[str, bool]:
    """Return whether the treatment came before the control condition in each participant.

    Parameters
    ----------
    design : Design
        Design of the study.
    columns : mapping of str to mapping of str to str
        Texts of participants.tsv, by column and participant.
    dates : mapping of (str, str) to float
        Days of acquisition by participant and session.
    participants : sequence of str
        Labels of the participants.

    Returns
    -------
    dict of str to bool
        Participants whose order is known: from the column that the study file names, otherwise from
        the dates of both follow-ups. Empty if the study is not a crossover.
    """
    if not design.control_baseline:
        return {}
    if design.order:
        column = columns.get(design.order, {})
        missing = (NOT_AVAILABLE, "")
        return {
            person: column[person] in design.treatment_first
            for person in participants
            if column.get(person, "") not in missing
        }
    out = {}
    for person in participants:
        own = dates.get((person, design.followup))
        other = dates.get((person, design.control_followup))
        if own is not None and other is not None and own != other:
            out[person] = own < other
    return out


def order_sentences(
    design: Design, known: Mapping[str, bool], n_participants: int
) -> tuple[list[str], list[str]]:
    """Describe the order of the conditions of a crossover.

    Parameters
    ----------
    design : Design
        Design of the study.
    known : mapping of str to bool
        Result of `treatment_first`.
    n_participants : int
        Number of participants with data.

    Returns
    -------
    warnings, notes : list of str
        A warning if the order is unknown or the same in all participants; otherwise a note with the
        numbers. Both are empty if the study is not a crossover.
    """
    if not design.control_baseline:
        return [], []
    if not known:
        return [
            "The order of the conditions of the crossover is unknown. If most participants had the "
            "same order, effects of day, practice and time on connectivity are included in the "
            "effect of treatment. State order and treatment_first under [sessions] of the study "
            "file, or acq_time in sessions.tsv."
        ], []
    n_first = sum(known.values())
    source = f"column {design.order}" if design.order else "the dates of the follow-ups"
    if n_first in (0, len(known)):
        place = "first" if n_first else "second"
        return [
            f"The treatment came {place} in all {len(known)} participants of the crossover whose "
            f"order is known ({source}). Effects of day, practice and time on connectivity cannot "
            "be distinguished from the effect of treatment."
        ], []
    sentence = (
        f"The treatment came first in {n_first} and second in {len(known) - n_first} of "
        f"{n_participants} participants of the crossover, according to {source}."
    )
    return [], [sentence]
