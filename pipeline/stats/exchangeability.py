"""Which relabellings of people a null hypothesis allows: sign flips, permutations, blocks.

Winkler, Webster, Vidaurre, Nichols & Smith 2015, doi:10.1016/j.neuroimage.2015.05.092 for blocks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import comb

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.errors import DesignError

__all__ = ["Exchange"]

Ints = npt.NDArray[np.int_]


@dataclass(frozen=True)
class Exchange:
    """How people may be relabelled.

    Parameters
    ----------
    kinds : ndarray of int, shape (n_people,)
        People with the same number have the same row of the design, so exchanging them changes
        nothing; used to enumerate only relabellings that differ.
    flips : bool
        True: each person's sign may change. False: people may change places.
    blocks : ndarray of int, shape (n_people,), optional
        Exchange only within blocks (sites, pairs).
    whole : bool
        Exchange blocks as wholes instead: everybody in a block (a family, a cluster) flips
        together, or blocks of equal size change places.
    """

    kinds: Ints
    flips: bool
    blocks: Ints | None = None
    whole: bool = False

    def __post_init__(self) -> None:
        if self.blocks is None:
            if self.whole:
                raise DesignError("whole blocks can only be exchanged when blocks are given")
            return
        if len(self.blocks) != len(self.kinds):
            raise DesignError(
                f"{len(self.blocks)} block labels for {len(self.kinds)} people; give one each"
            )
        sizes = np.unique(self.blocks, return_counts=True)[1]
        if self.whole and not self.flips and np.unique(sizes).size == sizes.size > 1:
            raise DesignError(
                "no two blocks have the same size, so none can change places; exchange people "
                "within blocks instead"
            )

    @cached_property
    def members(self) -> list[Ints]:
        """People of each block."""
        if self.blocks is None:
            return [np.arange(len(self.kinds))]
        return [np.flatnonzero(self.blocks == b) for b in np.unique(self.blocks)]

    def count(self) -> int:
        """Return how many relabellings differ from each other, the observed one included."""
        if self.flips:
            return int(2 ** len(self.members)) if self.whole else int(2 ** len(self.kinds))
        total = 1
        for units in self._units():
            left = len(units)
            for size in np.unique(units, return_counts=True)[1].tolist():
                total *= comb(left, size)
                left -= size
        return total

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Ints, bool]:
        """Return relabellings.

        Parameters
        ----------
        n : int
            Number of random ones; all are enumerated when there are no more than ``n + 1``.
        rng : numpy.random.Generator

        Returns
        -------
        relabellings : ndarray of int, shape (n_relabellings, n_people)
            Signs, or for each place the person who takes it.
        exact : bool
            True when all were enumerated; the observed one is then among them.
        """
        if self.count() <= n + 1:
            rows = list(self._all())
            return np.array(rows, int), True
        if self.flips:
            if not self.whole:
                return 1 - 2 * rng.integers(0, 2, (n, len(self.kinds))), False
            signs = 1 - 2 * rng.integers(0, 2, (n, len(self.members)))
            out = np.ones((n, len(self.kinds)), int)
            for k, participants in enumerate(self.members):
                out[:, participants] = signs[:, k : k + 1]
            return out, False
        if self.whole:
            return np.array([self._exchange_blocks(rng) for _ in range(n)]), False
        out = np.tile(np.arange(len(self.kinds)), (n, 1))
        for participants in self.members:
            out[:, participants] = rng.permuted(out[:, participants], axis=1)
        return out, False

    # --- enumeration ------------------------------------------------------------------------------

    def _units(self) -> list[Ints]:
        """Kinds of what may change places, for each set within which it may."""
        if not self.whole:
            return [self.kinds[participants] for participants in self.members]
        return [self._block_kinds(blocks) for blocks in self._equal_blocks()]

    def _equal_blocks(self) -> list[list[Ints]]:
        sizes = sorted({len(participants) for participants in self.members})
        return [[p for p in self.members if len(p) == size] for size in sizes]

    def _block_kinds(self, blocks: Sequence[Ints]) -> Ints:
        rows = np.array([self.kinds[participants] for participants in blocks])
        return np.asarray(np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1))

    def _all(self) -> Iterator[Ints]:
        if self.flips:
            groups = self.members if self.whole else [np.array([k]) for k in range(len(self.kinds))]
            for number in range(2 ** len(groups)):
                row = np.ones(len(self.kinds), int)
                for bit, participants in enumerate(groups):
                    row[participants] = -1 if number >> bit & 1 else 1
                yield row
            return
        if self.whole:
            parts: list[tuple[list[Ints], Ints]] = [
                (blocks, self._block_kinds(blocks)) for blocks in self._equal_blocks()
            ]
        else:
            parts = [([np.array([p]) for p in m], self.kinds[m]) for m in self.members]
        yield from _combine(parts, np.arange(len(self.kinds)))

    def _exchange_blocks(self, rng: np.random.Generator) -> Ints:
        row = np.arange(len(self.kinds))
        for blocks in self._equal_blocks():
            for place, k in zip(blocks, rng.permutation(len(blocks)).tolist(), strict=True):
                row[place] = blocks[k]
        return row


def _combine(parts: Sequence[tuple[list[Ints], Ints]], row: Ints) -> Iterator[Ints]:
    """Yield every combination of the different arrangements of each part."""
    if not parts:
        yield row
        return
    (units, kinds), rest = parts[0], parts[1:]
    places = np.argsort(kinds, kind="stable")
    for arrangement in _arrangements(np.sort(kinds).tolist()):
        filled = row.copy()
        order = np.argsort(arrangement, kind="stable")
        for place, unit in zip(places.tolist(), order.tolist(), strict=True):
            filled[units[place]] = units[unit]
        yield from _combine(rest, filled)


def _arrangements(items: list[int]) -> Iterator[list[int]]:
    """Yield the different orders of sorted items, in lexicographic order (Knuth's Algorithm L)."""
    current = list(items)
    while True:
        yield current
        at = len(current) - 2
        while at >= 0 and current[at] >= current[at + 1]:
            at -= 1
        if at < 0:
            return
        other = len(current) - 1
        while current[other] <= current[at]:
            other -= 1
        current[at], current[other] = current[other], current[at]
        current[at + 1 :] = current[:at:-1]
