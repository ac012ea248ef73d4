"""Confounds that cannot be right, and traces of dummy volumes."""

from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.bids.runs.confound_values import (
    check_confounds,
    check_displacement,
    dummy_note,
    leading_zeros,
)
from circuitshift.pipeline.errors import ConfoundsError

PATH = Path("sub-01_desc-confounds_timeseries.tsv")
NOISE = np.random.default_rng(1).standard_normal(20)
FD = np.concatenate([[np.nan], np.abs(NOISE[1:])])


def zeros_then_noise(n):
    return np.where(np.arange(20) < n, 0.0, NOISE)


@pytest.mark.parametrize(
    "fd",
    [
        FD,
        np.concatenate([[0.0], FD[1:]]),  # the first volume is 0 in some programs
        np.full(20, np.nan),
        np.concatenate([np.zeros(19), [0.1]]),
        np.array([np.nan, 0.1, 0.1, 0.1]),  # too short to call it constant
    ],
)
def test_displacement_that_is_possible(fd):
    check_displacement(PATH, fd)


@pytest.mark.parametrize(
    ("fd", "message"),
    [
        (np.where(np.arange(20) == 4, -0.3, FD), r"negative in 1 of 20 volumes \(-0.3 mm in volu"),
        (-FD, "negative in 19 of 20 volumes"),
        (np.where(np.arange(20) < 2, -1.0, FD), r"negative in 2 of 20 .*in volume 1\)"),
        (np.zeros(20), "0 mm in all of 20 volumes"),
        (np.concatenate([[np.nan], np.full(19, 0.1)]), "0.1 mm in all of 19 volumes"),
        (np.concatenate([[0.0], np.full(19, 0.2)]), "0.2 mm in all of 20 volumes"),
    ],
)
def test_displacement_that_is_impossible(fd, message):
    with pytest.raises(ConfoundsError, match=f"{PATH}: framewise displacement is.*{message}"):
        check_displacement(PATH, fd)


def test_constant_regressors_are_listed():
    columns = {
        "trans_x": np.zeros(20),
        "rot_z": NOISE,
        "csf": np.concatenate([[np.nan], np.full(19, 900.0)]),
        "a_comp_cor_01": np.zeros(20),
    }
    with pytest.raises(ConfoundsError) as raised:
        check_confounds(PATH, columns)
    assert str(raised.value) == (
        f"{PATH}: trans_x (always 0), csf (always 900), a_comp_cor_01 (always 0) cannot be "
        "constant, so that they were not computed; write the table again, or choose a strategy "
        "without these regressors by --denoise"
    )


@pytest.mark.parametrize("name", ["global_signal", "white_matter", "rot_x", "w_comp_cor_00"])
def test_one_constant_regressor(name):
    with pytest.raises(ConfoundsError, match=rf"{name} \(always 0\) cannot be constant"):
        check_confounds(PATH, {"trans_y": NOISE, name: np.zeros(20)})


def test_regressors_that_may_be_constant():
    constant = ("cosine00", "trans_x_derivative1", "motion_outlier00", "edge_comp_00", "custom")
    check_confounds(PATH, dict.fromkeys(constant, np.zeros(20)) | {"trans_x": NOISE})
    check_confounds(PATH, {"trans_x": np.zeros(4)})


@pytest.mark.parametrize(
    ("columns", "n", "first"),
    [
        ({"a_comp_cor_00": zeros_then_noise(3), "a_comp_cor_01": zeros_then_noise(3)}, 3, "a_comp"),
        ({"a_comp_cor_00": NOISE, "cosine00": zeros_then_noise(5)}, 5, "cosine00"),
        ({"t_comp_cor_00": zeros_then_noise(1)}, 1, "t_comp_cor_00"),
        ({"csf": zeros_then_noise(2), "global_signal": zeros_then_noise(4)}, 2, "csf"),
    ],
)
def test_leading_zeros_are_a_note_with_the_flag(columns, n, first):
    assert leading_zeros(columns)[0] == n
    note = dummy_note(PATH, columns)
    assert f"the first {n} value{'s' * (n > 1)} of {first}" in note
    assert f"add --dummy-scans {n} to drop" in note
    assert dummy_note(PATH, columns | {"non_steady_state_outlier00": NOISE}) == ""


@pytest.mark.parametrize(
    "columns",
    [
        {"a_comp_cor_00": NOISE},
        {"a_comp_cor_00": zeros_then_noise(3), "a_comp_cor_01": NOISE},  # one of them by chance
        {"a_comp_cor_00": np.zeros(20)},  # reported as constant
        {"trans_x": zeros_then_noise(1)},  # the reference volume of the motion correction
        {},
    ],
)
def test_no_note_without_traces_of_dummy_volumes(columns):
    assert dummy_note(PATH, columns) == ""
