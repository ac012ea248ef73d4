"""Simulated heads: the transform to the template, the sizes of tissues, and T1-weighted images."""

from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.io.images import axis_codes
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc.template import load_template
from circuitshift.pipeline.validation.simulate.head import (
    HeadSpec,
    draw_head,
    draw_pose,
    draw_t1w,
)

SPEC = HeadSpec(bold_mm=(4.0, 4.0, 4.0))


def test_the_transform_and_its_inverse_agree(head):
    points = head.tissues[0].points()[np.asarray(head.tissues[1].data).ravel() > 0.5][::20]
    returned = head.from_template(head.to_template(points))
    distance = np.linalg.norm(returned - points, axis=1)
    assert np.median(distance) < 0.2
    assert np.percentile(distance, 99) < 0.5
    assert np.linalg.norm(head.to_template(points) - points, axis=1).mean() > 2


def test_the_brain_has_a_realistic_size_and_is_surrounded_by_a_head(head):
    size = np.prod(head.tissues[0].zooms) / 1e6
    litres = [float(np.asarray(t.data).sum() * size) for t in head.tissues]
    # the brain of the template has 1.89 litres, and that of a head is scaled by the affine
    template = load_template().mask.sum() / 1e6
    assert 1.1 < sum(litres[:3]) < 2.2
    expected = template / np.linalg.det(head.affine[:3, :3])
    assert sum(litres[:3]) == pytest.approx(expected, rel=0.05)
    assert min(litres[3:]) > 0.1


def test_grey_matter_lies_in_the_grey_matter_of_the_template(head):
    prior = load_template().priors[1]
    grey = np.asarray(head.tissues[1].data).ravel() > 0.8
    template_points = head.to_template(head.tissues[0].points()[grey])
    assert prior.at(template_points).min() > 0.6


def test_tissues_of_a_t1w_image_differ_in_intensity(head):
    image = draw_t1w(head, np.eye(4), SPEC, np.random.default_rng(0))
    assert image.data.dtype == np.int16
    assert axis_codes(image.affine) == "RAS"
    means = [
        np.asarray(image.data)[
            (tissue.onto(image).data > 0.95) & (image.points()[:, 2] > 0).reshape(image.grid)
        ].mean()
        for tissue in head.tissues[:4]
    ]
    csf, grey, white, skull = means
    assert skull < csf < grey < white


def test_the_size_of_the_deformation_follows_the_specification(head):
    points = load_template().brain.points()[::997]
    without = draw_head(replace(SPEC, warp_mm=0.0), np.random.default_rng(8))
    assert without.to_template(points) == pytest.approx(
        transforms.apply(without.affine, points), abs=1e-4
    )
    displacement = head.to_template(points) - transforms.apply(head.affine, points)
    # integration and the zero velocity beyond the grid reduce the specified 4 mm
    assert 1.5 < np.sqrt((displacement**2).sum(axis=1).mean()) < 4.5


def test_positions_in_the_scanner_vary_as_specified():
    spec = replace(SPEC, pose=(3.0, 2.0))
    rng = np.random.default_rng(9)
    centre = np.array([0.0, -18.0, 8.0])
    poses = np.array([transforms.parameters_of(draw_pose(spec, rng), centre) for _ in range(400)])
    assert poses[:, :3].std() == pytest.approx(3.0, rel=0.05)
    assert np.degrees(poses[:, 3:].std()) == pytest.approx(2.0, rel=0.05)


def test_the_head_in_a_t1w_image_moves_with_the_pose(head):
    pose = transforms.matrix_of([6.0, -4.0, 3.0, 0.0, 0.0, 0.1], [0.0, -18.0, 8.0])
    first, second = (draw_t1w(head, p, SPEC, np.random.default_rng(10)) for p in (np.eye(4), pose))
    points = first.points()
    inside = head.tissues[2].at(points) > 0.95
    moved = second.like(np.asarray(second.data, np.float32)).at(
        transforms.apply(pose, points[inside])
    )
    values = np.asarray(first.data, float).ravel()[inside]
    unmoved = np.asarray(second.data, float).ravel()[inside]
    errors = [np.abs(v / values - 1).mean() for v in (moved, unmoved)]
    assert errors[0] < 0.05
    assert errors[0] < 0.6 * errors[1]
