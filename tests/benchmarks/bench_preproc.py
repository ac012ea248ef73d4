"""Measure time and memory of preprocessing the raw images of one participant, and of each step.

Run it as ``python tests/benchmarks/bench_preproc.py`` (about fifteen minutes on two cores). A
simulated head with one T1-weighted image of 1 mm and two sessions of 240 volumes of 3 mm is
preprocessed and measured by ``circuitshift ... participant --nprocs 2``. Each step is then timed
alone, in one process. The estimation of head motion is compared with ``ants.motion_correction`` on
the first volumes of a run, and both estimates are compared with the simulated motion.

The benchmark fails unless the command takes at most 15 minutes and 4 GiB, head motion takes at most
.3 s per volume, and its estimate is faster than that of ANTs and at least as accurate.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import psutil

from circuitshift.atlases.load import load_atlas
from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.bids.raw import find_raw
from circuitshift.pipeline.io import images, tables
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc import anatomy, derivatives, person, registration, transforms
from circuitshift.pipeline.preproc.confounds import confounds
from circuitshift.pipeline.preproc.coregistration.agreement import register_runs
from circuitshift.pipeline.preproc.motion import estimate_motion
from circuitshift.pipeline.preproc.resampling import correct_slice_timing, resample_run
from circuitshift.pipeline.preproc.template import EMBEDDED
from circuitshift.pipeline.validation.simulate.head import HeadSpec, draw_head, draw_pose, draw_t1w
from circuitshift.pipeline.validation.simulate.raw_data_set import BoldTruth, draw_bold

SPEC = HeadSpec(t1w_mm=1.0, bold_mm=(3.0, 3.0, 3.0))
SESSIONS = ("pre", "post")
MAX_MINUTES, MAX_GIB, MAX_SECONDS_PER_VOLUME = 15.0, 4.0, 0.3

#: Name of each step, and the module attribute that is replaced by a timed function.
STEPS: tuple[tuple[str, ModuleType, Callable[..., Any]], ...] = (
    ("brain extraction, alignment of sessions", anatomy, anatomy.within_participant_template),
    ("bias field", registration, registration.bias_corrected),
    ("normalisation (SyN)", registration, registration.normalise),
    ("tissues (Atropos)", registration, registration.tissues),
    ("head motion", derivatives, estimate_motion),
    ("slice timing", derivatives, correct_slice_timing),
    ("coregistration", derivatives, register_runs),
    ("resampling", derivatives, resample_run),
    ("confounds", derivatives, confounds),
)


def write(root: Path, n_volumes: int) -> list[BoldTruth]:
    """Write one participant, with a T1-weighted image in the first session only."""
    rng = np.random.default_rng(1)
    atlas = load_atlas("seitzman300")
    head = draw_head(SPEC, rng)
    runs = []
    for number, session in enumerate(SESSIONS):
        pose, stem = draw_pose(SPEC, rng), f"sub-01_ses-{session}"
        folder = root / "sub-01" / f"ses-{session}"
        if number == 0:
            t1w = draw_t1w(head, pose, SPEC, rng)
            images.write(folder / "anat" / f"{stem}_T1w.nii.gz", t1w)
        series = rng.standard_normal((n_volumes, len(atlas.regions)))
        run = draw_bold(head, SPEC, series, atlas, pose=pose, rng=rng)
        path = folder / "func" / f"{stem}_task-rest_bold.nii.gz"
        images.write(path, run.image, t_r_s=SPEC.t_r_s)
        sidecar = {
            "RepetitionTime": SPEC.t_r_s,
            "TaskName": "rest",
            "SliceTiming": run.slice_times_s.tolist(),
        }
        tables.write_json(path.with_name(f"{stem}_task-rest_bold.json"), sidecar)
        runs.append(run)
    return runs


def run_command(root: Path, out: Path) -> tuple[float, float]:
    """Measure the minutes and the largest memory, GiB, of the command with its child processes."""
    command = [str(Path(sys.executable).with_name("circuitshift")), str(root), str(out)]
    command += ["participant", "-w", f"{out}_work", "--nprocs", "2", "--skip-bids-validation"]
    begin = time.perf_counter()
    process = subprocess.Popen(command)
    top, largest = psutil.Process(process.pid), 0
    while process.poll() is None:
        largest = max(largest, sum(map(_memory, _tree(top))))
        time.sleep(0.25)
    assert process.returncode == 0
    return (time.perf_counter() - begin) / 60, largest / 2**30


def _tree(top: psutil.Process) -> list[psutil.Process]:
    try:
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _memory(process: psutil.Process) -> int:
    """Return the proportional set size, in which pages shared by processes count once."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def timed(spent: dict[str, float], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function so that its time is added to `spent`; nested steps count once."""

    def run(*args: Any, **keywords: Any) -> Any:
        begin, before = time.perf_counter(), sum(spent.values())
        result = function(*args, **keywords)
        spent[name] += time.perf_counter() - begin - (sum(spent.values()) - before)
        return result

    return run


def steps(root: Path, out: Path) -> dict[str, float]:
    """Measure the time, s, of each step in this process."""
    spent = dict.fromkeys((name for name, *_ in STEPS), 0.0)
    for name, module, function in STEPS:
        assert getattr(module, function.__name__) is function, name
        setattr(module, function.__name__, timed(spent, name, function))
    begin = time.perf_counter()
    (found,) = find_raw(root, bids.Query()).participants
    anat = person.prepare_participant_anatomy(
        found.anats, participant="01", template=EMBEDDED, out_dir=out
    )
    motions = [person.estimate_run_motion(bold, out_dir=out).record for bold in found.bolds]
    registered = person.coregister_runs(
        found.bolds, anat.record, motions, participant="01", out_dir=out
    )
    for bold, motion in zip(found.bolds, motions, strict=True):
        size = person.voxel_size(found.bolds)
        run = person.preprocess_run(
            bold,
            anat.record,
            motion,
            registered.record,
            template=EMBEDDED,
            out_dir=out,
            voxel_mm=size,
            slice_timing=True,
        )
        assert "fault" not in tables.read_json(run.record)
    total = time.perf_counter() - begin
    return {**spent, "reading, writing, other": total - sum(spent.values())}


def error_mm(found: list[np.ndarray], run: BoldTruth) -> float:
    """Compute the median error of head motion on the surface of a sphere of 50 mm, mm."""
    simulated = [transforms.matrix_of(row, run.centre_mm) for row in run.motion]
    offset = [np.linalg.inv(a) @ b for a, b in zip(simulated, found, strict=False)][run.n_dummy :]
    middle = np.linalg.inv(transforms.halfway(offset, run.centre_mm))
    rows = np.array([transforms.parameters_of(middle @ m, run.centre_mm) for m in offset])
    return float(np.median(np.abs(rows[:, :3]).sum(axis=1) + 50 * np.abs(rows[:, 3:]).sum(axis=1)))


def peer(run: Image) -> list[np.ndarray]:
    """Estimate head motion with ANTs and its default number of threads."""
    import ants

    from circuitshift.pipeline.preproc.registration import _LPS, _matrix

    affine = np.eye(5)
    affine[:3, :3] = (_LPS @ run.affine)[:3, :3] / run.zooms
    series = ants.from_numpy(
        np.ascontiguousarray(run.data, np.float32),
        origin=[*(_LPS @ run.affine)[:3, 3], 0.0],
        spacing=[*run.zooms, SPEC.t_r_s],
        direction=affine[:4, :4],
    )
    result = ants.motion_correction(series, type_of_transform="BOLDRigid")
    return [_matrix(files[0]) for files in result["motion_parameters"]]


def side_by_side(run: BoldTruth, n: int, pairs: int) -> tuple[list[float], float, float]:
    """Return ratios of the time of ANTs to that of circuitshift, and the errors of both, mm."""
    first = run.image.like(np.ascontiguousarray(run.image.data[..., :n]))
    ratios, ours, theirs = [], [], []
    for _ in range(pairs):
        begin = time.perf_counter()
        ours = list(estimate_motion(first, n_dummy=run.n_dummy).matrices)
        middle = time.perf_counter()
        theirs = peer(first)
        ratios.append((time.perf_counter() - middle) / (middle - begin))
    return ratios, error_mm(ours, run), error_mm(theirs, run)


def main() -> None:
    """Print time, memory and errors, and fail if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, default=240)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        runs = write(root / "raw", options.volumes)
        minutes, gib = run_command(root / "raw", root / "out")
        print(f"command, 2 processes: {minutes:.1f} min, at most {gib:.2f} GiB")
        spent = steps(root / "raw", root / "steps")
        total = sum(spent.values())
        for name, seconds in spent.items():
            print(f"  {name:42s} {seconds:7.1f} s  {seconds / total:5.1%}")
        print(f"  {'all, one process':42s} {total:7.1f} s")
        volume = spent["head motion"] / (2 * options.volumes)
        print(f"head motion: {volume:.3f} s per volume")
        ratios, ours, theirs = side_by_side(runs[0], 24, options.pairs)
        shown = ", ".join(f"{ratio:.1f}" for ratio in ratios)
        print(f"head motion, time of ants.motion_correction / circuitshift: {shown}")
        print(f"  median error at 50 mm: circuitshift {ours:.3f} mm, ANTs {theirs:.3f} mm")
    assert minutes <= MAX_MINUTES
    assert gib <= MAX_GIB
    assert volume <= MAX_SECONDS_PER_VOLUME
    assert np.median(ratios) > 1
    assert ours <= theirs


if __name__ == "__main__":
    main()
