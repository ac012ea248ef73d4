"""The deviation from the reference: its identification, strength and limits."""

import numpy as np
import pytest

from circuitshift.pipeline.model.centred_features import CentredFeatures
from circuitshift.pipeline.model.deviation import identify_deviation
from circuitshift.pipeline.validation.simulate.edges import (
    EdgeSpec,
    EdgeStudy,
    Truth,
    simulate_edges,
)


def sample_of(study: EdgeStudy, n_reference: int | None = None) -> CentredFeatures:
    return CentredFeatures.from_values(
        change=study.followup - study.baseline,
        baseline=study.baseline,
        circuits={"c": study.circuit},
        reference=study.reference[:n_reference],
        features=study.features,
    )


def test_the_deviation_is_not_identified_when_there_is_none() -> None:
    spec = EdgeSpec(
        n_regions=40,
        n_circuit=8,
        n_treated=14,
        n_reference=14,
        circuit_deviation=0.0,
        deviation_sd=0.0,
    )
    rejected = 0
    for seed in range(60):
        study = simulate_edges(Truth(), spec, np.random.default_rng(seed))
        deviation = identify_deviation(sample_of(study), np.random.default_rng(seed))
        rejected += not deviation.identified
    assert rejected >= 57


def test_a_deviation_is_identified_and_its_split_half_correlation_is_that_of_halves() -> None:
    """The expected correlation is compared with that of 300 random halves of the participants."""
    spec = EdgeSpec(n_regions=40, n_circuit=8, n_treated=24, n_reference=24, deviation_sd=0.12)
    study = simulate_edges(Truth(), spec, np.random.default_rng(0))
    sample = sample_of(study)
    deviation = identify_deviation(sample, np.random.default_rng(1))
    assert deviation.identified
    assert deviation.p == 1 / 1000
    assert deviation.strength > 3
    patients = sample.baseline[:].residual[:, sample.background]
    healthy = sample.reference[:].residual[:, sample.background]
    m = np.vstack([patients, healthy]).mean(axis=0)
    patients, healthy = (z - np.outer(z @ m, m) / (m @ m) for z in (patients, healthy))
    rng = np.random.default_rng(2)
    correlations = []
    for _ in range(300):
        a, b = np.array_split(rng.permutation(24), 2)
        c, d = np.array_split(rng.permutation(24), 2)
        first = healthy[c].mean(axis=0) - patients[a].mean(axis=0)
        second = healthy[d].mean(axis=0) - patients[b].mean(axis=0)
        correlations.append(np.corrcoef(first, second)[0, 1])
    assert deviation.split_half_r == pytest.approx(np.mean(correlations), abs=0.05)


@pytest.mark.parametrize(
    ("n_reference", "reason"),
    [(0, "there is no reference group"), (3, "the reference group has fewer than 4 participants")],
)
def test_a_small_reference_group_is_not_used(n_reference: int, reason: str) -> None:
    spec = EdgeSpec(n_regions=40, n_circuit=8, n_treated=10, n_reference=10)
    study = simulate_edges(Truth(), spec, np.random.default_rng(3))
    deviation = identify_deviation(sample_of(study, n_reference), np.random.default_rng(0))
    assert not deviation.identified
    assert deviation.reason.startswith(reason)
    assert np.isnan([deviation.p, deviation.split_half_r, deviation.strength]).all()
