"""Compare overlap and time of brain extraction with methods of antspyx.

Run it as ``python tests/benchmarks/bench_brain_mask.py`` (four minutes of processor time). Heads
are simulated and scanned at 2 mm, with a bias field and noise. Three methods estimate the brain
mask: `pipeline/preproc/brain_mask.py`, ``ants.get_mask``, and the mask of the embedded template
after a registration with ANTs (N4, then affine and SyN). antspyx has no brain extraction of its
own: that of ANTsPyNet needs TensorFlow and downloaded weights, and antsBrainExtraction needs a
template with a skull, which the embedded template lacks.

The skull of the simulated heads has no signal, which favours thresholds. ``--t1w FILE`` also prints
the brain volume that the first two methods find in a real image.

The benchmark fails unless the median overlap of circuitshift is at least .97 and it takes less time
than the registration.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from circuitshift.pipeline.io import images
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc.anatomy import dice
from circuitshift.pipeline.preproc.brain_mask import brain_mask
from circuitshift.pipeline.preproc.registration import _to_ants
from circuitshift.pipeline.preproc.template import load_template
from circuitshift.pipeline.validation.simulate.head import HeadSpec, draw_head, draw_pose, draw_t1w

SPEC = HeadSpec()


def simulate_t1w(seed: int) -> tuple[Image, np.ndarray]:
    """Simulate a T1-weighted image and its true brain mask."""
    rng = np.random.default_rng(seed)
    head, pose = draw_head(SPEC, rng), draw_pose(SPEC, rng)
    t1w = draw_t1w(head, pose, SPEC, rng)
    points = transforms.apply(np.linalg.inv(pose), t1w.points())
    share = np.sum([tissue.at(points) for tissue in head.tissues[:3]], axis=0)
    return t1w, (share > 0.5).reshape(t1w.grid)


def by_threshold(t1w: Image) -> np.ndarray:
    """Return the largest component above a threshold, after an opening."""
    import ants

    return np.asarray(ants.get_mask(_to_ants(t1w)).numpy() > 0.5)


def by_registration(t1w: Image) -> np.ndarray:
    """Transform the mask of the template to the head."""
    import ants

    template = load_template()
    corrected = ants.n4_bias_field_correction(_to_ants(t1w), shrink_factor=4)
    brain = _to_ants(template.brain)
    result = ants.registration(corrected, brain, type_of_transform="SyN", random_seed=1)
    mask = _to_ants(template.brain.like(template.mask.astype(np.float32)))
    transformed = ants.apply_transforms(corrected, mask, result["fwdtransforms"])
    return np.asarray(transformed.numpy() > 0.5)


METHODS: dict[str, Callable[[Image], np.ndarray]] = {
    "circuitshift": brain_mask,
    "ants.get_mask": by_threshold,
    "N4, affine and SyN": by_registration,
}


def main() -> None:
    """Print overlap and time, and fail if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, default=3)
    parser.add_argument("--t1w", type=Path)
    options = parser.parse_args()
    overlaps: dict[str, list[float]] = {name: [] for name in METHODS}
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    for seed in range(1, options.heads + 1):
        t1w, truth = simulate_t1w(seed)
        for name, method in METHODS.items():
            begin = time.process_time()
            overlaps[name].append(dice(method(t1w), truth))
            seconds[name].append(time.process_time() - begin)
            print(f"head {seed}: {name}: Dice {overlaps[name][-1]:.3f}", flush=True)
    for name in METHODS:
        lowest, median = min(overlaps[name]), np.median(overlaps[name])
        shown = f"{np.median(seconds[name]):.0f} s of processor time"
        print(f"{name:20s} Dice {median:.3f} (median), {lowest:.3f} (lowest); {shown}")
    if options.t1w:
        real = images.read(options.t1w)
        for name in ("circuitshift", "ants.get_mask"):
            litres = METHODS[name](real).sum() * np.prod(real.zooms) / 1e6
            print(f"{name:20s} {litres:.2f} l in {options.t1w.name}")
    assert np.median(overlaps["circuitshift"]) >= 0.97
    assert np.median(seconds["circuitshift"]) < np.median(seconds["N4, affine and SyN"])


if __name__ == "__main__":
    main()
