"""Quality of the registration of a run in its sidecar."""

import json
from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.bids.runs.registration import registration_of
from circuitshift.pipeline.records import Run

ENTITIES = (("sub", "01"), ("task", "rest"), ("space", "T"), ("desc", "preproc"))


def run_with(tmp_path: Path, content: object) -> Run:
    path = tmp_path / "sub-01/func/sub-01_task-rest_space-T_desc-preproc_bold.nii.gz"
    path.parent.mkdir(parents=True)
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(content))
    return Run("01", "", "rest", "", "T", "", "bold", path, ENTITIES)


def test_values_are_read_from_the_sidecar(tmp_path: Path) -> None:
    content = {"BoundaryCost": 0.22, "RegistrationDisagreement": 1}
    found = registration_of(run_with(tmp_path, content))
    assert (found.boundary_cost, found.disagreement_mm) == (0.22, 1.0)


@pytest.mark.parametrize("content", [{}, {"BoundaryCost": None}, {"BoundaryCost": "n/a"}, [1]])
def test_values_that_are_not_stated_are_missing(tmp_path: Path, content: object) -> None:
    found = registration_of(run_with(tmp_path, content))
    assert np.isnan(found.boundary_cost)
    assert np.isnan(found.disagreement_mm)
