"""The data and the design of one study as arrays, and the contrasts that the design allows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.features import FISHER_Z, FeatureSpace
from circuitshift.pipeline.records import Background
from circuitshift.pipeline.stats.permutation import Contrast, contrast_of

__all__ = ["Levels", "Question", "Rules", "Side", "Visits", "questions_of"]

Side = Literal["two-sided", "increase", "decrease"]


_SESOI_SHIFT_Z = 0.05  # default smallest shift of interest, Fisher z
_SESOI_TAU_Z = 0.02  # default smallest heterogeneity of interest, Fisher z


@dataclass(frozen=True, slots=True)
class Visits:
    """Hold the features and the design of one study.

    Features are arrays of shape (n_participants, n_features) with NaN where a feature is missing.

    Parameters
    ----------
    baseline, followup : ndarray, shape (n_participants, n_features)
        Features of the same participants, in the same order, before and after treatment.
    features : FeatureSpace
        Feature space of the columns: edges or regions, with their unit and, for edges, length.
    treated : ndarray of bool, shape (n_participants,), optional
        Whether each participant was treated; None when all participants were (one arm, crossover).
    reference : ndarray, shape (n_reference, n_features), optional
        Features of healthy reference participants.
    baseline_only : ndarray, shape (n_baseline_only, n_features), optional
        Baseline of patients without follow-up, which makes the means more precise.
    covariates : ndarray, shape (n_participants, n_covariates), optional
        Nuisance covariates, which the model centres. NaN is replaced by the mean of the column.
    motion_mm : ndarray, shape (n_participants,), optional
        Change in mean framewise displacement, mm, without NaN. This nuisance covariate has a
        meaningful zero and is not centred: without a control arm, estimates are changes at
        unchanged motion.
    control_baseline, control_followup : ndarray, shape (n_participants, n_features), optional
        Features of the same participants before and after the control condition of a crossover.
    factor : ndarray of bool, shape (n_participants,), optional
        Second treatment crossed with the first, for example psychotherapy in a drug trial.
    symptom : ndarray, shape (n_participants,), optional
        Change of a symptom score; NaN when missing.
    blocks : ndarray of int, shape (n_participants,), optional
        Blocks (sites) within which labels are exchanged.
    global_signal_removed : bool
        Whether the global signal was regressed out of the data, so that global terms cannot be
        interpreted.
    reference_again : ndarray, shape (n_reference, n_features), optional
        Second visit of the reference participants, in the same order; NaN for participants without
        a second visit.
    weights : ndarray, shape (n_participants,), optional
        Weights above 0, in proportion to the precision of each participant's change.
    signal_quality : ndarray, shape (n_participants, n_regions), optional
        Change of the logarithm of each region's signal fraction k, with r' = k_u k_v r, from
        measured temporal signal-to-noise ratios; NaN where it is unknown. It serves a sensitivity
        analysis.
    randomised : bool
        Whether participants were assigned to the arms at random. If so, arms are compared by
        analysis of covariance with the baseline; otherwise, their changes are compared, because
        adjustment for the baseline is biased if the arms differ at baseline in the population
        (Lord 1967, doi:10.1037/h0025105).

    Raises
    ------
    DesignError
        If the arrays differ in shape, do not match the feature space, or contradict each other.
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
    randomised: bool = True
    signal_quality: Floats | None = None

    def __post_init__(self) -> None:
        self._check_arrays()
        shape = self.baseline.shape
        if len(shape) != 2:
            raise DesignError(f"baseline has shape {shape}; it needs one row per participant")
        if shape != self.followup.shape:
            raise DesignError(
                f"baseline has shape {shape} and follow-up has shape {self.followup.shape}; they "
                f"must hold the same participants and {self.features.plural} in the same order"
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
                    f"{name} has {len(other)} rows for {shape[0]} participants; it needs one row "
                    "per participant"
                )
        if self.weights is not None and not (np.asarray(self.weights) > 0).all():
            raise DesignError(
                "weights must be above 0; exclude participants instead of giving them weight 0"
            )
        for name in ("treated", "factor"):
            other = getattr(self, name)
            if other is not None and np.asarray(other).dtype != bool:
                raise DesignError(
                    f"{name} must be a boolean array with one value per participant; got "
                    f"{type(other).__name__} of {np.asarray(other).dtype}"
                )
        self._check_crossover()

    def _check_arrays(self) -> None:
        for name in ("baseline", "followup"):
            given = getattr(self, name)
            if not isinstance(given, np.ndarray):
                raise DesignError(
                    f"{name} is {type(given).__name__}; it must be a numpy array with one row per "
                    f"participant and one column for each of the {self.features.plural}"
                )
        if self.covariates is not None and np.ndim(self.covariates) != 2:
            raise DesignError(
                f"covariates has {np.ndim(self.covariates)} dimensions; it needs one row per "
                "participant and one column per covariate"
            )
        if self.covariates is not None:
            unknown = np.flatnonzero(~np.isfinite(self.covariates).any(axis=0)) + 1
            if unknown.size:
                columns = ", ".join(map(str, unknown.tolist()))
                raise DesignError(
                    f"covariates: column {columns} is missing for all participants; give its "
                    "values, or omit it"
                )
        if self.motion_mm is not None and not np.isfinite(self.motion_mm).all():
            raise DesignError(
                "motion_mm is unknown for some participants; give it for all of them, or omit it"
            )
        expected = len(self.baseline), self.features.n_regions
        if self.signal_quality is not None and np.shape(self.signal_quality) != expected:
            raise DesignError(
                f"signal_quality has shape {np.shape(self.signal_quality)}; it needs one row per "
                f"participant and one column per region, shape {expected}"
            )

    def _check_crossover(self) -> None:
        pair = (self.control_baseline, self.control_followup)
        if (pair[0] is None) != (pair[1] is None):
            raise DesignError(
                "a crossover needs both visits of the control condition; give control_baseline "
                "and control_followup"
            )
        if self.is_crossover and self.treated is not None:
            raise DesignError("in a crossover all participants are treated; omit `treated`")
        for part in pair:
            if part is not None and part.shape != self.baseline.shape:
                raise DesignError(
                    f"the control condition has shape {part.shape} and the treatment has shape "
                    f"{self.baseline.shape}; they must hold the same participants and "
                    f"{self.features.plural} in the same order"
                )
            if part is not None:
                self.features.check_range("the control condition", part)

    @property
    def is_crossover(self) -> bool:
        """Whether each participant has both conditions."""
        return self.control_baseline is not None

    @property
    def controlled(self) -> bool:
        """Whether effects of treatment can be distinguished from other changes over time."""
        return self.treated is not None or self.is_crossover

    @property
    def adjusts_baseline(self) -> bool:
        """Whether arms are compared by analysis of covariance with the baseline."""
        return self.treated is not None and self.randomised

    @property
    def before(self) -> Floats:
        """Baseline; in a crossover, the mean of the available baselines of both conditions."""
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
        """Follow-up minus baseline; in a crossover, minus that of the control condition."""
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
    """Hold the settings of the tests and of the decision.

    Parameters
    ----------
    n_permutations : int
        Largest number of relabellings.
    alpha : float
        Family-wise error rate.
    sesoi : float, optional
        Smallest effect of interest for the shift and for circuits, in the unit of the features. By
        default, `sesoi_d` applies to circuits, and .05 Fisher z to the shift; the equivalence of
        a shift in other units is tested only if this value is given.
    sesoi_d : float
        Smallest effect of interest for circuits, in standard deviations of change between
        participants of one arm.
    sesoi_gain : float
        Smallest gain of interest, as a proportion: .15 is a change of all connections by 15 % of
        their typical strength. It also applies to the amplitude of the global signal.
    sesoi_share : float
        Smallest normalisation of interest: share of the deviation from the reference group that is
        closed.
    primary : tuple of str
        Circuits that determine the verdict and are corrected together. Other circuits form
        families of their own. If empty, all circuits are primary.
    sesoi_tau : float, optional
        Smallest heterogeneity of interest: standard deviation over blocks of the background of
        their change beyond the global model, in the unit of the features. By default, .02 Fisher z;
        in other units, any significant heterogeneity is of interest.
    without : mapping of str to str
        Terms to exclude from the global model, ``gain`` or ``global_signal``, with the reason.
        Without ``global_signal``, the model is that of the first version.
    sides : mapping of str to {"increase", "decrease"}
        Circuits with a predefined direction of change; other circuits are tested two-sided.
    background : {"all", "disjoint", "matched"}
        Features to which the global model is fitted: all features that belong to no circuit; only
        those that also share no region with a circuit; or only those whose strength and length
        have the distribution of the circuits.
    """

    n_permutations: int = 5000
    alpha: float = 0.05
    sesoi: float | None = None
    sides: Mapping[str, Side] = field(default_factory=dict)
    background: Background = "all"
    sesoi_d: float = 0.3
    sesoi_gain: float = 0.15
    sesoi_share: float = 0.25
    primary: tuple[str, ...] = ()
    sesoi_tau: float | None = None
    without: Mapping[str, str] = field(default_factory=dict)

    def smallest_heterogeneity(self, unit: str) -> float:
        """Return the smallest heterogeneity of interest, in the unit of the features.

        Parameters
        ----------
        unit : str
            Unit of the features.

        Returns
        -------
        float
            Standard deviation over blocks; NaN when none is defined.
        """
        if self.sesoi_tau is not None:
            return self.sesoi_tau
        return _SESOI_TAU_Z if unit == FISHER_Z else math.nan

    def smallest_effect(self, term: str, features: FeatureSpace) -> float:
        """Return the smallest effect of interest of a global term.

        Parameters
        ----------
        term : str
            Name of the global term.
        features : FeatureSpace
            Feature space of the study.

        Returns
        -------
        float
            Smallest effect of interest, in the unit of the term; NaN when none is defined.
        """
        default = _SESOI_SHIFT_Z if features.is_fisher_z else math.nan
        bounds = {
            "shift": default if self.sesoi is None else self.sesoi,
            "average_change": default if self.sesoi is None else self.sesoi,
            "gain": self.sesoi_gain,
            "proportional_change": self.sesoi_gain,
            "global_signal": math.log1p(self.sesoi_gain),
            "normalisation": self.sesoi_share,
        }
        return bounds.get(term, math.nan)

    def split(self, circuits: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Divide circuits into primary and secondary circuits.

        Parameters
        ----------
        circuits : sequence of str
            Names of the circuits of the study.

        Returns
        -------
        primary, secondary : tuple of str
            Names, in the order of `circuits`.

        Raises
        ------
        DesignError
            If a primary circuit is not among the circuits.
        """
        missing = [name for name in self.primary if name not in circuits]
        if missing:
            raise DesignError(
                f"{', '.join(missing)} is a primary circuit, but not a circuit of this analysis; "
                f"choose from {', '.join(circuits)} for [hypotheses] primary of the study file"
            )
        primary = tuple(name for name in circuits if name in self.primary or not self.primary)
        return primary, tuple(name for name in circuits if name not in primary)


#: Groups with the smaller and the larger value of the column of interest, by name of the question.
_GROUPS = {
    "": ("control arm", "treated arm"),
    "factor": ("group without the factor", "group with the factor"),
    "interaction": ("group without both treatment and factor", "group with treatment and factor"),
}


@dataclass(frozen=True, slots=True)
class Question:
    """Define one coefficient of interest of a linear model over participants.

    Parameters
    ----------
    name : str
        Prefix of the names of its families; empty for the question of the verdict.
    what : str
        Meaning of a positive estimate.
    interest : ndarray, shape (n_participants,)
        Column of interest; NaN for participants who do not contribute.
    nuisance : ndarray, shape (n_participants, n_columns)
        Nuisance columns that are centred.
    anchored : ndarray, shape (n_participants, n_columns)
        Nuisance columns with a meaningful zero, which are not centred
        (`circuitshift.pipeline.stats.permutation.contrast_of`).
    group : ndarray of int, shape (n_participants,)
        Variance groups.
    flips : bool
        Whether the null distribution is that of sign flips rather than of permutations.
    blocks : ndarray of int, shape (n_participants,), or None
        Blocks within which labels are exchanged; None for unrestricted exchange.
    weights : ndarray, shape (n_participants,), or None
        Weights of participants; None for equal weights.
    adjusts : bool
        Whether each variable is adjusted for its own baseline (analysis of covariance).
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
    adjusts: bool = False

    def contrast(self, participants: Bools) -> Contrast:
        """Return the contrast over a subset of participants.

        Parameters
        ----------
        participants : ndarray of bool, shape (n_participants,)
            Subset; the column of interest must be available in all its members.

        Returns
        -------
        Contrast
            Linear model of the subset.

        Raises
        ------
        DesignError
            If an arm has fewer than two participants, the column of interest is constant, or the
            model is not identified.
        """
        interest = self.interest[participants]
        for value in np.unique(interest) if self._is_binary() else ():
            rows = np.flatnonzero(participants)[interest == value]
            if len(rows) < 2:
                raise DesignError(
                    f"{self.what}: only 1 participant of the {self._group_name(value)} (row "
                    f"{rows[0] + 1}) has both visits; each arm needs at least two"
                )
        if not self.flips and np.ptp(interest) == 0:
            raise DesignError(
                f"{self.what}: all participants have the same value, so that no effect can be "
                "estimated"
            )
        return contrast_of(
            interest,
            nuisance=self.nuisance[participants],
            anchored=self.anchored[participants],
            group=self.group[participants],
            blocks=None if self.blocks is None else self.blocks[participants],
            flips=self.flips,
            weights=None if self.weights is None else self.weights[participants],
        )

    def _group_name(self, value: float) -> str:
        """Name the group of participants with a value of the column of interest."""
        names = _GROUPS.get(self.name)
        return names[int(value == 1)] if names else f"group with the value {value:g}"

    def _is_binary(self) -> bool:
        return not self.flips and np.unique(self.interest[self.asked]).size == 2

    @property
    def asked(self) -> Bools:
        """Participants who contribute, shape (n_participants,)."""
        return np.isfinite(self.interest)

    def counts(self, participants: Bools) -> tuple[int, int]:
        """Return the numbers of participants of both groups.

        Parameters
        ----------
        participants : ndarray of bool, shape (n_participants,)
            Participants to count.

        Returns
        -------
        tuple of int
            Numbers in the group with the larger value of interest and in the other group. Unless
            the question compares two groups, the number of all participants, and 0.
        """
        if not self._is_binary():
            return int(participants.sum()), 0
        high = self.interest[participants] == np.nanmax(self.interest)
        return int(high.sum()), int((~high).sum())


def questions_of(visits: Visits) -> tuple[Question, ...]:
    """Return the questions that a design allows.

    Parameters
    ----------
    visits : Visits
        Features and design of the study.

    Returns
    -------
    tuple of Question
        The first question, that of the verdict, is the change of all participants with one arm,
        treated minus control with two arms, and treatment minus control condition in a crossover.
        A factor adds its main effect and its interaction with the treatment; both are
        effect-coded, so that the first question is the average over the levels of the factor. A
        symptom score adds the slope of change on the change of the score, within arms. If
        participants were randomised to two arms, all questions except that of the symptom score
        adjust each variable for its baseline.
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
        # the effect-coded factor is not centred: the mean is the average over its levels
        fixed = [motion] if factor is None else [motion, (factor - 0.5)[:, None]]
        one = np.ones(n), covariates, np.hstack(fixed), np.zeros(n, np.intp)
        out = [Question("", what, *one, flips=True, blocks=None)]
    else:
        out = [ask("", "treated minus control", arms, "arm")]
    if factor is not None:
        out.append(ask("factor", "with factor minus without factor", factor, "factor"))
        if arms is not None:
            what = "interaction of treatment and factor"
            out.append(ask("interaction", what, arms * factor, "interaction"))
    if visits.symptom is not None:
        out.append(ask("symptom", "per unit of symptom change", visits.symptom.astype(float)))
    return tuple(
        replace(
            question,
            weights=visits.weights,
            adjusts=visits.adjusts_baseline and question.name != "symptom",
        )
        for question in out
    )


def _filled(covariates: Floats | None, n: int) -> Floats:
    """Replace missing values by the mean of their column."""
    if covariates is None:
        return np.empty((n, 0))
    available = np.isfinite(covariates)
    mean = np.where(available, covariates, 0.0).sum(axis=0) / np.maximum(available.sum(axis=0), 1)
    return np.where(available, covariates, mean)
