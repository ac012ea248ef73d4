"""Compare circuitshift with other methods on the truths of ``calibrate --table outside``.

Run it as ``python tests/benchmarks/bench_methods.py --studies 40`` (half an hour; needs
``pip install tfnbs``, and is faster with ``pip install numba``). The same simulated studies are
analysed by nilearn's permuted_ols, NBS, TFNBS and constrained NBS of tfnbs, network enrichment,
partial pooling over regions and circuitshift; `other_methods.py` contains the methods, and
docs/other-methods.md the results and the meaning of the columns. ``--save`` writes the results of
each study to a file, from which an interrupted comparison continues.

The benchmark fails unless the t of each edge equals that of tfnbs.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import other_methods as other

from circuitshift.pipeline.model.analyse import Rules, analyse
from circuitshift.pipeline.validation.outside.claims import (
    claims_of,
    false_claims,
    found,
    naive_claims,
)
from circuitshift.pipeline.validation.outside.effects import Effect, Untreated
from circuitshift.pipeline.validation.outside.rows import Row, rows_of
from circuitshift.pipeline.validation.outside.series import OutsideStudy
from circuitshift.pipeline.validation.outside.table import simulated

ROWS = (
    "nothing",
    "shift",
    "gain",
    "specific, strong circuit",
    "specific, weak circuit",
    "two unnamed networks",
    "global signal +35 %",
    "pairs of networks, N(0, .05)",
)
N_PERMUTATIONS = 200
NOTHING = 1e-9  # Fisher z: a smaller planted change is rounding
# claimed edges in a circuit that reads as circuit-specific: share, relative to other edges, number
DENSITY, RATIO, FEWEST = 0.1, 2.0, 3

#: Columns of the results, with the heading of their table.
MEASURES = {
    "found": "Planted change found",
    "false": "False claim in the method's own terms",
    "specific": "Circuit read as changed specifically, although it was not",
    "outside": "Share of claimed edges that did not change in the claimed direction",
}

Measures = dict[str, float | None]


@dataclass
class Recorder:
    """Apply an effect, and remember the mean change of each edge.

    Parameters
    ----------
    effect : Effect
        Effect of treatment.
    planted : ndarray, shape (n_edges,)
        Mean change over participants, after the first call.
    """

    effect: Effect
    planted: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def __call__(self, given: Untreated) -> npt.NDArray[np.float64]:
        """Return connectivity with the effect."""
        changed = self.effect(given)
        self.planted = np.asarray((changed - given.z).mean(axis=0))
        return changed


# ---------------------------------------------------------------------------------- judgement


def judge(
    claimed: other.Claimed,
    planted: npt.NDArray[np.float64],
    row: Row,
    circuits: Mapping[str, other.Ints],
) -> Measures:
    """Compare the claims of a method with what was planted.

    Parameters
    ----------
    claimed : Claimed
        Claims of the method.
    planted : ndarray, shape (n_edges,)
        Planted mean change of each edge, Fisher z.
    row : Row
        Truth.
    circuits : mapping of str to ndarray of int
        Positions of the edges of each circuit.

    Returns
    -------
    dict of str to float or None
        The measures of `MEASURES`; None where a measure does not apply.
    """
    edges = claimed_edges(claimed, len(planted))
    background = planted[in_no_circuit(len(planted), circuits)]
    right = {sign: sign * planted > NOTHING for sign in edges}
    named = claimed.circuits if claimed.is_relative else concentrated(edges, circuits)
    n_claimed = sum(int(at.sum()) for at in edges.values())
    outside = sum(int((at & ~right[sign]).sum()) for sign, at in edges.items())
    return {
        "found": _found(claimed, edges, right, row, circuits),
        "false": float(
            any(
                _is_false(claimed, unit, planted, float(background.mean()))
                for unit in claimed.units
            )
        ),
        "specific": float(any(row.circuits.get(name) != sign for name, sign in named.items())),
        "outside": None if claimed.is_relative or not n_claimed else outside / n_claimed,
    }


def claimed_edges(claimed: other.Claimed, n_edges: int) -> dict[int, npt.NDArray[np.bool_]]:
    """Mark the edges that belong to a claimed unit, for each direction."""
    marks = {sign: np.zeros(n_edges, bool) for sign in (1, -1)}
    for unit, sign in claimed.units:
        marks[sign][unit] = True
    return marks


def in_no_circuit(n_edges: int, circuits: Mapping[str, other.Ints]) -> npt.NDArray[np.bool_]:
    """Mark the edges that belong to no circuit."""
    marks = np.ones(n_edges, bool)
    marks[np.concatenate(list(circuits.values()))] = False
    return marks


def concentrated(
    edges: Mapping[int, npt.NDArray[np.bool_]], circuits: Mapping[str, other.Ints]
) -> dict[str, int]:
    """Return the circuits in which claimed edges are concentrated, with their direction.

    Parameters
    ----------
    edges : mapping of {-1, 1} to ndarray of bool, shape (n_edges,)
        Claimed edges of each direction.
    circuits : mapping of str to ndarray of int
        Positions of the edges of each circuit.

    Returns
    -------
    dict of str to {-1, 1}
        Circuits of which at least three edges and a tenth are claimed, and at least twice the share
        of edges that belong to no circuit.
    """
    background = in_no_circuit(len(edges[1]), circuits)
    out = {}
    for sign, at in edges.items():
        for name, positions in circuits.items():
            share, elsewhere = float(at[positions].mean()), float(at[background].mean())
            if at[positions].sum() >= FEWEST and share >= max(DENSITY, RATIO * elsewhere):
                out[name] = sign
    return out


def _found(
    claimed: other.Claimed,
    edges: Mapping[int, npt.NDArray[np.bool_]],
    right: Mapping[int, npt.NDArray[np.bool_]],
    row: Row,
    circuits: Mapping[str, other.Ints],
) -> float | None:
    """Return the share of planted circuits, or whether any true change, was claimed."""
    if row.circuits and claimed.is_relative:
        return float(np.mean([claimed.circuits.get(k) == s for k, s in row.circuits.items()]))
    if row.circuits:
        return float(np.mean([edges[s][circuits[k]].any() for k, s in row.circuits.items()]))
    if row.is_null or claimed.is_relative:
        return None
    return float(any((at & right[sign]).any() for sign, at in edges.items()))


def _is_false(
    claimed: other.Claimed,
    unit: tuple[other.Ints, int],
    planted: npt.NDArray[np.float64],
    background: float,
) -> bool:
    """Return whether the null hypothesis that a method rejected for a unit is true."""
    edges, sign = unit
    if claimed.is_relative:
        return bool(sign * (planted[edges].mean() - background) <= NOTHING)
    return not (sign * planted[edges] > NOTHING).any()


# ------------------------------------------------------------------------------------ studies


def compare_study(name: str, number: int, arms: int) -> dict[str, Measures]:
    """Draw a study and judge every method.

    Parameters
    ----------
    name : str
        Name of the truth.
    number : int
        Number of the study, which determines its random numbers.
    arms : {1, 2}
        Number of arms.

    Returns
    -------
    dict of str to dict
        Measures by method.
    """
    key = name if arms == 1 else f"{name}, two arms"
    row = rows_of(arms)[key]
    rng = np.random.default_rng([20260101, number, *key.encode()])
    recorder = Recorder(row.effect)
    drawn = simulated(replace(row, effect=recorder), rng)
    circuits = drawn.world.circuits
    changes = other.Changes(
        drawn.visits.change, drawn.visits.treated, drawn.world.network, circuits
    )
    return {
        method: judge(claimed, recorder.planted, row, circuits)
        for method, claimed in others(changes, rng)
    } | with_circuitshift(drawn, row, recorder.planted, rng)


def others(study: other.Changes, rng: np.random.Generator) -> Iterator[tuple[str, other.Claimed]]:
    """Apply all other methods to one study."""
    yield "permuted_ols, edges", other.edges_by_permuted_ols(study, N_PERMUTATIONS, rng)
    t = other.t_maps(study, other.relabel(study, N_PERMUTATIONS, rng))
    check_t(study, t[0])
    yield from other.network_based(study, t).items()
    yield "enrichment, participants", other.enrichment_of_participants(study, t)
    yield "enrichment, labels", other.enrichment_of_labels(study, t[0], N_PERMUTATIONS, rng)
    yield from other.partial_pooling(study).items()


def check_t(study: other.Changes, t: npt.NDArray[np.float64]) -> None:
    """Fail unless tfnbs computes the same t."""
    from tfnbs.pairwise_stats import compute_t_stat_diff, compute_t_stat_ind

    treated, x = study.treated, study.values
    theirs = (
        compute_t_stat_diff(x) if treated is None else compute_t_stat_ind(x[~treated], x[treated])
    )
    assert np.allclose(theirs["g2>g1"] - theirs["g1>g2"], t), "t differs from that of tfnbs"


def with_circuitshift(
    drawn: OutsideStudy, row: Row, planted: npt.NDArray[np.float64], rng: np.random.Generator
) -> dict[str, Measures]:
    """Judge circuitshift and the usual contrast of a circuit with the background."""
    rules = Rules(n_permutations=N_PERMUTATIONS)
    circuits = drawn.world.circuits
    result = analyse(drawn.visits, circuits, rng=rng, rules=rules, networks=drawn.networks)
    verdict = result.verdict
    claims = claims_of(
        verdict.verdict,
        result.estimates,
        rules.alpha,
        verdict.explanations,
        not_claimed=verdict.not_claimed,
    )
    wrong, right = false_claims(claims, row), found(claims, row)
    naive = naive_claims(result.estimates, rules.alpha).circuits
    units = tuple((circuits[name], sign) for name, sign in naive.items())
    contrast = other.Claimed(units, is_relative=True, circuits=naive)
    return {
        "circuit minus background": judge(contrast, planted, row, circuits),
        "circuitshift": {
            "found": float(np.mean(list(right.values()))) if right else None,
            "false": float(bool(wrong)),
            "specific": float("circuit" in wrong),
            "outside": None,
        },
    }


# ------------------------------------------------------------------------------------- tables

Results = dict[str, dict[str, list[Measures]]]


def tables(results: Results) -> str:
    """Render one table for each measure, with methods as rows and truths as columns."""
    rows = list(results)
    methods = list(results[rows[0]])
    counts = sorted({len(found) for row in results.values() for found in row.values()})
    text = f"Studies per truth: {', '.join(map(str, counts))}\n"
    for measure, heading in MEASURES.items():
        text += f"\n{heading}\n\n| method | {' | '.join(rows)} |\n|{'---|' * (len(rows) + 1)}\n"
        for method in methods:
            cells = [_mean([m[measure] for m in results[row][method]]) for row in rows]
            if set(cells) != {"-"}:
                text += f"| {method} | {' | '.join(cells)} |\n"
    return text


def _mean(values: Sequence[float | None]) -> str:
    kept = [value for value in values if value is not None]
    return f"{np.mean(kept):.2f}" if kept else "-"


def compare(names: Sequence[str], n_studies: int, arms: int, saved: Path | None) -> None:
    """Analyse the studies that are not in the saved file, and print the tables."""
    known: dict[tuple[str, int, int], dict[str, Measures]] = {}
    if saved is not None and saved.exists():
        for line in saved.read_text().splitlines():
            *key, measures = json.loads(line)
            known[key[0], key[1], key[2]] = measures
    results: Results = {}
    for number in range(n_studies):
        for name in names:
            found_here = known.get((name, number, arms))
            if found_here is None:
                found_here = compare_study(name, number, arms)
                if saved is not None:
                    with saved.open("a") as file:
                        file.write(json.dumps([name, number, arms, found_here]) + "\n")
            for method, measures in found_here.items():
                results.setdefault(name, {}).setdefault(method, []).append(measures)
    print(tables(results))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=2, help="studies per truth")
    parser.add_argument("--arms", type=int, choices=(1, 2), default=1)
    parser.add_argument("--rows", nargs="+", choices=list(rows_of(1)), default=ROWS, metavar="ROW")
    parser.add_argument("--save", type=Path, help="file of results, from which to continue")
    options = parser.parse_args()
    try:
        import tfnbs  # noqa: F401 - tests whether it is installed
    except ImportError:
        print("tfnbs is not installed; install it to run this comparison: pip install tfnbs")
        sys.exit(0)
    compare(options.rows, options.studies, options.arms, options.save)
