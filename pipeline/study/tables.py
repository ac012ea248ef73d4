"""Tables of the group level: every column described, one tidy row per estimate or value."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from circuitshift.atlases.records import Circuit
from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.model import analyse as model
from circuitshift.pipeline.model.verdict import Estimate
from circuitshift.pipeline.stats.detectable import detectable
from circuitshift.pipeline.study import pairing

__all__ = [
    "Sensitivity",
    "Sessions",
    "participant_id_of",
    "write_change",
    "write_circuits",
    "write_edges",
    "write_exclusions",
    "write_rows",
    "write_tests",
]


#: Measurements by person and session.
Sessions = dict[tuple[str, str], pairing.Measured]


def _describe(columns: Mapping[str, str]) -> dict[str, object]:
    return {name: {"Description": text} for name, text in columns.items()}


def write_rows(path: Path, rows: Sequence[Mapping[str, object]], about: Mapping[str, str]) -> None:
    """Write rows with the columns that `about` describes; no rows leave the header."""
    columns = {name: [row[name] for row in rows] for name in about}
    tables.write_table(path, columns, sidecar=_describe(about))


_CIRCUIT_COLUMNS = {
    "participant_id": "Participant; with the data set's name before a colon when it is another",
    "group": "Group in participants.tsv",
    "arm": "Role in the study: treated, control, reference, or none",
    "session": "Session",
    "circuit": "Circuit",
    "value_z": "Mean Fisher z over the circuit's edges",
    "n_edges": "Edges of the circuit that are known in this session",
}


def write_circuits(
    path: Path,
    sessions: Sessions,
    members: Sequence[pairing.Member],
    *,
    circuits: Sequence[Circuit],
    features: FeatureSpace,
) -> None:
    """Write the value of every circuit in every session of everybody."""
    positions = [features.positions(circuit) for circuit in circuits]
    by_participant = {member.participant: member for member in members}
    columns: dict[str, list[object]] = {name: [] for name in _CIRCUIT_COLUMNS}
    for (person, session), measured in sessions.items():
        values = features.circuit_values(measured.z, circuits)
        for circuit, own, value in zip(circuits, positions, values, strict=True):
            available = int(np.isfinite(measured.z[own]).sum())
            member = by_participant[person]
            row = (
                participant_id_of(person),
                member.group,
                member.role,
                session,
                circuit.name,
                value,
                available,
            )
            for column, cell in zip(columns.values(), row, strict=True):
                column.append(cell)
    tables.write_table(path, columns, sidecar=_describe(_CIRCUIT_COLUMNS))


def participant_id_of(person: str) -> str:
    """``sub-01`` for ``01``, ``ds2:sub-01`` for ``ds2:01``."""
    name, _, label = person.rpartition(":")
    return f"{name}:sub-{label}" if name else f"sub-{label}"


_TEST_COLUMNS = {
    "test": "What was tested",
    "family": "Tests corrected together; global and specific decide the verdict",
    "term": "Global term or circuit",
    "estimate": "Estimate, in `unit`; treated minus control when there is a control arm; adjusted "
    "for covariates and change in motion",
    "unit": "Unit of estimate, interval, standard error and bound",
    "ci_low": "Lower end of the 95 % confidence interval",
    "ci_high": "Upper end of the 95 % confidence interval",
    "se": "Standard error",
    "df": "Degrees of freedom of the statistic",
    "statistic": "Welch t",
    "p": "Permutation p, uncorrected",
    "p_low": "Lower 95 % bound of p, were all permutations made",
    "p_high": "Upper 95 % bound of p, were all permutations made",
    "p_corrected": "Permutation p, family-wise corrected",
    "bound": "Smallest effect of interest, in `unit`",
    "equivalence_p": "p of two one-sided tests that the effect is smaller than `bound`",
    "bf10": "Bayes factor for an effect against none: above 1 for an effect, below 1 for none",
    "n": "People treated (everybody in one-arm studies)",
    "n_control": "People in the control arm",
    "n_reference": "People in the reference group",
    "method": "Statistic, kind and number of permutations, correction",
    "note": "Remarks",
    "detectable": "Smallest true effect that a study with this standard error finds four times in "
    "five, in `unit`: (t(1 - alpha / 2, df) + t(.8, df)) se; Bloom 1995, "
    "doi:10.1177/0193841X9501900504",
    "detectable_family": "The same at alpha divided by the tests of the family (Bonferroni): more "
    "than the correction in use asks for",
}

#: Name of a strategy, its analysis, and why there is none.
Sensitivity = Sequence[tuple[str, model.Analysis | None, str]]


def write_tests(
    path: Path,
    analysis: model.Analysis,
    sensitivity: Sensitivity,
    more: Sequence[Estimate] = (),
    *,
    alpha: float,
) -> None:
    """Write every estimate of the primary analysis, `more`, then those of its sensitivity twins."""
    rows = [*analysis.estimates, *more]
    for name, found, _ in sensitivity:
        if found is not None:
            rows += [replace(e, family=f"sensitivity: {name}: {e.family}") for e in found.estimates]
    names = [field.name for field in fields(Estimate)]
    columns = {name: [getattr(row, name) for row in rows] for name in names}
    size = Counter(row.family for row in rows if np.isfinite(row.se))
    level = alpha / np.array([max(1, size[row.family]) for row in rows], float)
    for name, at in (("detectable", np.full(len(rows), alpha)), ("detectable_family", level)):
        columns[name] = list(detectable(columns["se"], columns["df"], at))
    tables.write_table(path, columns, sidecar=_describe(_TEST_COLUMNS))


def write_change(path: Path, cohort: pairing.Cohort, analysis: model.Analysis) -> None:
    """Write every person's global coefficients and specific responses."""
    response = analysis.response
    n = len(cohort.pairs)
    columns: dict[str, Sequence[object]] = {
        "participant_id": [participant_id_of(m.participant) for m in cohort.pairs],
        "arm": [m.role for m in cohort.pairs],
    }
    about = {"participant_id": "Participant", "arm": "Role in the study"}
    if cohort.symptom is not None:
        columns["symptom_change"] = list(cohort.symptom)
        about["symptom_change"] = "Follow-up minus baseline of the symptom score"
    for k, term in enumerate(response.terms):
        columns[f"global_{term}"] = list(response.coefficients[:n, k])
        about[f"global_{term}"] = f"This person's global {term}, see docs/model.md"
    for k, circuit in enumerate(response.circuits):
        columns[f"specific_{circuit}"] = list(response.specific[:n, k])
        about[f"specific_{circuit}"] = "Change beyond the global law, Fisher z"
    tables.write_table(path, columns, sidecar=_describe(about))


_EXCLUSION_COLUMNS = {
    "participant_id": "Participant",
    "arm": "Role in the study: treated, control, reference, or none",
    "session": "Session, n/a for all",
    "stage": "Where it was decided: participant (a run), pairing, or design",
    "code": "Reason as a word",
    "reason": "Reason as a sentence",
}


def write_exclusions(
    path: Path, exclusions: Sequence[pairing.Exclusion], members: Sequence[pairing.Member]
) -> None:
    """Write who, or what part of somebody, is not in the analysis, and why."""
    roles = {member.participant: member.role for member in members}
    columns: dict[str, list[object]] = {
        "participant_id": [participant_id_of(e.participant) for e in exclusions],
        "arm": [roles.get(e.participant) for e in exclusions],
        "session": [e.session or None for e in exclusions],
        "stage": [e.stage for e in exclusions],
        "code": [e.code for e in exclusions],
        "reason": [e.reason for e in exclusions],
    }
    tables.write_table(path, columns, sidecar=_describe(_EXCLUSION_COLUMNS))


_EDGE_COLUMNS = {
    "node_a": "Region",
    "node_b": "Region",
    "circuits": "Hypothesised circuits that hold this edge; n/a for background",
    "typical_z": "Mean baseline of treated and control people, Fisher z",
    "change_treated_z": "Mean change of the treated, Fisher z",
    "change_control_z": "Mean change of the control arm, Fisher z",
    "reference_z": "Mean of the reference group, Fisher z",
    "estimate_z": "Change by treatment, Fisher z; exploratory, like all that follows",
    "statistic": "t, or normal score of Welch's t",
    "p": "Permutation p, uncorrected",
    "p_corrected": "Permutation p, family-wise over all edges",
    "p_tfnbs": "Permutation p, family-wise, threshold-free network-based statistic",
    "distance_mm": "Length of the edge",
    "qcfc_r": "Correlation over people of baseline connectivity with mean framewise displacement",
    "qcfc_change_r": "Correlation over people of its change with the change of that displacement",
}


def write_edges(
    path: Path,
    cohort: pairing.Cohort,
    features: FeatureSpace,
    *,
    circuits: Sequence[Circuit],
    tested: Mapping[str, Floats],
    motion: Mapping[str, Floats],
) -> None:
    """Write group means and exploratory tests of every edge, and how it goes with motion."""
    i, j = features.ends
    member_of: dict[int, list[str]] = {}
    for circuit in circuits:
        for position in features.positions(circuit).tolist():
            member_of.setdefault(position, []).append(circuit.name)
    delta = cohort.followup - cohort.baseline
    treated = np.array([m.role == "treated" for m in cohort.pairs])
    labels = features.regions
    columns: dict[str, Sequence[object]] = {
        "node_a": [labels[k] for k in i],
        "node_b": [labels[k] for k in j],
        "circuits": [",".join(member_of.get(k, ())) or None for k in range(len(i))],
        "typical_z": _short(np.vstack([cohort.baseline, cohort.baseline_only])),
        "change_treated_z": _short(delta[treated]),
        "change_control_z": _short(delta[~treated]),
        "reference_z": _short(cohort.reference),
    }
    unknown = np.full(len(i), np.nan)
    for name in ("estimate_z", "statistic", "p", "p_corrected", "p_tfnbs"):
        columns[name] = list(tested.get(name, unknown))
    columns["distance_mm"] = list(
        unknown if features.length_mm is None else np.round(features.length_mm, 2)
    )
    columns |= {name: list(np.round(r, 4)) for name, r in motion.items()}
    tables.write_table(path, columns, sidecar=_describe(_EDGE_COLUMNS))


def _short(values: Floats) -> list[object]:
    """Column means over whoever is known, rounded to what a mean of people can carry."""
    available = np.isfinite(values)
    count = available.sum(axis=0)
    mean = np.full(values.shape[1], np.nan)
    np.divide(np.where(available, values, 0.0).sum(axis=0), count, out=mean, where=count > 0)
    return list(np.round(mean, 5))
