"""Data of the participant report: maps and carpets that are read from files."""

import numpy as np
import pytest
from PIL import Image

from circuitshift.pipeline.io import images, tables
from circuitshift.pipeline.reports.person.content import VoxelMap, read_views


def test_the_width_of_a_block_is_the_mean_over_axes():
    affine = np.diag([-2.0, 3.0, 4.0, 1.0])
    assert VoxelMap(np.zeros((2, 2, 2)), affine).block_mm == pytest.approx(3.0)
    oblique = affine @ np.array([[0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1.0]])
    assert VoxelMap(np.zeros((2, 2, 2)), oblique).block_mm == pytest.approx(3.0)


def test_grey_levels_of_a_carpet_are_standard_deviations(tmp_path):
    grey = np.array([[0, 1, 128], [255, 128, 1]], np.uint8)  # two rows, three volumes
    path = tmp_path / "run_desc-before_carpet.png"
    Image.fromarray(grey).save(path)
    tables.write_json(path.with_suffix(".json"), {"Rows": ["Default", "Visual"]})
    views = read_views([path.name, "run_desc-after_carpet.png"], tmp_path)
    assert views.before is not None
    assert views.before.kinds == ("Default", "Visual")
    expected = [[np.nan, 3.0], [-3.0, 0.0], [0.0, -3.0]]
    np.testing.assert_allclose(views.before.values, expected)
    assert views.after is None  # the file is missing


def test_maps_are_assigned_by_their_names(tmp_path):
    names = [
        "run_stat-mean_boldmap.nii.gz",
        "run_stat-tsnr_boldmap.nii.gz",
        "run_stat-pearsoncorrelation_seed-PCC_boldmap.nii.gz",
    ]
    for k, name in enumerate(names):
        data = np.full((2, 3, 4), k + 1.0, np.float32)
        images.write(tmp_path / name, images.Image(data, np.eye(4)))
    views = read_views(names, tmp_path)
    assert views.mean is not None
    assert views.tsnr is not None
    assert views.mean.data.max() == pytest.approx(1)
    assert views.tsnr.data.max() == pytest.approx(2)
    assert list(views.seeds) == ["PCC"]
    assert views.seeds["PCC"].data.min() == pytest.approx(3)
    assert read_views([], tmp_path).mean is None
