"""Write offline replicas: small simulated images under the file names of published data sets.

Replicas test that a recipe reads the layout of a data set and accounts for all participants.
Estimates from them have no scientific meaning.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io.tables import write_json, write_table, write_text
from circuitshift.pipeline.validation.opendata.recipe import Recipe, RecipeData, Replica
from circuitshift.pipeline.validation.simulate.cohort import Role, write_description
from circuitshift.pipeline.validation.simulate.data_set import SimulationSpec, write_layout

__all__ = ["write_replica"]

_SPEC = SimulationSpec(n_volumes=64, share_out_of_view=0.0)
_HEALTHY = ("control", "HC", "healthy")


@dataclass(frozen=True, slots=True)
class _Participant:
    """A simulated participant with a group and the sessions they attended."""

    label: str
    group: str
    sessions: tuple[str, ...]


def write_replica(recipe: Recipe, folder: Path, *, seed: int = 1, every: int = 1) -> None:
    """Write a replica of each data set of a recipe, in a folder named by its accession number.

    Parameters
    ----------
    recipe : Recipe
        Recipe whose data sets are replicated.
    folder : Path
        Output folder. Existing replicas are kept.
    seed : int, default=1
        Seed of the random numbers; equal seeds give equal bytes.
    every : int, default=1
        Interval between participants of a group that are written, to shorten tests.
    """
    for number, data_set in enumerate(recipe.data_sets):
        if data_set.replica is None:
            raise InputError(
                f"recipe {recipe.name} enters by series or matrices, which have no replica; omit "
                "--replica"
            )
        rng = np.random.default_rng([seed, number])
        root = folder / data_set.accession
        if not root.exists():
            part = folder / f".{data_set.accession}.part"
            shutil.rmtree(part, ignore_errors=True)
            participants = _make_participants(data_set.replica, rng, every)
            _write(data_set, data_set.replica, participants, part, rng=rng)
            part.rename(root)


def _make_participants(about: Replica, rng: np.random.Generator, every: int) -> list[_Participant]:
    """Make labels of all participants, and draw the sessions they attended."""
    participants = []
    number = 0
    for group, size in about.groups.items():
        for k in range(size):
            number += 1
            probabilities = about.sessions or {"": 1.0}
            # the first five of a group attend all sessions, so that each arm can be analysed
            attended = [
                s
                for s, probability in probabilities.items()
                if k < 5 * every or rng.random() < probability
            ]
            if k % every == 0:
                participants.append(
                    _Participant(about.label.format(number), group, tuple(attended))
                )
    return participants


def _write(
    data_set: RecipeData,
    about: Replica,
    participants: list[_Participant],
    root: Path,
    *,
    rng: np.random.Generator,
) -> None:
    """Write the replica of one data set."""
    root.mkdir(parents=True)
    requested = {label.removeprefix("sub-") for label in data_set.participants}
    with_images = [p for p in participants if not requested or p.label in requested]
    listed = root / "FILELIST.txt"
    write_text(listed, "\n".join(_names(with_images, data_set, about)) + "\n")
    derived = root / "derivatives" / "fmriprep" if about.space else root
    visits = [*(about.sessions or {}), "", ""][:2]
    spec = replace(_SPEC, t_r_s=about.t_r_s, sessions=(visits[0], visits[1] or "none"))
    roles: dict[str, Role] = {
        p.label: "reference" if p.group in _HEALTHY and about.column else "control"
        for p in participants
    }
    write_layout(derived, listed, spec=spec, rng=rng, roles=roles)
    listed.unlink()
    write_description(root, f"Replica of {data_set.accession}", "raw")
    if about.space:
        write_description(derived, f"Replica of {data_set.accession}: fMRIPrep", "derivative")
    else:
        _remove_preprocessing_entities(root)
    if about.column:
        _write_participants(root, participants, about, rng)


def _names(participants: list[_Participant], data_set: RecipeData, about: Replica) -> Iterator[str]:
    """Yield the paths of images, masks and confounds of all participants."""
    space = about.space or f"space-{data_set.series_space}"
    runs = data_set.runs if "{run}" in about.stem else ("",)
    for participant in participants:
        for session in participant.sessions:
            parts = [f"sub-{participant.label}", *([f"ses-{session}"] if session else [])]
            for run in runs:
                stem = "_".join([*parts, about.stem.format(run=run)])
                start = "/".join([*parts, "func", stem])
                yield f"{start}_{space}_desc-preproc_bold.nii.gz"
                if about.space:
                    yield f"{start}_{space}_desc-preproc_bold.json"
                    yield f"{start}_{space}_desc-brain_mask.nii.gz"
                    yield f"{start}_desc-confounds_timeseries.tsv"


def _remove_preprocessing_entities(root: Path) -> None:
    """Remove entities of preprocessing from file names, and add junk files of macOS."""
    for number, path in enumerate(sorted(root.glob("sub-*/**/*_desc-preproc_bold.nii.gz"))):
        new_path = path.with_name(f"{path.name.partition('_space-')[0]}_bold.nii.gz")
        path.rename(new_path)
        if number < 3:
            new_path.with_name(f"._{new_path.name}").write_bytes(b"\x00\x05\x16\x07" * 1024)


def _write_participants(
    root: Path, participants: list[_Participant], about: Replica, rng: np.random.Generator
) -> None:
    """Write participants.tsv and scores by session."""
    n = len(participants)
    columns: dict[str, list[object]] = {
        "participant_id": [f"sub-{p.label}" for p in participants],
        "age": list(rng.integers(20, 50, n)),
        "gender": list(rng.choice(["f", "m"], n)),
        "sex": list(rng.choice(["F", "M"], n)),
        about.column: [p.group for p in participants],
    }
    sessions = list(about.sessions or {})
    scores = {
        (p.label, session): 28 - 4 * k + int(rng.integers(-5, 5))
        for p in participants
        for k, session in enumerate(sessions)
    }
    if about.score:
        rows = [(p, s) for p in participants for s in sessions]
        scores_table: dict[str, list[object]] = {
            "participant_id": [f"sub-{p.label}" for p, _ in rows],
            "session_id": [f"ses-{s}" for _, s in rows],
            about.score: [scores[p.label, s] if s in p.sessions else "n/a" for p, s in rows],
        }
        write_table(root / "phenotype" / "phenotype.tsv", scores_table)
        first_condition = [str(rng.choice(["ketamine", "placebo"])) for _ in participants]
        columns["infusion_1"] = list(first_condition)
        columns["infusion_2"] = [
            "placebo" if f == "ketamine" else "ketamine" for f in first_condition
        ]
    else:
        for session in sessions:
            columns[f"BDI_ses-{session}"] = [
                scores[p.label, session] if session in p.sessions else "n/a" for p in participants
            ]
    write_table(root / "participants.tsv", columns)
    write_json(root / "participants.json", {"age": {"Units": "years"}})
