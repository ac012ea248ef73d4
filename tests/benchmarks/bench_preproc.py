"""Raw images of one person from the command line: time, memory, the share of each step.

Run it as ``python tests/benchmarks/bench_preproc.py`` (about fifteen minutes on two cores). A
simulated head with one T1-weighted image of 1 mm and two sessions of 240 volumes of 3 mm is
preprocessed and measured by ``circuitshift ... participant --nprocs 2``. Each step is then timed
alone, in one process. Head motion is estimated side by side with ``ants.motion_correction`` on the
first volumes of a run, and both are held against the motion that was planted.

It fails unless the whole takes at most 15 minutes and 4 GiB, a volume's head motion at most .3 s,
and our head motion is faster than the peer's and no less exact.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

from circuitshift.atlases.load import load_atlas
from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.bids.raw import find_raw
from circuitshift.pipeline.io import images, tables
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc import anatomy, person, transforms
from circuitshift.pipeline.preproc.motion import estimate_motion
from circuitshift.pipeline.preproc.template import EMBEDDED
from circuitshift.pipeline.validation.simulate.head import HeadSpec, draw_head, draw_pose, draw_t1w
from circuitshift.pipeline.validation.simulate.raw_data_set import BoldTruth, draw_bold

SPEC = HeadSpec(t1w_mm=1.0, bold_mm=(3.0, 3.0, 3.0))
SESSIONS = ("pre", "post")
MOST_MINUTES, MOST_GIB, MOST_SECONDS_A_VOLUME = 15.0, 4.0, 0.3

#: Name of a step, and the function whose time it is.
STEPS = (
    ("brain extraction, sessions to each other", anatomy, "within_person_template"),
    ("bias field", anatomy.register, "bias_corrected"),
    ("normalisation (SyN)", anatomy.register, "normalise"),
    ("tissues (Atropos)", anatomy.register, "tissues"),
    ("head motion", person, "estimate_motion"),
    ("slice timing", person, "correct_slice_timing"),
    ("coregistration", person, "_coregister"),
    ("resampling", person, "resample_run"),
    ("confounds", person, "confounds"),
)


def write(root: Path, n_volumes: int) -> list[BoldTruth]:
    """Write the person; the T1-weighted image is of the first session, as in many data sets."""
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


def whole(root: Path, out: Path) -> tuple[float, float]:
    """Minutes and the largest memory (GiB, of the whole tree of processes) of the command."""
    command = [str(Path(sys.executable).with_name("circuitshift")), str(root), str(out)]
    command += ["participant", "-w", f"{out}_work", "--nprocs", "2", "--skip-bids-validation"]
    begin = time.perf_counter()
    process = subprocess.Popen(command)
    top, most = psutil.Process(process.pid), 0
    while process.poll() is None:
        most = max(most, sum(map(_memory, _tree(top))))
        time.sleep(0.25)
    assert process.returncode == 0
    return (time.perf_counter() - begin) / 60, most / 2**30


def _tree(top: psutil.Process) -> list[psutil.Process]:
    try:
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _memory(process: psutil.Process) -> int:
    """Proportional share: pages that forks have in common count once."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def timed(spent: dict[str, float], name: str, function: Callable[..., object]):
    """Wrap a function so that its seconds are added up; a step inside a step counts once."""

    def run(*given: object, **named: object) -> object:
        begin, before = time.perf_counter(), sum(spent.values())
        result = function(*given, **named)
        spent[name] += time.perf_counter() - begin - (sum(spent.values()) - before)
        return result

    return run


def steps(root: Path, out: Path) -> dict[str, float]:
    """Seconds of each step, all in this process."""
    spent = dict.fromkeys((name for name, *_ in STEPS), 0.0)
    for name, module, function in STEPS:
        setattr(module, function, timed(spent, name, getattr(module, function)))
    begin = time.perf_counter()
    (found,) = find_raw(root, bids.Query()).participants
    how = {"template": EMBEDDED, "out_dir": out}
    made = person.prepare_participant_anatomy(found.anats, participant="01", **how)
    for bold in found.bolds:
        motion = person.estimate_run_motion(bold, out_dir=out)
        size = person.voxel_size(found.bolds)
        run = person.preprocess_run(
            bold, made.record, motion.record, voxel_mm=size, slice_timing=True, **how
        )
        assert "fault" not in tables.read_json(run.record)
    total = time.perf_counter() - begin
    return {**spent, "reading, writing, the rest": total - sum(spent.values())}


def error_mm(found: list[np.ndarray], run: BoldTruth) -> float:
    """Median error of head motion on the surface of a sphere of 50 mm, mm."""
    available = [transforms.matrix_of(row, run.centre_mm) for row in run.motion]
    offset = [np.linalg.inv(a) @ b for a, b in zip(available, found, strict=False)][run.n_dummy :]
    middle = np.linalg.inv(transforms.halfway(offset, run.centre_mm))
    rows = np.array([transforms.parameters_of(middle @ m, run.centre_mm) for m in offset])
    return float(np.median(np.abs(rows[:, :3]).sum(axis=1) + 50 * np.abs(rows[:, 3:]).sum(axis=1)))


def peer(run: Image) -> list[np.ndarray]:
    """Head motion by ANTs, on as many threads as it likes."""
    import ants

    from circuitshift.pipeline.preproc.registration import _LPS, _matrix

    affine = np.eye(5)
    affine[:3, :3] = (_LPS @ run.affine)[:3, :3] / run.zooms
    given = ants.from_numpy(
        np.ascontiguousarray(run.data, np.float32),
        origin=[*(_LPS @ run.affine)[:3, 3], 0.0],
        spacing=[*run.zooms, SPEC.t_r_s],
        direction=affine[:4, :4],
    )
    done = ants.motion_correction(given, type_of_transform="BOLDRigid")
    return [_matrix(files[0]) for files in done["motion_parameters"]]


def side_by_side(run: BoldTruth, n: int, pairs: int) -> tuple[list[float], float, float]:
    """Ratios of the peer's time to ours, ours and theirs in turn, and both errors in mm."""
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
    """Measure, print, and fail if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, default=240)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        runs = write(root / "raw", options.volumes)
        minutes, gib = whole(root / "raw", root / "out")
        print(f"command, 2 processes: {minutes:.1f} min, at most {gib:.2f} GiB")
        spent = steps(root / "raw", root / "steps")
        total = sum(spent.values())
        for name, seconds in spent.items():
            print(f"  {name:42s} {seconds:7.1f} s  {seconds / total:5.1%}")
        print(f"  {'all, one process':42s} {total:7.1f} s")
        volume = spent["head motion"] / (2 * options.volumes)
        print(f"head motion: {volume:.3f} s a volume")
        ratios, ours, theirs = side_by_side(runs[0], 24, options.pairs)
        shown = ", ".join(f"{ratio:.1f}" for ratio in ratios)
        print(f"head motion, ants.motion_correction / ours: {shown} times our time")
        print(f"  median error at 50 mm: ours {ours:.3f} mm, theirs {theirs:.3f} mm")
    assert minutes <= MOST_MINUTES
    assert gib <= MOST_GIB
    assert volume <= MOST_SECONDS_A_VOLUME
    assert np.median(ratios) > 1
    assert ours <= theirs


if __name__ == "__main__":
    main()
