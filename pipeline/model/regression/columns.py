"""The columns of the global model that a study can support, and the reasons for those withheld."""

from dataclasses import dataclass

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.model.centred_features import CentredFeatures
from circuitshift.pipeline.model.regression.equations import Equations, Group
from circuitshift.pipeline.stats.missing_values import nan_mean

__all__ = ["Columns", "choose_columns"]


# Noise per signal in the squared norm of a column: with this much noise, the expected correlation
# of the columns that two halves of the participants give is .2.
_MOST_NOISE = 2.0


@dataclass(frozen=True, slots=True)
class Columns:
    """Hold the columns of the two fits, and what is withheld.

    Parameters
    ----------
    for_terms : tuple of str
        Columns of the fit that gives the global terms: ``m``, ``w`` and ``d`` where they can be
        estimated.
    for_parts : tuple of str
        Columns of the prediction for circuits, which may also contain ``h``.
    withheld : mapping of str to str
        Global terms and circuits that are withheld, with the reason, a clause without a full stop.
    """

    for_terms: tuple[str, ...]
    for_parts: tuple[str, ...]
    withheld: dict[str, str]


def choose_columns(sample: CentredFeatures, group: Group, pooled: Equations) -> Columns:
    """Choose the columns that the background can distinguish from noise and from each other.

    Parameters
    ----------
    sample : CentredFeatures
        Features of the study.
    group : Group
        Features that are available in the mean of all participants.
    pooled : Equations
        Equations with the columns of all participants.

    Returns
    -------
    Columns
        Columns of both fits. A column is withheld if the part of it that the other columns do not
        explain has an expected correlation below .2 between halves of the participants. For d,
        this is asked only of the part that w explains.
    """
    withheld = dict(sample.withheld)
    noisy = group.columns() * group.used
    with_noise = noisy @ noisy.T
    names, moments = pooled.names, pooled.moments[0]
    chosen: tuple[str, ...] = ()

    def is_reliable(name: str, given: tuple[str, ...]) -> bool:
        at = [names.index(other) for other in (*given, name)]
        block = np.ix_(at, at)
        signal, both = _unexplained(moments[block]), _unexplained(with_noise[block])
        return bool(signal > 0 and both - signal <= _MOST_NOISE * signal)

    if "gain" in sample.without:
        pass
    elif is_reliable("m", chosen):
        chosen = ("m",)
    else:
        withheld["gain"] = (
            f"the typical values of the background {sample.features.plural} differ by no more than "
            "noise"
        )
    if "w" in names:
        if is_reliable("w", chosen):
            chosen = (*chosen, "w")
        else:
            withheld["global_signal"] = (
                "the pattern of a larger global signal cannot be distinguished from a shift and a "
                "gain"
            )
    if "d" in names:
        # whether d is reliable given m is the decision of the caller (`identify_deviation`)
        without_w = tuple(name for name in chosen if name != "w")
        if is_reliable("d", without_w) and not is_reliable("d", chosen):
            withheld["normalisation"] = (
                "the deviation from the reference has the pattern of a larger global signal"
            )
        else:
            chosen = (*chosen, "d")
    for_parts = chosen
    if "h" in names and "m" in chosen and _needs_curvature(sample, group, pooled, chosen):
        for_parts = (*chosen, "h")
    if "m" in chosen:
        withheld |= _outside(sample, group)
    return Columns(chosen, for_parts, withheld)


def _unexplained(moments: Floats) -> float:
    """Return the part of the last column's moment that the other columns do not explain.

    This is the Schur complement of the other columns in the moment matrix.
    """
    block, cross = moments[:-1, :-1], moments[:-1, -1]
    if not len(block):
        return float(moments[-1, -1])
    return float(moments[-1, -1] - cross @ np.linalg.pinv(block) @ cross)


def _needs_curvature(
    sample: CentredFeatures, group: Group, pooled: Equations, chosen: tuple[str, ...]
) -> bool:
    """Return whether the prediction for circuits includes h.

    h is included when, beyond the other columns, it has more signal than noise on the background.
    It is also included, however noisy it is there, when the strength of a circuit lies outside the
    central 99 % of the background: a linear prediction would be wrong for such a circuit, and a
    loss of signal-to-noise would appear as a specific change.
    """
    at = [pooled.names.index(name) for name in (*chosen, "h")]
    noisy = group.columns()[at] * group.used
    signal = _unexplained(pooled.moments[0][np.ix_(at, at)])
    if signal > 0.5 * _unexplained(noisy @ noisy.T) > 0:
        return True
    m = group.columns()[0]
    low, high = np.quantile(m[group.used], [0.005, 0.995])
    return any(not low <= value <= high for value in _strengths(sample, group).values())


def _strengths(sample: CentredFeatures, group: Group) -> dict[str, float]:
    """Return the mean of m over each circuit, for circuits that are available."""
    m = np.where(group.available, group.columns()[0], np.nan)[None]
    found = {name: float(nan_mean(m, at)[0]) for name, at in sample.circuits.items() if len(at)}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _outside(sample: CentredFeatures, group: Group) -> dict[str, str]:
    """Find circuits whose strength is more than a standard deviation beyond all background."""
    m = group.columns()[0][group.used]
    # the mean coefficient of the fixed column returns m to the unit of the features
    typical = sample.baseline.fixed[:, 0].mean() if sample.fixed[:1] == ("shift",) else 0.0
    low, high, margin = m.min(), m.max(), m.std()
    return {
        name: f"its typical value ({value + typical:.2f} {sample.features.unit}) is far outside "
        f"the range of the background ({low + typical:.2f} to {high + typical:.2f}), so that the "
        "global model cannot predict it"
        for name, value in _strengths(sample, group).items()
        if not low - margin <= value <= high + margin
    }
