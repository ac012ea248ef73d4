"""Write a simulated longitudinal study as raw BIDS.

Heads and T1-weighted images are made in `head`, and the effect of treatment is defined in `truth`.
In this module, regional series are planted at the positions of atlas regions, physiological noise
is shared by fluid, white matter and grey matter so that denoising has something to remove, and the
study is written.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree

from circuitshift.atlases.load import load_atlas
from circuitshift.atlases.records import Atlas
from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io.images import Image, read, write
from circuitshift.pipeline.io.tables import write_json, write_text
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc.confounds import HEAD_MM, framewise_displacement
from circuitshift.pipeline.validation.simulate.bold_run import draw_series
from circuitshift.pipeline.validation.simulate.cohort import (
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
from circuitshift.pipeline.validation.simulate.head import (
    Head,
    HeadSpec,
    draw_head,
    draw_pose,
    draw_t1w,
)
from circuitshift.pipeline.validation.simulate.truth import EXPECTED, PlantedTruth, SimulationSpec

__all__ = [
    "RAW_HEAD",
    "RAW_STUDY",
    "BoldTruth",
    "Dropout",
    "SimulatedRawDataSet",
    "brain_centre",
    "draw_bold",
    "draw_motion",
    "raw_truth",
    "region_map",
    "write_simulated_raw_data_set",
]


#: A study that can be preprocessed in minutes. It has few participants and runs of three minutes,
#: so that only larger effects than the default (`raw_truth`) can be detected.
RAW_STUDY = SimulationSpec(
    n_treated=8,
    n_control=0,
    n_reference=3,
    n_volumes=100,
    n_dummy=2,
    share_missing=0.0,
    share_out_of_view=0.0,
)
RAW_HEAD = HeadSpec(bold_mm=(4.0, 4.0, 4.0))

#: Intensities of cerebrospinal fluid, grey matter, white matter, skull, scalp and neck.
_INTENSITY = (1300.0, 1000.0, 850.0, 120.0, 350.0, 350.0)
_VIEW_MM = (192.0, 222.0, 172.0)
_GREY = 1  # position of grey matter in the intensities


@dataclass(frozen=True, eq=False)
class BoldTruth:
    """A simulated raw run and its true properties.

    Parameters
    ----------
    image : Image
        Four-dimensional, int16; axes point to left, anterior and superior.
    motion : ndarray, shape (n_volumes, 6)
        Translations t, mm, and rotations, radians. A point p of the head at `pose` lies at
        ``R (p - c) + c + t`` in each volume, with ``R = R_x R_y R_z`` and c = `centre_mm`; see
        `transforms.matrix_of`. All coordinates are in the RAS space of the scanner, mm.
    centre_mm : ndarray, shape (3,)
        Centre of rotation, mm.
    series : ndarray, shape (n_volumes, n_regions)
        Planted series of unit variance, at ``v * t_r_s + middle_s`` after the start of the run.
    carried : ndarray, shape (n_volumes, n_regions)
        Planted series plus the physiological noise of each region, as an ideal scanner without
        thermal noise would measure them.
    slice_times_s : ndarray, shape (n_slices,)
        Acquisition time of each slice after the start of a volume, s, in the order of the voxel
        axis.
    pose : ndarray, shape (4, 4)
        From the head to the scanner.
    n_dummy : int
        Number of volumes before the steady state.
    """

    image: Image
    motion: Floats
    centre_mm: Floats
    series: Floats
    carried: Floats
    slice_times_s: Floats
    pose: Floats
    n_dummy: int

    @property
    def middle_s(self) -> float:
        """Middle of the slice times, s."""
        return float((self.slice_times_s.min() + self.slice_times_s.max()) / 2)


@dataclass(frozen=True, slots=True)
class Dropout:
    """A sphere in which the signal of a run is lost, as near air.

    Parameters
    ----------
    xyz_mm : tuple of three float
        Centre in the space of the template, mm.
    radius_mm : float
        Radius, mm.
    signal : float
        Share of the signal that remains.
    """

    xyz_mm: tuple[float, float, float]
    radius_mm: float
    signal: float


@dataclass(frozen=True, slots=True)
class SimulatedRawDataSet:
    """Location and size of a simulated raw data set.

    Parameters
    ----------
    root : Path
        BIDS root.
    n_participants, n_runs : int
        Number of participants and of functional runs written.
    expected : tuple of str
        Verdicts that are correct for the planted truth.
    """

    root: Path
    n_participants: int
    n_runs: int
    expected: tuple[str, ...]


# ------------------------------------------------------------------------------ one run


def brain_centre(head: Head) -> Floats:
    """Compute the centre of the brain.

    Parameters
    ----------
    head : Head
        Head in its own space.

    Returns
    -------
    ndarray, shape (3,)
        Mean coordinate of brain voxels in the space of the head, mm.
    """
    index = np.argwhere(_brain_of(head)).mean(axis=0)
    affine = head.tissues[0].affine
    return np.asarray(affine[:3, :3] @ index + affine[:3, 3])


def _brain_of(head: Head) -> npt.NDArray[np.bool_]:
    return np.asarray(np.sum([t.data for t in head.tissues[:3]], axis=0) > 0.5)


def draw_motion(n_volumes: int, spec: HeadSpec, rng: np.random.Generator) -> Floats:
    """Draw head motion: a slow random walk from zero, with sudden jumps of which half remains.

    Parameters
    ----------
    n_volumes : int
        Number of volumes.
    spec : HeadSpec
        Provides the mean framewise displacement of the walk, which is matched exactly, and the
        share of volumes with an additional jump of 0.6 to 1.6 mm.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    ndarray, shape (n_volumes, 6)
        Translations, mm, and rotations, radians.
    """
    # nodding and translation along the bore are the largest components
    walk = rng.standard_normal((n_volumes, 6)) * [0.7, 1.0, 1.3, 1.3, 0.8, 0.7]
    for t in range(1, n_volumes):
        walk[t] += 0.97 * walk[t - 1]
    walk -= walk[0]
    walk[:, 3:] /= HEAD_MM
    walk *= spec.fd_mm / np.nanmean(framewise_displacement(walk))
    size = np.where(rng.random(n_volumes) < spec.spikes, rng.uniform(0.6, 1.6, n_volumes), 0.0)
    size[0] = 0
    jump = rng.dirichlet(np.ones(6), n_volumes) * rng.choice([-1.0, 1.0], (n_volumes, 6))
    jump *= size[:, None]
    jump[:, 3:] /= HEAD_MM
    return np.asarray(walk + jump / 2 + np.cumsum(jump, axis=0) / 2)


def region_map(head: Head, atlas: Atlas) -> Image:
    """Assign each voxel of a head to a region of an atlas.

    Parameters
    ----------
    head : Head
        Head in its own space.
    atlas : Atlas
        Atlas of kind ``spheres`` or ``labels`` in the space of the template.

    Returns
    -------
    Image
        Zero-based position of the region in the atlas; -1 outside all regions and outside the
        brain.

    Raises
    ------
    InputError
        If the atlas is of another kind, or a sphere has no centre or radius.
    """
    box = head.tissues[0]
    inside = _brain_of(head)
    points = head.to_template(box.points()[inside.ravel()])
    region_of_point = np.full(len(points), -1.0, np.float32)
    if atlas.kind == "spheres":
        # spheres differ in radius and may overlap: a voxel belongs to the nearest centre
        tree, nearest = cKDTree(points), np.full(len(points), np.inf)
        for k, region in enumerate(atlas.regions):
            if region.xyz_mm is None or region.radius_mm is None:
                raise InputError(
                    f"atlas {atlas.name}: region {region.label} has no centre or radius; add both "
                    "to the table of the atlas"
                )
            own = np.array(tree.query_ball_point(region.xyz_mm, region.radius_mm), int)
            apart = ((points[own] - region.xyz_mm) ** 2).sum(axis=1)
            closer = own[apart < nearest[own]]
            region_of_point[closer], nearest[closer] = k, apart[apart < nearest[own]]
    elif atlas.kind == "labels" and atlas.image is not None:
        values = np.rint(read(atlas.image).at(points, order=0)).astype(int)
        for k, region in enumerate(atlas.regions):
            region_of_point[values == region.index] = k
    else:
        raise InputError(
            f"atlas {atlas.name}: series cannot be planted in an atlas of kind {atlas.kind}; "
            "choose an atlas of kind spheres or labels"
        )
    out = np.full(box.grid, -1, np.float32)
    out[inside] = region_of_point
    return box.like(out)


def draw_bold(
    head: Head,
    spec: HeadSpec,
    series: Floats,
    atlas: Atlas,
    *,
    pose: Floats,
    rng: np.random.Generator,
    motion: Floats | None = None,
    dropout: Sequence[Dropout] = (),
) -> BoldTruth:
    """Simulate a raw functional run.

    Every slice is sampled at its own acquisition time and at the position of the head in its
    volume. Regions carry their series, and grey matter carries a share of the physiological noise
    of fluid and white matter. Slow drift is common to the complete head. The first volume is 30 %
    brighter than the steady state, and this excess decays over the volumes before the steady state.

    Parameters
    ----------
    head : Head
        Head to scan.
    spec : HeadSpec
        Image acquisition and noise.
    series : ndarray, shape (n_volumes, n_regions)
        Series of unit variance, at least two volumes; see `BoldTruth`.
    atlas : Atlas
        Atlas with one region for each series.
    pose : ndarray, shape (4, 4)
        From the head to the scanner.
    rng : numpy.random.Generator
        Source of random numbers.
    motion : ndarray, shape (n_volumes, 6), optional
        Head motion; by default, it is drawn by `draw_motion`.
    dropout : sequence of Dropout, optional
        Places without signal. Thermal noise is the same there.

    Returns
    -------
    BoldTruth
        The run and its true properties.

    Raises
    ------
    InputError
        If there is not one series for each region, or series cannot be planted in the atlas.
    """
    n_volumes, n_regions = series.shape
    if n_regions != len(atlas.regions):
        raise InputError(
            f"{n_regions} series for the {len(atlas.regions)} regions of atlas {atlas.name}; "
            "give one for each region"
        )
    if motion is None:
        motion = draw_motion(n_volumes, spec, rng)
    centre = transforms.apply(pose, brain_centre(head)[None])[0]
    grid = _view(spec, brain_centre(head))
    times = _slice_times(grid.grid[2], spec.t_r_s)
    base = _with_dropout(_blurred_intensity(head, spec), head, dropout)
    label = _sources_map(head, region_map(head, atlas), n_regions)
    sources = _sources(series, rng)
    at = _Sources(sources, times, spec.t_r_s)
    drift = _drift(n_volumes, rng)
    points, slices = grid.points(), np.indices(grid.grid)[2].ravel()
    thermal = spec.noise * _INTENSITY[_GREY]
    back = np.linalg.inv(pose)
    out = np.empty((*grid.grid, n_volumes), np.int16)
    for v in range(n_volumes):
        # each grid point shows the point of the head that motion moved there
        where = transforms.apply(
            back @ np.linalg.inv(transforms.matrix_of(motion[v], centre)), points
        )
        values = base.at(where)
        source = label.at(where, order=0).astype(int)
        values *= (1 + spec.amplitude * at(v)[slices, source]) * drift[v]
        if v < spec.n_dummy:
            values *= 1 + 0.3 * 0.4**v
        noise = rng.standard_normal((2, len(points)), np.float32) * np.float32(thermal)
        out[..., v] = np.rint(np.hypot(values + noise[0], noise[1])).reshape(grid.grid)
    carried = sources[:, :n_regions]
    return BoldTruth(grid.like(out), motion, centre, series, carried, times, pose, spec.n_dummy)


def _blurred_intensity(head: Head, spec: HeadSpec) -> Image:
    """Blur the intensity of a head to the voxel size of the run.

    Point samples of sharp edges would alias.
    """
    shares = np.stack([t.data for t in head.tissues])
    sharp = np.tensordot(np.array(_INTENSITY, np.float32), shares, 1)
    box = head.tissues[0]
    # the full width at half maximum is one voxel
    sigma = np.array(spec.bold_mm) / box.zooms / np.sqrt(8 * np.log(2))
    return box.like(ndimage.gaussian_filter(sharp, sigma).astype(np.float32))


def _with_dropout(base: Image, head: Head, dropout: Sequence[Dropout]) -> Image:
    """Reduce the intensity of a head within spheres of the template."""
    if not dropout:
        return base
    points = head.to_template(base.points())
    factor = np.ones(len(points), np.float32)
    for each in dropout:
        squared = ((points - each.xyz_mm) ** 2).sum(axis=1)
        factor[squared <= each.radius_mm**2] = each.signal
    return base.like(np.asarray(base.data) * factor.reshape(base.grid))


def _view(spec: HeadSpec, centre: Floats) -> Image:
    """Create the grid of the field of view, which does not depend on the position of the head."""
    sizes = np.array(spec.bold_mm)
    shape = np.rint(np.array(_VIEW_MM) / sizes).astype(int)
    affine = np.diag([-sizes[0], sizes[1], sizes[2], 1.0])
    affine[:3, 3] = np.rint(centre) - affine[:3, :3] @ ((shape - 1) / 2)
    return Image(np.zeros(shape, np.float32), affine)


def _slice_times(n_slices: int, t_r_s: float) -> Floats:
    """Acquire even slices after odd ones, within nine tenths of the repetition time."""
    order = np.r_[np.arange(0, n_slices, 2), np.arange(1, n_slices, 2)]
    times = np.empty(n_slices)
    times[order] = np.arange(n_slices) * (0.9 * t_r_s / n_slices)
    return np.round(times, 4)  # precision of the JSON sidecar


def _sources_map(head: Head, regions: Image, n_regions: int) -> Image:
    """Assign each voxel to a source: region, other grey matter, fluid, white matter, or none."""
    csf, _, white, *_ = (np.asarray(t.data) for t in head.tissues)
    region = np.asarray(regions.data)
    out = np.full(region.shape, n_regions + 3, np.float32)
    out[_brain_of(head)] = n_regions
    out[csf > 0.5] = n_regions + 1
    out[white > 0.8] = n_regions + 2
    out[region >= 0] = region[region >= 0]
    # outside the grid `at` returns region 0, which adds nothing since the intensity is 0 there
    return regions.like(out)


class _Sources:
    """Interpolate the series of all sources to the slice times of a volume."""

    def __init__(self, values: Floats, times: Floats, t_r_s: float) -> None:
        middle = (times.min() + times.max()) / 2
        self._first, self._last = middle, (len(values) - 1) * t_r_s + middle
        self._spline = CubicSpline(np.arange(len(values)) * t_r_s + middle, values)
        self._times, self._t_r_s = times, t_r_s

    def __call__(self, volume: int) -> Floats:
        """Return the values of all sources in a volume, shape (n_slices, n_sources)."""
        # a spline must not be extrapolated
        when = np.clip(volume * self._t_r_s + self._times, self._first, self._last)
        return np.asarray(self._spline(when))


def _sources(series: Floats, rng: np.random.Generator) -> Floats:
    """Combine series and physiological noise into the series of all sources, in SD of a region.

    Columns are the regions, other grey matter, fluid, white matter, and a source without signal.
    """
    n_volumes, n_regions = series.shape
    physiology = rng.standard_normal((n_volumes, 2))
    keep = np.array([0.3, 0.7])
    for t in range(1, n_volumes):
        physiology[t] = keep * physiology[t - 1] + np.sqrt(1 - keep**2) * physiology[t]
    share = np.clip(rng.normal(0.35, 0.1, (2, n_regions)), 0.0, None)
    still = np.zeros((n_volumes, 1))
    parts = [
        series + physiology @ share,
        physiology @ np.array([[0.35], [0.35]]),
        physiology @ np.array([[1.6], [0.4]]),
        physiology @ np.array([[0.1], [0.5]]),
        still,
    ]
    return np.hstack(parts)


def _drift(n_volumes: int, rng: np.random.Generator) -> Floats:
    phase = np.linspace(0, 1, n_volumes)
    slope, wave = rng.normal(0, 0.01, 2)
    return np.asarray(1 + slope * (phase - 0.5) + wave * np.cos(np.pi * phase))


# ------------------------------------------------------------------------------ complete study


def raw_truth(name: str) -> PlantedTruth:
    """Return effects that are large enough to be detected in a study as small as `RAW_STUDY`.

    Parameters
    ----------
    name : str
        Name of the truth; see `PlantedTruth`.

    Returns
    -------
    PlantedTruth
        Truth with larger effects than the default.
    """
    return PlantedTruth(name, shift_z=0.2, gain=1.5, specific_z=0.4)


def write_simulated_raw_data_set(
    out_dir: Path,
    truth: PlantedTruth,
    *,
    rng: np.random.Generator,
    spec: SimulationSpec = RAW_STUDY,
    head: HeadSpec = RAW_HEAD,
) -> SimulatedRawDataSet:
    """Simulate a longitudinal study and write it as raw BIDS.

    Parameters
    ----------
    out_dir : Path
        New or empty folder that becomes the BIDS root. The planted truth is written to
        ``<out_dir>/truth.json``.
    truth : PlantedTruth
        Effect of treatment.
    rng : numpy.random.Generator
        Source of random numbers; the same seed gives the same bytes.
    spec : SimulationSpec
        Participants, sessions, series, motion, repetition time and volumes before the steady state.
        Voxel size and field of view are not used.
    head : HeadSpec
        Heads and images. Repetition time, volumes before the steady state, and motion are replaced
        by those of `spec`.

    Returns
    -------
    SimulatedRawDataSet
        Location and size of the study, and the correct verdicts.

    Raises
    ------
    InputError
        If the folder is not empty, or series cannot be planted in the atlas.
    """
    require_empty_folder(out_dir)
    atlas = load_atlas(spec.atlas)
    study = draw_study(spec, truth, atlas, rng)
    scan = replace(head, t_r_s=spec.t_r_s, n_dummy=spec.n_dummy, spikes=spec.spikes)
    cohort = draw_cohort(spec, rng)
    runs: dict[str, object] = {}
    for participant, own_rng in zip(cohort, rng.spawn(len(cohort)), strict=True):
        for stem, run in _participant_runs(
            out_dir, study, scan, participant, atlas=atlas, rng=own_rng
        ):
            runs[stem] = _truth_of(run)
    write_participants(out_dir, cohort, spec, rng)
    _write_descriptions(out_dir)
    images = {"head": asdict(scan), "runs": runs}
    write_truth(out_dir, study, cohort, rng, images=images)
    return SimulatedRawDataSet(out_dir, len(cohort), len(runs), EXPECTED[truth.name])


def _participant_runs(
    out_dir: Path,
    study: SimulatedCohort,
    scan: HeadSpec,
    participant: SimulatedParticipant,
    *,
    atlas: Atlas,
    rng: np.random.Generator,
) -> Iterator[tuple[str, BoldTruth]]:
    """Simulate and write the sessions of a participant; yield the runs."""
    spec = study.spec
    head = draw_head(scan, rng)
    sessions = spec.sessions[: 2 if participant.returns else 1]
    followups = [session == spec.sessions[1] for session in sessions]
    correlations = draw_correlations(study, participant, followups, rng)
    for session, followup, correlation in zip(sessions, followups, correlations, strict=True):
        now = replace(scan, fd_mm=draw_mean_fd(spec, participant, followup=followup, rng=rng))
        folder = out_dir / f"sub-{participant.label}" / f"ses-{session}"
        stem = f"sub-{participant.label}_ses-{session}"
        pose = draw_pose(now, rng)
        _write_t1w(folder / "anat", stem, draw_t1w(head, pose, now, rng))
        # the head moves slightly between two scans of a session
        shifted = transforms.matrix_of([*rng.normal(0, 0.7, 3), *rng.normal(0, 0.01, 3)]) @ pose
        series = draw_series(correlation, spec.n_volumes, spec.t_r_s, rng)
        run = draw_bold(head, now, series, atlas, pose=shifted, rng=rng)
        _write_bold(folder / "func", f"{stem}_task-{spec.task}_bold", run, spec)
        yield f"{stem}_task-{spec.task}", run


def _write_t1w(folder: Path, stem: str, image: Image) -> None:
    write(folder / f"{stem}_T1w.nii.gz", image)
    write_json(folder / f"{stem}_T1w.json", {"MagneticFieldStrength": 3, "Modality": "MR"})


def _write_bold(folder: Path, stem: str, run: BoldTruth, spec: SimulationSpec) -> None:
    write(folder / f"{stem}.nii.gz", run.image, t_r_s=spec.t_r_s)
    sidecar = {
        "EchoTime": 0.03,
        "MagneticFieldStrength": 3,
        "PhaseEncodingDirection": "j-",
        "RepetitionTime": spec.t_r_s,
        "SliceTiming": run.slice_times_s.tolist(),
        "TaskName": spec.task,
    }
    write_json(folder / f"{stem}.json", sidecar)


def _write_descriptions(out_dir: Path) -> None:
    write_description(out_dir, "Simulated longitudinal resting-state study, raw images", "raw")
    write_text(
        out_dir / "README",
        "This study was simulated by circuitshift; no participant was scanned. The planted\n"
        "effects and the head motion are listed in truth.json.\n",
    )


def _truth_of(run: BoldTruth) -> dict[str, object]:
    return {
        "pose": np.round(run.pose, 6).tolist(),
        "centre_mm": np.round(run.centre_mm, 4).tolist(),
        "motion": np.round(run.motion, 6).tolist(),
    }
