"""Register simulated runs after movements of their header, and measure the spread of the results.

Run it as ``python tests/benchmarks/bench_coregistration.py`` (about three minutes of processor time
for each head, thirty for all ten). In each simulated head, the reference of a run with voxels of
4 mm is registered to the true anatomy after each of the movements in `MOVES`, and the movement is
then undone. The script prints for each head the largest distance between two results, the distance
of the first result from the simulated position, and the boundary cost of each result.

The benchmark fails unless all results of a head are within .5 mm of each other (root mean square
over the boundary of white matter), all costs are below .3, and the first result is within 1 mm of
the simulated position.
"""

import argparse
import sys
import time
from dataclasses import replace

import numpy as np

from circuitshift.atlases.load import load_atlas
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.measure.run_quality import DOUBTFUL_BOUNDARY_COST
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc.anatomy import Brain
from circuitshift.pipeline.preproc.coregistration.boundary import (
    displacement_mm,
    white_matter_boundary,
)
from circuitshift.pipeline.preproc.coregistration.search import coregister, prepare_reference
from circuitshift.pipeline.validation.simulate.head import (
    _T1W,
    Head,
    HeadSpec,
    _intensity,
    draw_head,
    draw_pose,
)
from circuitshift.pipeline.validation.simulate.raw_data_set import brain_centre, draw_bold

SPEC = HeadSpec(bold_mm=(4.0, 4.0, 4.0))
MAX_SPREAD_MM, MAX_ERROR_MM = 0.5, 1.0

#: Movements of the header, mm and degrees.
MOVES = (
    (0, 0, 0, 0, 0, 0),
    (1, 0, 0, 0, 0, 0),
    (1, 2, 2, 0, 0, 0),
    (4, -3, 5, 3, -3, 2.5),
    (25, -25, 25, 9, -8, 9),
    (0, 0, 0, -15, 0, 0),
    (0, 0, 0, 0, 0, 30),
)


def draw_reference(head: Head, pose: np.ndarray, seed: int) -> Image:
    """Simulate the mean of two volumes without motion."""
    atlas = load_atlas("seitzman300")
    still = replace(SPEC, amplitude=0.0, n_dummy=0)
    series = np.zeros((2, len(atlas.regions)))
    rng, motion = np.random.default_rng(seed), np.zeros((2, 6))
    run = draw_bold(head, still, series, atlas, pose=pose, motion=motion, rng=rng).image
    return Image(np.asarray(run.data, np.float32).mean(axis=3), run.affine)


def measure(seed: int) -> bool:
    """Register one run after all movements, print the results, and return whether they agree."""
    began = time.process_time()
    rng = np.random.default_rng([18, seed])
    head = draw_head(SPEC, rng)
    pose = draw_pose(SPEC, rng)
    mask = np.sum([tissue.data for tissue in head.tissues[:3]], axis=0) > 0.5
    brain = Brain(_intensity(head, _T1W), mask, head.tissues[:3])
    boundary = white_matter_boundary(brain.tissues[2])
    reference, centre = draw_reference(head, pose, seed), brain_centre(head)
    found, costs = [], []
    for values in MOVES:
        move = transforms.matrix_of([*values[:3], *np.radians(values[3:])], centre)
        moved = prepare_reference(Image(reference.data, move @ reference.affine))
        one = coregister(moved, brain, boundary)
        found.append(np.linalg.inv(move) @ one.to_reference)
        costs.append(one.cost)
    spread = max(displacement_mm(boundary, a, b) for a in found for b in found)
    error = displacement_mm(boundary, found[0], pose)
    print(
        f"head {seed}: spread {spread:.3f} mm, distance from the simulated position "
        f"{error:.2f} mm, cost {min(costs):.3f} to {max(costs):.3f}, "
        f"{time.process_time() - began:.0f} s",
        flush=True,
    )
    return spread < MAX_SPREAD_MM and error < MAX_ERROR_MM and max(costs) < DOUBTFUL_BOUNDARY_COST


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, nargs="*", default=list(range(10)))
    options = parser.parse_args()
    passed = [measure(seed) for seed in options.heads]
    print(f"{sum(passed)} of {len(passed)} heads passed")
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
