"""One family of tests after another: per-person numbers in, rows of tests.tsv out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.features import FISHER_Z
from circuitshift.pipeline.model.contrasts import Question, Rules, Side
from circuitshift.pipeline.model.global_model import Response
from circuitshift.pipeline.model.verdict import Estimate
from circuitshift.pipeline.stats.bayes_factor import bayes_factor
from circuitshift.pipeline.stats.influence import normal_scores
from circuitshift.pipeline.stats.permutation import Contrast, PermutationResult, permutation_test

__all__ = ["MIN_PARTICIPANTS", "FamilyTest", "Labels", "Shared"]


MIN_PARTICIPANTS = 4  # fewer cannot be tested
_TOO_FEW = f"known in both visits in fewer than {MIN_PARTICIPANTS} people"


@dataclass(frozen=True, slots=True)
class Labels:
    """What the rows of one family are called.

    Parameters
    ----------
    family : str
        Of tests.tsv.
    terms : tuple of str
        One per variable.
    tests : tuple of str
        Words for people, one per variable.
    units : tuple of str
    bounds : tuple of float
        Smallest effects of interest; NaN where none is defined.
    sided : bool
        Whether directions fixed beforehand apply to these terms.
    """

    family: str
    terms: tuple[str, ...]
    tests: tuple[str, ...]
    units: tuple[str, ...]
    bounds: tuple[float, ...]
    sided: bool = True


@dataclass(frozen=True, slots=True)
class Shared:
    """Where the variables of a family stand in the influences of a response."""

    response: Response
    columns: npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class FamilyTest:
    """Puts one question to families of variables, whoever is missing.

    Parameters
    ----------
    question : Question
    rules : Rules
    rng : numpy.random.Generator
        Used up by every family.
    n_reference : int
        People of the reference group, for the table.
    ranks : bool
        Test ranks instead of values (`rank_test`).
    unit : str
        Unit of the features, for variables that could not be tested.
    """

    question: Question
    rules: Rules
    rng: np.random.Generator
    n_reference: int = 0
    ranks: bool = False
    unit: str = FISHER_Z

    def family(self, labels: Labels, y: Floats, shared: Shared | None = None) -> list[Estimate]:
        """Test variables as one family.

        Variables known in everybody are corrected by the maximum statistic; one that is unknown
        in somebody is tested on the others and corrected by Bonferroni; the error rate is shared
        in proportion.

        Parameters
        ----------
        labels : Labels
        y : ndarray, shape (n_people, n_variables)
        shared : Shared, optional
            Adds the noise that all people share to the standard errors.

        Returns
        -------
        list of Estimate
            One for every variable; of those known in too few people, one that says so.
        """
        asked = self.question.asked
        available = np.isfinite(y) & asked[:, None]
        whole = (available == asked[:, None]).all(axis=0)
        batches = [np.flatnonzero(whole)] if whole.any() else []
        batches += [np.array([k]) for k in np.flatnonzero(~whole)]
        found: dict[int, Estimate] = {}
        notes: dict[int, str] = {}
        for columns in batches:
            participants = np.asarray(available[:, columns].all(axis=1))
            if participants.sum() < MIN_PARTICIPANTS:
                continue
            question = replace(self.question, weights=None) if self.ranks else self.question
            try:
                contrast = question.contrast(participants)
            except DesignError as error:  # one variable's loss must not take the others along
                if participants.sum() == asked.sum() and not self.question.name:
                    raise
                notes |= dict.fromkeys(columns.tolist(), str(error))
                continue
            values = y[np.ix_(participants, columns)]
            tested = permutation_test(
                normal_scores(values, contrast) if self.ranks else values,
                contrast,
                rng=self.rng,
                n_permutations=self.rules.n_permutations,
                excess_variance=_excess(shared, contrast, participants, columns),
                sides=self._sides([labels.terms[k] for k in columns.tolist()], labels),
            )
            correction = len(labels.terms) / len(columns)
            for place, k in enumerate(columns.tolist()):
                found[k] = self._estimate(
                    labels, k, _Cell(tested, place, correction, participants, contrast.weights)
                )
        return [
            found.get(k)
            or Estimate.unknown(
                self._name(labels.family), term, notes.get(k, _TOO_FEW), unit=self.unit
            )
            for k, term in enumerate(labels.terms)
        ]

    def _sides(self, terms: Sequence[str], labels: Labels) -> list[Side] | None:
        if not labels.sided or self.question.name:
            return None
        return [self.rules.sides.get(term, "two-sided") for term in terms]

    def _name(self, family: str) -> str:
        return f"{self.question.name}: {family}" if self.question.name else family

    def _estimate(self, labels: Labels, k: int, cell: "_Cell") -> Estimate:
        t, at = cell.tested, cell.place
        n, n_control = self.question.counts(cell.participants)
        effective = 1 / float((cell.weights**2).sum())  # n; n1 n2 / (n1 + n2) of two arms
        missing = int(self.question.asked.sum() - cell.participants.sum())
        bound = labels.bounds[k] if self.question.name != "symptom" else np.nan
        equivalence = t.equivalence_p(np.full(len(t.estimate), bound))[at]
        low, high = (float(part[at]) for part in t.p_interval())
        unit = labels.units[k] + " per point" * (self.question.name == "symptom")
        return Estimate(
            test=labels.tests[k] + (f" ({self.question.what})" if self.question.name else ""),
            family=self._name(labels.family),
            term=labels.terms[k],
            estimate=float(t.estimate[at]),
            unit=unit,
            ci_low=float(t.ci_low[at]),
            ci_high=float(t.ci_high[at]),
            se=float(t.se[at]),
            df=float(t.df[at]),
            statistic=float(t.statistic[at]),
            p=float(t.p[at]),
            p_low=low,
            p_high=high,
            p_corrected=float(min(1.0, t.p_corrected[at] * cell.correction)),
            bound=float(bound),
            equivalence_p=float(equivalence),
            bf10=float(bayes_factor(t.statistic[at], t.df[at], effective)),
            n=n,
            n_control=n_control,
            n_reference=self.n_reference,
            method=self._method(t, *(self._sides([labels.terms[k]], labels) or ())),
            note="" if not missing else f"unknown in {missing} people",
        )

    def _method(self, tested: PermutationResult, side: Side = "two-sided") -> str:
        question = self.question
        kind = "sign flips" if question.flips else "label permutation"
        if question.blocks is not None and not question.flips:
            kind += " within blocks"
        if question.nuisance.shape[1] + question.anchored.shape[1]:
            kind = f"Freedman-Lane {kind}"
        if question.weights is not None and not self.ranks:
            kind = f"weighted {kind}"
        statistic = "Welch t" if np.unique(question.group).size > 1 else "t"
        if self.ranks:
            statistic += " of normal scores"
        drawn = tested.n_permutations - (not tested.exact)
        sided = "" if side == "two-sided" else f", one-sided ({side})"
        exact = "all" if tested.exact else "random"
        return f"{statistic}{sided}, {kind}, {drawn} ({exact}), max-T"


@dataclass(frozen=True, slots=True)
class _Cell:
    tested: PermutationResult
    place: int
    correction: float
    participants: npt.NDArray[np.bool_]
    weights: Floats


def _excess(
    shared: Shared | None,
    contrast: Contrast,
    participants: npt.NDArray[np.bool_],
    columns: npt.NDArray[np.intp],
) -> Floats | None:
    if shared is None:
        return None
    weights = np.zeros(len(participants))
    weights[participants] = contrast.weights * contrast.scale
    return shared.response.excess_variance(weights)[shared.columns[columns]]
