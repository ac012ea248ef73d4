"""Find values of confounds that cannot be right, and traces of dummy volumes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import ConfoundsError

__all__ = ["check_confounds", "check_displacement", "dummy_note", "leading_zeros"]

_MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
_TISSUES = ("csf", "white_matter", "global_signal")
_DUMMY = "non_steady_state_outlier"
# With fewer values, a constant column may be due to chance or rounding.
_MIN_VALUES = 5


def check_displacement(path: Path, fd_mm: Floats) -> None:
    """Check that framewise displacement is neither negative nor constant.

    Parameters
    ----------
    path : Path
        The table, for messages.
    fd_mm : ndarray, shape (n_volumes,)
        Framewise displacement; NaN where it is missing, as for the first volume.

    Raises
    ------
    ConfoundsError
        If a value is negative, or five or more values are all equal.
    """
    available = fd_mm[np.isfinite(fd_mm)]
    negative = np.flatnonzero(np.nan_to_num(fd_mm) < 0)
    if negative.size:
        raise ConfoundsError(
            f"{path}: framewise displacement is negative in {negative.size} of {len(fd_mm)} "
            f"volumes ({fd_mm[negative[0]]:g} mm in volume {negative[0] + 1}), although it is a "
            "sum of absolute values; write the table again"
        )
    # the displacement of the first volume is written as 0 by some programs
    later = fd_mm[1:][np.isfinite(fd_mm[1:])]
    if later.size >= _MIN_VALUES and np.ptp(later) == 0:
        raise ConfoundsError(
            f"{path}: framewise displacement is {later[0]:g} mm in all of {available.size} "
            "volumes, so that it was not measured; write the table again, or remove the column"
        )


def check_confounds(path: Path, columns: Mapping[str, Floats]) -> None:
    """Check that no regressor is constant that must vary in a living brain.

    Parameters
    ----------
    path : Path
        The confounds table, for messages.
    columns : mapping of str to ndarray, shape (n_volumes,)
        Regressors of a strategy by their names in fMRIPrep. Motion parameters, tissue signals and
        components of CompCor are checked; others, and derivatives and powers, are ignored.

    Raises
    ------
    ConfoundsError
        If columns with five or more values are constant. All are listed.
    """
    constant = []
    for name, values in columns.items():
        available = values[np.isfinite(values)]
        is_checked = name in (*_MOTION, *_TISSUES) or _is_component(name)
        if is_checked and available.size >= _MIN_VALUES and np.ptp(available) == 0:
            constant.append(f"{name} (always {available[0]:g})")
    if constant:
        raise ConfoundsError(
            f"{path}: {', '.join(constant)} cannot be constant, so that "
            f"{'it was' if len(constant) == 1 else 'they were'} not computed; write the table "
            "again, or choose a strategy without these regressors by --denoise"
        )


def leading_zeros(columns: Mapping[str, Floats]) -> tuple[int, tuple[str, ...]]:
    """Count the volumes at the start in which all regressors of a kind are zero.

    fMRIPrep computes CompCor components and cosines without the volumes before the steady state,
    and writes zeros for these volumes.

    Parameters
    ----------
    columns : mapping of str to ndarray, shape (n_volumes,)
        All columns of a confounds table with numbers.

    Returns
    -------
    n : int
        Number of volumes; 0 if no kind of regressor starts with zeros.
    names : tuple of str
        Regressors of the first kind that starts with zeros: CompCor, cosines, tissue signals.
    """
    kinds = (
        [name for name in columns if _is_component(name)],
        [name for name in columns if name.startswith("cosine")],
        [name for name in columns if name in _TISSUES],
    )
    for names in kinds:
        varying = [name for name in names if np.any(np.nan_to_num(columns[name]) != 0)]
        counts = [int(np.argmax(columns[name] != 0)) for name in varying]
        if counts and min(counts) > 0:
            return min(counts), tuple(varying)
    return 0, ()


def dummy_note(path: Path, columns: Mapping[str, Floats]) -> str:
    """Return a note if regressors start with zeros and no column marks dummy volumes.

    Parameters
    ----------
    path : Path
        The confounds table.
    columns : mapping of str to ndarray, shape (n_volumes,)
        All columns of the table with numbers.

    Returns
    -------
    str
        Sentence with the flag that drops these volumes; empty if there is nothing to note.
    """
    n, names = leading_zeros(columns)
    if n == 0 or any(name.startswith(_DUMMY) for name in columns):
        return ""
    more = f" and {len(names) - 1} similar columns" if len(names) > 1 else ""
    are = "are" if n > 1 else "is"
    return (
        f"{path.name}: the first {n} value{'s' * (n > 1)} of {names[0]}{more} {are} 0, and no "
        f"column {_DUMMY} marks volumes before the steady state. {n} dummy "
        f"volume{'s were' if n > 1 else ' was'} probably present and {are} used; add "
        f"--dummy-scans {n} to drop {'them' if n > 1 else 'it'}."
    )


def _is_component(name: str) -> bool:
    """Return whether a column is a component of CompCor, such as a_comp_cor_00."""
    return "_comp_cor_" in name
