"""The space between two sessions, and what becomes of a run that cannot be preprocessed."""

import json
from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline import tables
from circuitshift.pipeline.preproc import rigid
from circuitshift.pipeline.preproc.anatomy import within_person_template
from circuitshift.pipeline.preproc.person import measure_preprocessed
from circuitshift.pipeline.preproc.phantom_head import HeadSpec, draw_head, draw_pose, draw_t1w
from circuitshift.pipeline.records import Science


@pytest.mark.slow
def test_no_session_is_favoured() -> None:
    spec = HeadSpec(t1w_mm=3.0)
    rng = np.random.default_rng(8)
    head = draw_head(spec, rng)
    poses = [draw_pose(spec, rng) for _ in range(2)]
    images = [draw_t1w(head, pose, spec, rng) for pose in poses]
    first, mask, to_inputs = within_person_template(images)
    again, same, swapped = within_person_template(images[::-1])
    assert np.array_equal(first.data, again.data)
    assert np.array_equal(mask, same)
    assert np.array_equal(to_inputs[0], swapped[1])
    assert np.array_equal(to_inputs[1], swapped[0])
    # and the sessions lie upon each other where they should
    centre = np.array([0.0, -18.0, 8.0])
    truth = poses[1] @ np.linalg.inv(poses[0])
    found = to_inputs[1] @ np.linalg.inv(to_inputs[0])
    error = rigid.parameters_of(np.linalg.inv(truth) @ found, centre)
    assert np.abs(error[:3]).max() < 0.5
    assert np.degrees(np.abs(error[3:])).max() < 0.5


def test_a_run_that_failed_is_a_row(tmp_path: Path) -> None:
    record = tmp_path / "sub-01_task-rest_bold.json"
    record.write_text(json.dumps({"fault": "x.nii.gz: it is empty; fetch it again"}))
    made = measure_preprocessed(
        [record, tmp_path / "sub-01_task-other_bold.json"],
        [],
        participant="01",
        science=Science(),
        preproc_dir=tmp_path / "preproc",
        data_set="",
        out_dir=tmp_path,
    )
    rows = list(tables.read_table(made.runs).rows())
    assert [row["run"] for row in rows] == ["sub-01_task-rest", "sub-01_task-other"]
    assert {row["status"] for row in rows} == {"failed"}
    assert "it is empty; fetch it again" in rows[0]["reason"]
