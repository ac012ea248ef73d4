"""Find out what the values of a matrix are, and which of its regions are missing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from circuitshift.pipeline.arrays import Bools, Floats
from circuitshift.pipeline.errors import TableError

__all__ = ["MatrixValues", "list_regions", "missing_regions", "to_correlations"]

_TOLERANCE = 1e-6
# |z| of 4 is |r| of .9993: no two regions of a brain correlate more.
_LARGEST_Z = 4.0
# arctanh of a correlation that differs from 1 by rounding only: from 14 (1 - 1e-12) to infinity.
_DIAGONAL_Z = 14.0
_ADVICE = (
    'give correlations, or state in its JSON what it holds ("RelationshipMeasure": "Fisher z")'
)


class MatrixValues(NamedTuple):
    """Correlations, and what they were computed from."""

    matrix: Floats
    taken_for: Literal["correlation", "fisher-z"]
    notes: tuple[str, ...]


def missing_regions(matrix: Floats) -> Bools:
    """Find regions whose row is empty: zeros or missing values off the diagonal.

    Parameters
    ----------
    matrix : ndarray of shape (n_regions, n_regions)
        Symmetric matrix. Programs write zeros or NaN for regions without data.

    Returns
    -------
    ndarray of bool, shape (n_regions,)
    """
    empty = (matrix == 0) | np.isnan(matrix)
    np.fill_diagonal(empty, val=True)
    return np.asarray(empty.all(axis=1), bool)


def list_regions(labels: Sequence[str], which: Bools) -> str:
    """Count and name regions, at most ten of them."""
    names = [label for label, is_one in zip(labels, which, strict=True) if is_one]
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"{len(names)} of {len(labels)} regions ({', '.join(names[:10])}{more})"


def to_correlations(
    path: Path, matrix: Floats, declared: Literal["correlation", "fisher-z", ""] = ""
) -> MatrixValues:
    """Check range and diagonal of a matrix, and convert Fisher z to correlations.

    Values within +-1 with a diagonal of ones, zeros or missing values are correlations. Larger
    values are Fisher z if the metadata say so, or if they stay below 4 and the diagonal is
    infinite, very large, zero or missing, as arctanh makes it. Everything else is refused.

    Parameters
    ----------
    path : Path
        The file, for messages.
    matrix : ndarray of shape (n_regions, n_regions)
        Symmetric matrix, with NaN in rows and columns of missing regions.
    declared : {"correlation", "fisher-z", ""}
        What the metadata say.

    Returns
    -------
    MatrixValues
        Correlations with ones on the diagonal, and NaN as in `matrix`.

    Raises
    ------
    TableError
        If the values are neither correlations nor Fisher z, or not what the metadata say.
    """
    present = ~missing_regions(matrix)
    off = matrix[np.triu_indices(len(matrix), 1)]
    off = off[~np.isnan(off)]
    diagonal = np.diag(matrix)[present]
    largest = float(np.abs(off).max(initial=0.0))
    if not declared:
        taken, notes = _recognised(path, off, diagonal)
    elif declared == "correlation" and largest > 1 + _TOLERANCE:
        raise TableError(
            f"{path}: its JSON says that it holds correlations, but values reach {largest:.3g}; "
            "correct one of them"
        )
    else:
        taken, notes = declared, ()
    # A clip serves rounding only: larger values were refused.
    out = np.tanh(matrix) if taken == "fisher-z" else np.clip(matrix, -1.0, 1.0)
    out = np.where(np.isnan(matrix), np.nan, out)
    out[present, present] = 1.0
    out[~present, :] = out[:, ~present] = np.nan
    return MatrixValues(out, taken, notes)


def _recognised(
    path: Path, off: Floats, diagonal: Floats
) -> tuple[Literal["correlation", "fisher-z"], tuple[str, ...]]:
    """Find out from range and diagonal what the values are."""
    largest = float(np.abs(off).max(initial=0.0))
    is_blank = bool(np.isnan(diagonal).all() or (np.nan_to_num(diagonal) == 0).all())
    is_one = bool(np.allclose(diagonal[~np.isnan(diagonal)], 1, atol=1e-3))
    if largest <= 1 + _TOLERANCE and (is_one or is_blank):
        if is_one and not is_blank:
            return "correlation", ()
        note = (
            f"{path.name}: it has no diagonal, and its values stay within +-1: they are taken for "
            "correlations. If they are Fisher z, state it in its JSON (RelationshipMeasure)."
        )
        return "correlation", (note,)
    _refuse_angles(path, off, is_blank=is_blank)
    if largest < _LARGEST_Z and (is_blank or bool((diagonal >= _DIAGONAL_Z).all())):
        return "fisher-z", (_z_note(path, largest, "blank" if is_blank else "infinite"),)
    is_clipped = bool(np.ptp(diagonal) < 1e-6 and max(largest, 3.0) < diagonal.min() < 20)
    if largest < _LARGEST_Z and is_clipped:
        return "fisher-z", (_z_note(path, largest, f"{diagonal[0]:.3g} throughout"),)
    raise TableError(
        f"{path}: its values reach {largest:.3g} and its diagonal lies between "
        f"{np.nanmin(diagonal):.3g} and {np.nanmax(diagonal):.3g}: it holds neither correlations "
        f"nor Fisher z (it may hold covariances); {_ADVICE}"
    )


def _z_note(path: Path, largest: float, diagonal: str) -> str:
    return (
        f"{path.name}: its values reach {largest:.3g} and its diagonal is {diagonal}: it is taken "
        "for Fisher z and converted to correlations."
    )


def _refuse_angles(path: Path, off: Floats, *, is_blank: bool) -> None:
    """Refuse angles, whose diagonal is 0 and whose values lie around a right angle."""
    if not (is_blank and off.size) or float(off.min()) < 0:
        return
    middle, largest = float(np.median(off)), float(off.max())
    if middle > 0.5 and largest <= np.pi + _TOLERANCE:
        unit = "radians"
    elif largest > _LARGEST_Z and largest <= 180 + _TOLERANCE:
        unit = "degrees"
    else:
        return
    raise TableError(
        f"{path}: its values lie between {off.min():.3g} and {largest:.3g} around {middle:.3g}, "
        f"with a diagonal of 0: they look like angles (arc cosines of correlations) in {unit}; "
        f"{_ADVICE}"
    )
