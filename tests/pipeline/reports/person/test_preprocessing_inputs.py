"""Data on preprocessing: records of failures, and labels on the grid of a run."""

import numpy as np

from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc.output_names import anatomy_record
from circuitshift.pipeline.reports.person.preprocessing_inputs import _on_grid, view_preproc


def test_without_a_prepared_anatomy_there_is_nothing_to_show(tmp_path):
    assert view_preproc("01", tmp_path) is None
    tables.write_json(tmp_path / anatomy_record("01"), {"fault": "no T1w image"})
    assert view_preproc("01", tmp_path) is None


def test_labels_are_those_of_the_nearest_voxel():
    labels = np.arange(27).reshape(3, 3, 3)
    fine = np.diag([1.0, 1.0, 1.0, 1.0])
    fine[:3, 3] = 0.25
    grid = Image(np.zeros((5, 5, 5), np.float32), fine)
    found = _on_grid(Image(labels.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0])), grid)
    at = np.rint((np.arange(5) + 0.25) / 2).astype(int)
    np.testing.assert_array_equal(found, labels[np.ix_(at, at, at)])
