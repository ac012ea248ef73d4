"""Halves of volumes with less and with more motion, and motion at each visit."""

from types import SimpleNamespace

import numpy as np
import pytest

from circuitshift.pipeline import edges as connectivity
from circuitshift.pipeline.study.signals.motion import motion_halves, visit_motion


def test_volumes_are_divided_by_their_motion():
    series = np.arange(50.0)[:, None]
    fd = np.r_[np.nan, np.arange(49.0)[::-1]]
    low, high = motion_halves(series, fd)
    np.testing.assert_array_equal(low[:, 0], np.arange(26, 50))  # in temporal order
    np.testing.assert_array_equal(high[:, 0], np.arange(1, 25))


@pytest.mark.parametrize(
    ("n", "fd"),
    [
        (50, np.arange(49.0)),  # other volumes
        (50, np.ones(50)),  # no variation
        (39, np.arange(39.0)),  # halves of 19 volumes
        (50, np.full(50, np.nan)),
    ],
)
def test_runs_that_cannot_be_divided(n, fd):
    assert motion_halves(np.zeros((n, 2)), fd) is None


def test_the_change_is_computed_from_each_half(write_run, study):
    rng = np.random.default_rng(1)
    series = {v: rng.normal(size=(60, 2)) for v in ("pre", "post")}
    rows = [write_run("01", v, series=x) for v, x in series.items()]
    rows += [write_run("02", v) for v in series]  # matrices
    context, fitted = study(rows)
    fitted.sessions = {
        (p, v): SimpleNamespace(mean_fd_mm=x)
        for p in ("01", "02", "03")
        for v, x in (("pre", 0.1), ("post", 0.3))
    }
    fitted.cohort.lone = [SimpleNamespace(participant="03")]
    found = visit_motion(context, fitted)
    np.testing.assert_array_equal(found.mean_fd_mm, [[0.1, 0.3]] * 2)
    np.testing.assert_array_equal(found.lone_fd_mm, [0.1])
    # motion increases over the run, so that the halves are its two parts
    for part, change in ((slice(0, 30), found.low_change), (slice(30, 60), found.high_change)):
        expected = connectivity.edges(series["post"][part]) - connectivity.edges(
            series["pre"][part]
        )
        np.testing.assert_allclose(change[0], expected, atol=1e-3)
        assert np.isnan(change[1]).all()
    matrices, _ = study(rows[2:])
    assert visit_motion(matrices, fitted).low_change is None
