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
_NO_CURVATURE = (
    "its typical value is outside the central 99 % of the background, where the prediction needs "
    "the curvature, which cannot be distinguished from noise"
)
_ROUNDING = 1e-10  # of the squared norm of a column


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
    check = _Reliability.of(group, pooled)
    names = pooled.names
    chosen: tuple[str, ...] = ()
    if "gain" not in sample.without:
        if check.is_reliable("m", chosen):
            chosen = ("m",)
        else:
            withheld["gain"] = (
                f"the typical values of the background {sample.features.plural} differ by no more "
                "than noise"
            )
    if "w" in names:
        if check.is_reliable("w", chosen):
            chosen = (*chosen, "w")
        else:
            withheld["global_signal"] = (
                "the pattern of a larger global signal cannot be distinguished from a shift and a "
                "gain"
            )
    if "d" in names:
        # whether d is reliable given m is the decision of the caller (`identify_deviation`)
        without_w = tuple(name for name in chosen if name != "w")
        if check.is_reliable("d", without_w) and not check.is_reliable("d", chosen):
            withheld["normalisation"] = (
                "the deviation from the reference has the pattern of a larger global signal"
            )
        else:
            chosen = (*chosen, "d")
    for_parts, circuits = _for_parts(sample, group, check, chosen)
    return Columns(chosen, for_parts, withheld | circuits)


@dataclass(frozen=True, slots=True)
class _Reliability:
    """Signal and noise of each column on the background, beyond other columns."""

    names: tuple[str, ...]
    unbiased: Floats  # moments without noise
    with_noise: Floats
    rounding: Floats  # what remains of equal values by rounding

    @classmethod
    def of(cls, group: Group, pooled: Equations) -> "_Reliability":
        columns = group.columns() * group.used
        with_noise = columns @ columns.T
        total = np.diag(with_noise) + group.used.sum() * (pooled.offsets[0] ** 2).sum(axis=1)
        return cls(pooled.names, pooled.moments[0], with_noise, _ROUNDING * total)

    def is_reliable(
        self, name: str, given: tuple[str, ...], *, most_noise: float = _MOST_NOISE
    ) -> bool:
        """Return whether noise is at most a multiple of the signal beyond the given columns."""
        at = [self.names.index(other) for other in (*given, name)]
        block = np.ix_(at, at)
        signal, both = _unexplained(self.unbiased[block]), _unexplained(self.with_noise[block])
        return bool(signal > self.rounding[at[-1]] and both - signal <= most_noise * signal)


def _for_parts(
    sample: CentredFeatures, group: Group, check: _Reliability, chosen: tuple[str, ...]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Choose the columns of the prediction for circuits, and the circuits to withhold.

    h is included when, beyond the other columns, it has more signal than noise on the background.
    Where the strength of a circuit lies outside the central 99 % of the background, a linear
    prediction would be wrong, and a loss of signal-to-noise would appear as a specific change. h is
    then included even if it is less reliable; if it is not reliable at all, the circuit is
    withheld.
    """
    if "m" not in chosen:
        return chosen, {}
    withheld = _far_outside(sample, group)
    if "h" not in check.names:
        return chosen, withheld
    beyond = _beyond_centre(sample, group, set(withheld))
    if check.is_reliable("h", chosen, most_noise=_MOST_NOISE if beyond else 1.0):
        return (*chosen, "h"), withheld
    return chosen, withheld | dict.fromkeys(beyond, _NO_CURVATURE)


def _unexplained(moments: Floats) -> float:
    """Return the part of the last column's moment that the other columns do not explain.

    This is the Schur complement of the other columns in the moment matrix.
    """
    block, cross = moments[:-1, :-1], moments[:-1, -1]
    if not len(block):
        return float(moments[-1, -1])
    return float(moments[-1, -1] - cross @ np.linalg.pinv(block) @ cross)


def _beyond_centre(sample: CentredFeatures, group: Group, withheld: set[str]) -> list[str]:
    """Find circuits whose strength lies outside the central 99 % of the background."""
    m = group.columns()[0]
    low, high = np.quantile(m[group.used], [0.005, 0.995])
    return [
        name
        for name, value in _strengths(sample, group).items()
        if not low <= value <= high and name not in withheld
    ]


def _strengths(sample: CentredFeatures, group: Group) -> dict[str, float]:
    """Return the mean of m over each circuit, for circuits that are available."""
    m = np.where(group.available, group.columns()[0], np.nan)[None]
    found = {name: float(nan_mean(m, at)[0]) for name, at in sample.circuits.items() if len(at)}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _far_outside(sample: CentredFeatures, group: Group) -> dict[str, str]:
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
