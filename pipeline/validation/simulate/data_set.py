"""Write a simulated longitudinal study as BIDS with fMRIPrep-like derivatives.

The effect of treatment is defined in `truth`, the participants are drawn in `cohort`, and single
runs are made in `bold_run`. The file ``truth.json`` records what was planted and which change was
realised.
"""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.load import load_atlas
from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io.tables import write_json, write_text
from circuitshift.pipeline.preproc.confounds import write_confounds
from circuitshift.pipeline.validation.simulate.bold_run import (
    NOISE_SD,
    Grid,
    Nuisance,
    confounds_table,
    draw_nuisance,
    draw_series,
    make_grid,
    paint,
    write_image,
)
from circuitshift.pipeline.validation.simulate.cohort import (
    Role,
    SimulatedCohort,
    SimulatedParticipant,
    draw_cohort,
    draw_correlations,
    draw_mean_fd,
    draw_study,
    require_empty_folder,
    write_description,
    write_participants,
    write_truth,
)
from circuitshift.pipeline.validation.simulate.truth import EXPECTED, PlantedTruth, SimulationSpec

__all__ = [
    "PlantedTruth",
    "SimulatedDataSet",
    "SimulationSpec",
    "write_layout",
    "write_painted",
    "write_simulated_data_set",
]

SPACE = "MNI152NLin2009cAsym"


# ------------------------------------------------------------------------------ runs


@dataclass(frozen=True, slots=True)
class SimulatedDataSet:
    """Location and size of a simulated data set.

    Parameters
    ----------
    root : Path
        BIDS root, or the derivative folder of `write_layout`.
    derivatives : Path
        Folder of the fMRIPrep-like derivative.
    n_participants, n_runs : int
        Number of participants and of runs written.
    expected : tuple of str
        Verdicts that are correct for the planted truth; empty if the truth is unknown.
    """

    root: Path
    derivatives: Path
    n_participants: int
    n_runs: int
    expected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Files:
    """Content of the files of one run."""

    image: npt.NDArray[np.int16]
    mask: npt.NDArray[np.uint8]
    columns: dict[str, Floats]
    meta: dict[str, dict[str, object]]


def _draw_runs(
    study: SimulatedCohort,
    grid: Grid,
    participant: SimulatedParticipant,
    followups: Sequence[bool],
    *,
    rng: np.random.Generator,
) -> Iterator[_Files]:
    """Draw one run for each entry of `followups`, which tells whether the run is a follow-up."""
    correlations = draw_correlations(study, participant, followups, rng)
    for followup, correlation in zip(followups, correlations, strict=True):
        fd_mm = draw_mean_fd(study.spec, participant, followup=followup, rng=rng)
        yield _draw_run(study.spec, grid, correlation, fd_mm=fd_mm, rng=rng)


def _draw_run(
    spec: SimulationSpec, grid: Grid, correlation: Floats, *, fd_mm: float, rng: np.random.Generator
) -> _Files:
    nuisance = draw_nuisance(
        grid, spec.n_volumes, spec.t_r_s, fd_mm=fd_mm, spikes=spec.spikes, rng=rng
    )
    series = draw_series(correlation, spec.n_volumes, spec.t_r_s, rng)
    return _paint_run(spec, grid, series, nuisance, rng=rng)


def _paint_run(
    spec: SimulationSpec,
    grid: Grid,
    series: Floats,
    nuisance: Nuisance,
    *,
    rng: np.random.Generator,
) -> _Files:
    seen = np.ones(grid.brain.shape, bool)
    if rng.random() < spec.share_out_of_view:
        seen[grid.z_mm < spec.view_z_mm] = False
    image = paint(grid, series + nuisance.leak, n_dummy=spec.n_dummy, seen=seen, rng=rng)
    columns, meta = confounds_table(nuisance, image, grid, spec.t_r_s, n_dummy=spec.n_dummy)
    return _Files(image, (grid.brain & seen).astype(np.uint8), columns, meta)


def _bold_sidecar(spec: SimulationSpec) -> dict[str, object]:
    return {
        "RepetitionTime": spec.t_r_s,
        "SkullStripped": False,
        "SliceTimingCorrected": False,
        "TaskName": spec.task,
    }


# ------------------------------------------------------------------------------ complete study


def write_simulated_data_set(
    out_dir: Path, truth: PlantedTruth, *, spec: SimulationSpec, rng: np.random.Generator
) -> SimulatedDataSet:
    """Simulate a longitudinal study and write it.

    Parameters
    ----------
    out_dir : Path
        New or empty folder that becomes the BIDS root. The derivative is written to
        ``<out_dir>/derivatives/fmriprep``, and the planted truth to ``<out_dir>/truth.json``.
    truth : PlantedTruth
        Effect of treatment.
    spec : SimulationSpec
        Size, noise and data loss of the study.
    rng : numpy.random.Generator
        Source of random numbers; the same seed gives the same bytes.

    Returns
    -------
    SimulatedDataSet
        Location and size of the study, and the correct verdicts.

    Raises
    ------
    InputError
        If the folder is not empty, or a region of the atlas has no voxel on the grid.
    """
    require_empty_folder(out_dir)
    study, grid = _study(spec, truth, rng)
    derivatives = out_dir / "derivatives" / "fmriprep"
    cohort = draw_cohort(spec, rng)
    n_runs = 0
    for participant, own_rng in zip(cohort, rng.spawn(len(cohort)), strict=True):
        sessions = spec.sessions[: 2 if participant.returns else 1]
        followups = [session == spec.sessions[1] for session in sessions]
        runs = _draw_runs(study, grid, participant, followups, rng=own_rng)
        for session, files in zip(sessions, runs, strict=True):
            folder = derivatives / f"sub-{participant.label}" / f"ses-{session}" / "func"
            stem = f"sub-{participant.label}_ses-{session}_task-{spec.task}"
            _write_run(folder, stem, files, grid=grid, spec=spec)
            n_runs += 1
    write_participants(out_dir, cohort, spec, rng)
    _write_descriptions(
        out_dir,
        derivatives,
        spec,
        name="Simulated longitudinal resting-state study",
        readme="This study was simulated by circuitshift; no participant was scanned. There are "
        "no raw images.\nThe simulated images are in derivatives/fmriprep, and truth.json lists "
        "the planted effects.\n",
    )
    write_truth(out_dir, study, cohort, rng)
    return SimulatedDataSet(out_dir, derivatives, len(cohort), n_runs, EXPECTED[truth.name])


def _study(
    spec: SimulationSpec, truth: PlantedTruth, rng: np.random.Generator
) -> tuple[SimulatedCohort, Grid]:
    atlas = load_atlas(spec.atlas)
    return draw_study(spec, truth, atlas, rng), make_grid(atlas, spec.voxel_mm)


def _write_run(folder: Path, stem: str, files: _Files, *, grid: Grid, spec: SimulationSpec) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    spaced = f"{stem}_space-{SPACE}"
    bold = folder / f"{spaced}_desc-preproc_bold.nii.gz"
    write_image(bold, files.image, grid, spec.t_r_s)
    write_json(folder / f"{spaced}_desc-preproc_bold.json", _bold_sidecar(spec))
    write_image(folder / f"{spaced}_desc-brain_mask.nii.gz", files.mask, grid)
    write_json(folder / f"{spaced}_desc-brain_mask.json", {"Type": "Brain"})
    write_confounds(folder / f"{stem}_desc-confounds_timeseries.tsv", files.columns, files.meta)


def _write_descriptions(
    out_dir: Path, derivatives: Path, spec: SimulationSpec, *, name: str, readme: str
) -> None:
    write_description(out_dir, name, "raw")
    write_description(derivatives, f"{name}: derivatives", "derivative")
    task = {"RepetitionTime": spec.t_r_s, "TaskName": spec.task}
    write_json(out_dir / f"task-{spec.task}_bold.json", task)
    write_text(out_dir / "README", readme)


# ------------------------------------------------------------------------------ existing series


def write_painted(
    out_dir: Path,
    series: Mapping[tuple[str, str], Floats],
    *,
    spec: SimulationSpec,
    rng: np.random.Generator,
) -> SimulatedDataSet:
    """Write images whose regions carry existing regional series, such as real ones.

    Series are standardised, and motion and physiology are added. In contrast to
    `write_simulated_data_set`, voxel noise is independent between voxels and therefore does not
    vanish in the mean of a region.

    Parameters
    ----------
    out_dir : Path
        New or empty folder that becomes the BIDS root, as in `write_simulated_data_set`.
    series : mapping of (str, str) to ndarray, shape (n_volumes, n_regions)
        Series by participant and session label, with columns in the order of the atlas.
    spec : SimulationSpec
        Properties of the images. Group sizes, the number of volumes and the variation between
        participants are not used. Runs of the second of its `sessions` have the head motion of a
        treated participant's follow-up; all other runs have that of a baseline.
    rng : numpy.random.Generator
        Source of random numbers; the same seed gives the same bytes.

    Returns
    -------
    SimulatedDataSet
        Without an expected verdict, since the true change in the series is unknown.

    Raises
    ------
    InputError
        If the folder is not empty, a region of the atlas has no voxel on the grid, or a series is
        constant or does not have one column for each region.
    """
    require_empty_folder(out_dir)
    grid = make_grid(load_atlas(spec.atlas), spec.voxel_mm)
    n_voxels = np.bincount(grid.region)
    wrong = [
        f"sub-{label} ses-{session}: shape {values.shape}"
        for (label, session), values in series.items()
        if values.ndim != 2 or values.shape[1] != n_voxels.size or not np.ptp(values, axis=0).all()
    ]
    if wrong:
        raise InputError(
            f"cannot write series into images: {'; '.join(wrong)}; give arrays of shape (volumes, "
            f"{n_voxels.size}), one column for each region of atlas {spec.atlas}, none constant"
        )
    derivatives = out_dir / "derivatives" / "fmriprep"
    for ((label, session), values), own_rng in zip(
        sorted(series.items()), rng.spawn(len(series)), strict=True
    ):
        participant = SimulatedParticipant(label, "treated")
        fd_mm = draw_mean_fd(spec, participant, followup=session == spec.sessions[1], rng=own_rng)
        nuisance = draw_nuisance(
            grid, len(values), spec.t_r_s, fd_mm=fd_mm, spikes=spec.spikes, rng=own_rng
        )
        signal = (values - values.mean(0)) / values.std(0)
        noise = own_rng.standard_normal(values.shape) * NOISE_SD / np.sqrt(n_voxels)
        files = _paint_run(spec, grid, signal + noise, nuisance, rng=own_rng)
        folder = derivatives / f"sub-{label}" / f"ses-{session}" / "func"
        stem = f"sub-{label}_ses-{session}_task-{spec.task}"
        _write_run(folder, stem, files, grid=grid, spec=spec)
    _write_descriptions(
        out_dir,
        derivatives,
        spec,
        name="Existing regional series in simulated images",
        readme="These images were simulated by circuitshift so that their regions carry existing "
        "series. There are\nno raw images; the simulated images are in derivatives/fmriprep.\n",
    )
    n_participants = len({label for label, _ in series})
    return SimulatedDataSet(out_dir, derivatives, n_participants, len(series), ())


# ------------------------------------------------------------------------------ real layouts


_RUN_FILE = re.compile(
    r"(?P<stem>sub-[^_]+(?:_ses-(?P<session>[^_]+))?_task-.+?)(?P<space>_space-MNI[^_]+(?:_res-[^_]+)?)?"
    r"_desc-(?P<content>preproc_bold|brain_mask|confounds_timeseries|confounds_regressors)"
    r"\.(?P<ext>nii\.gz|tsv|json)"
)


def write_layout(
    out_dir: Path,
    filelist: Path,
    *,
    spec: SimulationSpec,
    rng: np.random.Generator,
    truth: PlantedTruth | None = None,
    roles: Mapping[str, Role] | None = None,
    participants: Path | None = None,
    sidecars: Path | None = None,
) -> SimulatedDataSet:
    """Reproduce the file layout of a real fMRIPrep derivative with small simulated images.

    Every preprocessed image and mask in an MNI space, and every confounds table, becomes a small
    valid file under its original name. Other JSON files are copied from `sidecars` or contain an
    empty object. All other files are empty.

    Parameters
    ----------
    out_dir : Path
        Folder of the derivative.
    filelist : Path
        Text file with one relative path per line.
    spec : SimulationSpec
        Properties of the images. Group sizes and the share of missing visits are not used, since
        the list defines the runs. A run is a follow-up if its session is the second of
        `spec.sessions`.
    rng : numpy.random.Generator
        Source of random numbers; the same seed gives the same bytes.
    truth : PlantedTruth, optional
        Effect of treatment; by default, there is none.
    roles : mapping of str to {"treated", "control", "reference"}, optional
        Group of each participant label; participants that are not listed are controls.
    participants : Path, optional
        Real ``participants.tsv``, which is copied to `out_dir` together with its JSON sidecar, if
        any.
    sidecars : Path, optional
        Folder that contains real JSON files at the same relative paths.

    Returns
    -------
    SimulatedDataSet
        Location and size of the derivative, and the correct verdicts.

    Raises
    ------
    InputError
        If a path of the list lies outside the folder, or a region of the atlas has no voxel on the
        grid.
    """
    truth = truth or PlantedTruth("nothing")
    runs = _lay_out(out_dir, _listed(filelist), sidecars)
    for source in (participants, participants.with_suffix(".json")) if participants else ():
        if source.is_file():
            shutil.copyfile(source, out_dir / source.name)
    study, grid = _study(spec, truth, rng)
    for (label, own), own_rng in zip(sorted(runs.items()), rng.spawn(len(runs)), strict=True):
        participant = SimulatedParticipant(label, (roles or {}).get(label, "control"))
        stems = sorted(own, key=lambda stem: (f"_ses-{spec.sessions[1]}_" in stem, stem))
        followups = [f"_ses-{spec.sessions[1]}_" in stem for stem in stems]
        for stem, files in zip(
            stems, _draw_runs(study, grid, participant, followups, rng=own_rng), strict=True
        ):
            for path in own[stem]:
                _write_part(out_dir / path, files, grid, spec)
    n_runs = sum(len(own) for own in runs.values())
    return SimulatedDataSet(out_dir, out_dir, len(runs), n_runs, EXPECTED[truth.name])


def _listed(filelist: Path) -> list[PurePosixPath]:
    """Read the relative paths of a list, and refuse paths outside the folder."""
    paths = [PurePosixPath(line) for line in filelist.read_text("utf-8").split("\n") if line]
    outside = [str(path) for path in paths if path.is_absolute() or ".." in path.parts]
    if outside:
        raise InputError(
            f"{filelist}: {len(outside)} paths lie outside the folder ({', '.join(outside[:5])}); "
            "give paths relative to the derivative, without '..'"
        )
    return paths


def _lay_out(
    out_dir: Path, paths: Sequence[PurePosixPath], sidecars: Path | None
) -> dict[str, dict[str, list[PurePosixPath]]]:
    """Create folders and all files that are not simulated.

    Returns
    -------
    dict of str to dict of str to list of PurePosixPath
        Files to simulate, by participant label and run.
    """
    runs: dict[str, dict[str, list[PurePosixPath]]] = {}
    for folder in {out_dir / path.parent for path in paths}:
        folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        match, target = _RUN_FILE.fullmatch(path.name), out_dir / path
        real = sidecars / path if sidecars else None
        # a real confounds sidecar would describe columns that the simulated table does not have
        confounds = match is not None and match["content"].startswith("confounds")
        if real is not None and real.is_file() and not confounds:
            shutil.copyfile(real, target)
        elif match and (match["space"] or confounds):
            label = path.parts[0].removeprefix("sub-")
            runs.setdefault(label, {}).setdefault(match["stem"], []).append(path)
        elif path.suffix == ".json":
            write_text(target, "{}\n")
        else:
            target.touch()
    return runs


def _write_part(target: Path, files: _Files, grid: Grid, spec: SimulationSpec) -> None:
    """Write the part of a run that the name of a file requires."""
    name = target.name
    if name.endswith("bold.nii.gz"):
        write_image(target, files.image, grid, spec.t_r_s)
    elif name.endswith("mask.nii.gz"):
        write_image(target, files.mask, grid)
    elif name.endswith("bold.json"):
        write_json(target, _bold_sidecar(spec))
    elif name.endswith("mask.json"):
        write_json(target, {"Type": "Brain"})
    elif name.endswith(".tsv"):  # `write_confounds` also writes the sidecar
        write_confounds(target, files.columns, files.meta)
