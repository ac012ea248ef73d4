"""Offline replicas: small simulated images under the names of published data sets.

They show that a recipe reads such a layout and accounts for everybody. What is measured on them
says nothing about brains.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from circuitshift.pipeline.io.tables import write_json, write_table, write_text
from circuitshift.pipeline.validation.opendata.recipe import Recipe, RecipeData, Replica
from circuitshift.pipeline.validation.simulate.cohort import Role, write_description
from circuitshift.pipeline.validation.simulate.data_set import SimulationSpec, write_layout

__all__ = ["write_replica"]

_SPEC = SimulationSpec(n_volumes=64, share_out_of_view=0.0)
_HEALTHY = ("control", "HC", "healthy")


@dataclass(frozen=True, slots=True)
class _Participant:
    label: str
    group: str
    sessions: tuple[str, ...]


def write_replica(recipe: Recipe, folder: Path, *, seed: int = 1, every: int = 1) -> None:
    """Write a replica of every data set of a recipe, each under its accession number.

    Parameters
    ----------
    recipe : Recipe
    folder : Path
    seed : int
        The same seed gives the same bytes.
    every : int
        Only every n-th person of each group, for tests.
    """
    for number, data_set in enumerate(recipe.data_sets):
        rng = np.random.default_rng([seed, number])
        root = folder / data_set.accession
        if not root.exists():
            part = folder / f".{data_set.accession}.part"
            shutil.rmtree(part, ignore_errors=True)
            participants = _participants_list(data_set.replica, rng, every)
            _write(data_set, participants, part, rng)
            part.rename(root)


def _participants_list(about: Replica, rng: np.random.Generator, every: int) -> list[_Participant]:
    participants = []
    number = 0
    for group, size in about.groups.items():
        for k in range(size):
            number += 1
            shares = about.sessions or {"": 1.0}
            # the first five of a group have every visit, so that no arm is too small to analyse
            came = [s for s, share in shares.items() if k < 5 * every or rng.random() < share]
            if k % every == 0:
                participants.append(_Participant(about.label.format(number), group, tuple(came)))
    return participants


def _write(
    data_set: RecipeData, participants: list[_Participant], root: Path, rng: np.random.Generator
) -> None:
    about = data_set.replica
    root.mkdir(parents=True)
    wanted = {label.removeprefix("sub-") for label in data_set.participants}
    scanned = [p for p in participants if not wanted or p.label in wanted]
    listed = root / "FILELIST.txt"
    write_text(listed, "\n".join(_names(scanned, data_set)) + "\n")
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
        _as_published(root)
    if about.column:
        _write_participants(root, participants, about, rng)


def _names(participants: list[_Participant], data_set: RecipeData) -> Iterator[str]:
    """Names of images, masks and confounds of everybody."""
    about = data_set.replica
    space = about.space or f"space-{data_set.series_space}"
    runs = data_set.runs if "{run}" in about.stem else ("",)
    for person in participants:
        for session in person.sessions:
            parts = [f"sub-{person.label}", *([f"ses-{session}"] if session else [])]
            for run in runs:
                stem = "_".join([*parts, about.stem.format(run=run)])
                start = "/".join([*parts, "func", stem])
                yield f"{start}_{space}_desc-preproc_bold.nii.gz"
                if about.space:
                    yield f"{start}_{space}_desc-preproc_bold.json"
                    yield f"{start}_{space}_desc-brain_mask.nii.gz"
                    yield f"{start}_desc-confounds_timeseries.tsv"


def _as_published(root: Path) -> None:
    """Take what tells of preprocessing out of the names, and leave junk of macOS behind."""
    for number, path in enumerate(sorted(root.glob("sub-*/**/*_desc-preproc_bold.nii.gz"))):
        plain = path.with_name(f"{path.name.partition('_space-')[0]}_bold.nii.gz")
        path.rename(plain)
        if number < 3:
            plain.with_name(f"._{plain.name}").write_bytes(b"\x00\x05\x16\x07" * 1024)


def _write_participants(
    root: Path, participants: list[_Participant], about: Replica, rng: np.random.Generator
) -> None:
    """Write participants.tsv, and scores by session."""
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
        long: dict[str, list[object]] = {
            "participant_id": [f"sub-{p.label}" for p, _ in rows],
            "session_id": [f"ses-{s}" for _, s in rows],
            about.score: [scores[p.label, s] if s in p.sessions else "n/a" for p, s in rows],
        }
        write_table(root / "phenotype" / "phenotype.tsv", long)
        first = [str(rng.choice(["ketamine", "placebo"])) for _ in participants]
        columns["infusion_1"] = list(first)
        columns["infusion_2"] = ["placebo" if f == "ketamine" else "ketamine" for f in first]
    else:
        for session in sessions:
            columns[f"BDI_ses-{session}"] = [
                scores[p.label, session] if session in p.sessions else "n/a" for p in participants
            ]
    write_table(root / "participants.tsv", columns)
    write_json(root / "participants.json", {"age": {"Units": "years"}})
