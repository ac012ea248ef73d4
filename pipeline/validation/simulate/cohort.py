"""Who is in a simulated study, what their brains correlate like, and what was really planted.

The same for images after preprocessing (`phantom`) and for raw ones (`preproc.phantom_raw`).
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
    "refuse_full",
    "write_description",
    "write_participants",
    "write_truth",
]

Role = Literal["treated", "control", "reference"]


@dataclass(frozen=True, slots=True)
class SimulatedParticipant:
    """Somebody in the study.

    Parameters
    ----------
    label : str
    role : {"treated", "control", "reference"}
    response : float
        How much of the planted change happens in this person.
    returns : bool
        Whether there is a second session.
    """

    label: str
    role: Role
    response: float = 1.0
    returns: bool = True


@dataclass(slots=True)
class SimulatedCohort:
    """What every run of a study needs, and the sum of realised changes.

    Parameters
    ----------
    spec : PhantomSpec
    truth : PlantedTruth
    population : Population
    change : ndarray of shape (n_edges,)
        Sum over the treated, Fisher z; filled as their runs are drawn.
    n_changed : int
    """

    spec: SimulationSpec
    truth: PlantedTruth
    population: Population
    change: Floats = field(init=False)
    n_changed: int = 0

    def __post_init__(self) -> None:
        self.change = np.zeros(self.population.edges[0].size)


def refuse_full(out_dir: Path) -> None:
    """Raise InputError if there is anything in the folder."""
    if out_dir.exists() and any(out_dir.iterdir()):
        raise InputError(f"{out_dir} is not empty; name a new folder to simulate into")


def draw_study(
    spec: SimulationSpec, truth: PlantedTruth, atlas: Atlas, rng: np.random.Generator
) -> SimulatedCohort:
    """Draw the population.

    Parameters
    ----------
    spec : PhantomSpec
    truth : PlantedTruth
    atlas : Atlas
        That of `spec`.
    rng : numpy.random.Generator

    Returns
    -------
    PhantomStudy
    """
    return SimulatedCohort(spec, truth, draw_population(atlas, truth.circuits, rng))


def draw_cohort(spec: SimulationSpec, rng: np.random.Generator) -> list[SimulatedParticipant]:
    """Draw the people, in random order of groups, as a study enrols them.

    Parameters
    ----------
    spec : PhantomSpec
    rng : numpy.random.Generator

    Returns
    -------
    list of PhantomPerson
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
    person: SimulatedParticipant,
    followups: Sequence[bool],
    rng: np.random.Generator,
) -> Iterator[Floats]:
    """Draw a person's correlation matrices, with treatment planted; notes realised changes.

    Parameters
    ----------
    study : PhantomStudy
    person : PhantomPerson
    followups : sequence of bool
        One for each run: whether it is a follow-up.
    rng : numpy.random.Generator

    Yields
    ------
    ndarray of shape (n_regions, n_regions)
    """
    spec, population = study.spec, study.population
    own = draw_variation(population.loadings.shape, population, spec.trait_sd, rng)
    patient = person.role != "reference"
    for followup in followups:
        state = draw_variation(population.loadings.shape, population, spec.state_sd, rng)
        correlation = participant_correlation(population, own, state, patient=patient)
        if followup and person.role == "treated":
            after = plant(correlation, study.truth, population, response=person.response)
            before_z, after_z = (np.arctanh(r[population.edges]) for r in (correlation, after))
            study.change += after_z - before_z
            study.n_changed += 1
            correlation = after
        yield correlation


def draw_mean_fd(
    spec: SimulationSpec, person: SimulatedParticipant, *, followup: bool, rng: np.random.Generator
) -> float:
    """Draw how much somebody moves in a run: mean framewise displacement, mm."""
    kind = (1 if person.role == "treated" else 2) if followup else 0
    return float(spec.fd_mm[kind] * rng.lognormal(0, 0.25))


# ------------------------------------------------------------------------------ files


def write_participants(
    out_dir: Path,
    cohort: Sequence[SimulatedParticipant],
    spec: SimulationSpec,
    rng: np.random.Generator,
) -> None:
    """Write ``participants.tsv`` with groups, age, sex and scores, and its sidecar."""
    n = len(cohort)
    patient = np.array([p.role != "reference" for p in cohort])
    treated = np.array([p.role == "treated" for p in cohort])
    returns = np.array([p.returns for p in cohort])
    response = np.array([p.response for p in cohort])
    before = np.where(patient, rng.normal(28, 4, n), np.abs(rng.normal(2, 1.5, n)))
    # who responds more in the brain improves more: the association the report looks for
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
                "reference": "Healthy people, one session",
            },
        },
        "age": {"Description": "Age", "Units": "years"},
        "sex": {"Description": "Sex", "Levels": {"F": "female", "M": "male"}},
        first: {"Description": scale + spec.sessions[0], "Units": "points"},
        second: {"Description": scale + spec.sessions[1], "Units": "points"},
    }
    write_table(out_dir / "participants.tsv", columns, sidecar=sidecar)


def write_description(folder: Path, title: str, kind: Literal["raw", "derivative"]) -> None:
    """Write ``dataset_description.json``."""
    made_by = {
        "Name": "circuitshift simulate",
        "Version": __version__,
        "Description": "Simulated images; no scanner.",
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
    """Write ``truth.json``: what was planted, what came of it, and in whom.

    Parameters
    ----------
    out_dir : Path
    study : PhantomStudy
        After all its runs.
    cohort : sequence of PhantomPerson
    rng : numpy.random.Generator
        That which the study was drawn with; its seed is noted.
    images : mapping, optional
        What else is true of the images.
    """
    write_text(out_dir / ".bidsignore", "truth.json\n")
    seed = rng.bit_generator.seed_seq
    report = {
        "truth": asdict(study.truth),
        "expected_verdict": list(EXPECTED[study.truth.name]),
        "realised": _realised(study),
        "spec": asdict(study.spec),
        "seed": getattr(seed, "entropy", None),
        "people": {
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
    """Mean change of the treated after the matrix was made valid, in Fisher z.

    Over background edges (in no circuit of the truth) the change is regressed on the typical
    strength (gain) and on the deviation from the healthy mean (share closed), as the analysis does.
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
