"""The network-based statistic, side by side with bctpy.

Run it as ``python tests/benchmarks/bench_nbs.py`` (about a minute; needs ``pip install bctpy``).
2 x 30 people, 100 regions, a planted difference among some of them; two-sided two-sample t with
pooled variance, components of edges with |t| > 3, size in edges. bct.nbs_bct does 100
permutations, ours 1000, in turn A B A B; times are per permutation, the statistics included.

It fails unless the observed component and the sizes under bctpy's own 100 permutations are the
same, and the goal of 100 times its speed is met.
"""

import argparse
import contextlib
import io
import statistics
import sys
import time

import numpy as np

from circuitshift.pipeline.stats.edge_components import largest_component

N_PEOPLE, N_REGIONS, THRESHOLD, EFFECT = 30, 100, 3.0, 0.8  # people in each arm
N_AFFECTED, N_PEER, N_OURS, BLOCK, SEED = 12, 100, 1000, 200, 7


def make() -> np.ndarray:
    """Edges of all people, shape (2 * N_PEOPLE, n_edges); regions vary together."""
    rng = np.random.default_rng(1)
    a, b = np.triu_indices(N_REGIONS, 1)
    strength = 0.5 * rng.normal(size=(2 * N_PEOPLE, N_REGIONS))
    edges = strength[:, a] + strength[:, b] + rng.normal(size=(2 * N_PEOPLE, len(a)))
    edges[:N_PEOPLE, b < N_AFFECTED] += EFFECT
    return edges


def matrices(edges: np.ndarray) -> np.ndarray:
    """Symmetric matrices, shape (n_regions, n_regions, n_people), as bctpy wants them."""
    out = np.zeros((N_REGIONS, N_REGIONS, len(edges)))
    out[np.triu_indices(N_REGIONS, 1)] = edges.T
    return out + out.transpose(1, 0, 2)


def two_sample_t(centred: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Student's t of relabellings; `first` marks the first arm, shape (n_rows, n_people)."""
    n = len(centred)
    difference = (first @ centred) * (2 / N_PEOPLE)  # the two sums are opposite
    within = (centred**2).sum(axis=0) - difference**2 * (N_PEOPLE / 2)
    return difference / np.sqrt(within / (n - 2) * (2 / N_PEOPLE))


def sizes(edges: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """Size of the largest component of each order of the people, in blocks."""
    centred = edges - edges.mean(axis=0)
    first = np.zeros(orders.shape)
    np.put_along_axis(first, orders[:, :N_PEOPLE], 1.0, axis=1)
    return np.concatenate(
        [
            largest_component(
                np.abs(two_sample_t(centred, first[start : start + BLOCK])),
                N_REGIONS,
                threshold=THRESHOLD,
            )
            for start in range(0, len(first), BLOCK)
        ]
    )


def ours(edges: np.ndarray) -> tuple[float, np.ndarray]:
    """Observed size and null distribution."""
    rng = np.random.default_rng(SEED)
    participants = np.arange(len(edges))
    orders = rng.permuted(np.tile(participants, (N_OURS, 1)), axis=1)
    found = sizes(edges, np.vstack([participants, orders]))
    return float(found[0]), found[1:]


def peer(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Do the same with bctpy, which prints as it goes."""
    import bct

    with contextlib.redirect_stdout(io.StringIO()):
        _, labels, null = bct.nbs_bct(x, y, THRESHOLD, k=N_PEER, tail="both", seed=SEED)
    counts = np.bincount(labels[np.triu_indices(N_REGIONS, 1)].astype(int))
    return float(counts[1:].max()), null


def peer_orders() -> np.ndarray:
    """Give the permutations that bctpy draws from its seed."""
    from bct.utils import get_rng

    rng = get_rng(SEED)
    return np.array([rng.permutation(2 * N_PEOPLE) for _ in range(N_PEER)])


def compare(repeats: int) -> None:
    """Run both sides in turn, check that they agree, and print the table."""
    edges = make()
    x, y = matrices(edges[:N_PEOPLE]), matrices(edges[N_PEOPLE:])
    sizes(edges, np.arange(len(edges))[None])  # imports
    rounds = []
    for _ in range(repeats):
        start = time.perf_counter()
        observed, null = ours(edges)
        middle = time.perf_counter()
        observed_peer, null_peer = peer(x, y)
        end = time.perf_counter()
        rounds.append(((middle - start) / N_OURS, (end - middle) / N_PEER))
    print(
        f"\n2 x {N_PEOPLE} people, {N_REGIONS} regions, |t| > {THRESHOLD}, {repeats} rounds; "
        "median (range), per permutation\n"
    )
    print("| what | permutations | milliseconds | observed size | null median | null 95 % |")
    print("|---|---|---|---|---|---|")
    rows = (
        ("largest_component", N_OURS, observed, null),
        ("bct.nbs_bct", N_PEER, observed_peer, null_peer),
    )
    for k, (name, count, size, distribution) in enumerate(rows):
        values = [1e3 * r[k] for r in rounds]
        print(
            f"| {name} | {count} | {statistics.median(values):.3f} "
            f"({min(values):.3f}-{max(values):.3f}) | {size:.0f} | {np.median(distribution):.0f} "
            f"| {np.quantile(distribution, 0.95):.0f} |"
        )
    ratio = statistics.median(b / a for a, b in rounds)
    print(f"\nbctpy is slower: {ratio:.0f}x")
    assert observed == observed_peer, "the observed components differ"
    same = sizes(edges, peer_orders())
    assert np.array_equal(same, null_peer), "the sizes under the same permutations differ"
    print(f"same observed component; same sizes under bctpy's own {N_PEER} permutations")
    assert ratio >= 100, f"the goal of 100 times its speed is missed: {ratio:.0f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    try:
        import bct  # noqa: F401 - only to see whether it is there
    except ImportError:
        print("bctpy is not installed, so there is nothing to compare with: pip install bctpy")
        sys.exit(0)
    compare(arguments.repeats)
