"""Measured series of two layouts, as a pool of visits."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.edges import edges
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.validation.outside.measured import MeasuredPool, read_pool

_SPEC = importlib.util.spec_from_file_location(
    "conn_files", Path(__file__).parents[3] / "pipeline/bids/convert/conftest.py"
)
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)
NAMES, write_file = _MODULE.NAMES, _MODULE.write_file
RNG = np.random.default_rng(2)
REAL = Path(__file__).resolve().parents[5] / "shared" / "data"


def bids_data_set(root, *, participants=9, labels=("A", "B", "C", "D"), edit=None):
    root.mkdir()
    tables.write_json(root / "dataset_description.json", {"Name": "x", "BIDSVersion": "1.10.0"})
    for k in range(participants):
        for session in ("one", "two"):
            name = f"sub-{k:02d}_ses-{session}_task-rest_atlas-X_timeseries.tsv"
            path = root / f"sub-{k:02d}" / f"ses-{session}" / "func" / name
            path.parent.mkdir(parents=True)
            series = RNG.normal(size=(40, len(labels)))
            tables.write_series(path, labels, series if edit is None else edit(series, k))
    return root


def test_visits_of_a_bids_derivative(tmp_path):
    root = bids_data_set(tmp_path / "in")
    pool = read_pool([root])
    assert pool.labels == ("A", "B", "C", "D")
    assert pool.centres_mm is None
    assert [z.shape for z in pool.visits] == [(2, 6)] * 9
    one = sorted(root.rglob("*.tsv"))[0]
    np.testing.assert_allclose(pool.visits[0][0], edges(tables.read_series(one)[1]))
    np.testing.assert_allclose(pool.mean, np.mean([z.mean(axis=0) for z in pool.visits], axis=0))


def test_regions_that_are_lost_in_one_visit_are_left_out(tmp_path):
    def lose(series, k):
        if k == 3:
            series[:, 1] = 7.0
        return series

    pool = read_pool([bids_data_set(tmp_path / "in", edit=lose)])
    assert pool.labels == ("A", "C", "D")
    assert pool.visits[3].shape == (2, 3)


def test_too_few_participants_are_refused(tmp_path):
    with pytest.raises(InputError, match="7 participants have regional series of two visits"):
        read_pool([bids_data_set(tmp_path / "in", participants=7)])


def test_other_regions_are_refused(tmp_path):
    root = bids_data_set(tmp_path / "in")
    path = sorted(root.rglob("*.tsv"))[-1]
    tables.write_series(path, ("A", "B", "C", "E"), RNG.normal(size=(40, 4)))
    with pytest.raises(InputError, match="other regions than the first file"):
        read_pool([root])


def test_visits_of_conn_in_one_file_or_in_folders(tmp_path):
    atlas = [k for k, name in enumerate(NAMES) if name.startswith("atlas.")]
    assert len(atlas) >= 2
    size = (30, len(NAMES))
    for k in range(1, 6):
        name = f"ROI_Subject{k:03d}_Condition000.mat"
        for folder in ("patients", "healthy_tp1", "healthy_tp2"):
            (tmp_path / folder).mkdir(exist_ok=True)
            sessions = np.repeat([1, 2, 3], 10) if folder == "patients" else np.ones(30, int)
            write_file(tmp_path / folder / name, RNG.normal(size=size), sessions=sessions)
    pool = read_pool([tmp_path])
    assert sorted(len(z) for z in pool.visits) == [2] * 5 + [3] * 5
    assert pool.labels == tuple(NAMES[k] for k in atlas)
    assert pool.centres_mm.shape == (len(atlas), 3)


def test_the_spread_of_a_change_is_that_of_two_visits():
    z = RNG.normal(0, 0.3, (4000, 2, 3))
    pool = MeasuredPool(("A", "B", "C"), None, tuple(z))
    values = [visits.mean(axis=1) for visits in pool.visits]
    expected = np.diff(values, axis=1).std()
    assert pool.retest_sd(values) == pytest.approx(expected, rel=0.02)


@pytest.mark.skipif(not REAL.is_dir(), reason="the published series are not available")
def test_published_series_are_read():
    pool = read_pool([REAL / "psilocybin-aal90"])
    assert [len(z) for z in pool.visits] == [4] * 9
    assert pool.visits[0].shape[1] == 90 * 89 // 2
    assert np.mean([z.mean() for z in pool.visits]) == pytest.approx(
        np.mean([0.1912, 0.1900, 0.1889, 0.2373]), abs=2e-4
    )
