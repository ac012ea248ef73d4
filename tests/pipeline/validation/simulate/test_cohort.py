"""Simulated cohorts: group sizes, missing visits, realised changes and the tables of a study."""

import json
from pathlib import Path

import numpy as np
import pytest

from circuitshift.atlases.records import Atlas
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.validation.simulate.cohort import (
    SimulatedParticipant,
    draw_cohort,
    draw_correlations,
    draw_mean_fd,
    draw_study,
    require_empty_folder,
    write_description,
    write_participants,
    write_truth,
)
from circuitshift.pipeline.validation.simulate.truth import PlantedTruth, SimulationSpec

SPEC = SimulationSpec(n_treated=20, n_control=10, n_reference=5, share_missing=0.2)


def test_only_an_empty_or_absent_folder_is_accepted(tmp_path: Path) -> None:
    require_empty_folder(tmp_path / "absent")
    require_empty_folder(tmp_path)
    (tmp_path / "file.txt").touch()
    with pytest.raises(InputError, match="is not empty; choose a new or empty folder"):
        require_empty_folder(tmp_path)


def test_a_cohort_has_the_given_groups_and_missing_visits() -> None:
    cohort = draw_cohort(SPEC, np.random.default_rng(0))
    assert [p.label for p in cohort] == [f"{k:02d}" for k in range(1, 36)]
    returns = {
        role: [p.returns for p in cohort if p.role == role]
        for role in ("treated", "control", "reference")
    }
    assert {role: (len(r), sum(r)) for role, r in returns.items()} == {
        "treated": (20, 16),
        "control": (10, 8),
        "reference": (5, 0),
    }
    roles = [p.role for p in cohort]
    assert roles != sorted(roles, reverse=True)  # groups are enrolled in random order


def test_responses_vary_around_one() -> None:
    spec = SimulationSpec(n_treated=2000, response_sd=0.3)
    response = np.array([p.response for p in draw_cohort(spec, np.random.default_rng(1))])
    assert response.mean() == pytest.approx(1, abs=0.02)
    assert response.std() == pytest.approx(0.3, abs=0.015)


def test_changes_of_treated_follow_up_runs_are_counted(atlas: Atlas) -> None:
    rng = np.random.default_rng(2)
    study = draw_study(SPEC, PlantedTruth("shift"), atlas, rng)
    control = SimulatedParticipant("01", "control", returns=True)
    assert len(list(draw_correlations(study, control, [False, True], rng))) == 2
    assert study.n_changed == 0
    assert not study.change.any()
    treated = SimulatedParticipant("02", "treated", response=0.5)
    list(draw_correlations(study, treated, [False, True], rng))
    assert study.n_changed == 1
    assert np.median(study.change) == pytest.approx(0.5 * PlantedTruth("shift").shift_z, abs=0.002)


def test_patients_and_healthy_participants_have_different_correlations(atlas: Atlas) -> None:
    """Without variation between participants, their mean edges equal those of the population."""
    spec = SimulationSpec(trait_sd=(0.0, 0.0, 0.0), state_sd=(0.0, 0.0, 0.0))
    rng = np.random.default_rng(3)
    study = draw_study(spec, PlantedTruth("nothing"), atlas, rng)
    z = {}
    for role in ("control", "reference"):
        participant = SimulatedParticipant("01", role)
        (correlation,) = draw_correlations(study, participant, [False], rng)
        z[role] = np.arctanh(correlation[study.population.edges])
    assert z["reference"] == pytest.approx(study.population.typical_z())
    difference = z["control"] - z["reference"]
    assert np.corrcoef(difference, study.population.deviation_z())[0, 1] > 0.99


def test_mean_displacement_depends_on_group_and_session() -> None:
    spec = SimulationSpec(fd_mm=(0.1, 0.4, 0.2))
    rng = np.random.default_rng(4)

    def typical(role: str, *, followup: bool) -> float:
        participant = SimulatedParticipant("01", role)
        draws = [draw_mean_fd(spec, participant, followup=followup, rng=rng) for _ in range(300)]
        return float(np.median(draws))

    assert typical("treated", followup=False) == pytest.approx(0.1, rel=0.1)
    assert typical("treated", followup=True) == pytest.approx(0.4, rel=0.1)
    assert typical("control", followup=True) == pytest.approx(0.2, rel=0.1)


def test_scores_improve_with_treatment_and_response(tmp_path: Path) -> None:
    spec = SimulationSpec(n_treated=200, n_control=200, n_reference=50, share_missing=0.1)
    rng = np.random.default_rng(5)
    cohort = draw_cohort(spec, rng)
    write_participants(tmp_path, cohort, spec, rng)
    table = tables.read_table(tmp_path / "participants.tsv")
    before, after = (table.numbers(f"MADRS_ses-{session}") for session in spec.sessions)
    group = np.array(table.column("group"))
    returns = np.array([p.returns for p in cohort])
    np.testing.assert_array_equal(np.isfinite(after), returns)
    assert before[group == "reference"].mean() < 5
    assert before[group != "reference"].mean() > 25
    improvement = before - after
    treated, control = ((group == g) & returns for g in ("treated", "control"))
    assert improvement[treated].mean() > improvement[control].mean() + 7
    response = np.array([p.response for p in cohort])
    assert np.corrcoef(improvement[treated], response[treated])[0, 1] > 0.4
    sidecar = json.loads((tmp_path / "participants.json").read_text())
    assert set(sidecar) == set(table.columns)
    assert set(sidecar["group"]["Levels"]) == set(group)


def test_a_data_set_is_described_as_simulated(tmp_path: Path) -> None:
    write_description(tmp_path, "A study", "derivative")
    content = json.loads((tmp_path / "dataset_description.json").read_text())
    assert (content["Name"], content["DatasetType"]) == ("A study", "derivative")
    assert content["GeneratedBy"][0]["Name"] == "circuitshift simulate"


@pytest.mark.parametrize(
    ("name", "quantity", "value"),
    [("shift", "shift_z", 0.08), ("normalisation", "share_closed", 0.6)],
)
def test_the_realised_change_is_that_planted(
    tmp_path: Path, atlas: Atlas, name: str, quantity: str, value: float
) -> None:
    rng = np.random.default_rng(6)
    study = draw_study(SPEC, PlantedTruth(name), atlas, rng)
    cohort = [SimulatedParticipant(f"{k:02d}", "treated") for k in range(4)]
    for participant in cohort:
        list(draw_correlations(study, participant, [True], rng))
    write_truth(tmp_path, study, cohort, rng, images={"voxel": 5})
    content = json.loads((tmp_path / "truth.json").read_text())
    realised = content["realised"]
    assert realised["n_treated"] == 4
    assert realised[quantity] == pytest.approx(value, abs=0.06)
    assert set(realised["mean_change_z"]) == {"background", "dmn", "dmn_tpn"}
    assert content["voxel"] == 5
    assert content["seed"] == 6
    assert content["participants"]["sub-00"] == {
        "group": "treated",
        "response": 1.0,
        "returns": True,
    }
    assert (tmp_path / ".bidsignore").read_text() == "truth.json\n"


def test_the_realised_gain_multiplies_correlations(tmp_path: Path, atlas: Atlas) -> None:
    spec = SimulationSpec(trait_sd=(0.0, 0.0, 0.0), state_sd=(0.0, 0.0, 0.0))
    rng = np.random.default_rng(7)
    truth = PlantedTruth("gain", gain=1.1)
    study = draw_study(spec, truth, atlas, rng)
    treated = SimulatedParticipant("01", "treated")
    (after,) = draw_correlations(study, treated, [True], rng)
    write_truth(tmp_path, study, [treated], rng)
    z = np.arctanh(after[study.population.edges])
    change = z - np.arctanh(np.tanh(z) / 1.1)
    realised = json.loads((tmp_path / "truth.json").read_text())["realised"]["mean_change_z"]
    for name, edges in study.population.circuits.items():
        assert realised[name] == pytest.approx(change[edges].mean(), abs=1e-5)
