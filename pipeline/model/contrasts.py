"""The data of one study as arrays, and the questions that its design lets one ask of a change."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.records import Background
from circuitshift.pipeline.stats.permutation import Contrast, contrast_of

__all__ = ["Levels", "Question", "Rules", "Side", "Visits", "questions_of"]

Side = Literal["two-sided", "increase", "decrease"]


_SESOI_Z = 0.1  # the default smallest effect of interest, Fisher z

_PER_PERSON = ("treated", "covariates", "motion_mm", "factor", "symptom", "blocks", "weights")


@dataclass(frozen=True, slots=True)
class Visits:
    """Features of one study, each of shape (n, n_features); NaN where a feature is missing.

    Parameters
    ----------
    baseline, followup : ndarray
        The same people in the same order. In a crossover: before and after the treatment.
    features : FeatureSpace
        What the columns are: edges or regions, with their unit and, for edges, their length.
    treated : ndarray of bool, optional
        Who was treated; None when everybody was (one arm, crossover).
    reference, reference_again : ndarray, optional
        Healthy people; their second visit, in the same order, NaN for whoever has none.
    baseline_only : ndarray, optional
        Patients without follow-up; they sharpen the means.
    covariates : ndarray, shape (n, n_covariates), optional
        Nuisance; centred by the model. NaN is replaced by the column's mean.
    motion_mm : ndarray, shape (n,), optional
        Change in mean framewise displacement; nuisance with a meaningful zero: without a control
        arm the estimates are of the change at unchanged motion.
    control_baseline, control_followup : ndarray, optional
        Crossover: the same people before and after the control condition.
    factor : ndarray of bool, shape (n,), optional
        A second treatment crossed with the first: therapy beside drug.
    symptom : ndarray, shape (n,), optional
        Change of a score; NaN when unknown.
    blocks : ndarray of int, shape (n,), optional
        Labels are exchanged within blocks (sites) only.
    weights : ndarray, shape (n,), optional
        Of people, above 0: how precisely each change is measured.
    global_signal_removed : bool
        True for data after global signal regression: the global terms are then meaningless.
    """

    baseline: Floats
    followup: Floats
    features: FeatureSpace
    treated: Bools | None = None
    reference: Floats | None = None
    baseline_only: Floats | None = None
    covariates: Floats | None = None
    motion_mm: Floats | None = None
    control_baseline: Floats | None = None
    control_followup: Floats | None = None
    factor: Bools | None = None
    symptom: Floats | None = None
    blocks: npt.NDArray[np.intp] | None = None
    global_signal_removed: bool = False
    reference_again: Floats | None = None
    weights: Floats | None = None

    def __post_init__(self) -> None:
        shape = self.baseline.shape
        if len(shape) != 2:
            raise DesignError(f"baseline has shape {shape}; give one row per participant")
        if shape != self.followup.shape:
            raise DesignError(
                f"baseline has shape {shape}, follow-up {self.followup.shape}; "
                f"they must hold the same people and {self.features.plural} in the same order"
            )
        for name in ("baseline", "followup", "reference", "baseline_only", "reference_again"):
            other = getattr(self, name)
            if other is not None:
                self.features.check_shape(name, other)
                self.features.check_range(name, other)
        for name in (
            "treated",
            "covariates",
            "motion_mm",
            "factor",
            "symptom",
            "blocks",
            "weights",
        ):
            other = getattr(self, name)
            if other is not None and len(other) != shape[0]:
                raise DesignError(
                    f"{name} has {len(other)} rows for {shape[0]} people; give one each"
                )
        if self.weights is not None and not (np.asarray(self.weights) > 0).all():
            raise DesignError("weights of people must be above 0; leave people out instead")
        for name in ("treated", "factor"):
            other = getattr(self, name)
            if other is not None and np.asarray(other).dtype != bool:
                raise DesignError(
                    f"{name} must be an array of bool, True for who has it; got "
                    f"{type(other).__name__} of {np.asarray(other).dtype}"
                )
        self._check_crossover()

    def _check_crossover(self) -> None:
        pair = (self.control_baseline, self.control_followup)
        if (pair[0] is None) != (pair[1] is None):
            raise DesignError("a crossover needs both visits of the control condition")
        if self.is_crossover and self.treated is not None:
            raise DesignError("in a crossover everybody is treated: leave `treated` out")
        for part in pair:
            if part is not None and part.shape != self.baseline.shape:
                raise DesignError(
                    f"the control condition has shape {part.shape}, the treatment "
                    f"{self.baseline.shape}; they must hold the same people and "
                    f"{self.features.plural}"
                )
            if part is not None:
                self.features.check_range("the control condition", part)

    @property
    def is_crossover(self) -> bool:
        """Whether each person has both conditions."""
        return self.control_baseline is not None

    @property
    def controlled(self) -> bool:
        """Whether change by treatment can be told from change with time."""
        return self.treated is not None or self.is_crossover

    @property
    def before(self) -> Floats:
        """Baseline; in a crossover the mean of both, or the available one of a feature."""
        if self.control_baseline is None:
            return self.baseline
        both = np.array([self.baseline, self.control_baseline])
        available = np.isfinite(both)
        out = np.full(self.baseline.shape, np.nan)
        total = np.where(available, both, 0.0).sum(axis=0)
        np.divide(total, available.sum(axis=0), out=out, where=available.any(axis=0))
        return out

    @property
    def change(self) -> Floats:
        """Follow-up minus baseline; in a crossover, minus the same in the control condition."""
        change = self.followup - self.baseline
        if self.control_baseline is None or self.control_followup is None:
            return change
        return change - (self.control_followup - self.control_baseline)


@dataclass(frozen=True, slots=True)
class Levels:
    """All visits of all participants, one row per visit.

    Parameters
    ----------
    z : ndarray, shape (n_rows, n_features)
        Features of the visit.
    person : ndarray of int, shape (n_rows,)
        Number of the participant.
    owner : ndarray of int, shape (n_rows,)
        Row of the participant in the baseline of the model; -1 without a baseline.
    visit : ndarray of int, shape (n_rows,)
        Position in `names`; 0 is the baseline.
    names : tuple of str
        Labels of the visits in the order of time.
    days : tuple of float
        Day of each visit; empty when unknown.
    treated : ndarray of bool, shape (n_rows,), or None
        Whether the participant belongs to the treated arm; None with one arm.
    motion_mm : ndarray, shape (n_rows,), or None
        Mean framewise displacement of the visit, mm.
    covariates : ndarray, shape (n_rows, n_covariates)
        Covariates of the participant, including indicators of sites; each may change the time
        course.
    """

    z: Floats
    person: npt.NDArray[np.intp]
    owner: npt.NDArray[np.intp]
    visit: npt.NDArray[np.intp]
    names: tuple[str, ...]
    days: tuple[float, ...]
    treated: npt.NDArray[np.bool_] | None
    motion_mm: Floats | None
    covariates: Floats


@dataclass(frozen=True, slots=True)
class Rules:
    """How to test and decide.

    Parameters
    ----------
    n_permutations : int
    alpha : float
        Family-wise error rate.
    sesoi : float, optional
        Smallest effect of interest in the unit of the features: of a typical background feature
        for global terms, of the circuit's mean for specific ones. The default is .1 for Fisher z;
        for other units equivalence is not tested without it.
    sides : mapping of str to {"increase", "decrease"}
        Circuits whose direction was fixed beforehand; the others are tested two-sided.
    background : {"all", "disjoint", "matched"}
        Features that define the global law: all that are in no circuit; those that also share no
        region with one; or those whose strength and length are like the circuits'.
    """

    n_permutations: int = 5000
    alpha: float = 0.05
    sesoi: float | None = None
    sides: Mapping[str, Side] = field(default_factory=dict)
    background: Background = "all"

    def smallest_effect(self, features: FeatureSpace) -> float:
        """Return the smallest effect of interest in the unit of some features.

        Parameters
        ----------
        features : FeatureSpace

        Returns
        -------
        float
            NaN when none is stated for a unit other than Fisher z.
        """
        if self.sesoi is not None:
            return self.sesoi
        return _SESOI_Z if features.is_fisher_z else float("nan")


@dataclass(frozen=True, slots=True)
class Question:
    """One coefficient of a linear model over people.

    Parameters
    ----------
    name : str
        Empty for the question that the verdict answers; else a prefix of families.
    what : str
        What a positive estimate means.
    interest : ndarray, shape (n,)
        NaN for people who are not asked.
    nuisance, anchored : ndarray, shape (n, n_columns)
        Centred; and not (`contrast_of`).
    group : ndarray of int, shape (n,)
        Variance groups.
    flips : bool
    blocks : ndarray of int or None
    weights : ndarray, shape (n,), or None
    """

    name: str
    what: str
    interest: Floats
    nuisance: Floats
    anchored: Floats
    group: npt.NDArray[np.intp]
    flips: bool
    blocks: npt.NDArray[np.intp] | None
    weights: Floats | None = None

    def contrast(self, participants: Bools) -> Contrast:
        """Contrast over some people, all of them with a known `interest`."""
        interest = self.interest[participants]
        for value in np.unique(interest) if self._is_binary() else ():
            if (interest == value).sum() < 2:
                raise DesignError(
                    f"{self.what}: only {(interest == value).sum()} person has both visits on one "
                    "side; each arm needs at least two"
                )
        if not self.flips and np.ptp(interest) == 0:
            raise DesignError(f"{self.what}: everybody has the same value, nothing to compare")
        return contrast_of(
            interest,
            nuisance=self.nuisance[participants],
            anchored=self.anchored[participants],
            group=self.group[participants],
            blocks=None if self.blocks is None else self.blocks[participants],
            flips=self.flips,
            weights=None if self.weights is None else self.weights[participants],
        )

    def _is_binary(self) -> bool:
        return not self.flips and np.unique(self.interest[self.asked]).size == 2

    @property
    def asked(self) -> Bools:
        """Who is asked."""
        return np.isfinite(self.interest)

    def counts(self, participants: Bools) -> tuple[int, int]:
        """Return people on the positive side, and on the other; all and 0 unless two arms."""
        if not self._is_binary():
            return int(participants.sum()), 0
        high = self.interest[participants] == np.nanmax(self.interest)
        return int(high.sum()), int((~high).sum())


def questions_of(visits: Visits) -> tuple[Question, ...]:
    """Return the questions of a design, the first for the verdict.

    Parameters
    ----------
    visits : Visits

    Returns
    -------
    tuple of Question
        Change by treatment (of everybody; treated minus control; treatment minus control condition
        in a crossover). With a factor: its main effect and the interaction, effect-coded, so that
        the first question is the average over its levels. With a score: the slope on its change,
        within arms.
    """
    n = len(visits.baseline)
    covariates = _filled(visits.covariates, n)
    motion = np.empty((n, 0)) if visits.motion_mm is None else visits.motion_mm[:, None]
    arms = None if visits.treated is None else visits.treated.astype(float)
    factor = None if visits.factor is None else visits.factor.astype(float)
    group = np.zeros(n, np.intp)
    if arms is not None:
        group += arms.astype(np.intp)
    if factor is not None:
        group += 2 * factor.astype(np.intp)
    columns = {
        "arm": None if arms is None else arms - 0.5,
        "factor": None if factor is None else factor - 0.5,
    }
    if arms is not None and factor is not None:
        columns["interaction"] = (arms - 0.5) * (factor - 0.5)

    def others(*without: str) -> Floats:
        more = [c[:, None] for name, c in columns.items() if c is not None and name not in without]
        return np.hstack([covariates, *more])

    def ask(name: str, what: str, interest: Floats, *without: str) -> Question:
        return Question(name, what, interest, others(*without), motion, group, False, visits.blocks)

    if arms is None:
        what = "treatment minus control condition" if visits.is_crossover else "follow-up"
        # not centred: effect-coded, the first question is the average over the factor's levels
        fixed = [motion] if factor is None else [motion, (factor - 0.5)[:, None]]
        one = np.ones(n), covariates, np.hstack(fixed), np.zeros(n, np.intp)
        out = [Question("", what, *one, flips=True, blocks=None)]
    else:
        out = [ask("", "treated minus control", arms, "arm")]
    if factor is not None:
        out.append(ask("factor", "with minus without the factor", factor, "factor"))
        if arms is not None:
            what = "treated with the factor, beyond both apart"
            out.append(ask("interaction", what, arms * factor, "interaction"))
    if visits.symptom is not None:
        out.append(ask("symptom", "per unit of symptom change", visits.symptom.astype(float)))
    return tuple(replace(question, weights=visits.weights) for question in out)


def _filled(covariates: Floats | None, n: int) -> Floats:
    """Replace what is unknown by the mean of its column."""
    if covariates is None:
        return np.empty((n, 0))
    available = np.isfinite(covariates)
    mean = np.where(available, covariates, 0.0).sum(axis=0) / np.maximum(available.sum(axis=0), 1)
    return np.where(available, covariates, mean)
