"""What verdict.json says: estimates, people, quality, sensitivity, warnings."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.records import Atlas, Circuit
from circuitshift.pipeline import edges as connectivity
from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.provenance import versions
from circuitshift.pipeline.measure.denoise import get_strategy, load_strategies
from circuitshift.pipeline.model import analyse as model
from circuitshift.pipeline.model.change_size import identifiability
from circuitshift.pipeline.records import AS_GIVEN, AnalysisSettings
from circuitshift.pipeline.study import pairing
from circuitshift.pipeline.study import tables as group_tables
from circuitshift.pipeline.study.members import GroupInput
from circuitshift.pipeline.study.quality import compare_exclusion, qcfc, qcfc_edges
from circuitshift.pipeline.study.study_file import Design

__all__ = [
    "Context",
    "Fitted",
    "baseline_halves",
    "edge_motion",
    "is_gsr",
    "verdict_content",
]


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """What every analysis of one study shares."""

    measurements: GroupInput
    members: tuple[pairing.Member, ...]
    design: Design
    atlas: Atlas
    circuits: tuple[Circuit, ...]
    settings: AnalysisSettings
    features: FeatureSpace
    skipped: tuple[str, ...] = ()

    def positions(self) -> dict[str, npt.NDArray[np.intp]]:
        """Positions of the features of each circuit."""
        return {c.name: self.features.positions(c) for c in self.circuits}


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """The analysis under one strategy, and what it was made of.

    Parameters
    ----------
    strategy : str
    cohort : Cohort
    sessions : mapping of (person, session) to Measured
    visits : Visits
    rules : Rules
    analysis : Analysis
    """

    strategy: str
    cohort: pairing.Cohort
    sessions: group_tables.Sessions
    visits: model.Visits
    rules: model.Rules
    analysis: model.Analysis


def is_gsr(strategy: str, settings: AnalysisSettings) -> bool:
    """Tell whether a strategy regresses the global signal out; series given as they are do not."""
    if strategy == AS_GIVEN:
        return False
    available = load_strategies(tuple(map(Path, settings.strategy_files)))
    return get_strategy(strategy, available).gsr


def _sensitivity_row(
    name: str, found: model.Analysis | None, said: str, settings: AnalysisSettings
) -> dict[str, object]:
    if found is None:
        return {"strategy": name, "verdict": None, "reason": said}
    return {
        "strategy": name,
        "global_signal_removed": is_gsr(name, settings),
        "verdict": found.verdict.verdict,
        "reason": found.verdict.reason,
    }


def _gsr_warning(
    analysis: model.Analysis, sensitivity: group_tables.Sensitivity, settings: AnalysisSettings
) -> list[str]:
    """Say when global signal regression changes the answer."""
    ours = analysis.verdict.verdict
    return [
        f"The verdict is {ours} here and {found.verdict.verdict} with {name}: it depends on global "
        "signal regression, which moves every correlation. A result that only appears after it "
        "deserves suspicion."
        for name, found, _ in sensitivity
        if found is not None
        and is_gsr(name, settings)
        and found.verdict.verdict != ours
        and "circuit-specific" in (found.verdict.verdict, ours)
    ]


def _other_data_warning(context: Context, cohort: pairing.Cohort) -> list[str]:
    """Say what a reference from another data set brings with it."""
    name = context.design.reference_dataset
    if not name or not cohort.healthy:
        return []
    told = (
        f"The reference people are those of data set {name}: what differs between its scanner and "
        "processing and those of the patients counts as deviation, too."
    )
    own, other = ({m.site for m in some} - {""} for some in (cohort.pairs, cohort.healthy))
    if own and other and not own & other:
        told += f" No site has both ({', '.join(sorted(own))}; {', '.join(sorted(other))})."
    return [told]


def _rows(analysis: model.Analysis, family: str) -> dict[str, dict[str, Any]]:
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
    )
    return {
        e.term: {name: getattr(e, name) for name in names}
        for e in analysis.estimates
        if e.family == family
    }


def verdict_content(
    context: Context, fitted: Fitted, sensitivity: group_tables.Sensitivity
) -> dict[str, Any]:
    """Say what was found, on whom, and how it was made.

    Parameters
    ----------
    context : Context
    fitted : Fitted
        Under the primary strategy.
    sensitivity : sequence of (str, Analysis or None, str)
        Under the other strategies.

    Returns
    -------
    dict
        For verdict.json.
    """
    cohort, analysis, settings = fitted.cohort, fitted.analysis, context.settings
    verdict, deviation = analysis.verdict, analysis.deviation
    roles = [m.role for m in cohort.pairs]
    warnings = [*verdict.warnings, *_gsr_warning(analysis, sensitivity, settings)]
    warnings += context.measurements.doubts
    warnings += _other_data_warning(context, cohort)
    excluded = _exclusion_by_arm(context.members, cohort)
    if excluded["p"] is not None and excluded["p"] < 0.05:
        warnings.append(
            "People were lost more often from one arm than from the other (Fisher's exact p = "
            f"{excluded['p']:.3f}): the arms may no longer be comparable."
        )
    about = {c.name: (c.title, c.direction, c.why, c.reference) for c in context.circuits}
    specific = _rows(analysis, "specific")
    fixed = dict(context.design.directions)
    for name, row in specific.items():
        row["tested"] = fixed.get(name, "two-sided")
        row |= dict(zip(("title", "predicted", "why", "reference"), about[name], strict=True))
    return {
        "verdict": verdict.verdict,
        "sentence": verdict.sentence,
        "reason": verdict.reason,
        "warnings": warnings,
        "global": _rows(analysis, "global"),
        "circuits": specific,
        "n": {
            "treated": roles.count("treated"),
            "control": roles.count("control"),
            "reference": len(cohort.healthy),
            "baseline_only": len(cohort.lone),
            "known": len(context.members),
        },
        "deviation": asdict(deviation),
        "further": _further(analysis),
        "size_of_change": _rows(analysis, "size of change"),
        "identifiability": _identifiability(cohort),
        "quality": _motion_confound(context, fitted),
        "sensitivity": [
            _sensitivity_row(*gsr_counterpart, settings) for gsr_counterpart in sensitivity
        ],
        "exclusion_by_arm": excluded,
        "flow": _flow(context, cohort),
        "strategy": fitted.strategy,
        "covariates": [
            *cohort.covariate_names,
            *["change in mean framewise displacement"] * (cohort.motion_mm is not None),
        ],
        "science": asdict(settings),
        "settings_hash": settings.digest(),
        "design": asdict(context.design),
        "atlas": context.atlas.name,
        "n_regions": len(context.atlas.regions),
        "seed": context.design.seed,
        "versions": versions(),
    }


def _further(analysis: model.Analysis) -> dict[str, dict[str, object]]:
    """Collect what was asked beside the question of the verdict: factor, interaction, symptom."""
    families = sorted({e.family for e in analysis.estimates if e.family.endswith(": global")})
    names = [family.removesuffix(": global") for family in families]
    return {
        name: {
            "global": _rows(analysis, f"{name}: global"),
            "circuits": _rows(analysis, f"{name}: specific"),
        }
        for name in names
    }


def _exclusion_by_arm(members: Sequence[pairing.Member], cohort: pairing.Cohort) -> dict[str, Any]:
    """Count who was analysed and who was lost in each arm, and compare."""
    used = {m.participant for m in cohort.pairs}
    counts: dict[str, tuple[int, int]] = {}
    for arm in ("treated", "control"):
        there = [m.participant for m in members if m.role == arm]
        if there:
            kept = len(used & set(there))
            counts[arm] = (kept, len(there) - kept)
    p = compare_exclusion(counts) if len(counts) == 2 else None
    return {"analysed_and_lost": counts, "p": p}


def _flow(context: Context, cohort: pairing.Cohort) -> dict[str, dict[str, int]]:
    """Count who is known, was measured, and was analysed in each arm."""
    measured = {row["person"] for row in context.measurements.rows if row["status"] != "failed"}
    used = {m.participant for m in (*cohort.pairs, *cohort.healthy)}
    out = {}
    for arm in ("treated", "control", "reference", "none"):
        there = {m.participant for m in context.members if m.role == arm}
        if there:
            counts = (there, there & measured, there & used)
            names = ("known", "measured", "analysed")
            out[arm] = {n: len(c) for n, c in zip(names, counts, strict=True)}
    return out


def _identifiability(cohort: pairing.Cohort) -> dict[str, dict[str, float]]:
    """Say for each arm how well people are recognised from one visit to the next."""
    roles = np.array([member.role for member in cohort.pairs])
    return {
        arm: identifiability(cohort.baseline[roles == arm], cohort.followup[roles == arm])
        for arm in ("treated", "control")
        if (roles == arm).any()
    }


def _motion_pairs(context: Context, fitted: Fitted) -> dict[str, tuple[Floats, Floats]]:
    """Edges and motion of treated and control people: at baseline, and the change of both."""
    cohort = fitted.cohort
    unknown = np.full(len(cohort.pairs), np.nan)
    participants = [member.participant for member in (*cohort.pairs, *cohort.lone)]
    visits = [fitted.sessions.get((person, context.design.baseline)) for person in participants]
    fd = np.array([np.nan if found is None else found.mean_fd_mm for found in visits])
    return {
        "qcfc_r": (np.vstack([cohort.baseline, cohort.baseline_only]), fd),
        "qcfc_change_r": (
            fitted.visits.change,
            unknown if cohort.motion_mm is None else cohort.motion_mm,
        ),
    }


def edge_motion(context: Context, fitted: Fitted) -> dict[str, Floats]:
    """Correlate every edge with motion over people.

    Parameters
    ----------
    context : Context
    fitted : Fitted

    Returns
    -------
    dict of str to ndarray, shape (n_edges,)
        ``qcfc_r`` of baseline connectivity, ``qcfc_change_r`` of change; for edges.tsv.
    """
    found = _motion_pairs(context, fitted)
    return {name: qcfc_edges(*pair) for name, pair in found.items()}


def _motion_confound(context: Context, fitted: Fitted) -> dict[str, object]:
    """Relate edges to motion over people (QC-FC): their change, and ``baseline`` beside it."""
    pairs = _motion_pairs(context, fitted)
    found = {name: qcfc(*pair, context.features.length_mm) for name, pair in pairs.items()}
    return dict(found["qcfc_change_r"]) | {"baseline": found["qcfc_r"]}


def baseline_halves(context: Context, fitted: Fitted) -> tuple[Floats, Floats] | None:
    """Return edges of the first and second half of everybody's baseline runs.

    Parameters
    ----------
    context : Context
    fitted : Fitted

    Returns
    -------
    tuple of two ndarray, shape (n_pairs, n_edges), or None
        None when the series of anybody are not there.
    """
    design = context.design
    participants = [member.participant for member in fitted.cohort.pairs]
    found: dict[str, list[tuple[Floats, Floats]]] = {person: [] for person in participants}
    for row in context.measurements.rows:
        wanted = (
            row["status"] == "included"
            and row["strategy"] == fitted.strategy
            and row["atlas"] == context.atlas.name
            and row["session"] == design.baseline
            and row["person"] in found
        )
        name = re.sub("_stat-[a-z]+correlation_relmat", "_stat-mean_timeseries", row["relmat"])
        path = Path(row["root"]) / name
        if wanted and path.exists():
            series = tables.read_series(path)[1]
            cut = len(series) // 2
            parts = series[:cut], series[cut:]
            found[row["person"]].append(tuple(connectivity.edges(p) for p in parts))  # type: ignore[arg-type]
    if not all(found.values()):
        return None
    first, second = (
        np.array([np.mean([pair[k] for pair in found[person]], axis=0) for person in participants])
        for k in (0, 1)
    )
    return first, second
