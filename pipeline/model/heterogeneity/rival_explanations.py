"""Rival explanations of a circuit's change: a graded gain, and measured loss of signal.

Each explanation is one further column of the global model. Its coefficient is estimated on the
background, and the part of each circuit's change that the column predicts is removed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.model.centred_features import CentredFeatures
from circuitshift.pipeline.model.global_model import Response
from circuitshift.pipeline.model.heterogeneity.hierarchy import cortical_hierarchy
from circuitshift.pipeline.model.heterogeneity.model_columns import columns_of_others
from circuitshift.pipeline.stats.missing_values import column_mean

__all__ = ["Explained", "graded_gain", "measured_signal_quality"]


@dataclass(frozen=True, slots=True)
class Explained:
    """Hold the part of the circuits' change that a further column explains.

    Parameters
    ----------
    part : ndarray, shape (n_participants, n_circuits)
        Change of each circuit that the column predicts, in the unit of the features; NaN where the
        column could not be fitted.
    coefficient : ndarray, shape (n_participants,)
        Coefficient of the column in each participant, or the common one.
    reach : ndarray, shape (n_participants, n_circuits)
        Part of each circuit for a coefficient of 1.
    variance : float
        Sampling variance of the common coefficient; 0 if each participant has an own coefficient,
        which then varies between participants like the change itself.
    """

    part: Floats
    coefficient: Floats
    reach: Floats
    variance: float = 0.0

    def excess_variance(self, weights: Floats) -> Floats:
        """Return the variance of a contrast of the parts that is due to the common coefficient.

        All participants share the error of this coefficient, so that the spread between
        participants does not contain it.

        Parameters
        ----------
        weights : ndarray, shape (n_participants,)
            Weights of the contrast.

        Returns
        -------
        ndarray, shape (n_circuits,)
            Variance to add to that of the contrast.
        """
        return np.asarray(self.variance * (weights @ np.nan_to_num(self.reach)) ** 2)


def graded_gain(
    sample: CentredFeatures, response: Response, networks: Sequence[str] = ()
) -> Explained:
    """Estimate the part of circuits' change that belongs to a gain graded over the cortex.

    Parameters
    ----------
    sample : CentredFeatures
        Features of the study; edges.
    response : Response
        Fitted global model.
    networks : sequence of str
        Network of each region; an empty string for a region without a network. Empty if the atlas
        has no networks.

    Returns
    -------
    Explained
        One coefficient for each participant. The column is m(e) (G_u + G_v), with G the position of
        regions on the cortical hierarchy
        (`circuitshift.pipeline.model.heterogeneity.hierarchy.cortical_hierarchy`) and m the mean
        baseline of the other participants.
    """
    baseline = sample.baseline
    mean = column_mean(baseline.values)
    hierarchy = cortical_hierarchy(mean, sample.features, networks)
    first, second = sample.features.ends
    slope = hierarchy[first] + hierarchy[second]
    n = len(baseline)

    def column(i: int) -> Floats:
        own = baseline.values[i]
        return np.asarray(slope * (n * mean - own) / (n - 1))

    return _explained(sample, response, column, common=False)


def measured_signal_quality(
    sample: CentredFeatures, response: Response, log_change: Floats, interest: Floats
) -> Explained:
    """Estimate the part of circuits' change that measured changes of signal quality explain.

    Parameters
    ----------
    sample : CentredFeatures
        Features of the study; edges in Fisher z.
    response : Response
        Fitted global model.
    log_change : ndarray, shape (n_participants, n_regions)
        Change of the natural logarithm of each region's signal fraction k, for example of the
        square root of its reliability or, in proportion, of its temporal signal-to-noise ratio; NaN
        where it is unknown.
    interest : ndarray, shape (n_participants,)
        Column of interest of the contrast (`Question.interest`). Participants with the same value
        belong to the same arm.

    Returns
    -------
    Explained
        One coefficient common to all participants.

    Notes
    -----
    From r' = k_u k_v r follows the expected change of Fisher z, (dln k_u + dln k_v) r / (1 - r^2).
    The mean change of signal quality in each arm is used for all its participants: the error of
    the measurement in single participants would attenuate the coefficient (Fuller 1987,
    Measurement Error Models, doi:10.1002/9780470316665), and the tests compare means.
    """
    quality = _arm_means(log_change, interest)
    first, second = sample.features.ends
    strength = column_mean(np.sinh(2 * np.clip(sample.baseline.values, -3, 3)) / 2)

    def column(i: int) -> Floats:
        return np.asarray((quality[i, first] + quality[i, second]) * strength)

    return _explained(sample, response, column, common=True)


def _arm_means(values: Floats, interest: Floats) -> Floats:
    """Replace values by the mean of each region over the participants of the same arm.

    If no participant of an arm has a value for a region, the mean of the arm over its other
    regions is used; if the arm has no values at all, the result is NaN. Participants without a
    value of interest also receive NaN, because they do not contribute to the tests.
    """
    out = np.full(values.shape, np.nan)
    for level in np.unique(interest[np.isfinite(interest)]):
        arm = interest == level
        mean = column_mean(values[arm])
        available = np.isfinite(mean)
        if available.any():
            out[arm] = np.where(available, mean, mean[available].mean())
    return out


def _explained(
    sample: CentredFeatures,
    response: Response,
    column: Callable[[int], Floats],
    *,
    common: bool,
) -> Explained:
    """Add one column to the model of each participant by partial regression.

    The coefficient is that of the residual change on the residual column (Frisch & Waugh 1933,
    doi:10.2307/1907330), and the part of a circuit is the coefficient times the mean residual of
    the column over the circuit's features.
    """
    n, circuits = len(sample.change), list(sample.circuits.values())
    cross, square = np.zeros(n), np.zeros(n)
    reach = np.full((n, len(circuits)), np.nan)
    for columns, i in columns_of_others(sample, response):
        extra = column(i)
        change = sample.change[i : i + 1].residual[0]
        known = np.isfinite(columns).all(axis=0) & np.isfinite(extra)
        used = known & sample.background & np.isfinite(change)
        if used.sum() <= len(columns) + 1 or not np.isfinite(response.coefficients[i, 0]):
            continue
        x = columns[:, used].T
        both = np.column_stack([extra[used], change[used]])
        beta = np.linalg.lstsq(x, both, rcond=None)[0]
        rest = both - x @ beta
        cross[i], square[i] = rest[:, 0] @ rest[:, 1], rest[:, 0] @ rest[:, 0]
        for k, positions in enumerate(circuits):
            inside = positions[known[positions]]
            if len(inside) * 2 > len(positions):
                predicted = beta[:, 0] @ columns[:, inside]
                reach[i, k] = (extra[inside] - predicted).mean()
    fitted = square > 1e-12 * max(square.max(initial=0.0), 1e-300)
    slope, variance = np.full(n, np.nan), 0.0
    if not common:
        np.divide(cross, square, out=slope, where=fitted)
    elif fitted.any():
        slope[fitted], variance = _common_slope(cross[fitted], square[fitted])
    return Explained(reach * slope[:, None], slope, reach, variance)


def _common_slope(cross: Floats, square: Floats) -> tuple[float, float]:
    """Return a slope from sums of products of each participant, and its sampling variance.

    Features of a participant are correlated, so that participants are the units of the variance
    (Liang & Zeger 1986, doi:10.1093/biomet/73.1.13).
    """
    slope, n = float(cross.sum() / square.sum()), len(cross)
    errors = cross - slope * square
    return slope, float((errors**2).sum() / square.sum() ** 2 * n / max(n - 1, 1))
