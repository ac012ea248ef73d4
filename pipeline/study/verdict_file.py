"""Compose the content of ``verdict.json``.

The file contains the verdict, estimates, numbers of participants, quality measures, sensitivity
analyses, warnings and settings.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.records import Atlas, Circuit
from circuitshift.atlases.resolve import circuit_names
from circuitshift.pipeline import edges as connectivity
from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.provenance import versions
from circuitshift.pipeline.measure.denoise import get_strategy, load_strategies
from circuitshift.pipeline.model import analyse as model
from circuitshift.pipeline.model.change_size import identifiability
from circuitshift.pipeline.records import AS_GIVEN, AnalysisSettings
from circuitshift.pipeline.stats.global_signal import (
    GlobalSignalDetection,
    GlobalSignalStatus,
    global_signal_status,
    global_signal_was_removed,
)
from circuitshift.pipeline.study import pairing
from circuitshift.pipeline.study import tables as group_tables
from circuitshift.pipeline.study.members import GroupInput
from circuitshift.pipeline.study.missing_regions import MissingRegion
from circuitshift.pipeline.study.quality import compare_exclusion, qcfc, qcfc_edges
from circuitshift.pipeline.study.study_file import Design
from circuitshift.pipeline.words import in_words

__all__ = [
    "SCHEMA_VERSION",
    "Context",
    "Fitted",
    "baseline_halves",
    "edge_motion",
    "global_signal_of",
    "is_gsr",
    "verdict_content",
    "with_titles",
]


#: Version of the keys of verdict.json (docs/verdict-json.md). The first number changes when a key
#: is removed or changes its meaning, the second when keys are added.
SCHEMA_VERSION = "3.0"
_QUESTIONS = ("factor", "interaction", "symptom")  # names of `model.contrasts.questions_of`


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """Data, design and settings that all analyses of a study share.

    Parameters
    ----------
    measurements : GroupInput
        Results of the participant level and tables of participants.
    members : tuple of Member
        All participants of the study.
    design : Design
        Complete design, with coded covariates.
    atlas : Atlas
        Atlas of the analysis.
    circuits : tuple of Circuit
        Circuits that are hypotheses and resolve on the atlas.
    settings : AnalysisSettings
        Settings of the analysis.
    features : FeatureSpace
        Edges of the atlas.
    skipped : tuple of str
        Sentences about circuits that do not resolve on the atlas.
    """

    measurements: GroupInput
    members: tuple[pairing.Member, ...]
    design: Design
    atlas: Atlas
    circuits: tuple[Circuit, ...]
    settings: AnalysisSettings
    features: FeatureSpace
    skipped: tuple[str, ...] = ()

    def primary(self) -> tuple[str, ...]:
        """Return the names of the circuits that determine the verdict.

        Returns
        -------
        tuple of str
            Those of `Design.primary_of`. Circuits that the user's own files define are primary
            unless the study file names other circuits.
        """
        names = [c.name for c in self.circuits]
        packaged = circuit_names()
        own = [name for name in names if name not in packaged] if self.settings.circuits else []
        return self.design.primary_of(names, own)

    def titles(self) -> dict[str, str]:
        """Return the title of each circuit as within a sentence, by name of the circuit."""
        packaged = circuit_names()
        return {
            c.name: c.title[:1].lower() + c.title[1:] if c.name in packaged else c.title
            for c in self.circuits
            if c.name in packaged or "_" in c.name  # other names may be words of a sentence
        }

    def positions(self) -> dict[str, npt.NDArray[np.intp]]:
        """Return the positions of the features of each circuit, by name of the circuit."""
        return {c.name: self.features.positions(c) for c in self.circuits}


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Analysis under one denoising strategy, with its data and rules.

    Parameters
    ----------
    strategy : str
        Name of the strategy.
    cohort : Cohort
        Paired visits, covariates and exclusions.
    sessions : mapping of (participant, session) to Measured
        Edges of all sessions.
    visits : Visits
        Arrays to which the model was fitted.
    rules : Rules
        Rules of the tests.
    analysis : Analysis
        Result of the model.
    global_signal : GlobalSignalStatus
        Whether the global signal was regressed out, and how this is known.
    missing : tuple of MissingRegion
        Regions that are missing at a visit of the comparison.
    """

    strategy: str
    cohort: pairing.Cohort
    sessions: group_tables.Sessions
    visits: model.Visits
    rules: model.Rules
    analysis: model.Analysis
    global_signal: GlobalSignalStatus
    missing: tuple[MissingRegion, ...] = ()


def global_signal_of(
    strategy: str, context: Context, visits: Sequence[Floats]
) -> GlobalSignalStatus:
    """Return whether the global signal was regressed out before the edges were estimated.

    Parameters
    ----------
    strategy : str
        Name of a strategy, or `AS_GIVEN` for series and matrices from other software.
    context : Context
        Data and design of the study.
    visits : sequence of ndarray, each of shape (n_participants, n_edges)
        Edges at the baseline and at the follow-up, from which it is detected if neither the study
        file nor the files of the runs state it. After regression of the global signal the mean
        edge is near zero at every visit, so all of them must show it.

    Returns
    -------
    GlobalSignalStatus
    """
    if strategy != AS_GIVEN:
        return GlobalSignalStatus(is_gsr(strategy, context.settings), "strategy")
    none = GlobalSignalDetection(None, float("nan"), float("nan"), "")
    is_partial = context.settings.estimator == "partial"  # always near zero, with and without
    found = [] if is_partial else [global_signal_was_removed(edges) for edges in visits]
    contrary = [each for each in found if not each.removed]  # None is not evidence
    kept = [each for each in contrary if each.removed is False]
    detection = (kept or contrary or found or [none])[0]
    stated = context.design.global_signal_removed
    words = {"true": True, "false": False}
    declared = [
        words.get(row.get("global_signal_removed", "").lower())
        for row in context.measurements.rows
        if row["status"] == "included" and row["strategy"] == strategy
    ]
    if stated is None:
        return global_signal_status(declared, detection)
    status = global_signal_status([stated], detection, by="The study file states")
    return replace(status, source="stated")


def _global_signal_sentences(status: GlobalSignalStatus) -> list[str]:
    """Return warnings about the global signal in series and matrices from other software."""
    if status.source == "detected" and status.removed:
        return [
            "The global signal was regressed out of the given series or matrices, as their edges "
            "show: mean connectivity is near zero in all participants. If this is wrong, state "
            "global_signal_removed = false under [model] of the study file."
        ]
    if status.source == "unknown":
        return [
            "Whether the global signal was regressed out of the given series or matrices is not "
            "available, and the edges do not show it. If it was, global terms have no meaning: "
            "state global_signal_removed under [model] of the study file."
        ]
    return list(status.warnings)


def is_gsr(strategy: str, settings: AnalysisSettings) -> bool:
    """Return whether a strategy regresses out the global signal.

    Parameters
    ----------
    strategy : str
        Name of a strategy, or `AS_GIVEN` for series and matrices from other software, for which
        the result is False.
    settings : AnalysisSettings
        Settings with the files that define strategies.

    Returns
    -------
    bool
    """
    if strategy == AS_GIVEN:
        return False
    available = load_strategies(tuple(map(Path, settings.strategy_files)))
    return get_strategy(strategy, available).gsr


def _sensitivity_row(
    name: str, found: model.Analysis | None, failure: str, settings: AnalysisSettings
) -> dict[str, object]:
    if found is None:
        return {"strategy": name, "verdict": None, "reason": failure}
    return {
        "strategy": name,
        "global_signal_removed": is_gsr(name, settings),
        "verdict": found.verdict.verdict,
        "reason": found.verdict.reason,
    }


def _gsr_warning(
    analysis: model.Analysis, sensitivity: group_tables.Sensitivity, settings: AnalysisSettings
) -> list[str]:
    """Warn if global signal regression changes the verdict."""
    ours = analysis.verdict.verdict
    return [
        f"The verdict is {ours} in the primary analysis and {found.verdict.verdict} with strategy "
        f"{name}. It depends on global signal regression, which changes all correlations. A result "
        "that appears only with global signal regression should be interpreted with caution."
        for name, found, _ in sensitivity
        if found is not None
        and is_gsr(name, settings)
        and found.verdict.verdict != ours
        and "circuit-specific" in (found.verdict.verdict, ours)
    ]


def _other_data_warning(context: Context, cohort: pairing.Cohort) -> list[str]:
    """Warn that a reference group of another data set may differ in scanner and processing."""
    name = context.design.reference_dataset
    if not name or not cohort.healthy:
        return []
    warning = (
        f"The reference group is that of data set {name}. Differences in scanner and processing "
        "between this data set and that of the patients are included in the deviation from the "
        "reference."
    )
    own, other = ({m.site for m in group} - {""} for group in (cohort.pairs, cohort.healthy))
    if own and other and not own & other:
        warning += (
            f" No site scanned both ({', '.join(sorted(own))} for the patients; "
            f"{', '.join(sorted(other))} for the reference group)."
        )
    return [warning]


def _rows(analysis: model.Analysis, family: str, alpha: float) -> dict[str, dict[str, Any]]:
    names = (
        "estimate",
        "unit",
        "ci_low",
        "ci_high",
        "p",
        "p_corrected",
        "bound",
        "equivalence_p",
        "bf10",
        "sd",
        "power",
    )
    return {
        e.term: {name: getattr(e, name) for name in names} | {"ruled_out": e.rules_out(alpha)}
        for e in analysis.estimates
        if e.family == family
    }


def verdict_content(
    context: Context, fitted: Fitted, sensitivity: group_tables.Sensitivity
) -> dict[str, Any]:
    """Return the content of ``verdict.json``, except hashes, notes and secondary analyses.

    Parameters
    ----------
    context : Context
        Data, design, atlas and circuits of the study.
    fitted : Fitted
        Primary analysis.
    sensitivity : sequence of (str, Analysis or None, str)
        Analyses under the other strategies; for a missing analysis, the reason.

    Returns
    -------
    dict
        JSON content.
    """
    cohort, analysis, settings = fitted.cohort, fitted.analysis, context.settings
    verdict, deviation = analysis.verdict, analysis.deviation
    roles = [m.role for m in cohort.pairs]
    warnings = [*verdict.warnings, *_gsr_warning(analysis, sensitivity, settings)]
    warnings += _global_signal_sentences(fitted.global_signal)
    warnings += context.measurements.doubts
    warnings += _other_data_warning(context, cohort)
    excluded = _exclusion_by_arm(context.members, cohort)
    if excluded["p"] is not None and excluded["p"] < 0.05:
        warnings.append(
            "The proportion of excluded participants differs between the arms (Fisher's exact "
            f"p = {excluded['p']:.3f}): the arms may no longer be comparable."
        )
    about = {c.name: (c.title, c.direction, c.why, c.reference) for c in context.circuits}
    alpha = context.design.alpha
    specific, secondary = (_rows(analysis, family, alpha) for family in ("specific", "secondary"))
    fixed = dict(context.design.directions)
    for name, row in (*specific.items(), *secondary.items()):
        row["tested"] = fixed.get(name, "two-sided")
        row |= dict(zip(("title", "predicted", "why", "reference"), about[name], strict=True))
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": verdict.verdict,
        "sentence": verdict.sentence,
        "reason": verdict.reason,
        "warnings": warnings,
        "global": _rows(analysis, "global", alpha),
        "circuits": specific,
        "secondary_circuits": secondary,
        "n": {
            "treated": roles.count("treated"),
            "control": roles.count("control"),
            "reference": len(cohort.healthy),
            "baseline_only": len(cohort.lone),
            "listed": len(context.members),
        },
        "deviation": asdict(deviation),
        "heterogeneity": asdict(verdict.heterogeneity),
        "blocks": _rows(analysis, "blocks", alpha),
        "gain_within_blocks": _rows(analysis, "global, within blocks", alpha).get("gain"),
        "explanations": [asdict(explanation) for explanation in verdict.explanations],
        "not_claimed": list(verdict.not_claimed),
        "further": _further(analysis, alpha),
        "size_of_change": _rows(analysis, "size of change", alpha),
        "identifiability": _identifiability(cohort),
        "quality": _motion_confound(context, fitted),
        "sensitivity": [
            _sensitivity_row(*gsr_counterpart, settings) for gsr_counterpart in sensitivity
        ],
        "exclusion_by_arm": excluded,
        "flow": _flow(context, cohort),
        "strategy": fitted.strategy,
        "global_signal": asdict(fitted.global_signal),
        "covariates": [
            *cohort.covariate_names,
            *["change in mean framewise displacement"] * (cohort.motion_mm is not None),
        ],
        "settings": asdict(settings),
        "settings_hash": settings.digest(),
        "design": asdict(context.design),
        "atlas": context.atlas.name,
        "n_regions": len(context.atlas.regions),
        "seed": context.design.seed,
        "versions": versions(),
    }


_SENTENCES = ("sentence", "reason", "warnings", "notes", "findings")  # keys of sentences


def with_titles(content: Mapping[str, Any], titles: Mapping[str, str]) -> dict[str, Any]:
    """Replace names of circuits and global terms by words in all sentences of verdict.json.

    Parameters
    ----------
    content : mapping
        Content of verdict.json, or a part of it.
    titles : mapping of str to str
        Titles of circuits (`Context.titles`).

    Returns
    -------
    dict
        The same content. Under the keys ``sentence``, ``reason``, ``warnings``, ``notes`` and
        ``findings``, also those of ``sensitivity`` and ``secondary``, sentences contain words and
        minus signs.
    """

    def worded(value: object) -> object:
        if isinstance(value, list | tuple):
            return [worded(part) for part in value]
        return in_words(value, titles) if isinstance(value, str) else value

    out: dict[str, Any] = {k: worded(v) if k in _SENTENCES else v for k, v in content.items()}
    if "sensitivity" in out:
        out["sensitivity"] = [with_titles(row, titles) for row in out["sensitivity"]]
    if "secondary" in out:
        out["secondary"] = with_titles(out["secondary"], titles)
    return out


def _further(analysis: model.Analysis, alpha: float) -> dict[str, dict[str, object]]:
    """Collect the results of further questions: second treatment, interaction, symptoms."""
    families = {e.family for e in analysis.estimates}
    names = [name for name in _QUESTIONS if f"{name}: global" in families]
    return {
        name: {
            "global": _rows(analysis, f"{name}: global", alpha),
            "circuits": _rows(analysis, f"{name}: specific", alpha),
        }
        for name in names
    }


def _exclusion_by_arm(members: Sequence[pairing.Member], cohort: pairing.Cohort) -> dict[str, Any]:
    """Count analysed and excluded participants of each arm, and compare the two arms."""
    used = {m.participant for m in cohort.pairs}
    counts: dict[str, tuple[int, int]] = {}
    for arm in ("treated", "control"):
        of_arm = [m.participant for m in members if m.role == arm]
        if of_arm:
            n_used = len(used & set(of_arm))
            counts[arm] = (n_used, len(of_arm) - n_used)
    p = compare_exclusion(counts) if len(counts) == 2 else None
    return {"analysed_and_excluded": counts, "p": p}


def _flow(context: Context, cohort: pairing.Cohort) -> dict[str, dict[str, int]]:
    """Count the participants of each arm who are listed, were measured, and were analysed."""
    measured = {row["person"] for row in context.measurements.rows if row["status"] != "failed"}
    used = {m.participant for m in (*cohort.pairs, *cohort.healthy)}
    out = {}
    for arm in ("treated", "control", "reference", "none"):
        of_arm = {m.participant for m in context.members if m.role == arm}
        if of_arm:
            counts = (of_arm, of_arm & measured, of_arm & used)
            names = ("listed", "measured", "analysed")
            out[arm] = {n: len(c) for n, c in zip(names, counts, strict=True)}
    return out


def _identifiability(cohort: pairing.Cohort) -> dict[str, dict[str, float]]:
    """Compute for each arm how well participants are identified from one visit to the next."""
    roles = np.array([member.role for member in cohort.pairs])
    return {
        arm: identifiability(cohort.baseline[roles == arm], cohort.followup[roles == arm])
        for arm in ("treated", "control")
        if (roles == arm).any()
    }


def _motion_pairs(context: Context, fitted: Fitted) -> dict[str, tuple[Floats, Floats]]:
    """Return edges and motion of treated and control participants, at baseline and as change."""
    cohort = fitted.cohort
    missing = np.full(len(cohort.pairs), np.nan)
    participants = [member.participant for member in (*cohort.pairs, *cohort.lone)]
    visits = [fitted.sessions.get((person, context.design.baseline)) for person in participants]
    fd = np.array([np.nan if found is None else found.mean_fd_mm for found in visits])
    return {
        "qcfc_r": (np.vstack([cohort.baseline, cohort.baseline_only]), fd),
        "qcfc_change_r": (
            fitted.visits.change,
            missing if cohort.motion_mm is None else cohort.motion_mm,
        ),
    }


def edge_motion(context: Context, fitted: Fitted) -> dict[str, Floats]:
    """Correlate each edge with motion across participants.

    Parameters
    ----------
    context : Context
        Data and design of the study.
    fitted : Fitted
        Primary analysis.

    Returns
    -------
    dict of str to ndarray, shape (n_edges,)
        Columns of ``edges.tsv``: ``qcfc_r`` of baseline connectivity, and ``qcfc_change_r`` of its
        change.
    """
    found = _motion_pairs(context, fitted)
    return {name: qcfc_edges(*pair) for name, pair in found.items()}


def _motion_confound(context: Context, fitted: Fitted) -> dict[str, object]:
    """Summarise QC-FC of the change in edges and, under the key ``baseline``, of the baseline."""
    pairs = _motion_pairs(context, fitted)
    found = {name: qcfc(*pair, context.features.length_mm) for name, pair in pairs.items()}
    return dict(found["qcfc_change_r"]) | {"baseline": found["qcfc_r"]}


def baseline_halves(context: Context, fitted: Fitted) -> tuple[Floats, Floats] | None:
    """Return edges of the two halves of the baseline of each participant.

    The halves are those of each run, where its series are available; otherwise, of matrices, the
    odd and the even runs.

    Parameters
    ----------
    context : Context
        Data and design of the study.
    fitted : Fitted
        Primary analysis.

    Returns
    -------
    tuple of two ndarray, shape (n_pairs, n_edges), or None
        Edges of each participant with both visits, averaged over runs. None if a participant has
        neither series nor two runs.
    """
    participants = [member.participant for member in fitted.cohort.pairs]
    rows = _baseline_rows(context, fitted)
    found: dict[str, list[tuple[Floats, Floats]]] = {person: [] for person in participants}
    for row in rows:
        name = re.sub("_stat-[a-z]+correlation_relmat", "_stat-mean_timeseries", row["relmat"])
        path = Path(row["root"]) / name
        if path.exists():
            series = tables.read_series(path)[1]
            cut = len(series) // 2
            parts = series[:cut], series[cut:]
            found[row["person"]].append(tuple(connectivity.edges(p) for p in parts))  # type: ignore[arg-type]
    if not all(found.values()):
        found = _baseline_runs(rows, participants)
    if not all(found.values()):
        return None
    first, second = (
        np.array([np.mean([pair[k] for pair in found[person]], axis=0) for person in participants])
        for k in (0, 1)
    )
    return first, second


def _baseline_rows(context: Context, fitted: Fitted) -> list[Mapping[str, str]]:
    """Return the rows of the baseline runs of the participants with both visits."""
    participants = {member.participant for member in fitted.cohort.pairs}
    return [
        row
        for row in context.measurements.rows
        if row["status"] == "included"
        and row["strategy"] == fitted.strategy
        and row["atlas"] == context.atlas.name
        and row["session"] == context.design.baseline
        and row["person"] in participants
    ]


def _baseline_runs(
    rows: Sequence[Mapping[str, str]], participants: Sequence[str]
) -> dict[str, list[tuple[Floats, Floats]]]:
    """Return the mean edges of the odd and the even runs of participants who have two or more."""
    runs: dict[str, list[Floats]] = {person: [] for person in participants}
    for row in sorted(rows, key=lambda row: row["relmat"]):
        path = Path(row["root"]) / row["relmat"]
        if path.exists():
            matrix = tables.read_matrix(path)[1]
            runs[row["person"]].append(connectivity.fisher_z(connectivity.from_matrix(matrix)))
    return {
        person: [(np.mean(own[::2], axis=0), np.mean(own[1::2], axis=0))] if len(own) > 1 else []
        for person, own in runs.items()
    }
