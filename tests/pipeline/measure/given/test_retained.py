"""Volumes that are data: by the tables beside a series or matrix."""

import numpy as np
import pytest

from circuitshift.pipeline.errors import ConfoundsError, TableError
from circuitshift.pipeline.measure.given.companions import Companions
from circuitshift.pipeline.measure.given.retained import retained_volumes

BAD = np.array([0, 0, 1, 1, 0, 0, 0, 1, 0, 0])
FD = np.where(BAD == 1, 0.9, np.arange(10) / 100)


def tables_of(folder, outliers=BAD, fd=FD):
    paths = {}
    if outliers is not None:
        paths["outliers"] = folder / "outliers.tsv"
        paths["outliers"].write_text("framewise_displacement\n" + "\n".join(map(str, outliers)))
    if fd is not None:
        paths["motion"] = folder / "motion.tsv"
        text = ["n/a" if np.isnan(value) else str(value) for value in fd]
        paths["motion"].write_text("framewise_displacement\n" + "\n".join(text))
    return Companions(**paths)


def test_volumes_that_are_not_data_are_left_out(tmp_path):
    found = retained_volumes(tmp_path / "s.tsv", 10, tables_of(tmp_path))
    np.testing.assert_array_equal(found.rows, BAD == 0)
    assert found.mean_fd_mm == pytest.approx(FD[BAD == 0].mean())
    assert len(found.notes) == 1
    assert "3 of 10 volumes are not data by outliers.tsv" in found.notes[0]
    record = found.record(2.0)
    assert (record.n_volumes, record.n_censored, record.n_retained) == (10, 3, 7)
    assert record.minutes == pytest.approx(14 / 60)
    assert record.residual_dof == 7


@pytest.mark.parametrize("fd", [FD, FD[BAD == 0]])
def test_a_series_that_is_already_censored_is_used_as_it_is(tmp_path, fd):
    found = retained_volumes(tmp_path / "s.tsv", 7, tables_of(tmp_path, fd=fd))
    assert found.rows.tolist() == [True] * 7
    assert (found.n_volumes, found.n_censored) == (10, 3)
    assert found.mean_fd_mm == pytest.approx(FD[BAD == 0].mean())
    assert "already left out" in found.notes[0]


@pytest.mark.parametrize("n_rows", [6, 8, 9, 11])
def test_any_other_length_is_refused_with_both_counts(tmp_path, n_rows):
    with pytest.raises(TableError, match=f"it has {n_rows} volumes, but .* has 10 rows") as caught:
        retained_volumes(tmp_path / "s.tsv", n_rows, tables_of(tmp_path))
    assert "7 are data" in str(caught.value)


def test_motion_of_another_length_is_refused(tmp_path):
    with pytest.raises(TableError, match=r"10 volumes, 7 of them data, but motion.tsv has 9 rows"):
        retained_volumes(tmp_path / "s.tsv", 10, tables_of(tmp_path, fd=FD[1:]))
    with pytest.raises(TableError, match=r"motion.tsv has 10 rows"):
        retained_volumes(tmp_path / "s.tsv", 12, tables_of(tmp_path, None))


def test_without_outliers_all_rows_are_data(tmp_path):
    found = retained_volumes(tmp_path / "s.tsv", 10, tables_of(tmp_path, None))
    assert found.rows.all()
    assert found.mean_fd_mm == pytest.approx(FD.mean())
    fewer = retained_volumes(tmp_path / "s.tsv", 8, tables_of(tmp_path, None))
    assert fewer.rows.all()
    assert np.isnan(fewer.mean_fd_mm)
    assert "which volumes were left out is unknown" in fewer.notes[0]
    alone = retained_volumes(tmp_path / "s.tsv", 10, Companions())
    assert alone.notes == ()
    assert alone.record(None).n_retained == 10
    assert np.isnan(alone.record(None).minutes)


def test_the_first_displacement_may_be_missing(tmp_path):
    fd = FD.copy()
    fd[0] = np.nan
    found = retained_volumes(tmp_path / "s.tsv", 10, tables_of(tmp_path, fd=fd))
    assert found.mean_fd_mm == pytest.approx(FD[BAD == 0][1:].mean())


def test_a_matrix_has_the_volumes_of_its_run(tmp_path):
    found = retained_volumes(tmp_path / "m.tsv", None, tables_of(tmp_path))
    record = found.record(2.0)
    assert found.rows is None
    assert (record.n_volumes, record.n_retained, record.residual_dof) == (10, 7, 1.0)
    assert record.minutes == pytest.approx(14 / 60)
    assert record.mean_fd_mm == pytest.approx(FD[BAD == 0].mean())
    alone = retained_volumes(tmp_path / "m.tsv", None, Companions()).record(2.0)
    assert (alone.n_volumes, alone.n_retained) == (0, 0)
    assert np.isnan(alone.minutes)


def test_motion_of_the_json_serves_without_a_table(tmp_path):
    found = retained_volumes(tmp_path / "s.tsv", 10, Companions(), 0.21)
    assert found.mean_fd_mm == 0.21
    assert "that of its JSON" in found.notes[0]
    both = retained_volumes(tmp_path / "s.tsv", 10, tables_of(tmp_path), 0.21)
    assert both.mean_fd_mm == pytest.approx(FD[BAD == 0].mean())


@pytest.mark.parametrize(
    ("fd", "message"),
    [
        (-FD, "framewise displacement is negative in 9 of 10 volumes"),
        (np.where(BAD == 1, -1.0, FD), "is negative in 3 of 10 volumes"),
        (np.zeros(10), "is 0 mm in all of 10 volumes, so that it was not measured"),
    ],
)
def test_impossible_displacement_is_refused(tmp_path, fd, message):
    with pytest.raises(ConfoundsError, match=rf"motion.tsv: .*{message}"):
        retained_volumes(tmp_path / "s.tsv", 10, tables_of(tmp_path, fd=fd))
