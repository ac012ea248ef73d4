"""Draw the participants of a simulated study, and describe what was planted in them.

Both the simulated derivatives (`data_set`) and the simulated raw images (`raw_data_set`) are
written for a cohort that is drawn here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from circuitshift.atlases.records import Atlas
from circuitshift.pipeline import __version__
from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io.tables import write_json, write_table, write_text
from circuitshift.pipeline.validation.simulate.truth import (
    EXPECTED,
    PlantedTruth,
    Population,
    SimulationSpec,
    draw_population,
    draw_variation,
    participant_correlation,
    plant,
)

__all__ = [
    "Role",
    "SimulatedCohort",
    "SimulatedParticipant",
    "draw_cohort",
    "draw_correlations",
    "draw_mean_fd",
    "draw_study",
    "require_empty_folder",
    "write_description",
    "write_participants",
    "write_truth",
]

Role = Literal["treated", "control", "reference"]


@dataclass(frozen=True, slots=True)
class SimulatedParticipant:
    """One participant of a simulated study.

    Parameters
    ----------
    label : str
        Participant label, without ``sub-``.
    role : {"treated", "control", "reference"}
        Group of the participant.
    response : float
        Factor on the planted effect in this participant.
    returns : bool
        Whether the participant has a follow-up session.
    """

    label: str
    role: Role
    response: float = 1.0
    returns: bool = True


@dataclass(slots=True)
class SimulatedCohort:
    """State shared by all runs of a simulated study, and the sum of the realised changes.

    Parameters
    ----------
    spec : SimulationSpec
        Size and noise of the study.
    truth : PlantedTruth
        Effect of treatment.
    population : Population
        Features shared by all participants.
    change : ndarray, shape (n_edges,)
        Sum of the realised changes of treated participants, Fisher z; updated while runs are drawn.
    n_changed : int
        Number of follow-up runs of treated participants that `change` contains.
    """

    spec: SimulationSpec
    truth: PlantedTruth
    population: Population
    change: Floats = field(init=False)
    n_changed: int = 0

    def __post_init__(self) -> None:
        self.change = np.zeros(self.population.edges[0].size)


def require_empty_folder(out_dir: Path) -> None:
    """Refuse a folder that contains anything, so that no existing file is overwritten.

    Parameters
    ----------
    out_dir : Path
        Folder to write to; it may be absent.

    Raises
    ------
    InputError
        If the folder contains a file or folder.
    """
    if out_dir.exists() and any(out_dir.iterdir()):
        raise InputError(
            f"{out_dir} is not empty; choose a new or empty folder for the simulated data"
        )


def draw_study(
    spec: SimulationSpec, truth: PlantedTruth, atlas: Atlas, rng: np.random.Generator
) -> SimulatedCohort:
    """Draw the population of a simulated study.

    Parameters
    ----------
    spec : SimulationSpec
        Size and noise of the study.
    truth : PlantedTruth
        Effect of treatment.
    atlas : Atlas
        Atlas named by `spec`.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    SimulatedCohort
        Study in which no run has been drawn yet.
    """
    return SimulatedCohort(spec, truth, draw_population(atlas, truth.circuits, rng))


def draw_cohort(spec: SimulationSpec, rng: np.random.Generator) -> list[SimulatedParticipant]:
    """Draw the participants of a study.

    The groups are in random order, as participants are enrolled in a real study.

    Parameters
    ----------
    spec : SimulationSpec
        Provides the group sizes, the share of missing visits, and the spread of the response.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    list of SimulatedParticipant
        In the order of their labels.
    """
    roles: list[Role] = []
    returns: list[bool] = []
    sizes: dict[Role, int] = {
        "treated": spec.n_treated,
        "control": spec.n_control,
        "reference": spec.n_reference,
    }
    for role, size in sizes.items():
        missing = size if role == "reference" else round(spec.share_missing * size)
        roles += [role] * size
        returns += rng.permutation(np.arange(size) >= missing).tolist()
    order = rng.permutation(len(roles))
    width = max(2, len(str(len(roles))))
    response = 1 + spec.response_sd * rng.standard_normal(len(roles))
    return [
        SimulatedParticipant(f"{k + 1:0{width}d}", roles[at], float(response[at]), returns[at])
        for k, at in enumerate(order)
    ]


def draw_correlations(
    study: SimulatedCohort,
    participant: SimulatedParticipant,
    followups: Sequence[bool],
    rng: np.random.Generator,
) -> Iterator[Floats]:
    """Draw the correlation matrices of a participant, with the effect of treatment planted.

    The realised change of each follow-up run of a treated participant is added to `study`.

    Parameters
    ----------
    study : SimulatedCohort
        Study that the participant belongs to; its realised change is updated.
    participant : SimulatedParticipant
        Participant to draw.
    followups : sequence of bool
        For each run, whether it belongs to the follow-up session.
    rng : numpy.random.Generator
        Source of random numbers.

    Yields
    ------
    ndarray, shape (n_regions, n_regions)
        Correlation matrix of one run.
    """
    spec, population = study.spec, study.population
    own = draw_variation(population.loadings.shape, population, spec.trait_sd, rng)
    patient = participant.role != "reference"
    for followup in followups:
        state = draw_variation(population.loadings.shape, population, spec.state_sd, rng)
        correlation = participant_correlation(population, own, state, patient=patient)
        if followup and participant.role == "treated":
            after = plant(correlation, study.truth, population, response=participant.response)
            before_z, after_z = (np.arctanh(r[population.edges]) for r in (correlation, after))
            study.change += after_z - before_z
            study.n_changed += 1
            correlation = after
        yield correlation


def draw_mean_fd(
    spec: SimulationSpec,
    participant: SimulatedParticipant,
    *,
    followup: bool,
    rng: np.random.Generator,
) -> float:
    """Draw the mean framewise displacement of a run.

    Parameters
    ----------
    spec : SimulationSpec
        Provides the typical displacement at baseline and at follow-up of each group.
    participant : SimulatedParticipant
        Participant who is scanned.
    followup : bool
        Whether the run belongs to the follow-up session.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    float
        Mean framewise displacement without sudden jumps, mm.
    """
    kind = (1 if participant.role == "treated" else 2) if followup else 0
    return float(spec.fd_mm[kind] * rng.lognormal(0, 0.25))


# ------------------------------------------------------------------------------ files


def write_participants(
    out_dir: Path,
    cohort: Sequence[SimulatedParticipant],
    spec: SimulationSpec,
    rng: np.random.Generator,
) -> None:
    """Write ``participants.tsv`` and its sidecar with group, age, sex and symptom scores.

    Symptom scores improve more in participants with a larger response, so that the association
    between change of connectivity and improvement, which the report tests, exists in the data.

    Parameters
    ----------
    out_dir : Path
        BIDS root.
    cohort : sequence of SimulatedParticipant
        Participants in the order of the table.
    spec : SimulationSpec
        Provides the session labels.
    rng : numpy.random.Generator
        Source of random numbers.
    """
    n = len(cohort)
    patient = np.array([p.role != "reference" for p in cohort])
    treated = np.array([p.role == "treated" for p in cohort])
    returns = np.array([p.returns for p in cohort])
    response = np.array([p.response for p in cohort])
    before = np.where(patient, rng.normal(28, 4, n), np.abs(rng.normal(2, 1.5, n)))
    after = before - np.where(treated, 12 * response, 3.0) - rng.normal(0, 2.5, n)
    score = "MADRS"
    first, second = (f"{score}_ses-{session}" for session in spec.sessions)
    columns = {
        "participant_id": [f"sub-{p.label}" for p in cohort],
        "group": [p.role for p in cohort],
        "age": np.clip(np.rint(rng.normal(36, 9, n)), 18, 65).astype(int).tolist(),
        "sex": rng.choice(["F", "M"], n, p=[0.6, 0.4]).tolist(),
        first: np.clip(np.rint(before), 0, 60).astype(int).tolist(),
        second: [
            int(np.clip(np.rint(value), 0, 60)) if came else "n/a"
            for value, came in zip(after, returns, strict=True)
        ],
    }
    scale = "Montgomery-Asberg Depression Rating Scale, total score, simulated, session "
    sidecar = {
        "participant_id": {"Description": "Unique participant identifier"},
        "group": {
            "Description": "Group",
            "Levels": {
                "treated": "Patients who are treated between the sessions",
                "control": "Patients who are not treated between the sessions",
                "reference": "Healthy participants, one session",
            },
        },
        "age": {"Description": "Age", "Units": "years"},
        "sex": {"Description": "Sex", "Levels": {"F": "female", "M": "male"}},
        first: {"Description": scale + spec.sessions[0], "Units": "points"},
        second: {"Description": scale + spec.sessions[1], "Units": "points"},
    }
    write_table(out_dir / "participants.tsv", columns, sidecar=sidecar)


def write_description(folder: Path, title: str, kind: Literal["raw", "derivative"]) -> None:
    """Write ``dataset_description.json``.

    Parameters
    ----------
    folder : Path
        Root of the data set.
    title : str
        Name of the data set.
    kind : {"raw", "derivative"}
        BIDS type of the data set.
    """
    made_by = {
        "Name": "circuitshift simulate",
        "Version": __version__,
        "Description": "Simulated images; no participant was scanned.",
    }
    content = {
        "Name": title,
        "DatasetType": kind,
        "GeneratedBy": [made_by],
        "BIDSVersion": "1.8.0",
        "License": "CC0",
        "Authors": ["circuitshift simulate"],
    }
    write_json(folder / "dataset_description.json", content)


def write_truth(
    out_dir: Path,
    study: SimulatedCohort,
    cohort: Sequence[SimulatedParticipant],
    rng: np.random.Generator,
    *,
    images: Mapping[str, object] | None = None,
) -> None:
    """Write ``truth.json`` with the planted effect, the realised change and the responses.

    Parameters
    ----------
    out_dir : Path
        BIDS root.
    study : SimulatedCohort
        Study after all of its runs have been drawn.
    cohort : sequence of SimulatedParticipant
        Participants of the study.
    rng : numpy.random.Generator
        Generator with which the study was drawn; its seed is recorded.
    images : mapping, optional
        Additional entries that describe the images.
    """
    write_text(out_dir / ".bidsignore", "truth.json\n")
    seed = rng.bit_generator.seed_seq
    report = {
        "truth": asdict(study.truth),
        "expected_verdict": list(EXPECTED[study.truth.name]),
        "realised": _realised(study),
        "spec": asdict(study.spec),
        "seed": getattr(seed, "entropy", None),
        "participants": {
            f"sub-{p.label}": {
                "group": p.role,
                "response": round(p.response, 6),
                "returns": p.returns,
            }
            for p in cohort
        },
        **(images or {}),
    }
    write_json(out_dir / "truth.json", report)


def _realised(study: SimulatedCohort) -> dict[str, object]:
    """Summarise the realised mean change of treated participants, Fisher z.

    The realised change differs from the planted one where the nearest valid correlation matrix was
    taken. Over background edges (edges outside the circuits of the truth) the change is regressed
    on the typical strength (gain) and on the deviation from the healthy mean (share closed), as in
    the analysis.
    """
    if study.n_changed == 0:
        return {"n_treated": 0}
    change, population = study.change / study.n_changed, study.population
    hit = np.unique(np.concatenate(list(population.circuits.values())))
    background = np.setdiff1d(np.arange(change.size), hit)
    typical, toward = population.typical_z()[background], -population.deviation_z()[background]
    design = np.column_stack([np.ones(background.size), typical - typical.mean(), toward])
    shift, gain, share = np.linalg.lstsq(design, change[background], rcond=None)[0]
    return {
        "n_treated": study.n_changed,
        "mean_change_z": {"background": round(float(change[background].mean()), 6)}
        | {
            name: round(float(change[edges].mean()), 6)
            for name, edges in population.circuits.items()
        },
        "shift_z": round(float(shift), 6),
        "gain": round(float(gain), 6),
        "share_closed": round(float(share), 6),
    }
