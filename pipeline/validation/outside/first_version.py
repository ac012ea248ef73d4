"""The first version of the model, which stands beside the present one in calibration tables.

It has no term for the amplitude of the global signal, compares circuits with the common line only
(not with the spread of blocks of connections around it), and compares changes between two arms
(without adjustment for the baseline).
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from circuitshift.pipeline.model.centred_features import CentredFeatures
from circuitshift.pipeline.model.contrasts import Rules, Visits, questions_of
from circuitshift.pipeline.model.deviation import identify_deviation
from circuitshift.pipeline.model.families import FamilyTest, Labels, Shared
from circuitshift.pipeline.model.global_model import Response, global_response
from circuitshift.pipeline.model.verdict import Estimate

__all__ = ["FirstVersion", "first_version"]

_SMALLEST_EFFECT = 0.1  # Fisher z: of circuits, and of an average edge for global terms


@dataclass(frozen=True, slots=True)
class FirstVersion:
    """Results of the first version of the model.

    Parameters
    ----------
    verdict : str
        ``global``, ``circuit-specific``, ``both``, ``neither`` or ``undetermined``.
    estimates : tuple of Estimate
        Tests of the families ``global`` and ``specific``.
    """

    verdict: str
    estimates: tuple[Estimate, ...]


def first_version(
    visits: Visits,
    circuits: dict[str, npt.NDArray[np.intp]],
    rng: np.random.Generator,
    rules: Rules,
) -> FirstVersion:
    """Analyse a study with the first version of the model.

    Parameters
    ----------
    visits : Visits
        Study with one or two arms, or a crossover.
    circuits : dict of str to ndarray of int
        Positions of the edges of each circuit.
    rng : numpy.random.Generator
        Source of random numbers.
    rules : Rules
        Number of permutations and level of significance.

    Returns
    -------
    FirstVersion
    """
    sample = CentredFeatures.from_values(
        change=visits.change,
        baseline=visits.before,
        circuits=circuits,
        features=visits.features,
        reference=visits.reference,
    ).excluding({"global_signal": "the first version has no such term"})
    deviation = identify_deviation(sample, rng)
    response = global_response(sample, with_deviation=deviation.identified)
    test = FamilyTest(questions_of(replace(visits, randomised=False))[0], rules, rng)
    laws = test.family(*_global(response))
    specific = test.family(*_specific(response, visits.features.unit))
    return FirstVersion(_verdict(laws, specific, rules.alpha), (*laws, *specific))


def _global(response: Response) -> tuple[Labels, npt.NDArray[np.float64], Shared]:
    columns = np.array([k for k, name in enumerate(response.terms) if name != "distance"])
    terms = tuple(response.terms[k] for k in columns.tolist())
    bounds = tuple(_SMALLEST_EFFECT / response.units.get(name, np.nan) for name in terms)
    labels = Labels("global", terms, terms, ("",) * len(terms), bounds, sided=False)
    return labels, response.coefficients[:, columns], Shared(response, columns)


def _specific(response: Response, unit: str) -> tuple[Labels, npt.NDArray[np.float64], Shared]:
    names = response.circuits
    columns = len(response.terms) + np.arange(len(names))
    k = len(names)
    labels = Labels("specific", names, names, (unit,) * k, (_SMALLEST_EFFECT,) * k, sided=False)
    return labels, response.specific, Shared(response, columns)


def _verdict(laws: list[Estimate], specific: list[Estimate], alpha: float) -> str:
    """Return the verdict of the first version."""
    is_global, is_specific = (
        any(e.p_corrected < alpha for e in family) for family in (laws, specific)
    )
    if is_global or is_specific:
        return (
            "both" if is_global and is_specific else "global" if is_global else "circuit-specific"
        )
    excluded = all(e.equivalence_p < alpha for e in (*laws, *specific))
    return "neither" if excluded else "undetermined"
