"""Treat a region that is missing at one visit of the comparison as missing at all of them.

A change needs both visits. If a region is lost to signal dropout at one visit only, its edges at
the other visit would still enter the typical edge strength and the mean of a circuit at that visit,
so that the visits would be described by different regions.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from circuitshift.pipeline.arrays import Bools
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.study.pairing import Measured
from circuitshift.pipeline.study.study_file import Design
from circuitshift.pipeline.study.tables import participant_id_of

__all__ = ["MISSING_COLUMNS", "MissingRegion", "match_visits", "missing_rows", "missing_sentence"]

_MAX_NAMED = 5

#: Columns of ``missing_regions.tsv`` and their descriptions.
MISSING_COLUMNS: dict[str, str] = {
    "participant_id": "Participant; NAME:sub-X for a participant of another data set",
    "session": "Session in which the region has too little signal",
    "region": "Region",
    "other_sessions": "Sessions of the comparison in which the region was measured; it is treated "
    "as missing there, too; n/a if there is none",
}


@dataclass(frozen=True, slots=True, order=True)
class MissingRegion:
    """A region that is missing at a visit of the comparison.

    Parameters
    ----------
    participant, session : str
        Unique key of the participant, and session label.
    region : str
        Name of the region.
    other_sessions : tuple of str
        Sessions of the comparison in which the region was measured.
    """

    participant: str
    session: str
    region: str
    other_sessions: tuple[str, ...]


def match_visits(
    sessions: Mapping[tuple[str, str], Measured], features: FeatureSpace, design: Design
) -> tuple[dict[tuple[str, str], Measured], tuple[MissingRegion, ...]]:
    """Remove the features of each participant that are missing at a visit of the comparison.

    Parameters
    ----------
    sessions : mapping of (participant, session) to Measured
        Features of all sessions.
    features : FeatureSpace
        Edges or regions.
    design : Design
        Design with the visits of the comparison. Other visits remain unchanged.

    Returns
    -------
    sessions : dict of (participant, session) to Measured
        The same sessions; a feature is missing at all visits of the comparison that a participant
        has, or at none.
    missing : tuple of MissingRegion
        Regions that were missing before, sorted.
    """
    compared = (
        design.baseline,
        design.followup,
        design.control_baseline,
        design.control_followup,
    )
    out = dict(sessions)
    missing: list[MissingRegion] = []
    for person in dict.fromkeys(person for person, _ in sessions):
        own = {v: sessions[person, v] for v in compared if v and (person, v) in sessions}
        available = {visit: np.isfinite(measured.z) for visit, measured in own.items()}
        if not own or all(each.all() for each in available.values()):
            continue
        regions = {visit: _regions(each, features) for visit, each in available.items()}
        for visit in own:
            for number in np.flatnonzero(~regions[visit]):
                others = tuple(v for v in own if regions[v][number])
                missing.append(MissingRegion(person, visit, features.regions[number], others))
        in_all = np.logical_and.reduce(list(available.values()))
        for visit, measured in own.items():
            if (available[visit] & ~in_all).any():
                out[person, visit] = replace(measured, z=np.where(in_all, measured.z, np.nan))
    return out, tuple(sorted(missing))


def _regions(available: Bools, features: FeatureSpace) -> Bools:
    """Find the regions with an available feature, shape (n_regions,)."""
    if features.kind == "region":
        return available
    counts = sum(np.bincount(end, available, minlength=features.n_regions) for end in features.ends)
    return np.asarray(counts > 0)


def missing_rows(missing: Iterable[MissingRegion]) -> list[dict[str, object]]:
    """Return the rows of ``missing_regions.tsv``.

    Parameters
    ----------
    missing : iterable of MissingRegion
        Regions from `match_visits`.

    Returns
    -------
    list of dict
        Values by column.
    """
    return [
        {
            "participant_id": participant_id_of(each.participant),
            "session": each.session,
            "region": each.region,
            "other_sessions": ", ".join(each.other_sessions) or None,
        }
        for each in missing
    ]


def missing_sentence(missing: Sequence[MissingRegion]) -> tuple[str, ...]:
    """Name the regions that were removed from a visit because another visit lacks them.

    Parameters
    ----------
    missing : sequence of MissingRegion
        Regions from `match_visits`.

    Returns
    -------
    tuple of str
        One sentence, or none if no region was removed.
    """
    lost: dict[tuple[str, str], list[str]] = defaultdict(list)
    for each in missing:
        if each.other_sessions:
            lost[each.participant, each.session].append(each.region)
    if not lost:
        return ()
    named = [
        f"{participant_id_of(person)} ses-{session}: {_listed(regions)}"
        for (person, session), regions in lost.items()
    ]
    return (
        "Regions with too little signal at one visit of the comparison are treated as missing at "
        f"all of its visits ({_listed(named, '; ')}). See missing_regions.tsv.",
    )


def _listed(names: Sequence[str], between: str = ", ") -> str:
    """List at most five names, and the number of the others."""
    more = len(names) - _MAX_NAMED
    text = between.join(names[:_MAX_NAMED])
    return f"{text} and {more} more" if more > 0 else text
