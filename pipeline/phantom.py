"""A simulated longitudinal study with a planted truth, written as BIDS with fMRIPrep-like files.

`phantom_model` says what is planted, `phantom_run` makes one run; this module enrols the people
and writes the files. ``truth.json`` says what was planted and what change was realised.
"""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.load import load_atlas
from circuitshift.pipeline import __version__
from circuitshift.pipeline.confounds import write_confounds
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.phantom_model import (
    EXPECTED,
    PhantomSpec,
    PlantedTruth,
    Population,
    person_correlation,
    plant,
    population,
    wander,
)
from circuitshift.pipeline.phantom_run import (
    Grid,
    confounds_table,
    draw_nuisance,
    draw_series,
    make_grid,
    paint,
    write_image,
)
from circuitshift.pipeline.tables import write_json, write_table

__all__ = ["Phantom", "PhantomSpec", "PlantedTruth", "write_layout", "write_phantom"]

Floats = npt.NDArray[np.float64]
Role = Literal["treated", "control", "reference"]
SPACE = "MNI152NLin2009cAsym"


# ------------------------------------------------------------------------------ people and runs


@dataclass(frozen=True, slots=True)
class Phantom:
    """What was written.

    Parameters
    ----------
    root : Path
        BIDS root, or the derivative folder of `write_layout`.
    derivatives : Path
        fMRIPrep-like derivative.
    n_people, n_runs : int
    expected : tuple of str
        Verdicts that are right for the truth planted.
    """

    root: Path
    derivatives: Path
    n_people: int
    n_runs: int
    expected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Person:
    label: str
    role: Role
    response: float = 1.0
    returns: bool = True


@dataclass(slots=True)
class _Study:
    """What every run of a study needs, and the sum of realised changes."""

    spec: PhantomSpec
    truth: PlantedTruth
    grid: Grid
    people: Population
    change: Floats = field(init=False)
    n_changed: int = 0

    def __post_init__(self) -> None:
        self.change = np.zeros(self.people.edges[0].size)


@dataclass(frozen=True, slots=True)
class _Files:
    """The content of one run's files."""

    image: npt.NDArray[np.int16]
    mask: npt.NDArray[np.uint8]
    columns: dict[str, Floats]
    meta: dict[str, dict[str, object]]


def _study(spec: PhantomSpec, truth: PlantedTruth, rng: np.random.Generator) -> _Study:
    atlas = load_atlas(spec.atlas)
    grid = make_grid(atlas, spec.voxel_mm)
    return _Study(spec, truth, grid, population(atlas, truth.circuits, rng))


def _draw_runs(
    study: _Study, person: _Person, followups: Sequence[bool], rng: np.random.Generator
) -> Iterator[_Files]:
    """One run for each entry of `followups`, which says whether it is a follow-up."""
    spec, people = study.spec, study.people
    own = wander(people.loadings.shape, people, spec.trait_sd, rng)
    patient = person.role != "reference"
    for followup in followups:
        state = wander(people.loadings.shape, people, spec.state_sd, rng)
        correlation = person_correlation(people, own, state, patient=patient)
        if followup and person.role == "treated":
            after = plant(correlation, study.truth, people, response=person.response)
            before_z, after_z = (np.arctanh(r[people.edges]) for r in (correlation, after))
            study.change += after_z - before_z
            study.n_changed += 1
            correlation = after
        kind = (1 if person.role == "treated" else 2) if followup else 0
        yield _draw_run(study, correlation, spec.fd_mm[kind] * rng.lognormal(0, 0.25), rng)


def _draw_run(study: _Study, correlation: Floats, fd_mm: float, rng: np.random.Generator) -> _Files:
    spec, grid = study.spec, study.grid
    nuisance = draw_nuisance(
        grid, spec.n_volumes, spec.t_r_s, fd_mm=fd_mm, spikes=spec.spikes, rng=rng
    )
    series = draw_series(correlation, spec.n_volumes, spec.t_r_s, rng) + nuisance.leak
    seen = np.ones(grid.brain.shape, bool)
    if rng.random() < spec.share_out_of_view:
        seen[grid.z_mm < spec.view_z_mm] = False
    image = paint(grid, series, n_dummy=spec.n_dummy, seen=seen, rng=rng)
    columns, meta = confounds_table(nuisance, image, grid, spec.t_r_s, n_dummy=spec.n_dummy)
    return _Files(image, (grid.brain & seen).astype(np.uint8), columns, meta)


def _bold_sidecar(spec: PhantomSpec) -> dict[str, object]:
    return {
        "RepetitionTime": spec.t_r_s,
        "SkullStripped": False,
        "SliceTimingCorrected": False,
        "TaskName": spec.task,
    }


# ------------------------------------------------------------------------------ the study


def write_phantom(
    out_dir: Path, truth: PlantedTruth, *, spec: PhantomSpec, rng: np.random.Generator
) -> Phantom:
    """Simulate a longitudinal study and write it.

    Parameters
    ----------
    out_dir : Path
        New or empty folder; becomes the BIDS root. The derivative is
        ``<out_dir>/derivatives/fmriprep``, what was planted is ``<out_dir>/truth.json``.
    truth : PlantedTruth
    spec : PhantomSpec
    rng : numpy.random.Generator
        The same seed gives the same bytes.

    Returns
    -------
    Phantom

    Raises
    ------
    InputError
        If the folder is not empty, or the atlas does not fit the grid.
    """
    if out_dir.exists() and any(out_dir.iterdir()):
        raise InputError(f"{out_dir} is not empty; name a new folder to simulate into")
    study = _study(spec, truth, rng)
    derivatives = out_dir / "derivatives" / "fmriprep"
    cohort = _cohort(spec, rng)
    n_runs = 0
    for person, own_rng in zip(cohort, rng.spawn(len(cohort)), strict=True):
        sessions = spec.sessions[: 2 if person.returns else 1]
        runs = _draw_runs(study, person, [s == spec.sessions[1] for s in sessions], own_rng)
        for session, files in zip(sessions, runs, strict=True):
            folder = derivatives / f"sub-{person.label}" / f"ses-{session}" / "func"
            stem = f"sub-{person.label}_ses-{session}_task-{spec.task}"
            _write_run(folder, stem, files, study)
            n_runs += 1
    _write_tables(out_dir, cohort, spec, rng)
    _write_descriptions(out_dir, derivatives, spec)
    _write_truth(out_dir, study, cohort, rng)
    return Phantom(out_dir, derivatives, len(cohort), n_runs, EXPECTED[truth.name])


def _cohort(spec: PhantomSpec, rng: np.random.Generator) -> list[_Person]:
    """People in random order of groups, as a study enrols them."""
    roles: list[Role] = []
    returns: list[bool] = []
    sizes: dict[Role, int] = {
        "treated": spec.n_treated,
        "control": spec.n_control,
        "reference": spec.n_reference,
    }
    for role, size in sizes.items():
        lost = size if role == "reference" else round(spec.share_missing * size)
        roles += [role] * size
        returns += rng.permutation(np.arange(size) >= lost).tolist()
    order = rng.permutation(len(roles))
    width = max(2, len(str(len(roles))))
    response = 1 + spec.response_sd * rng.standard_normal(len(roles))
    return [
        _Person(f"{k + 1:0{width}d}", roles[at], float(response[at]), returns[at])
        for k, at in enumerate(order)
    ]


def _write_run(folder: Path, stem: str, files: _Files, study: _Study) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    spaced = f"{stem}_space-{SPACE}"
    bold = folder / f"{spaced}_desc-preproc_bold.nii.gz"
    write_image(bold, files.image, study.grid, study.spec.t_r_s)
    write_json(folder / f"{spaced}_desc-preproc_bold.json", _bold_sidecar(study.spec))
    write_image(folder / f"{spaced}_desc-brain_mask.nii.gz", files.mask, study.grid)
    write_json(folder / f"{spaced}_desc-brain_mask.json", {"Type": "Brain"})
    write_confounds(folder / f"{stem}_desc-confounds_timeseries.tsv", files.columns, files.meta)


def _write_tables(
    out_dir: Path, cohort: Sequence[_Person], spec: PhantomSpec, rng: np.random.Generator
) -> None:
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


def _write_descriptions(out_dir: Path, derivatives: Path, spec: PhantomSpec) -> None:
    name = "Simulated longitudinal resting-state study"
    made_by = {
        "Name": "circuitshift simulate",
        "Version": __version__,
        "Description": "Simulated data in the layout of fMRIPrep; no scanner, no person.",
    }
    common = {"BIDSVersion": "1.8.0", "License": "CC0", "Authors": ["circuitshift simulate"]}
    for folder, title, kind in (
        (out_dir, name, "raw"),
        (derivatives, f"{name}: derivatives", "derivative"),
    ):
        content = {"Name": title, "DatasetType": kind, "GeneratedBy": [made_by], **common}
        write_json(folder / "dataset_description.json", content)
    task = {"RepetitionTime": spec.t_r_s, "TaskName": spec.task}
    write_json(out_dir / f"task-{spec.task}_bold.json", task)
    (out_dir / "README").write_text(
        "Simulated by circuitshift: no person was scanned. There are no raw images; the simulated\n"
        "images are in derivatives/fmriprep, and what was planted in them is in truth.json.\n",
        encoding="utf-8",
    )
    (out_dir / ".bidsignore").write_text("truth.json\n", encoding="utf-8")


def _write_truth(
    out_dir: Path, study: _Study, cohort: Sequence[_Person], rng: np.random.Generator
) -> None:
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
    }
    write_json(out_dir / "truth.json", report)


def _realised(study: _Study) -> dict[str, object]:
    """Mean change of the treated after the matrix was made valid, in Fisher z.

    Over background edges (in no circuit of the truth) the change is regressed on the typical
    strength (gain) and on the deviation from the healthy mean (share closed), as the analysis does.
    """
    if study.n_changed == 0:
        return {"n_treated": 0}
    change, people = study.change / study.n_changed, study.people
    hit = np.unique(np.concatenate(list(people.circuits.values())))
    background = np.setdiff1d(np.arange(change.size), hit)
    typical, toward = people.typical_z()[background], -people.deviation_z()[background]
    design = np.column_stack([np.ones(background.size), typical - typical.mean(), toward])
    shift, gain, share = np.linalg.lstsq(design, change[background], rcond=None)[0]
    return {
        "n_treated": study.n_changed,
        "mean_change_z": {"background": round(float(change[background].mean()), 6)}
        | {name: round(float(change[edges].mean()), 6) for name, edges in people.circuits.items()},
        "shift_z": round(float(shift), 6),
        "gain": round(float(gain), 6),
        "share_closed": round(float(share), 6),
    }


# ------------------------------------------------------------------------------ real layouts


_RUN_FILE = re.compile(
    r"(?P<stem>sub-[^_]+(?:_ses-(?P<session>[^_]+))?_task-.+?)(?P<space>_space-MNI[^_]+(?:_res-[^_]+)?)?"
    r"_desc-(?P<what>preproc_bold|brain_mask|confounds_timeseries|confounds_regressors)"
    r"\.(?P<ext>nii\.gz|tsv|json)"
)


def write_layout(
    out_dir: Path,
    filelist: Path,
    *,
    spec: PhantomSpec,
    rng: np.random.Generator,
    truth: PlantedTruth | None = None,
    roles: Mapping[str, Role] | None = None,
    participants: Path | None = None,
    sidecars: Path | None = None,
) -> Phantom:
    """Rebuild the layout of a real fMRIPrep derivative with small simulated images.

    Every preprocessed image and mask in an MNI space, and every confounds table, becomes a small
    valid file under its true name. Other JSON files are copied from `sidecars` or hold an empty
    object; everything else is an empty file.

    Parameters
    ----------
    out_dir : Path
        Folder of the derivative.
    filelist : Path
        Text file, one relative path a line.
    spec : PhantomSpec
        Its numbers of people and share of missing visits are not used: the list says who is there.
        A run is a follow-up when its session is the second of `spec.sessions`.
    rng : numpy.random.Generator
    truth : PlantedTruth, optional
        None plants nothing.
    roles : mapping of str to {"treated", "control", "reference"}, optional
        Role of each participant label; control where not named.
    participants : Path, optional
        Real ``participants.tsv``, copied to `out_dir`; a JSON beside it comes along.
    sidecars : Path, optional
        Folder with real JSON files at the same relative paths.

    Returns
    -------
    Phantom

    Raises
    ------
    InputError
        If a path of the list leaves the folder, or the atlas does not fit the grid.
    """
    truth = truth or PlantedTruth("nothing")
    runs = _lay_out(out_dir, _listed(filelist), sidecars)
    for source in (participants, participants.with_suffix(".json")) if participants else ():
        if source.is_file():
            shutil.copyfile(source, out_dir / source.name)
    study = _study(spec, truth, rng)
    for (label, own), own_rng in zip(sorted(runs.items()), rng.spawn(len(runs)), strict=True):
        person = _Person(label, (roles or {}).get(label, "control"))
        stems = sorted(own, key=lambda stem: (f"_ses-{spec.sessions[1]}_" in stem, stem))
        followups = [f"_ses-{spec.sessions[1]}_" in stem for stem in stems]
        for stem, files in zip(stems, _draw_runs(study, person, followups, own_rng), strict=True):
            for path in own[stem]:
                _write_part(out_dir / path, files, study)
    n_runs = sum(len(own) for own in runs.values())
    return Phantom(out_dir, out_dir, len(runs), n_runs, EXPECTED[truth.name])


def _listed(filelist: Path) -> list[PurePosixPath]:
    """Relative paths of a list, refused when they would leave the folder."""
    paths = [PurePosixPath(line) for line in filelist.read_text("utf-8").split("\n") if line]
    outside = [str(path) for path in paths if path.is_absolute() or ".." in path.parts]
    if outside:
        raise InputError(f"{filelist}: these paths leave the folder: {', '.join(outside[:5])}")
    return paths


def _lay_out(
    out_dir: Path, paths: Sequence[PurePosixPath], sidecars: Path | None
) -> dict[str, dict[str, list[PurePosixPath]]]:
    """Make folders and all files but those to simulate, which are returned by person and run."""
    runs: dict[str, dict[str, list[PurePosixPath]]] = {}
    for folder in {out_dir / path.parent for path in paths}:
        folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        match, target = _RUN_FILE.fullmatch(path.name), out_dir / path
        real = sidecars / path if sidecars else None
        # a real confounds sidecar would describe columns that the simulated table has not
        confounds = match is not None and match["what"].startswith("confounds")
        if real is not None and real.is_file() and not confounds:
            shutil.copyfile(real, target)
        elif match and (match["space"] or confounds):
            label = path.parts[0].removeprefix("sub-")
            runs.setdefault(label, {}).setdefault(match["stem"], []).append(path)
        elif path.suffix == ".json":
            target.write_text("{}\n", encoding="utf-8")
        else:
            target.touch()
    return runs


def _write_part(target: Path, files: _Files, study: _Study) -> None:
    """Write the part of a run that a file name asks for."""
    name = target.name
    if name.endswith("bold.nii.gz"):
        write_image(target, files.image, study.grid, study.spec.t_r_s)
    elif name.endswith("mask.nii.gz"):
        write_image(target, files.mask, study.grid)
    elif name.endswith("bold.json"):
        write_json(target, _bold_sidecar(study.spec))
    elif name.endswith("mask.json"):
        write_json(target, {"Type": "Brain"})
    elif name.endswith(".tsv"):  # its sidecar is written with it
        write_confounds(target, files.columns, files.meta)
