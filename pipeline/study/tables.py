"""Write the tables of the group level, with a description of each column.

Tables are tidy: one row per estimate, circuit and session, participant, exclusion or edge.
"""

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


#: Edges and run statistics by participant and session.
Sessions = dict[tuple[str, str], pairing.Measured]


def _describe(columns: Mapping[str, str]) -> dict[str, object]:
    return {name: {"Description": text} for name, text in columns.items()}


def write_rows(path: Path, rows: Sequence[Mapping[str, object]], about: Mapping[str, str]) -> None:
    """Write a table of rows with described columns.

    Parameters
    ----------
    path : Path
        Path of the table; its JSON file with the descriptions has the same name.
    rows : sequence of mapping
        Values by column; if empty, only the header is written.
    about : mapping of str to str
        Columns of the table, in order, and their descriptions.
    """
    columns = {name: [row[name] for row in rows] for name in about}
    tables.write_table(path, columns, sidecar=_describe(about))


_CIRCUIT_COLUMNS = {
    "participant_id": "Participant; NAME:sub-X for a participant of another data set",
    "group": "Group in participants.tsv",
    "arm": "Role in the study: treated, control, reference, or none",
    "session": "Session",
    "circuit": "Circuit",
    "value_z": "Mean Fisher z over the circuit's edges",
    "n_edges": "Number of edges of the circuit that are available in this session",
}


def write_circuits(
    path: Path,
    sessions: Sessions,
    members: Sequence[pairing.Member],
    *,
    circuits: Sequence[Circuit],
    features: FeatureSpace,
) -> None:
    """Write the value of each circuit in each session of all participants.

    Parameters
    ----------
    path : Path
        Path of ``circuits.tsv``.
    sessions : dict of (participant, session) to Measured
        Edges of all sessions.
    members : sequence of Member
        All participants of the study.
    circuits : sequence of Circuit
        Circuits that resolve on the atlas.
    features : FeatureSpace
        Edges of the atlas.
    """
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
    """Return the label of a participant key in tables: ``ds2:sub-01`` for ``ds2:01``."""
    name, _, label = person.rpartition(":")
    return f"{name}:sub-{label}" if name else f"sub-{label}"


_TEST_COLUMNS = {
    "test": "Tested quantity",
    "family": "Family of tests that are corrected together; the families global and specific "
    "(primary circuits) determine the verdict",
    "term": "Global term or circuit",
    "estimate": "Estimate, in `unit`; treated minus control if there is a control arm; adjusted "
    "for covariates and change in motion",
    "unit": "Unit of estimate, interval, standard error and bound",
    "ci_low": "Lower end of the 95 % confidence interval",
    "ci_high": "Upper end of the 95 % confidence interval",
    "se": "Standard error",
    "df": "Degrees of freedom of the statistic (Satterthwaite); not limited by the number of "
    "participants, since variance over blocks and noise that all participants share are included",
    "statistic": "Welch t",
    "p": "Permutation p, uncorrected",
    "p_low": "Lower limit of the 95 % confidence interval of the p of all possible permutations",
    "p_high": "Upper limit of the 95 % confidence interval of the p of all possible permutations",
    "p_corrected": "Permutation p, family-wise corrected",
    "bound": "Smallest effect of interest, in `unit`",
    "equivalence_p": "p of two one-sided tests that the effect is smaller than `bound`",
    "bf10": "Bayes factor of the estimate against 0, without the variation over blocks; values "
    "above 1 support an effect, values below 1 support its absence",
    "n": "Number of treated participants (all participants in one-arm studies)",
    "n_control": "Number of participants in the control arm",
    "n_reference": "Number of participants in the reference group",
    "method": "Statistic, kind and number of permutations, correction",
    "note": "Remarks",
    "sd": "Standard deviation of change between participants of one arm, in `unit`",
    "smallest_p": "Smallest corrected p that the permutations allow, however large the effect",
    "power": "Power of a t test at `bound`, at this standard error and at alpha divided by the "
    "number of tests of the family",
    "detectable": "Smallest effect that is detected with 80 % power at this standard error, in "
    "`unit`: (t(1 - alpha / 2, df) + t(.8, df)) se; Bloom 1995, "
    "doi:10.1177/0193841X9501900504",
    "detectable_family": "Smallest detectable effect at alpha divided by the number of tests of "
    "the family (Bonferroni), which is more conservative than the correction of p_corrected",
}

#: Name of each further strategy, its analysis or None, and the reason for a missing analysis.
Sensitivity = Sequence[tuple[str, model.Analysis | None, str]]


def write_tests(
    path: Path,
    analysis: model.Analysis,
    sensitivity: Sensitivity,
    more: Sequence[Estimate] = (),
    *,
    alpha: float,
) -> None:
    """Write the estimates of the primary, secondary and sensitivity analyses.

    Parameters
    ----------
    path : Path
        Path of ``tests.tsv``.
    analysis : Analysis
        Primary analysis.
    sensitivity : sequence of (str, Analysis or None, str)
        Analyses under other strategies.
    more : sequence of Estimate
        Estimates of secondary analyses.
    alpha : float
        Family-wise error rate, for the smallest detectable effects.
    """
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
    """Write the global coefficients and the circuit-specific responses of each participant.

    Parameters
    ----------
    path : Path
        Path of ``change.tsv``.
    cohort : Cohort
        Participants with both visits.
    analysis : Analysis
        Primary analysis.
    """
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
        about[f"global_{term}"] = f"Global {term} of this participant, see docs/model.md"
    for k, circuit in enumerate(response.circuits):
        columns[f"specific_{circuit}"] = list(response.specific[:n, k])
        about[f"specific_{circuit}"] = "Residual change beyond the global model, Fisher z"
    tables.write_table(path, columns, sidecar=_describe(about))


_EXCLUSION_COLUMNS = {
    "participant_id": "Participant",
    "arm": "Role in the study: treated, control, reference, or none",
    "session": "Session; n/a for all sessions",
    "stage": "Step of the exclusion: participant (a run), pairing, or design",
    "code": "Reason as a keyword",
    "reason": "Reason as a sentence",
}


def write_exclusions(
    path: Path, exclusions: Sequence[pairing.Exclusion], members: Sequence[pairing.Member]
) -> None:
    """Write the excluded participants, sessions and runs with the reasons.

    Parameters
    ----------
    path : Path
        Path of ``exclusions.tsv``.
    exclusions : sequence of Exclusion
        Exclusions, one per row.
    members : sequence of Member
        All participants of the study.
    """
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
    "node_a": "First region of the edge",
    "node_b": "Second region of the edge",
    "circuits": "Hypothesised circuits that contain this edge; n/a for background edges",
    "typical_z": "Mean baseline of treated and control participants, Fisher z",
    "change_treated_z": "Mean change of the treated participants, Fisher z",
    "change_control_z": "Mean change of the control arm, Fisher z",
    "reference_z": "Mean of the reference group, Fisher z",
    "estimate_z": "Change by treatment, Fisher z; this column and those below are exploratory",
    "statistic": "t, or normal score of Welch's t",
    "p": "Permutation p, uncorrected",
    "p_corrected": "Permutation p, family-wise over all edges",
    "p_tfnbs": "Permutation p, family-wise, threshold-free network-based statistic",
    "distance_mm": "Distance of the two regions, mm",
    "qcfc_r": "Correlation of baseline connectivity with mean framewise displacement across "
    "participants",
    "qcfc_change_r": "Correlation of the change in connectivity with the change in mean framewise "
    "displacement across participants",
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
    """Write group means, exploratory tests, and correlations with motion of each edge.

    Parameters
    ----------
    path : Path
        Path of ``edges.tsv``.
    cohort : Cohort
        Edges of all participants.
    features : FeatureSpace
        Edges of the atlas.
    circuits : sequence of Circuit
        Circuits that are hypotheses.
    tested : mapping of str to ndarray, shape (n_edges,)
        Columns of the exploratory tests of edges; missing columns are NaN.
    motion : mapping of str to ndarray, shape (n_edges,)
        Columns of correlations with motion.
    """
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
        "typical_z": _rounded_mean(np.vstack([cohort.baseline, cohort.baseline_only])),
        "change_treated_z": _rounded_mean(delta[treated]),
        "change_control_z": _rounded_mean(delta[~treated]),
        "reference_z": _rounded_mean(cohort.reference),
    }
    missing = np.full(len(i), np.nan)
    for name in ("estimate_z", "statistic", "p", "p_corrected", "p_tfnbs"):
        columns[name] = list(tested.get(name, missing))
    columns["distance_mm"] = list(
        missing if features.length_mm is None else np.round(features.length_mm, 2)
    )
    columns |= {name: list(np.round(r, 4)) for name, r in motion.items()}
    tables.write_table(path, columns, sidecar=_describe(_EDGE_COLUMNS))


def _rounded_mean(values: Floats) -> list[object]:
    """Return column means over the available values, rounded to five decimals."""
    available = np.isfinite(values)
    count = available.sum(axis=0)
    mean = np.full(values.shape[1], np.nan)
    np.divide(np.where(available, values, 0.0).sum(axis=0), count, out=mean, where=count > 0)
    return list(np.round(mean, 5))
