"""Scenarios of the calibration tables: what they plant, and that each of them can be analysed."""

from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.model.analyse import Rules
from circuitshift.pipeline.validation.calibration import calibration_table
from circuitshift.pipeline.validation.simulate.edges import simulate_edges
from circuitshift.pipeline.validation.simulate.scenarios import SCENARIOS, TABLES


def test_every_scenario_is_in_exactly_one_table() -> None:
    names = [name for table in TABLES.values() for name in table]
    assert sorted(names) == sorted(SCENARIOS)


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_the_planted_effects_are_as_stated(name: str) -> None:
    """Without noise, motion and dropout, edges change only where an effect is planted."""
    scenario = SCENARIOS[name]
    quiet = replace(
        scenario.spec,
        n_regions=60,
        n_treated=2,
        n_control=0,
        n_reference=1,
        trait_sd=(0.0,) * 4,
        state_sd=(0.0,) * 4,
        missing=0.0,
        motion_mm=(0.0, 0.0, 0.0),
    )
    local = scenario.truth.region_loss or scenario.truth.artefact_z_per_mm
    truth = replace(scenario.truth, region_loss=0.0, artefact_z_per_mm=0.0)
    study = simulate_edges(truth, quiet, np.random.default_rng(0))
    change = (study.followup - study.baseline)[0]
    outside = np.setdiff1d(np.arange(change.size), np.concatenate(list(study.circuits.values())))
    assert scenario.is_global == (np.abs(change[outside]).max() > 1e-9 or _deviates(name))
    first = change[study.circuit]
    without = simulate_edges(replace(truth, specific=0.0), quiet, np.random.default_rng(0))
    extra = first - (without.followup - without.baseline)[0][study.circuit]
    assert scenario.is_specific == (np.abs(extra).max() > 1e-9)
    if local:
        assert not scenario.naive_is_valid


def _deviates(name: str) -> bool:
    """Whether only the absence of deviation keeps a planted normalisation from having effects."""
    scenario = SCENARIOS[name]
    return bool(scenario.truth.normalisation) and scenario.spec.deviation_sd == 0


@pytest.mark.slow
def test_every_scenario_can_be_analysed() -> None:
    withheld = []
    for name, scenario in SCENARIOS.items():
        spec = replace(
            scenario.spec,
            n_regions=80,
            n_treated=min(scenario.spec.n_treated, 14),
            n_control=min(scenario.spec.n_control, 14),
            n_reference=12,
        )
        row = next(
            calibration_table(
                (name,),
                n_studies=1,
                scenarios={name: replace(scenario, spec=spec)},
                rules=Rules(n_permutations=30),
            )
        )
        assert sum(row.verdicts.values()) == 1
        if row.tested.get("specific", 0) != 1:
            withheld.append(name)
    # a small study can withhold a circuit that is stronger than its background
    assert len(withheld) <= 2, withheld
