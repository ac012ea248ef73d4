"""Exploratory maps of the change of features, regions and pairs of networks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats, Reals
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.contrasts import Question, questions_of
from circuitshift.pipeline.model.families import MIN_PARTICIPANTS
from circuitshift.pipeline.model.secondary.record import (
    SecondaryAnalysis,
    SecondaryData,
    SecondaryResult,
    SecondaryTable,
)
from circuitshift.pipeline.stats.edge_components import (
    By,
    component_labels,
    component_sizes,
    largest_component,
    tfnbs,
)
from circuitshift.pipeline.stats.permutation import (
    PermutationResult,
    permutation_test,
    t_statistics,
)

__all__ = ["CHANGE_MAPS", "Component", "EdgeMap", "EdgeMaps", "change_maps", "maps_of_change"]


#: Threshold of |t| for NBS components: about p = .001, two-sided, with 60 participants.
NBS_THRESHOLD = 3.5
#: Number of TFNBS thresholds below the largest observed |t|; the half keeps it off a threshold.
_STEPS = 50.5


@dataclass(frozen=True, slots=True)
class EdgeMap:
    """Test results of one family of variables.

    Parameters
    ----------
    estimate, statistic, p, p_corrected : ndarray, shape (n_variables,)
        Change by treatment (Fisher z for edges), its test statistic, its p value, and its p value
        corrected over the map (family-wise). NaN where not available.
    """

    estimate: Floats
    statistic: Floats
    p: Floats
    p_corrected: Floats


@dataclass(frozen=True, slots=True)
class Component:
    """A set of connected edges that changed in one direction.

    Parameters
    ----------
    direction : {"increase", "decrease"}
        Direction of the change.
    edges : ndarray of int
        Positions of its edges.
    extent : int
        Number of edges.
    intensity : float
        Sum of ``|t| - threshold`` over its edges.
    p_extent, p_intensity : float
        Family-wise p values, from the largest component of either direction in each permutation.
    """

    direction: str
    edges: npt.NDArray[np.intp]
    extent: int
    intensity: float
    p_extent: float
    p_intensity: float


@dataclass(frozen=True, slots=True)
class EdgeMaps:
    """Results of all maps, from one permutation loop.

    Parameters
    ----------
    edges, regions, networks : EdgeMap
        Results for features, for the mean edge of each region, and for the mean feature of each
        pair of networks (also within a network). If the features are regions, the first two are
        the same.
    network_pairs : tuple of (str, str)
        Pairs of networks, in the order of `networks`.
    tfnbs_p : ndarray, shape (n_edges,)
        Family-wise p values of threshold-free network-based statistics; NaN if the features are
        regions.
    components : tuple of Component
        Components of edges, sorted by `Component.p_extent`.
    threshold : float
        Threshold of |t| that defines components.
    n_permutations : int
        Number of permutations that were used.
    n_edges_available : int
        Number of edges that are available in all participants; other edges are not tested.
    omitted : tuple of str
        Sentences on maps that the features do not allow, with the reason.
    """

    edges: EdgeMap
    regions: EdgeMap
    networks: EdgeMap
    network_pairs: tuple[tuple[str, str], ...]
    tfnbs_p: Floats
    components: tuple[Component, ...]
    threshold: float
    n_permutations: int
    n_edges_available: int
    omitted: tuple[str, ...] = ()


def change_maps(
    change: Floats,
    question: Question,
    networks: Sequence[str],
    *,
    features: FeatureSpace,
    rng: np.random.Generator,
    n_permutations: int = 5000,
    threshold: float = NBS_THRESHOLD,
) -> EdgeMaps:
    """Test the change of every feature, region and pair of networks.

    Parameters
    ----------
    change : ndarray, shape (n_participants, n_features)
        Change of each participant, in the unit of the features. Missing features are NaN.
    question : Question
        Contrast between participants.
    networks : sequence of str
        Network of each region; an empty string for a region without a network.
    features : FeatureSpace
        Feature space of the columns of `change`.
    rng : numpy.random.Generator
        Source of the permutations.
    n_permutations : int
        Largest number of permutations.
    threshold : float
        Threshold of |t| that defines components.

    Returns
    -------
    EdgeMaps

    Raises
    ------
    DesignError
        If fewer than four participants or three features are available, or the number of networks
        differs from the number of regions.
    """
    features.check_shape("change", change)
    if len(networks) != features.n_regions:
        raise DesignError(
            f"{len(networks)} networks are given for {features.n_regions} regions; give one for "
            "each region, empty for a region without a network"
        )
    participants = question.asked
    available = np.asarray(np.isfinite(change[participants]).all(axis=0))
    if participants.sum() < MIN_PARTICIPANTS or available.sum() < 3:
        raise DesignError(
            f"{participants.sum()} participants and {available.sum()} {features.plural} available "
            "in all participants are too few for maps"
        )
    contrast = question.contrast(participants)
    sets = _sets(available, networks, features)
    n_available = int(available.sum())
    variables = np.empty((participants.sum(), n_available + len(sets.members)))
    y = variables[:, :n_available]
    y[:] = change[np.ix_(participants, available)]
    for k, own in enumerate(sets.members, n_available):
        variables[:, k] = y[:, own].mean(axis=1)
    cuts = np.cumsum([y.shape[1], len(sets.region_at), len(sets.pairs)])
    families = np.split(np.arange(cuts[-1]), cuts[:2])
    reason = features.reason_to_omit("network-based statistics")
    graph = None
    if not reason:
        graph = _Graph(available, features.n_regions, threshold, t_statistics(y, contrast))
    tested = permutation_test(
        variables,
        contrast,
        rng=rng,
        n_permutations=n_permutations,
        families=[f for f in families if len(f)],
        watch=None if graph is None else graph.watch,
    )
    of_features = _map(tested, families[0], available.size, np.flatnonzero(available))
    of_regions = of_features
    if features.kind == "edge":
        of_regions = _map(tested, families[1], features.n_regions, sets.region_at)
    exact = tested.exact
    return EdgeMaps(
        edges=of_features,
        regions=of_regions,
        networks=_map(tested, families[2], len(sets.pairs), np.arange(len(sets.pairs))),
        network_pairs=sets.pairs,
        tfnbs_p=np.full(available.size, np.nan) if graph is None else graph.tfnbs_p(exact=exact),
        components=() if graph is None else graph.components(exact=exact),
        threshold=threshold,
        n_permutations=tested.n_permutations,
        n_edges_available=n_available,
        omitted=(reason,) if reason else (),
    )


@dataclass(frozen=True, slots=True)
class _Sets:
    """Sets of available features whose mean is tested: regions, then pairs of networks."""

    members: list[npt.NDArray[np.intp]]
    region_at: npt.NDArray[np.intp]
    pairs: tuple[tuple[str, str], ...]


def _sets(
    available: npt.NDArray[np.bool_], networks: Sequence[str], features: FeatureSpace
) -> _Sets:
    if features.kind == "edge":
        i, j = (ends[available] for ends in features.ends)
    else:
        i = j = np.flatnonzero(available)
    members, regions = [], []
    for region in range(len(networks)) if features.kind == "edge" else ():
        own = np.flatnonzero((i == region) | (j == region))
        if len(own):
            members.append(own)
            regions.append(region)
    names = sorted({name for name in networks if name})
    number = np.array([names.index(name) if name else -1 for name in networks])
    low, high = np.minimum(number[i], number[j]), np.maximum(number[i], number[j])
    pairs = []
    for a in range(len(names)):
        for b in range(a, len(names)):
            own = np.flatnonzero((low == a) & (high == b))
            if len(own):
                members.append(own)
                pairs.append((names[a], names[b]))
    return _Sets(members, np.array(regions, np.intp), tuple(pairs))


def _map(
    tested: PermutationResult,
    columns: npt.NDArray[np.intp],
    size: int,
    at: npt.NDArray[np.intp],
) -> EdgeMap:
    """Return a map of `size` variables with the results of `columns` at the positions `at`."""
    out = []
    for values in (tested.estimate, tested.statistic, tested.p, tested.p_corrected):
        full = np.full(size, np.nan)
        full[at] = values[columns]
        out.append(full)
    return EdgeMap(*out)


@dataclass(slots=True)
class _Graph:
    """Collects the null distributions of network-based statistics over blocks of permutations."""

    available: npt.NDArray[np.bool_]
    n_regions: int
    threshold: float
    observed: Floats
    largest: dict[By, list[Floats]] = field(default_factory=lambda: {"extent": [], "intensity": []})
    scores: list[Floats] = field(default_factory=list)

    def watch(self, block: Reals) -> None:
        rows = self._complete(block)
        by: By
        for by, null in self.largest.items():
            sides = [
                largest_component(side, self.n_regions, threshold=self.threshold, by=by)
                for side in (rows, -rows)
            ]
            null.append(np.maximum(*sides))
        self.scores.append(self._tfnbs(rows).max(axis=1))

    def _complete(self, statistic: Reals) -> Reals:
        part = statistic[..., : len(self.observed)]
        if self.available.all():
            return part
        out = np.full((*part.shape[:-1], self.available.size), np.nan, part.dtype)
        out[..., self.available] = part
        return out

    def _tfnbs(self, rows: Reals) -> Floats:
        step = float(np.abs(self.observed).max()) / _STEPS
        if not step > 0:
            return np.zeros(rows.shape)
        return tfnbs(np.nan_to_num(np.abs(rows)), self.n_regions, step=step)

    def tfnbs_p(self, *, exact: bool) -> Floats:
        score = self._tfnbs(self._complete(self.observed[None]))[0]
        p = _p(score, np.concatenate(self.scores), exact=exact)
        return np.where(self.available, p, np.nan)

    def components(self, *, exact: bool) -> tuple[Component, ...]:
        out = []
        null = {by: np.concatenate(blocks) for by, blocks in self.largest.items()}
        for direction, sign in (("increase", 1.0), ("decrease", -1.0)):
            statistic = self._complete(sign * self.observed)
            with np.errstate(invalid="ignore"):
                labels = component_labels((statistic > self.threshold)[None], self.n_regions)[0]
            h = self.threshold
            extent = component_sizes(labels, statistic, threshold=h)
            intensity = component_sizes(labels, statistic, threshold=h, by="intensity")
            p_extent = _p(extent, null["extent"], exact=exact)
            p_intensity = _p(intensity, null["intensity"], exact=exact)
            out += [
                Component(
                    direction=direction,
                    edges=np.flatnonzero(labels == k),
                    extent=int(extent[k]),
                    intensity=float(intensity[k]),
                    p_extent=float(p_extent[k]),
                    p_intensity=float(p_intensity[k]),
                )
                for k in range(len(extent))
            ]
        return tuple(sorted(out, key=lambda c: (c.p_extent, -c.extent)))


def _p(observed: Floats, null: Floats, *, exact: bool) -> Floats:
    ordered = np.sort(null)
    floor = observed - 1e-5 * np.abs(observed)  # permuted statistics have single precision
    reached = len(ordered) - np.searchsorted(ordered, floor)
    return np.asarray(np.maximum(reached + (not exact), 1) / (len(ordered) + (not exact)))


_MAX_COMPONENTS = 20  # in verdict.json, those with the smallest p


def maps_of_change(data: SecondaryData) -> SecondaryResult:
    """Test the change of every edge, region and pair of networks of a study.

    Parameters
    ----------
    data : SecondaryData

    Returns
    -------
    SecondaryResult
        Tables ``regions`` and ``networks``, columns of ``edges.tsv``, and components of edges.

    Raises
    ------
    DesignError
        If too few participants or edges are available.
    """
    maps = change_maps(
        data.visits.change,
        questions_of(data.visits)[0],
        data.networks,
        features=data.features,
        rng=data.rng,
        n_permutations=data.rules.n_permutations,
    )
    regions = zip(data.features.regions, data.networks, _map_rows(maps.regions), strict=True)
    pairs = zip(maps.network_pairs, _map_rows(maps.networks), strict=True)
    return SecondaryResult(
        tables={
            "regions": [
                {"region": region, "network": network or None, **values}
                for region, network, values in regions
            ],
            "networks": [{"network_a": a, "network_b": b, **values} for (a, b), values in pairs],
        },
        edges={
            "estimate_z": maps.edges.estimate,
            "statistic": maps.edges.statistic,
            "p": maps.edges.p,
            "p_corrected": maps.edges.p_corrected,
            "p_tfnbs": maps.tfnbs_p,
        },
        remarks=maps.omitted,
        summary={"components": _describe_components(maps, data.features)},
    )


def _map_rows(tested: EdgeMap) -> list[dict[str, object]]:
    names = ("estimate_z", "statistic", "p", "p_corrected")
    columns = (tested.estimate, tested.statistic, tested.p, tested.p_corrected)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _describe_components(maps: EdgeMaps, features: FeatureSpace) -> list[dict[str, Any]]:
    if not maps.components:
        return []
    first, second = features.ends
    regions = features.regions
    return [
        {
            "direction": c.direction,
            "n_edges": c.extent,
            "intensity": c.intensity,
            "p_extent": c.p_extent,
            "p_intensity": c.p_intensity,
            "threshold_t": maps.threshold,
            "regions": [regions[k] for k in sorted({*first[c.edges], *second[c.edges]})],
        }
        for c in maps.components[:_MAX_COMPONENTS]
    ]


CHANGE_MAPS = SecondaryAnalysis(
    name="maps",
    title="Maps of edges, regions and networks",
    compute=maps_of_change,
    tables=(
        SecondaryTable(
            name="regions",
            caption="Change of the mean edge of each region",
            columns={
                "region": "Region",
                "network": "Network of the region",
                "estimate_z": "Change by treatment of its mean edge, Fisher z; exploratory",
                "statistic": "t, or normal score of Welch's t",
                "p": "Permutation p, uncorrected",
                "p_corrected": "Permutation p, family-wise over regions",
            },
            shown="file",
        ),
        SecondaryTable(
            name="networks",
            caption="Change within and between networks",
            columns={
                "network_a": "First network",
                "network_b": "Second network; the same as network_a for edges within a network",
                "estimate_z": "Change by treatment of the mean edge between them, Fisher z; "
                "exploratory",
                "statistic": "t, or normal score of Welch's t",
                "p": "Permutation p, uncorrected",
                "p_corrected": "Permutation p, family-wise over pairs of networks",
            },
            shown="figure",
        ),
    ),
)
