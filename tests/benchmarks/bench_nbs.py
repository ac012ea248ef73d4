"""Compare the network-based statistic with bctpy.

Run it as ``python tests/benchmarks/bench_nbs.py`` (about a minute; needs ``pip install bctpy``).
Two arms of 30 participants have 100 regions, with a simulated difference between some of them. The
statistic is the two-sided two-sample t with pooled variance; components consist of edges with
|t| > 3, and their size is the number of edges. bct.nbs_bct runs 100 permutations and circuitshift
1000; the programs alternate (A B A B). Times are per permutation, including the statistics.

The benchmark fails unless the observed component and the sizes under the 100 permutations of bctpy
are equal, and the speed is at least 100 times that of bctpy.
"""

import argparse
import contextlib
import io
import statistics
import sys
import time

import numpy as np

from circuitshift.pipeline.stats.edge_components import largest_component

N_PER_ARM, N_REGIONS, THRESHOLD, EFFECT = 30, 100, 3.0, 0.8
N_AFFECTED, N_PEER, N_OURS, BLOCK, SEED = 12, 100, 1000, 200, 7


def make() -> np.ndarray:
    """Simulate edges, shape (2 * N_PER_ARM, n_edges), with variance that regions share."""
    rng = np.random.default_rng(1)
    a, b = np.triu_indices(N_REGIONS, 1)
    strength = 0.5 * rng.normal(size=(2 * N_PER_ARM, N_REGIONS))
    edges = strength[:, a] + strength[:, b] + rng.normal(size=(2 * N_PER_ARM, len(a)))
    edges[:N_PER_ARM, b < N_AFFECTED] += EFFECT
    return edges


def matrices(edges: np.ndarray) -> np.ndarray:
    """Convert edges to matrices, shape (n_regions, n_regions, n_participants), for bctpy."""
    out = np.zeros((N_REGIONS, N_REGIONS, len(edges)))
    out[np.triu_indices(N_REGIONS, 1)] = edges.T
    return np.asarray(out + out.transpose(1, 0, 2))


def two_sample_t(centred: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Compute t of relabellings; `first` is 1 in the first arm, shape (n_rows, n_participants)."""
    n = len(centred)
    difference = (first @ centred) * (2 / N_PER_ARM)  # the sums of the two arms are opposite
    within = (centred**2).sum(axis=0) - difference**2 * (N_PER_ARM / 2)
    return np.asarray(difference / np.sqrt(within / (n - 2) * (2 / N_PER_ARM)))


def sizes(edges: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """Compute the size of the largest component for each order of the participants, in blocks."""
    centred = edges - edges.mean(axis=0)
    first = np.zeros(orders.shape)
    np.put_along_axis(first, orders[:, :N_PER_ARM], 1.0, axis=1)
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
    """Compute the observed size and the null distribution with circuitshift."""
    rng = np.random.default_rng(SEED)
    participants = np.arange(len(edges))
    orders = rng.permuted(np.tile(participants, (N_OURS, 1)), axis=1)
    found = sizes(edges, np.vstack([participants, orders]))
    return float(found[0]), found[1:]


def peer(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Compute the same with bctpy, whose progress messages are discarded."""
    import bct

    with contextlib.redirect_stdout(io.StringIO()):
        _, labels, null = bct.nbs_bct(x, y, THRESHOLD, k=N_PEER, tail="both", seed=SEED)
    counts = np.bincount(labels[np.triu_indices(N_REGIONS, 1)].astype(int))
    return float(counts[1:].max()), null


def peer_orders() -> np.ndarray:
    """Draw the permutations that bctpy draws from its seed."""
    from bct.utils import get_rng

    rng = get_rng(SEED)
    return np.array([rng.permutation(2 * N_PER_ARM) for _ in range(N_PEER)])


def compare(repeats: int) -> None:
    """Run both programs in turn, check that they agree, and print the table."""
    edges = make()
    x, y = matrices(edges[:N_PER_ARM]), matrices(edges[N_PER_ARM:])
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
        f"\n2 x {N_PER_ARM} participants, {N_REGIONS} regions, |t| > {THRESHOLD}, "
        f"{repeats} rounds; median (range) per permutation\n"
    )
    print("| function | permutations | milliseconds | observed size | null median | null 95 % |")
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
    print(f"\nbctpy takes {ratio:.0f} times as long")
    assert observed == observed_peer, "the observed components differ"
    same = sizes(edges, peer_orders())
    assert np.array_equal(same, null_peer), "the sizes under the same permutations differ"
    print(f"equal observed components; equal sizes under the {N_PEER} permutations of bctpy")
    assert ratio >= 100, f"the goal of 100 times the speed of bctpy is missed: {ratio:.0f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    try:
        import bct  # noqa: F401 - tests whether it is installed
    except ImportError:
        print("bctpy is not installed; install it to run this comparison: pip install bctpy")
        sys.exit(0)
    compare(options.repeats)
