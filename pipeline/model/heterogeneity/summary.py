"""What the verdict needs to know about heterogeneity and about rival explanations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

__all__ = ["OMNIBUS_SHARE", "Explanation", "Heterogeneity", "Row", "explanations_of"]

#: Share of the significance level at which the omnibus test rejects one global law. In a study in
#: which nothing happens, the verdict can then err in three ways: by a global term and by a circuit,
#: with a probability of alpha each, and by ``widespread``, with .4 alpha.
OMNIBUS_SHARE = 0.4

ExplanationKind = Literal["regional", "graded", "quality"]

_MIN_SHARE = 0.5  # share of a circuit's change that an explanation must predict


class Row(Protocol):
    """Describe what is read of a row of tests.tsv.

    `circuitshift.pipeline.model.verdict.Estimate` is such a row.
    """

    @property
    def family(self) -> str:
        """Family of the test."""

    @property
    def term(self) -> str:
        """Circuit, block or global term."""

    @property
    def unit(self) -> str:
        """Unit of the estimate."""

    @property
    def estimate(self) -> float:
        """Estimate."""

    @property
    def se(self) -> float:
        """Standard error."""

    @property
    def ci_low(self) -> float:
        """Lower 95 % limit."""

    @property
    def ci_high(self) -> float:
        """Upper 95 % limit."""

    @property
    def p(self) -> float:
        """Permutation p of this test alone."""


@dataclass(frozen=True, slots=True)
class Heterogeneity:
    """Summarise how much change differs between blocks of the background beyond one global law.

    Parameters
    ----------
    source : str
        Where the blocks come from, such as pairs of networks of the atlas.
    n_blocks : int
        Number of blocks; 0 if heterogeneity was not tested.
    tau : float
        Standard deviation of true change over blocks, beyond the global model
        (`circuitshift.pipeline.model.heterogeneity.variance.moment_tau`).
    ci_low, ci_high : float
        95 % confidence interval of `tau`.
    upper : float
        Upper confidence limit of `tau` for a one-sided test of equivalence at alpha.
    tau_reml : float
        Restricted maximum likelihood estimate, as a check of `tau`.
    p : float
        p value of the omnibus test of one global law: the smallest corrected p of all blocks.
    smallest : float
        Smallest heterogeneity of interest, in the unit of `tau`; NaN where none is defined.
    reason : str
        Reason why heterogeneity was not tested; empty if it was.
    level : float
        Significance level of the omnibus test.
    p_among_peers : mapping of str to float
        Corrected p value of the test whether each circuit changed more than blocks of its own kind
        (within a network, or between networks); used where the change is widespread.
    """

    source: str
    n_blocks: int
    tau: float
    ci_low: float
    ci_high: float
    upper: float
    tau_reml: float
    p: float
    smallest: float
    reason: str = ""
    level: float = 0.02
    p_among_peers: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def unknown(
        cls, reason: str, *, smallest: float = float("nan"), source: str = ""
    ) -> "Heterogeneity":
        """Return the summary of a study in which heterogeneity could not be tested.

        Parameters
        ----------
        reason : str
            Reason; a clause without a full stop.
        smallest : float
            Smallest heterogeneity of interest.
        source : str
            Where the blocks come from.

        Returns
        -------
        Heterogeneity
            No blocks, and NaN for all estimates.
        """
        nan = float("nan")
        return cls(source, 0, nan, nan, nan, nan, nan, nan, smallest, reason)

    def rejects_one_law(self) -> bool:
        """Return whether the omnibus test rejects one global law for all blocks."""
        return self.p < self.level

    def is_of_interest(self, largest: float) -> bool:
        """Return whether the heterogeneity is large enough to be reported as widespread change.

        Parameters
        ----------
        largest : float
            Largest absolute residual change among the significant blocks.

        Returns
        -------
        bool
            True if `tau` is at least the smallest heterogeneity of interest, or if a block changed
            by more than twice that value, which few blocks do when tau has this value. Also True
            where no smallest heterogeneity of interest is defined.
        """
        if np.isnan(self.smallest):
            return True
        return self.tau >= self.smallest or largest > 2 * self.smallest

    def is_excluded(self) -> bool:
        """Return whether heterogeneity as large as the smallest of interest is excluded."""
        return self.upper < self.smallest


@dataclass(frozen=True, slots=True)
class Explanation:
    """State how much of a circuit's change a rival explanation predicts.

    Parameters
    ----------
    circuit : str
        Name of the circuit.
    kind : {"regional", "graded", "quality"}
        Change of the circuit's regions in all their connections; gain graded along the cortical
        hierarchy; measured change of signal quality.
    part, part_low, part_high : float
        Change that the explanation predicts, and its 95 % confidence interval.
    rest, rest_low, rest_high : float
        Change that is left, and its 95 % confidence interval.
    explains : bool
        Whether the explanation accounts for the change: the predicted part differs from 0, has the
        direction of the change and at least half of its size, and the interval of the rest
        contains 0.
    """

    circuit: str
    kind: ExplanationKind
    part: float
    part_low: float
    part_high: float
    rest: float
    rest_low: float
    rest_high: float
    explains: bool


def explanations_of(estimates: Sequence[Row], circuits: Sequence[Row]) -> tuple[Explanation, ...]:
    """Collect the rival explanations of circuits that changed.

    Parameters
    ----------
    estimates : sequence of Row
        All tests of the study.
    circuits : sequence of Row
        Tests of the circuits that changed.

    Returns
    -------
    tuple of Explanation
        One for each circuit and each explanation that was tested.
    """
    rows = {(e.family, e.term): e for e in estimates if e.family.startswith("specific, ")}
    out = []
    kinds: tuple[ExplanationKind, ...] = ("regional", "graded", "quality")
    for circuit in circuits:
        for kind in kinds:
            part = rows.get((f"specific, {kind} part", circuit.term))
            remaining = "node-adjusted" if kind == "regional" else f"{kind} rest"
            rest = rows.get((f"specific, {remaining}", circuit.term))
            if part is None or rest is None or not np.isfinite([part.se, rest.se]).all():
                continue
            explains = (
                not part.ci_low <= 0 <= part.ci_high
                and rest.ci_low <= 0 <= rest.ci_high
                and part.estimate * np.sign(circuit.estimate) >= _MIN_SHARE * abs(circuit.estimate)
            )
            out.append(
                Explanation(
                    circuit=circuit.term,
                    kind=kind,
                    part=part.estimate,
                    part_low=part.ci_low,
                    part_high=part.ci_high,
                    rest=rest.estimate,
                    rest_low=rest.ci_low,
                    rest_high=rest.ci_high,
                    explains=bool(explains),
                )
            )
    return tuple(out)
