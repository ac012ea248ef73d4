"""Registration with ANTs: known transforms, bias fields and tissues are recovered."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc.registration import (
    Warp,
    _to_ants,
    bias_corrected,
    normalise,
    rigid_to,
    tissues,
)

AFFINE = np.array([[3.0, 0, 0, -54], [0, 3.0, 0, -60], [0, 0, 3.0, -48], [0, 0, 0, 1]])
SHAPE = (37, 41, 33)


def brain(scale: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Image:
    """Return an ellipsoid with a dark core and an asymmetric bright part, zero outside."""
    image = Image(np.zeros(SHAPE, np.float32), AFFINE)
    points = image.points() / np.array(scale)
    surface = np.linalg.norm(points / [36.0, 45.0, 33.0], axis=1)
    core = np.linalg.norm((points - [5.0, -8.0, 4.0]) / [12.0, 18.0, 9.0], axis=1)
    values = np.where(surface < 1, 100.0, 0.0)
    values[core < 1] = 40
    values[(surface < 1) & (points[:, 0] > 12) & (points[:, 1] > 0)] = 160
    smooth = ndimage.gaussian_filter(values.reshape(SHAPE), 0.7)
    return image.like(np.where(smooth > 20, smooth, 0).astype(np.float32))


def test_images_keep_their_position_in_ants() -> None:
    image = Image(np.arange(24, dtype=np.float32).reshape(2, 3, 4), AFFINE.copy())
    converted = _to_ants(image)
    np.testing.assert_array_equal(converted.numpy(), image.data)
    import ants

    point = ants.transform_index_to_physical_point(converted, (1, 2, 3))
    left, posterior, superior = np.array(point).tolist()
    assert [-left, -posterior, superior] == pytest.approx(
        transforms.apply(AFFINE, np.array([[1.0, 2, 3]]))[0]
    )


def test_a_rigid_transform_is_recovered() -> None:
    fixed = brain()
    truth = transforms.matrix_of([4.0, -3.0, 2.0, 0.05, -0.03, 0.08])
    points = transforms.apply(np.linalg.inv(truth), fixed.points())
    moving = fixed.like(fixed.at(points, order=1).reshape(SHAPE))
    found = rigid_to(fixed, moving)
    error = transforms.parameters_of(found @ np.linalg.inv(truth))
    assert np.abs(error[:3]).max() < 0.5
    assert np.degrees(np.abs(error[3:])).max() < 0.7
    # mutual information does not require the same contrast
    inverted = moving.like(np.where(moving.data > 0, 220 - moving.data, 0).astype(np.float32))
    error = transforms.parameters_of(rigid_to(fixed, inverted) @ np.linalg.inv(truth))
    assert np.abs(error[:3]).max() < 0.5
    np.testing.assert_array_equal(rigid_to(fixed, moving), found)  # the seed is fixed


def test_a_large_rotation_is_recovered_from_an_initial_position() -> None:
    fixed = brain()
    truth = transforms.matrix_of([25.0, -20.0, 15.0, 0.05, 0.6, -0.03])
    moving = Image(fixed.data, truth @ fixed.affine)
    start = truth @ transforms.matrix_of([3.0, -2.0, 2.0, 0.06, -0.05, 0.04])
    error = transforms.parameters_of(rigid_to(fixed, moving, start=start) @ np.linalg.inv(truth))
    assert np.abs(error[:3]).max() < 0.5
    assert np.degrees(np.abs(error[3:])).max() < 0.7


def test_a_bias_field_is_removed_and_the_mean_is_kept() -> None:
    image = Image(np.zeros(SHAPE, np.float32), AFFINE)
    points = image.points()
    mask = (np.linalg.norm(points / [36.0, 45.0, 33.0], axis=1) < 1).reshape(SHAPE)
    bias = np.exp(points @ [0.006, -0.005, 0.004]).reshape(SHAPE)
    noise = np.random.default_rng(0).normal(0, 2, SHAPE)
    biased = image.like((np.where(mask, 100 * bias + noise, 0)).astype(np.float32))
    corrected = bias_corrected(biased, mask)
    before, after = (np.asarray(i.data)[mask] for i in (biased, corrected))
    assert after.std() / after.mean() < 0.3 * before.std() / before.mean()
    assert after.mean() == pytest.approx(before.mean(), rel=1e-4)


def test_normalisation_maps_the_brain_to_the_template() -> None:
    template, own = brain(), brain((1.12, 0.93, 1.06))
    warp = normalise(own, template)
    inside = np.asarray(template.data).ravel() > 0
    points = template.points()[inside]
    mapped = warp.to_participant(points)
    values = own.at(mapped)
    plain = own.at(points)
    expected = np.asarray(template.data).ravel()[inside]
    assert np.corrcoef(values, expected)[0, 1] > 0.97
    assert np.corrcoef(values, expected)[0, 1] > np.corrcoef(plain, expected)[0, 1] + 0.05
    returned = warp.to_template(mapped)
    assert np.median(np.linalg.norm(returned - points, axis=1)) < 0.5


def test_a_warp_applies_its_displacement_before_its_affine() -> None:
    grid = Image(np.zeros((9, 9, 9, 3), np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    forward = grid.like(np.broadcast_to(np.float32([1, 2, 3]), (9, 9, 9, 3)).copy())
    backward = grid.like(-np.asarray(forward.data))
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    warp = Warp(affine, forward, backward)
    points = np.array([[4.0, 4.0, 4.0], [8.0, 6.0, 5.0]])
    mapped = warp.to_participant(points)
    assert mapped == pytest.approx(2 * (points + np.array([1, 2, 3])))
    assert warp.to_template(mapped) == pytest.approx(points)


@pytest.mark.parametrize("with_priors", [True, False])
def test_tissues_are_segmented_by_intensity(with_priors: bool) -> None:
    image = Image(np.zeros(SHAPE, np.float32), AFFINE)
    x = image.points()[:, 0].reshape(SHAPE)
    mask = (np.linalg.norm(image.points(), axis=1) < 36).reshape(SHAPE)
    classes = [mask & (x < -9), mask & (x >= -9) & (x < 9), mask & (x >= 9)]
    rng = np.random.default_rng(1)
    values = sum(level * c for level, c in zip((30.0, 65.0, 100.0), classes, strict=True))
    t1w = image.like(np.where(mask, values + rng.normal(0, 4, SHAPE), 0).astype(np.float32))
    priors = tuple(image.like(ndimage.gaussian_filter(c.astype(np.float32), 1.5)) for c in classes)
    found = tissues(t1w, mask, priors if with_priors else ())
    assert len(found) == 3
    for posterior, truth in zip(found, classes, strict=True):
        assert np.asarray(posterior.data)[truth].mean() > 0.9
        assert np.asarray(posterior.data)[mask & ~truth].mean() < 0.1
    again = tissues(t1w, mask, priors if with_priors else ())
    for one, two in zip(found, again, strict=True):
        np.testing.assert_array_equal(one.data, two.data)


def test_temporary_files_of_ants_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rigid_to(brain(), brain())
    assert not list(tmp_path.iterdir())
    assert tempfile.tempdir == str(tmp_path)


def test_without_ants_the_error_states_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ants", None)
    with pytest.raises(InputError, match=r"pip install 'circuitshift\[preproc\]', or provide"):
        rigid_to(brain(), brain())
