"""Calibration on own data: exchanges keep the noise of a study and remove its effects."""

from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.contrasts import Rules, Visits
from circuitshift.pipeline.validation.calibration_own_data import (
    flipped,
    halves,
    null_rows,
    own_table,
)
from circuitshift.pipeline.validation.simulate.edges import EdgeSpec, Truth, simulate_edges

SMALL = EdgeSpec(n_regions=40, n_circuit=8, n_treated=12, n_control=12, n_reference=12)


def test_a_flipped_study_keeps_its_noise_and_loses_its_effect():
    study = simulate_edges(Truth(shift=0.5), SMALL, np.random.default_rng(1))
    visits = Visits(
        study.baseline,
        study.followup,
        FeatureSpace.of_edges(40),
        treated=study.treated,
        blocks=np.arange(24) % 2,
        motion_mm=np.arange(24.0),
    )
    exchanged = flipped(visits, np.random.default_rng(2))
    np.testing.assert_array_equal(exchanged.baseline, visits.baseline)
    np.testing.assert_allclose(np.abs(exchanged.change), np.abs(visits.change))
    assert exchanged.treated.sum() == 12
    for block in (0, 1):
        in_block = visits.blocks == block
        assert exchanged.treated[in_block].sum() == study.treated[in_block].sum()
    sign = np.sign(exchanged.change[:, 0] / visits.change[:, 0])
    assert 4 < (sign > 0).sum() < 20
    np.testing.assert_array_equal(exchanged.motion_mm, sign * visits.motion_mm)


def test_a_flipped_crossover_has_two_visits():
    rng = np.random.default_rng(3)
    z = rng.normal(size=(4, 6, 10))
    visits = Visits(
        z[0], z[1], FeatureSpace.of_edges(5), control_baseline=z[2], control_followup=z[3]
    )
    exchanged = flipped(visits, rng)
    assert not exchanged.is_crossover
    np.testing.assert_allclose(exchanged.baseline, (z[0] + z[2]) / 2)
    np.testing.assert_allclose(np.abs(exchanged.change), np.abs(visits.change))


def test_the_tests_keep_their_level_in_flipped_studies():
    study = simulate_edges(
        Truth(shift=0.1, gain=0.2, specific=0.2), SMALL, np.random.default_rng(3)
    )
    visits = Visits(
        study.baseline,
        study.followup,
        FeatureSpace.of_edges(40),
        treated=study.treated,
        reference=study.reference,
    )
    row = null_rows(
        "sign flips",
        visits,
        study.circuits,
        rules=Rules(n_permutations=99),
        n_studies=120,
        seed=1,
        n_procs=2,
    )
    for family in ("global", "specific", "specific, node-adjusted"):
        assert row.rejected[family] <= 0.12, family  # 99.9 % bound


def test_results_do_not_depend_on_the_number_of_processes():
    study = simulate_edges(Truth(), SMALL, np.random.default_rng(4))
    visits = Visits(study.baseline, study.followup, study.features, treated=study.treated)
    one, two = (
        null_rows(
            "sign flips",
            visits,
            study.circuits,
            rules=Rules(n_permutations=20),
            n_studies=4,
            seed=1,
            n_procs=n_procs,
        )
        for n_procs in (1, 2)
    )
    assert one == two


def test_halves_replace_the_visits():
    z = np.zeros((6, 3))
    visits = Visits(z, z + 1, FeatureSpace.of_edges(3), motion_mm=np.ones(6))
    replaced = halves(visits, z + 2, z + 3)
    assert replaced.motion_mm is None
    np.testing.assert_array_equal(replaced.baseline, z + 2)
    np.testing.assert_array_equal(replaced.change, np.ones((6, 3)))


def test_a_reference_data_set_is_refused(tmp_path: Path):
    (tmp_path / "datasets/healthy").mkdir(parents=True)
    rows = own_table(
        tmp_path, tmp_path, None, n_studies=2, seed=0, rules=Rules(n_permutations=20), n_procs=1
    )
    with pytest.raises(InputError, match="needs a single data set, but datasets/ contains healthy"):
        next(rows)
