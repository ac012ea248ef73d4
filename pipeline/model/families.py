"""Families of tests: from one value per participant and variable to rows of tests.tsv."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.features import FISHER_Z
from circuitshift.pipeline.model.contrasts import Question, Rules, Side
from circuitshift.pipeline.model.heterogeneity.block_variation import BlockVariation
from circuitshift.pipeline.model.heterogeneity.random_effects import TestOptions
from circuitshift.pipeline.model.verdict import Estimate
from circuitshift.pipeline.stats.bayes_factor import bayes_factor
from circuitshift.pipeline.stats.detectable import power_of_t
from circuitshift.pipeline.stats.influence import normal_scores
from circuitshift.pipeline.stats.permutation import Contrast, PermutationResult, permutation_test

__all__ = ["MIN_PARTICIPANTS", "FamilyTest", "Labels", "Shared", "SharedNoise"]


MIN_PARTICIPANTS = 4  # participants needed for a test
_MOSTLY_SHARED = (
    "much of the standard error is noise that all participants share, which is treated as known; "
    "df exceeds the number of participants, and the interval can be too narrow"
)
_TOO_FEW = f"available at both visits in fewer than {MIN_PARTICIPANTS} participants"


@dataclass(frozen=True, slots=True)
class Labels:
    """Label the variables of one family for tests.tsv.

    Parameters
    ----------
    family : str
        Name of the family.
    terms : tuple of str
        Name of each variable: global term or circuit.
    tests : tuple of str
        Description of each test for the reader of the table.
    units : tuple of str
        Unit of each variable.
    bounds : tuple of float
        Smallest effect of interest of each variable, in its unit; NaN where none is defined.
    bound_d : float
        Smallest effect of interest in standard deviations between participants of one arm, for
        variables whose `bounds` are NaN; NaN if none is defined.
    sided : bool
        Whether the predefined directions of `Rules.sides` apply to these variables.
    """

    family: str
    terms: tuple[str, ...]
    tests: tuple[str, ...]
    units: tuple[str, ...]
    bounds: tuple[float, ...]
    sided: bool = True
    bound_d: float = np.nan


class SharedNoise(Protocol):
    """Provide the variance that estimates of all participants share.

    `circuitshift.pipeline.model.global_model.Response` is an example.
    """

    def excess_variance(self, weights: Floats) -> Floats:
        """Return the variance to add to that of a contrast, for each column."""


@dataclass(frozen=True, slots=True)
class Shared:
    """Locate the variables of a family among the columns of a source of shared noise.

    Parameters
    ----------
    response : SharedNoise
        Source of the variance, such as a response with its shared regressors.
    columns : ndarray of int, shape (n_variables,)
        Column of each variable in ``response.excess_variance``.
    """

    response: SharedNoise
    columns: npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class FamilyTest:
    """Apply one question to families of variables, with or without missing values.

    Parameters
    ----------
    question : Question
        Contrast to test.
    rules : Rules
        Settings of the tests.
    rng : numpy.random.Generator
        Source of the relabellings; each family advances it.
    n_reference : int
        Number of reference participants, for the table.
    ranks : bool
        Whether normal scores of the ranks are tested instead of the values
        (`circuitshift.pipeline.stats.influence.normal_scores`).
    unit : str
        Unit of the features, for variables that could not be tested.
    """

    question: Question
    rules: Rules
    rng: np.random.Generator
    n_reference: int = 0
    ranks: bool = False
    unit: str = FISHER_Z

    def family(
        self,
        labels: Labels,
        y: Floats,
        shared: Shared | None = None,
        *,
        baseline: Floats | None = None,
        against: BlockVariation | None = None,
    ) -> list[Estimate]:
        """Test variables as one family.

        Variables that are available in the same participants are tested together, in these
        participants, and corrected by the maximum statistic. The family-wise error rate is divided
        among these tests in proportion to their numbers of variables (weighted Bonferroni
        correction).

        Parameters
        ----------
        labels : Labels
            Labels of the variables.
        y : ndarray, shape (n_participants, n_variables)
            Values; NaN where missing.
        shared : Shared, optional
            Source of the variance due to shared regressors, which is added to that of the
            estimates.
        baseline : ndarray, shape (n_participants, n_variables), optional
            Baseline of each variable, for which questions that adjust for the baseline
            (`Question.adjusts`) adjust it; NaN where missing.
        against : BlockVariation, optional
            Variation over blocks of the background that is added to the sampling variance, so that
            a circuit must have changed more than blocks do. By default, the tested value is 0.

        Returns
        -------
        list of Estimate
            One row per variable. The row of a variable that could not be tested holds NaN and a
            note that states the reason.

        Raises
        ------
        DesignError
            If the contrast of the verdict cannot be estimated in the complete sample.
        """
        asked = self.question.asked
        if not self.question.adjusts:
            baseline = None
        available = np.isfinite(y) & asked[:, None]
        if baseline is not None:
            available &= np.isfinite(baseline)
        batches = _alike(available)
        rows: dict[int, Estimate] = {}
        notes: dict[int, str] = {}
        for columns in batches:
            participants = np.asarray(available[:, columns].all(axis=1))
            if participants.sum() < MIN_PARTICIPANTS:
                continue
            question = replace(self.question, weights=None) if self.ranks else self.question
            try:
                contrast = question.contrast(participants)
            except DesignError as error:  # missing values of one variable must not stop the others
                if participants.sum() == asked.sum() and not self.question.name:
                    raise
                notes |= dict.fromkeys(columns.tolist(), str(error))
                continue
            at = np.ix_(participants, columns)
            values, before = y[at], None if baseline is None else baseline[at]
            if self.ranks:  # ranks of both (Conover & Iman 1982, doi:10.2307/2530051)
                values = normal_scores(values, contrast)
                before = None if before is None else normal_scores(before, contrast)
            models, reason = _models(contrast, len(columns), before)
            adjusts = baseline is not None and not reason
            terms = [labels.terms[k] for k in columns.tolist()]
            options: TestOptions = {
                "rng": self.rng,
                "n_permutations": self.rules.n_permutations,
                "excess_variance": _excess(shared, models, participants, columns),
                "sides": self._sides(terms, labels),
            }
            random = against and against.test(
                values,
                terms,
                contrast,
                participants,
                models=models if adjusts else None,
                **options,
            )
            tested = (
                random.circuits
                if random
                else permutation_test(
                    values,
                    models if adjusts else contrast,
                    **options,
                )
            )
            plain = (random.plain_t, random.plain_df) if random else (tested.statistic, tested.df)
            support = bayes_factor(*plain, [1 / (model.weights**2).sum() for model in models])
            spread = _spread(values, contrast.group)
            correction = len(labels.terms) / len(columns)
            for place, k in enumerate(columns.tolist()):
                cell = _Cell(
                    tested,
                    place,
                    correction,
                    participants,
                    float(support[place]),
                    float(plain[1][place]),
                    float(spread[place]),
                    adjusts=adjusts,
                    reason=reason,
                    random_effects=bool(random),
                )
                rows[k] = self._estimate(labels, k, cell)
        return [
            rows.get(k)
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
        """Return the row of one variable."""
        t, at = cell.tested, cell.place
        n, n_control = self.question.counts(cell.participants)
        bound = labels.bounds[k] if np.isfinite(labels.bounds[k]) else labels.bound_d * cell.sd
        bound = bound if self.question.name != "symptom" else np.nan
        level = self.rules.alpha / len(labels.terms)
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
            bf10=cell.bf10,
            n=n,
            n_control=n_control,
            n_reference=self.n_reference,
            method=self._method(cell, *(self._sides([labels.terms[k]], labels) or ())),
            note=self._note(cell),
            sd=cell.sd,
            smallest_p=float(min(1.0, t.smallest_p[at] * cell.correction)),
            power=float(power_of_t(bound, t.se[at], t.df[at], level)),
        )

    def _note(self, cell: "_Cell") -> str:
        """Remark on missing values, degrees of freedom, and an adjustment that was not possible."""
        missing = int(self.question.asked.sum() - cell.participants.sum())
        notes = [f"missing in {missing} participant{'s' * (missing > 1)}"] if missing else []
        if cell.plain_df > 2 * cell.participants.sum():
            notes.append(_MOSTLY_SHARED)
        return "; ".join([*notes, *filter(None, [cell.reason])])

    def _method(self, cell: "_Cell", side: Side = "two-sided") -> str:
        """Describe the statistic and the permutation scheme."""
        question, tested = self.question, cell.tested
        kind = "sign flips" if question.flips else "label permutation"
        if question.blocks is not None and not question.flips:
            kind += " within blocks"
        if question.nuisance.shape[1] + question.anchored.shape[1] or cell.adjusts:
            kind = f"Freedman-Lane {kind}"
        if question.weights is not None and not self.ranks:
            kind = f"weighted {kind}"
        statistic = "Welch t" if np.unique(question.group).size > 1 else "t"
        if self.ranks:
            statistic += " of normal scores"
        if cell.adjusts:
            statistic += " adjusted for the baseline"
        if cell.random_effects:
            statistic += " with random effects over blocks"
        drawn = tested.n_permutations - (not tested.exact)
        sided = "" if side == "two-sided" else f", one-sided ({side})"
        exact = "all" if tested.exact else "random"
        return f"{statistic}{sided}, {kind}, {drawn} ({exact}), max-T"


@dataclass(frozen=True, slots=True)
class _Cell:
    """One variable of a joint test."""

    tested: PermutationResult
    place: int  # position of the variable in the test
    correction: float  # Bonferroni factor of the test
    participants: npt.NDArray[np.bool_]
    bf10: float  # of the estimate against 0, without the variance over blocks
    plain_df: float  # degrees of freedom without the variance over blocks
    sd: float  # standard deviation between participants of one arm
    adjusts: bool  # for the baseline
    reason: str  # why an intended adjustment was not possible
    random_effects: bool  # whether the variance over blocks is included


def _alike(available: Bools) -> list[npt.NDArray[np.intp]]:
    """Divide variables by the participants in whom they are available, most participants first."""
    kinds, which = np.unique(available, axis=1, return_inverse=True)
    order = np.argsort(-kinds.sum(axis=0), kind="stable")
    return [np.flatnonzero(which.reshape(-1) == k) for k in order]


def _models(
    contrast: Contrast, n_variables: int, baseline: Floats | None
) -> tuple[tuple[Contrast, ...], str]:
    """Return the model of each variable, and the reason if an adjustment is not possible."""
    if baseline is None:
        return (contrast,) * n_variables, ""
    try:
        return contrast.with_own_columns(baseline), ""
    except DesignError as error:
        return (contrast,) * n_variables, f"{error}; changes are compared instead"


def _spread(values: Floats, group: npt.NDArray[np.intp]) -> Floats:
    """Return the standard deviation of each variable between participants of one arm."""
    numbers = np.unique(group)
    squares = sum(
        ((values[group == g] - values[group == g].mean(axis=0)) ** 2).sum(axis=0) for g in numbers
    )
    return np.asarray(np.sqrt(squares / max(1, len(values) - len(numbers))))


def _excess(
    shared: Shared | None,
    models: Sequence[Contrast],
    participants: npt.NDArray[np.bool_],
    columns: npt.NDArray[np.intp],
) -> Floats | None:
    """Return the variance due to shared regressors, for the variables of a test."""
    if shared is None:
        return None
    out = np.empty(len(columns))
    found: dict[int, Floats] = {}  # variables may share one model
    for place, (model, column) in enumerate(zip(models, columns.tolist(), strict=True)):
        if id(model) not in found:
            weights = np.zeros(len(participants))
            weights[participants] = model.weights * model.scale
            found[id(model)] = shared.response.excess_variance(weights)
        out[place] = found[id(model)][shared.columns[column]]
    return out
