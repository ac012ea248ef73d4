"""Records of the resolution of a study: what was observed, and what was decided from it."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from circuitshift.pipeline.errors import InputProblem
from circuitshift.pipeline.study.study_file import Design

__all__ = ["Columns", "Decision", "Observed", "Resolution", "Source", "normal_form"]

#: Column of participants.tsv -> participant -> text.
Columns = Mapping[str, Mapping[str, str]]
#: How a question was decided: by the study file, by a recognised name or date, or by counting.
Source = Literal["stated", "recognised", "counted"]


@dataclass(frozen=True, slots=True)
class Observed:
    """The facts about the data sets from which a design is resolved.

    Parameters
    ----------
    sessions : mapping of str to sequence of str
        Labels of the sessions with data, by participant of the main data set.
    columns : mapping of str to mapping of str to str
        Texts of participants.tsv of the main data set, by column and participant.
    reference : mapping of str to mapping
        The same for each further data set, by its name; no columns if it has no table.
    scores : mapping of str to collection of (str, str)
        For each score by session, the visits (participant, session) that have a value.
    levels : mapping of str to mapping of str to str
        Meanings of values from participants.json, by column and value.
    dates : mapping of (str, str) to float
        Days of acquisition by participant and session, from sessions.tsv or scans.tsv. Only
        differences within a participant have a meaning.
    refusals : sequence of InputProblem
        Problems of the tables that make the arms of the study unreliable.
    doubtful : mapping of str to str
        Columns that must not be used as covariates, with the reason and what to do.
    doubtful_scores : mapping of str to str
        The same for scores by session. A column may vary between visits and be a valid score.
    arms_elsewhere : collection of str
        Columns of sessions.tsv or phenotype tables that name arms and divide the participants.
    """

    sessions: Mapping[str, Sequence[str]]
    columns: Columns = field(default_factory=dict)
    reference: Mapping[str, Columns] = field(default_factory=dict)
    scores: Mapping[str, Collection[tuple[str, str]]] = field(default_factory=dict)
    levels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    dates: Mapping[tuple[str, str], float] = field(default_factory=dict)
    refusals: Sequence[InputProblem] = ()
    doubtful: Mapping[str, str] = field(default_factory=dict)
    doubtful_scores: Mapping[str, str] = field(default_factory=dict)
    arms_elsewhere: Collection[str] = ()

    def participants_by_session(self) -> dict[str, int]:
        """Count the participants with data of each session, sorted by label."""
        counts = Counter(s for sessions in self.sessions.values() for s in set(sessions))
        return dict(sorted(counts.items()))


@dataclass(frozen=True, slots=True)
class Decision:
    """One question about the study, its answer, and the grounds of the answer.

    Parameters
    ----------
    question : str
        For example ``baseline`` or ``treated``.
    answer : str
        For example ``ses-pre (14 participants)``.
    source : {"stated", "recognised", "counted"}
        Whether the study file states it, a name or date was recognised, or it follows from counts.
    reason : str
        Full sentence that gives the grounds.
    """

    question: str
    answer: str
    source: Source
    reason: str


@dataclass(frozen=True, slots=True)
class Resolution:
    """The resolved study, or the reasons why it cannot be resolved.

    Parameters
    ----------
    design : Design or None
        None if `refusals` is not empty.
    decisions : tuple of Decision
    warnings : tuple of str
        Sentences that belong to the verdict, because they may change its meaning.
    notes : tuple of str
        Sentences about data that are not used, and spellings that were joined.
    refusals : tuple of InputProblem
        Questions that the data do not answer. The remedy contains the lines for the study file.
    roles : tuple of (str, str)
        Role of each participant of the main data set with data: treated, control, reference or
        none.
    protocol : mapping of str to object
        Record of the comparison of the protocol between visits and arms
        (`circuitshift.pipeline.study.protocol.compare`); empty before runs are measured.
    """

    design: Design | None
    decisions: tuple[Decision, ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    refusals: tuple[InputProblem, ...] = ()
    roles: tuple[tuple[str, str], ...] = ()
    protocol: Mapping[str, Any] = field(default_factory=dict)


def normal_form(text: str) -> str:
    """Return a form of a cell in which spellings of one value are equal.

    Case, white space, hyphens and underscores are ignored, and equal numbers have equal forms.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        For example ``drug`` for ``DRUG `` and ``1`` for ``1.0`` and ``01``.
    """
    plain = " ".join(text.replace("_", " ").replace("-", " ").casefold().split())
    try:
        return f"{float(text):g}"
    except ValueError:
        return plain
