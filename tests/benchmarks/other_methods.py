"""Other methods for changes of connectivity, applied to one study.

`bench_methods.py` compares them with circuitshift. Each method receives the change of each edge of
each participant, and returns what it claims (`Claimed`). All tests are two-sided at .05, corrected
over everything that the method tests, except for partial pooling, which does not correct by design.

Relabellings are shared: signs of participants with one arm, arms of participants with two. Scores
of NBS, constrained NBS and TFNBS come from the package tfnbs; edge-wise tests from nilearn.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

ALPHA = 0.05
NBS_THRESHOLD = 3.1  # |t| that an edge needs to enter a component
TFNBS_STEPS = 10  # default of tfnbs for permutation tests


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of edges in one study.

    Parameters
    ----------
    values : ndarray, shape (n_participants, n_edges)
        Follow-up minus baseline, Fisher z, in the order of ``numpy.triu_indices``.
    treated : ndarray of bool, shape (n_participants,), or None
        Treated participants of a study with two arms.
    network : ndarray of int, shape (n_regions,)
        Network of each region.
    circuits : mapping of str to ndarray of int
        Positions of the edges of each circuit.
    """

    values: Floats
    treated: npt.NDArray[np.bool_] | None
    network: Ints
    circuits: Mapping[str, Ints]

    @property
    def n_regions(self) -> int:
        """Number of regions."""
        return len(self.network)

    @property
    def ends(self) -> tuple[Ints, Ints]:
        """Regions of each edge, each of shape (n_edges,)."""
        i, j = np.triu_indices(self.n_regions, 1)
        return i, j


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a method claims about one study.

    Parameters
    ----------
    units : tuple of (ndarray of int, {-1, 1})
        Edges of each significant unit (edge, component, pair of networks or circuit), with the
        direction of change.
    is_relative : bool
        Whether a unit is claimed to change more than the other edges, rather than to change.
    circuits : mapping of str to {-1, 1}
        Circuits that the method itself tests and claims.
    """

    units: tuple[tuple[Ints, int], ...] = ()
    is_relative: bool = False
    circuits: Mapping[str, int] = field(default_factory=dict)


# ------------------------------------------------------------------------------- relabellings


def relabel(study: Changes, n: int, rng: np.random.Generator) -> Floats:
    """Draw relabellings, the first of which is the observed labelling.

    Parameters
    ----------
    study : Changes
        One or two arms.
    n : int
        Number of relabellings beside the observed one.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    ndarray, shape (n + 1, n_participants)
        Signs with one arm; 1 for treated and 0 for other participants with two.
    """
    if study.treated is None:
        signs = rng.choice([-1.0, 1.0], (n, len(study.values)))
        return np.vstack([np.ones(len(study.values)), signs])
    arms = np.tile(study.treated.astype(float), (n, 1))
    return np.vstack([study.treated.astype(float), rng.permuted(arms, axis=1)])


def t_maps(study: Changes, labels: Floats) -> Floats:
    """Compute t of every edge under each relabelling.

    Parameters
    ----------
    study : Changes
        One or two arms.
    labels : ndarray, shape (n_labels, n_participants)
        Relabellings (`relabel`).

    Returns
    -------
    ndarray, shape (n_labels, n_edges)
        One-sample t, or Welch's t of two arms, as in tfnbs.
    """
    x, n = study.values, len(study.values)
    if study.treated is None:
        mean = labels @ x / n
        return np.asarray(mean / np.sqrt(((x**2).mean(axis=0) - mean**2) / (n - 1)))
    parts = []
    for weight in (labels, 1 - labels):
        count = weight.sum(axis=1, keepdims=True)
        mean = weight @ x / count
        parts.append((mean, (weight @ x**2 / count - mean**2) / (count - 1)))
    (first, first_error), (second, second_error) = parts
    return np.asarray((first - second) / np.sqrt(first_error + second_error))


# ---------------------------------------------------------------- edges, components and blocks


def edges_by_permuted_ols(study: Changes, n: int, rng: np.random.Generator) -> Claimed:
    """Test every edge with nilearn's permuted_ols (largest t).

    Parameters
    ----------
    study : Changes
        One or two arms.
    n : int
        Number of permutations.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    Claimed
        Single edges.
    """
    from nilearn.mass_univariate import permuted_ols

    tested = np.ones(len(study.values)) if study.treated is None else study.treated.astype(float)
    found = permuted_ols(
        tested[:, None],
        study.values,
        n_perm=n,
        two_sided_test=True,
        random_state=int(rng.integers(2**31)),
        output_type="dict",
    )
    significant = found["logp_max_t"][0] > -np.log10(ALPHA)
    return _edges(significant, found["t"][0])


def _edges(significant: npt.NDArray[np.bool_], t: Floats) -> Claimed:
    """Return every significant edge as a unit."""
    return Claimed(
        tuple((np.array([e]), 1 if t[e] > 0 else -1) for e in np.flatnonzero(significant))
    )


def network_based(study: Changes, t: Floats) -> dict[str, Claimed]:
    """Test components (NBS), edges (TFNBS) and pairs of networks (constrained NBS).

    Parameters
    ----------
    study : Changes
        One or two arms.
    t : ndarray, shape (n_labels, n_edges)
        Observed t, followed by t of relabellings.

    Returns
    -------
    dict of str to Claimed
        By method. Both directions are scored, and the null distribution is that of the largest
        score in either direction.
    """
    from tfnbs.nbs_score import get_cnbs_score, get_nbs_score
    from tfnbs.tfnbs_score import get_tfnbs_score

    scorers: dict[str, Callable[[Floats], Floats]] = {
        "NBS": lambda m: np.asarray(get_nbs_score(m, NBS_THRESHOLD, "extent")),
        "TFNBS": lambda m: np.asarray(get_tfnbs_score(m, 0.5, 2.0, TFNBS_STEPS)),
        "constrained NBS": lambda m: np.asarray(get_cnbs_score(m, study.network)),
    }
    i, j = study.ends
    observed: dict[str, dict[int, Floats]] = {name: {} for name in scorers}
    largest: dict[str, list[float]] = {name: [] for name in scorers}
    for row, values in enumerate(t):
        tops = dict.fromkeys(scorers, 0.0)
        for sign in (1, -1):
            tail = _matrix(np.maximum(sign * values, 0), study)
            for name, scorer in scorers.items():
                score = scorer(tail)
                tops[name] = max(tops[name], float(score.max()))
                if row == 0:
                    observed[name][sign] = score[i, j]
        for name, top in tops.items():
            largest[name].append(top)
    return {
        name: _significant(study, name, scores, np.array(largest[name]))
        for name, scores in observed.items()
    }


def _matrix(values: Floats, study: Changes) -> Floats:
    """Arrange edges as a symmetric matrix with zeros on the diagonal."""
    i, j = study.ends
    out = np.zeros((study.n_regions, study.n_regions))
    out[i, j] = out[j, i] = values
    return out


def _significant(
    study: Changes, method: str, scores: Mapping[int, Floats], largest: Floats
) -> Claimed:
    """Return the units of a method whose score is rarely reached by the largest one."""
    units: list[tuple[Ints, int]] = []
    for sign, score in scores.items():
        p = (largest >= score[:, None] - 1e-9).mean(axis=1)
        edges = np.flatnonzero((score > 0) & (p < ALPHA))
        if method == "NBS":
            groups = _components(study, edges)
        elif method == "TFNBS":
            groups = [np.array([e]) for e in edges]
        else:
            pairs = _pairs(study)
            groups = [np.flatnonzero(pairs == pair) for pair in np.unique(pairs[edges])]
        units += [(group, sign) for group in groups]
    return Claimed(tuple(units))


def _pairs(study: Changes) -> Ints:
    """Return the pair of networks of each edge, as one number."""
    a, b = (study.network[end] for end in study.ends)
    return np.asarray(np.minimum(a, b) * (study.network.max() + 1) + np.maximum(a, b), np.intp)


def _components(study: Changes, edges: Ints) -> list[Ints]:
    """Divide edges into connected components."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    i, j = (end[edges] for end in study.ends)
    shape = (study.n_regions, study.n_regions)
    labels = connected_components(coo_array((np.ones(len(edges)), (i, j)), shape=shape))[1][i]
    return [edges[labels == label] for label in np.unique(labels)]


# -------------------------------------------------------------------------------- enrichment


def enrichment_score(ordered_t: Floats, is_member: npt.NDArray[np.bool_]) -> Floats:
    """Compute the enrichment of a circuit among the largest or the smallest t.

    Parameters
    ----------
    ordered_t : ndarray, shape (n_edges,) or (n_rows, n_edges)
        t in decreasing order.
    is_member : ndarray of bool, shape (n_rows, n_edges)
        Whether each of them belongs to the circuit.

    Returns
    -------
    ndarray, shape (n_rows,)
        Largest deviation of the running sum of members, weighted by |t|, from that of other edges
        (Subramanian 2005, doi:10.1073/pnas.0506580102; NEST, Weinstein 2024,
        doi:10.1002/hbm.26714); positive if the circuit is among the largest t.
    """
    inside = np.where(is_member, np.abs(ordered_t), 0.0)
    inside = np.cumsum(inside, axis=1) / inside.sum(axis=1, keepdims=True)
    others = np.cumsum(~is_member, axis=1)
    apart = inside - others / others[:, -1:]
    at = np.abs(apart).argmax(axis=1)
    return np.asarray(apart[np.arange(len(apart)), at])


def enrichment_of_participants(study: Changes, t: Floats) -> Claimed:
    """Test circuits for enrichment, with relabelled participants as in NEST.

    Parameters
    ----------
    study : Changes
        One or two arms.
    t : ndarray, shape (n_labels, n_edges)
        Observed t, followed by t of relabellings.

    Returns
    -------
    Claimed
        Circuits, corrected by Bonferroni.
    """
    order = np.argsort(-t, axis=1)
    ordered = np.take_along_axis(t, order, axis=1)
    scores = {}
    for name, edges in study.circuits.items():
        member = np.zeros(t.shape[1], bool)
        member[edges] = True
        scores[name] = enrichment_score(ordered, member[order])
    return _enriched(study, scores)


def enrichment_of_labels(study: Changes, t: Floats, n: int, rng: np.random.Generator) -> Claimed:
    """Test circuits for enrichment, with regions that exchange their places in circuits.

    Parameters
    ----------
    study : Changes
        One or two arms.
    t : ndarray, shape (n_edges,)
        Observed t.
    n : int
        Number of permutations of regions.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    Claimed
        Circuits, corrected by Bonferroni.
    """
    order = np.argsort(-t)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))  # of each edge in the ordered map
    number = _matrix(np.arange(len(t), dtype=float), study).astype(np.intp)
    regions = np.arange(study.n_regions)
    perms = np.vstack([regions, rng.permuted(np.tile(regions, (n, 1)), axis=1)])
    i, j = study.ends
    scores = {}
    for name, edges in study.circuits.items():
        member = np.zeros((n + 1, len(t)), bool)
        moved = place[number[perms[:, i[edges]], perms[:, j[edges]]]]
        np.put_along_axis(member, moved, True, axis=1)
        scores[name] = enrichment_score(t[order], member)
    return _enriched(study, scores)


def _enriched(study: Changes, scores: Mapping[str, Floats]) -> Claimed:
    """Return the circuits whose observed score, the first, is rarely reached."""
    circuits = {}
    for name, score in scores.items():
        p = (np.abs(score) >= abs(score[0]) - 1e-12).mean()
        if p * len(scores) < ALPHA:
            circuits[name] = 1 if score[0] > 0 else -1
    return _of_circuits(study, circuits)


def _of_circuits(study: Changes, circuits: Mapping[str, int]) -> Claimed:
    units = tuple((study.circuits[name], sign) for name, sign in circuits.items())
    return Claimed(units, is_relative=True, circuits=circuits)


# --------------------------------------------------------------------------- partial pooling


@dataclass(frozen=True, slots=True)
class Pooled:
    """Posterior distribution of the changes of all edges.

    Parameters
    ----------
    parts : ndarray, shape (3, n_edges)
        Estimates: mean of all edges, effects of regions, and the rest of each edge.
    kept : ndarray, shape (3,)
        Share of each part that is not shrunk.
    noise : ndarray, shape (3,)
        Sampling variance of each part.
    df : int
        Degrees of freedom of the sampling variances.
    """

    parts: Floats
    kept: Floats
    noise: Floats
    df: int

    def contrast(self, weights: Floats) -> tuple[float, float]:
        """Return the posterior mean and standard deviation of a weighted sum of edges.

        Parameters
        ----------
        weights : ndarray, shape (n_edges,)
            Weight of each edge.

        Returns
        -------
        tuple of float
        """
        size = (decompose(weights) ** 2).sum(axis=1)
        mean = float(self.kept @ (self.parts @ weights))
        return mean, float(np.sqrt((self.kept * self.noise * size).sum()))

    def edges(self) -> tuple[Floats, float]:
        """Return the posterior mean of each edge, and their common standard deviation.

        Returns
        -------
        tuple of (ndarray of shape (n_edges,), float)
        """
        n = self.parts.shape[1]
        variance = float((self.kept * self.noise * _dimensions(n)).sum() / n)
        return self.kept @ self.parts, float(np.sqrt(variance))


def _dimensions(n_edges: int) -> Floats:
    n_regions = (1 + int(np.sqrt(1 + 8 * n_edges))) // 2
    return np.array([1.0, n_regions - 1, n_edges - n_regions])


def decompose(values: Floats) -> Floats:
    """Split values of edges into their mean, effects of regions, and the rest.

    Parameters
    ----------
    values : ndarray, shape (..., n_edges)
        Values in the order of ``numpy.triu_indices``.

    Returns
    -------
    ndarray, shape (3, ..., n_edges)
        Three orthogonal parts. The second is the sum of the effects of both regions.
    """
    n_regions = int(_dimensions(values.shape[-1])[1]) + 1
    i, j = np.triu_indices(n_regions, 1)
    mean = np.broadcast_to(values.mean(axis=-1, keepdims=True), values.shape)
    ends = np.zeros((values.shape[-1], n_regions))
    ends[np.arange(len(i)), i] = ends[np.arange(len(i)), j] = 1.0
    own = (values - mean) @ ends / (n_regions - 2)
    regional = own[..., i] + own[..., j]
    return np.stack([mean, regional, values - mean - regional])


def pool(study: Changes) -> Pooled:
    """Fit the multilevel model of edges and regions.

    Parameters
    ----------
    study : Changes
        One or two arms.

    Returns
    -------
    Pooled

    Notes
    -----
    The mean change of the edge between regions i and j is a + x_i + x_j + e_ij, with normal x and
    e, as in matrix-based analysis (Chen 2019, doi:10.1002/hbm.24686). The covariances of signal
    and noise, which includes effects of participants and of their regions, have the same three
    eigenspaces. The posterior is therefore known in closed form: each part is multiplied by
    1 - noise / mean square, with the variances estimated from the data and a flat prior for a.
    """
    x, treated = study.values, study.treated
    arms = [np.ones(len(x), bool)] if treated is None else [treated, ~treated]
    means = [x[arm].mean(axis=0) for arm in arms]
    effect = means[0] if treated is None else means[0] - means[1]
    rest = np.vstack([x[arm] - mean for arm, mean in zip(arms, means, strict=True)])
    df = len(x) - len(arms)
    scale = sum(1 / int(arm.sum()) for arm in arms)
    dimensions = _dimensions(x.shape[1])
    noise = scale * (decompose(rest) ** 2).sum(axis=(1, 2)) / (df * dimensions)
    parts = decompose(effect)
    mean_square = (parts**2).sum(axis=1) / dimensions
    kept = np.maximum(0.0, 1 - noise / mean_square)
    kept[0] = 1.0
    return Pooled(parts, kept, noise, df)


def partial_pooling(study: Changes) -> dict[str, Claimed]:
    """Claim what the posterior distribution excludes from zero.

    Parameters
    ----------
    study : Changes
        One or two arms.

    Returns
    -------
    dict of str to Claimed
        Pairs of regions, and circuits in comparison with all other edges, whose 95 % interval does
        not contain zero.
    """
    from scipy.stats import t

    pooled = pool(study)
    limit = float(t.ppf(1 - ALPHA / 2, pooled.df))
    mean, sd = pooled.edges()
    circuits = {}
    for name, edges in study.circuits.items():
        weights = np.full(len(mean), -1 / (len(mean) - len(edges)))
        weights[edges] = 1 / len(edges)
        estimate, error = pooled.contrast(weights)
        if abs(estimate) > limit * error:
            circuits[name] = 1 if estimate > 0 else -1
    return {
        "partial pooling, edges": _edges(np.abs(mean) > limit * sd, mean),
        "partial pooling, circuits": _of_circuits(study, circuits),
    }
