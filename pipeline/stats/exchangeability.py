"""Relabellings of participants that a null hypothesis allows: sign flips and permutations.

Blocks within which or as which participants are exchangeable follow Winkler, Webster, Vidaurre,
Nichols & Smith (2015, doi:10.1016/j.neuroimage.2015.05.092).
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
    """Define the relabellings of participants that are exchangeable under the null hypothesis.

    Parameters
    ----------
    kinds : ndarray of int, shape (n_participants,)
        Labels of identical rows of the design. Exchanging participants with the same label changes
        nothing, so that only relabellings that differ are enumerated.
    flips : bool
        Whether signs are flipped (True) or participants are permuted (False).
    blocks : ndarray of int, shape (n_participants,), optional
        Block (site, pair) of each participant; permutations stay within blocks.
    whole_blocks : bool
        Whether blocks (families, clusters) are exchanged as units instead (whole-block
        exchangeability): all participants of a block flip together, or blocks of equal size are
        permuted.

    Raises
    ------
    DesignError
        If block labels are missing or do not match the participants, or if no two blocks that are
        exchanged as units have the same size.
    """

    kinds: Ints
    flips: bool
    blocks: Ints | None = None
    whole_blocks: bool = False

    def __post_init__(self) -> None:
        if self.blocks is None:
            if self.whole_blocks:
                raise DesignError("blocks can be exchanged as units only when blocks are given")
            return
        if len(self.blocks) != len(self.kinds):
            raise DesignError(
                f"{len(self.blocks)} block labels for {len(self.kinds)} participants; give one "
                "label per participant"
            )
        sizes = np.unique(self.blocks, return_counts=True)[1]
        if self.whole_blocks and not self.flips and np.unique(sizes).size == sizes.size > 1:
            raise DesignError(
                "no two blocks have the same size, so that no blocks can be exchanged; exchange "
                "participants within blocks instead"
            )

    @cached_property
    def members(self) -> list[Ints]:
        """Positions of the participants of each block."""
        if self.blocks is None:
            return [np.arange(len(self.kinds))]
        return [np.flatnonzero(self.blocks == b) for b in np.unique(self.blocks)]

    def count(self) -> int:
        """Return the number of distinct relabellings, including the observed one."""
        if self.flips:
            return int(2 ** len(self.members)) if self.whole_blocks else int(2 ** len(self.kinds))
        total = 1
        for units in self._units():
            left = len(units)
            for size in np.unique(units, return_counts=True)[1].tolist():
                total *= comb(left, size)
                left -= size
        return total

    def has_opposite(self) -> bool:
        """Return whether one relabelling reverses the sign of every effect.

        Returns
        -------
        bool
            True for sign flips, and for two kinds of participants that are equally frequent in
            each block, which can be exchanged completely.
        """
        if self.flips:
            return True
        kinds = np.unique(self.kinds)
        return kinds.size == 2 and all(
            (np.asarray(units) == kinds[0]).sum() * 2 == len(units) for units in self._units()
        )

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Ints, bool]:
        """Draw or enumerate relabellings.

        Parameters
        ----------
        n : int
            Number of random relabellings. All relabellings are enumerated instead when there are at
            most ``n + 1``.
        rng : numpy.random.Generator
            Source of random relabellings.

        Returns
        -------
        relabellings : ndarray of int, shape (n_relabellings, n_participants)
            Signs of the participants, or position of the participant that moves to each row.
        exact : bool
            Whether all relabellings, including the observed one, were enumerated.
        """
        if self.count() <= n + 1:
            rows = list(self._all())
            return np.array(rows, int), True
        if self.flips:
            if not self.whole_blocks:
                return 1 - 2 * rng.integers(0, 2, (n, len(self.kinds))), False
            signs = 1 - 2 * rng.integers(0, 2, (n, len(self.members)))
            out = np.ones((n, len(self.kinds)), int)
            for k, participants in enumerate(self.members):
                out[:, participants] = signs[:, k : k + 1]
            return out, False
        if self.whole_blocks:
            return np.array([self._exchange_blocks(rng) for _ in range(n)]), False
        out = np.tile(np.arange(len(self.kinds)), (n, 1))
        for participants in self.members:
            out[:, participants] = rng.permuted(out[:, participants], axis=1)
        return out, False

    # --- enumeration ------------------------------------------------------------------------------

    def _units(self) -> list[Ints]:
        """Return the kinds of the exchangeable units, for each set of them."""
        if not self.whole_blocks:
            return [self.kinds[participants] for participants in self.members]
        return [self._block_kinds(blocks) for blocks in self._equal_blocks()]

    def _equal_blocks(self) -> list[list[Ints]]:
        """Return the blocks of each size."""
        sizes = sorted({len(participants) for participants in self.members})
        return [[p for p in self.members if len(p) == size] for size in sizes]

    def _block_kinds(self, blocks: Sequence[Ints]) -> Ints:
        """Return equal numbers for blocks with equal rows of the design."""
        rows = np.array([self.kinds[participants] for participants in blocks])
        return np.asarray(np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1))

    def _all(self) -> Iterator[Ints]:
        """Yield all distinct relabellings."""
        if self.flips:
            groups = (
                self.members
                if self.whole_blocks
                else [np.array([k]) for k in range(len(self.kinds))]
            )
            for number in range(2 ** len(groups)):
                row = np.ones(len(self.kinds), int)
                for bit, participants in enumerate(groups):
                    row[participants] = -1 if number >> bit & 1 else 1
                yield row
            return
        if self.whole_blocks:
            parts: list[tuple[list[Ints], Ints]] = [
                (blocks, self._block_kinds(blocks)) for blocks in self._equal_blocks()
            ]
        else:
            parts = [([np.array([p]) for p in m], self.kinds[m]) for m in self.members]
        yield from _combine(parts, np.arange(len(self.kinds)))

    def _exchange_blocks(self, rng: np.random.Generator) -> Ints:
        """Draw one random permutation of blocks of equal size."""
        row = np.arange(len(self.kinds))
        for blocks in self._equal_blocks():
            for place, k in zip(blocks, rng.permutation(len(blocks)).tolist(), strict=True):
                row[place] = blocks[k]
        return row


def _combine(parts: Sequence[tuple[list[Ints], Ints]], row: Ints) -> Iterator[Ints]:
    """Yield all combinations of the distinct arrangements of each part."""
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
    """Yield the distinct orders of sorted items, in lexicographic order.

    This is Algorithm L of Knuth (The Art of Computer Programming, volume 4A, section 7.2.1.2).
    """
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
