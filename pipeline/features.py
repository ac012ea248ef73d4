"""Describe the values of a study, which are edges between regions or values of regions.

A vector of 435 values can contain the edges of 30 regions or one value for each of 435 regions. A
`FeatureSpace` states which of them applies, together with names, unit, range and location of the
features and the positions of circuits. It also determines which parts of the model can be
estimated.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isqrt
from typing import Literal

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.records import Circuit
from circuitshift.pipeline.arrays import Bools, Floats, Ints
from circuitshift.pipeline.edges import distances, edge_ends
from circuitshift.pipeline.errors import DesignError

__all__ = ["FISHER_Z", "FeatureKind", "FeatureSpace", "OptionalPart"]

FeatureKind = Literal["edge", "region"]
OptionalPart = Literal[
    "curvature",
    "distance",
    "global signal",
    "network-based statistics",
    "node-adjusted",
    "random circuits",
]

FISHER_Z = "Fisher z"
_Z_MAX = 8.0  # correlations that are estimated from series are smaller

_EDGES_ONLY: dict[OptionalPart, str] = {
    "distance": "Distance term: not fitted, because a region has no length.",
    "global signal": "Amplitude of the global signal: not estimated, because it needs the "
    "correlations between all regions.",
    "network-based statistics": "Network-based statistics: not computed, because they join edges "
    "that share a region.",
    "node-adjusted": "Region-adjusted tests: not computed, because they adjust each edge for "
    "changes of all other edges of its regions.",
    "random circuits": "Random circuits: not drawn, because they match sets of edges by strength "
    "and length; sets of regions need surrogates that preserve the spatial autocorrelation.",
}


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSpace:
    """Features of a study, in the order of the last axis of all arrays.

    Use `of_edges` or `of_regions` to create a feature space.

    Parameters
    ----------
    kind : {"edge", "region"}
        Whether a feature belongs to a pair of regions or to one region.
    regions : tuple of str
        Unique names of the regions. Edges connect all pairs of regions, in the order of
        ``numpy.triu_indices(n_regions, 1)``.
    unit : str
        Unit of the values, such as ``Fisher z`` or ``mm``.
    valid_range : tuple of two float
        Smallest and largest possible value.
    centres_mm : ndarray, shape (n_regions, 3), optional
        Centres of the regions, mm; NaN if unknown.
    length_mm : ndarray, shape (n_features,), optional
        Lengths of the edges, mm; NaN if unknown. Not defined for regions.

    Raises
    ------
    DesignError
        If the arguments contradict each other.
    """

    kind: FeatureKind
    regions: tuple[str, ...]
    unit: str
    valid_range: tuple[float, float] = (-inf, inf)
    centres_mm: Floats | None = None
    length_mm: Floats | None = None

    def __post_init__(self) -> None:
        low, high = self.valid_range
        repeated = sorted(name for name, count in Counter(self.regions).items() if count > 1)
        problems = [
            (self.kind not in ("edge", "region"), f"kind {self.kind!r} is not edge or region"),
            (not self.regions, "there are no regions"),
            (bool(repeated), f"names repeat: {', '.join(repeated[:5])}"),
            (not self.unit.strip(), "the unit is missing; state it, for example unit='mm'"),
            (not low < high, f"the range from {low:g} to {high:g} is empty"),
            (_unlike(self.centres_mm, (len(self.regions), 3)), "each region needs one centre"),
            (_unlike(self.length_mm, (self.n_features,)), "each edge needs one length"),
            (self.kind == "region" and self.length_mm is not None, "a region has no length"),
        ]
        found = [text for is_present, text in problems if is_present]
        if found:
            raise DesignError(f"the feature space is not valid: {'; '.join(found)}")

    @classmethod
    def of_edges(
        cls,
        regions: int | Sequence[str],
        *,
        unit: str = FISHER_Z,
        valid_range: tuple[float, float] | None = None,
        centres_mm: Floats | None = None,
        length_mm: Floats | None = None,
    ) -> "FeatureSpace":
        """Describe the edges between all pairs of regions.

        Parameters
        ----------
        regions : int or sequence of str
            Number of regions, or their names.
        unit : str
            Unit of the values. Default: Fisher z.
        valid_range : tuple of two float
            Smallest and largest possible value. Default: -8 to 8 for Fisher z (the correlation of
            8 is .9999998), and no limits for other units.
        centres_mm : ndarray, shape (n_regions, 3), optional
            Centres of the regions, mm; NaN if unknown.
        length_mm : ndarray, shape (n_edges,), optional
            Lengths of the edges, mm. Default: Euclidean distance between the centres, if these are
            available.

        Returns
        -------
        FeatureSpace

        Examples
        --------
        >>> FeatureSpace.of_edges(300).n_features
        44850
        """
        if length_mm is None and centres_mm is not None:
            length_mm = distances(centres_mm)
        if valid_range is None:
            valid_range = (-_Z_MAX, _Z_MAX) if unit == FISHER_Z else (-inf, inf)
        return cls("edge", _names(regions), unit, valid_range, centres_mm, length_mm)

    @classmethod
    def of_regions(
        cls,
        regions: int | Sequence[str],
        *,
        unit: str,
        valid_range: tuple[float, float] = (-inf, inf),
        centres_mm: Floats | None = None,
    ) -> "FeatureSpace":
        """Describe one value for each region, such as cortical thickness.

        Parameters
        ----------
        regions : int or sequence of str
            Number of regions, or their names.
        unit : str
            Unit of the values.
        valid_range : tuple of two float
            Smallest and largest possible value. Default: no limits.
        centres_mm : ndarray, shape (n_regions, 3), optional
            Centres of the regions, mm; NaN if unknown.

        Returns
        -------
        FeatureSpace

        Examples
        --------
        >>> FeatureSpace.of_regions(400, unit="mm", valid_range=(0, 10)).n_features
        400
        """
        return cls("region", _names(regions), unit, valid_range, centres_mm)

    @property
    def n_regions(self) -> int:
        """Number of regions."""
        return len(self.regions)

    @property
    def n_features(self) -> int:
        """Number of features."""
        n = self.n_regions
        return n * (n - 1) // 2 if self.kind == "edge" else n

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each feature: a region, or two regions joined by an en dash."""
        if self.kind == "region":
            return self.regions
        pairs = zip(*(end.tolist() for end in self.ends), strict=True)
        return tuple(f"{self.regions[i]} \N{EN DASH} {self.regions[j]}" for i, j in pairs)

    @property
    def ends(self) -> tuple[Ints, Ints]:
        """Regions that each edge connects, the lower position first; each of shape (n_edges,).

        Raises
        ------
        DesignError
            If the features are regions.
        """
        if self.kind == "region":
            raise DesignError(
                "the features are values of regions and therefore have no ends; use a feature "
                "space of edges"
            )
        return edge_ends(self.n_regions)

    @property
    def plural(self) -> str:
        """Plural noun for the features: ``edges`` or ``regions``."""
        return f"{self.kind}s"

    @property
    def is_fisher_z(self) -> bool:
        """Whether the values are Fisher-transformed correlations."""
        return self.unit == FISHER_Z

    def positions(self, circuit: Circuit) -> npt.NDArray[np.intp]:
        """Locate a circuit among the features.

        Parameters
        ----------
        circuit : Circuit
            Circuit on the atlas of the feature space.

        Returns
        -------
        ndarray of int
            Sorted positions of the edges of the circuit, or of its regions if the features are
            values of regions.

        Raises
        ------
        DesignError
            If the circuit contains a region that the feature space does not have.
        """
        members = sorted({*circuit.seeds, *circuit.targets})
        if members and not 0 <= members[0] <= members[-1] < self.n_regions:
            raise DesignError(
                f"circuit {circuit.name} names region {members[-1] + 1} of an atlas, but the "
                f"feature space has {self.n_regions} regions; resolve the circuit on the same atlas"
            )
        if self.kind == "edge":
            return circuit.edges(self.n_regions)
        return np.array(members, np.intp)

    def circuit_values(self, values: Floats, circuits: Sequence[Circuit]) -> Floats:
        """Average the features of each circuit.

        Parameters
        ----------
        values : ndarray, shape (..., n_features)
            Values of the features. Missing values (NaN) are omitted from the mean.
        circuits : sequence of Circuit
            Circuits on the atlas of the feature space.

        Returns
        -------
        ndarray, shape (..., n_circuits)
            Means; NaN if no feature of the circuit is available.

        Raises
        ------
        DesignError
            If the length of the last axis is not the number of features.
        """
        self.check_shape("the array", values)
        out = np.full((*values.shape[:-1], len(circuits)), np.nan)
        for k, circuit in enumerate(circuits):
            part = values[..., self.positions(circuit)]
            available = np.isfinite(part)
            count = available.sum(axis=-1)
            total = np.where(available, part, 0.0).sum(axis=-1)
            np.divide(total, count, out=out[..., k], where=count > 0)
        return out

    def sharing_regions(self, inside: Bools) -> Bools:
        """Find the features that share a region with at least one of the given features.

        Parameters
        ----------
        inside : ndarray of bool, shape (n_features,)
            Whether each feature is given.

        Returns
        -------
        ndarray of bool, shape (n_features,)
            Whether each feature shares a region with a given feature; also True for the given
            features.
        """
        if self.kind == "region":
            return inside
        i, j = self.ends
        touched = np.zeros(self.n_regions, bool)
        touched[i[inside]] = touched[j[inside]] = True
        return np.asarray(touched[i] | touched[j])

    def reason_to_omit(self, part: OptionalPart) -> str:
        """Explain why a part of the analysis has no meaning for these features.

        Parameters
        ----------
        part : str
            One of `OptionalPart`.

        Returns
        -------
        str
            Sentence that states the reason; empty if the part can be estimated.
        """
        if part == "curvature":
            return "" if self.is_fisher_z else _NO_ATTENUATION
        if self.kind == "region":
            return _EDGES_ONLY[part]
        if part == "distance":
            return "" if self.known_length_mm is not None else _NO_LENGTH
        if part == "global signal":
            return "" if self.is_fisher_z else _NO_CORRELATION
        return ""

    @property
    def known_length_mm(self) -> Floats | None:
        """Lengths of the edges in mm, with unknown lengths replaced by the mean of the others.

        An edge at the mean length is predicted without a distance term. None if no length is known.
        """
        if self.length_mm is None:
            return None
        known = np.isfinite(self.length_mm)
        if not known.any():
            return None
        return np.where(known, self.length_mm, self.length_mm[known].mean())

    @property
    def remark_on_lengths(self) -> str:
        """Sentence that states how many edges have no distance term; empty if all have one."""
        if self.known_length_mm is None or self.length_mm is None:
            return ""
        unknown = int((~np.isfinite(self.length_mm)).sum())
        if not unknown:
            return ""
        return (
            f"Distance term: not applied to {unknown} of {self.n_features} edges, because their "
            "length is unknown; they are treated as edges of average length."
        )

    def check_shape(self, what: str, values: Floats) -> None:
        """Raise an error if the length of the last axis is not the number of features.

        Parameters
        ----------
        what : str
            Name of the array, for the message.
        values : ndarray, shape (..., n_features)
            Array to check.

        Raises
        ------
        DesignError
            If the number of values is wrong. The message states the possible numbers of regions.
        """
        n_values = values.shape[-1] if values.ndim else 1
        if n_values != self.n_features:
            values_of = "edges" if self.kind == "edge" else "values"
            raise DesignError(
                f"{what} has {n_values} features, but the feature space has {self.n_features} "
                f"({values_of} of {self.n_regions} regions, {self.unit}); {_readings(n_values)}; "
                "use the same atlas for all arrays and state whether the values are edges or "
                "values of regions: FeatureSpace.of_edges(regions) or "
                "FeatureSpace.of_regions(regions, unit=...)"
            )

    def check_range(self, what: str, values: Floats) -> None:
        """Raise an error if values are outside the range of the features.

        Parameters
        ----------
        what : str
            Name of the array, for the message.
        values : ndarray, shape (n_participants, n_features)
            Array to check.

        Raises
        ------
        DesignError
            If a value is infinite or outside the range. The message states the first such value.
        """
        low, high = self.valid_range
        outside = np.argwhere((values < low) | (values > high) | np.isinf(values))
        if len(outside):
            row, feature = outside[0].tolist()
            raise DesignError(
                f"{what}: {len(outside)} values are outside {low:g} to {high:g} {self.unit}; the "
                f"first is {values[row, feature]:g} in row {row + 1}, {self.names[feature]}; "
                "correct the table, its unit, or the range of the feature space"
            )

    def check_positions(self, circuits: Mapping[str, npt.NDArray[np.intp]]) -> None:
        """Raise an error if positions of a circuit are outside the features.

        Parameters
        ----------
        circuits : mapping of str to ndarray of int
            Positions of the features of each circuit.

        Raises
        ------
        DesignError
            If a position is outside the features. The message names the first such circuit.
        """
        for name, positions in circuits.items():
            if not len(positions):
                continue
            low, high = int(np.min(positions)), int(np.max(positions))
            if not 0 <= low <= high < self.n_features:
                raise DesignError(
                    f"circuit {name} has positions from {low} to {high}, but the feature space "
                    f"has {self.n_features} {self.plural}; use the positions of "
                    "FeatureSpace.positions"
                )


_NO_LENGTH = "Distance term: not fitted, because the centres of the regions are unknown."
_NO_CORRELATION = (
    "Amplitude of the global signal: not estimated, because its effect is known for the Fisher z "
    "of correlations only."
)
_NO_ATTENUATION = (
    "Curvature: not fitted, because the effect of a change in signal-to-noise ratio is known for "
    "Fisher z only."
)


def _names(regions: int | Sequence[str]) -> tuple[str, ...]:
    if isinstance(regions, int):
        return tuple(f"region {k + 1}" for k in range(regions))
    return tuple(regions)


def _unlike(values: Floats | None, shape: tuple[int, ...]) -> bool:
    return values is not None and values.shape != shape


def _readings(n_values: int) -> str:
    """Describe the numbers of regions that a number of values can correspond to."""
    n = (1 + isqrt(1 + 8 * n_values)) // 2
    if n > 1 and n * (n - 1) // 2 == n_values:
        return f"{n_values} values can be the edges of {n} regions, or values of {n_values} regions"
    return (
        f"{n_values} values can be values of {n_values} regions, but not edges: {n} regions have "
        f"{n * (n - 1) // 2} edges and {n + 1} regions {n * (n + 1) // 2}"
    )
