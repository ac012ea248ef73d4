"""What the values of a matrix are: correlations, Fisher z, angles, covariances; empty rows."""

from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.errors import TableError
from circuitshift.pipeline.measure.given.matrix_values import (
    list_regions,
    missing_regions,
    to_correlations,
)

PATH = Path("sub-01_relmat.tsv")
N = 12


def correlations(strength):
    """Return correlations of three networks, two of them anticorrelated."""
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 60))
    networks = np.array([one, -one + 0.5 * other, other])[np.arange(N) % 3]
    return np.corrcoef(rng.standard_normal((N, 60)) + strength * networks)


def with_diagonal(matrix, value):
    out = matrix.copy()
    np.fill_diagonal(out, value)
    return out


R = correlations(3.0)
with np.errstate(divide="ignore"):
    Z = np.arctanh(with_diagonal(R, 0))
assert np.abs(Z).max() > 1

TAKEN = {
    "r": (R, "correlation", 0),
    "r, diagonal 0": (with_diagonal(R, 0), "correlation", 1),
    "r, diagonal n/a": (with_diagonal(R, np.nan), "correlation", 1),
    "z, diagonal infinite": (with_diagonal(Z, np.inf), "fisher-z", 1),
    "z, diagonal 0": (Z, "fisher-z", 1),
    "z, diagonal n/a": (with_diagonal(Z, np.nan), "fisher-z", 1),
    "z, diagonal clipped": (with_diagonal(Z, np.arctanh(0.999999)), "fisher-z", 1),
    "z, diagonal of rounding": (Z + np.diag(np.linspace(15, 18.7, N)), "fisher-z", 1),
    "small z, diagonal infinite": (with_diagonal(Z / 10, np.inf), "fisher-z", 1),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_range_and_diagonal_prove_what_a_matrix_holds(kind):
    given, taken_for, n_notes = TAKEN[kind]
    found = to_correlations(PATH, given)
    assert (found.taken_for, len(found.notes)) == (taken_for, n_notes), found.notes
    expected = np.tanh(Z / 10) if kind.startswith("small") else R
    np.testing.assert_allclose(found.matrix, with_diagonal(expected, 1), atol=1e-12)
    assert all(PATH.name in note for note in found.notes)


COV = R * np.outer(np.arange(1, N + 1), np.arange(1, N + 1))
with np.errstate(invalid="ignore"):
    ANGLES = with_diagonal(np.arccos(np.clip(R, -1, 1)), 0)
WEAK = with_diagonal(np.arccos(np.clip(correlations(0.1), -1, 1)), 0)

REFUSED = {
    "covariances": (COV, "neither correlations nor Fisher z"),
    "radians": (ANGLES, "angles .* in radians"),
    "radians around a right angle": (WEAK, "angles .* in radians"),
    "degrees": (np.degrees(ANGLES), "angles .* in degrees"),
    "z with ones on the diagonal": (with_diagonal(Z, 1), "neither"),
    "r with halves on the diagonal": (with_diagonal(R, 0.5), "neither"),
    "percent": (100 * R, "neither"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_values_are_refused_by_name(kind):
    given, message = REFUSED[kind]
    with pytest.raises(TableError, match=message) as caught:
        to_correlations(PATH, given)
    assert "RelationshipMeasure" in str(caught.value)


def test_what_the_json_says_decides():
    small = with_diagonal(Z / 10, 0)
    assert to_correlations(PATH, small).taken_for == "correlation"
    found = to_correlations(PATH, small, "fisher-z")
    assert (found.taken_for, found.notes) == ("fisher-z", ())
    np.testing.assert_allclose(found.matrix, with_diagonal(np.tanh(Z / 10), 1), atol=1e-12)
    with pytest.raises(TableError, match="its JSON says that it holds correlations"):
        to_correlations(PATH, Z, "correlation")
    assert to_correlations(PATH, with_diagonal(R, 0), "correlation").notes == ()


@pytest.mark.parametrize("fill", [0.0, np.nan])
@pytest.mark.parametrize("diagonal", [0.0, 1.0, np.nan, np.inf])
def test_empty_rows_are_missing_regions(fill, diagonal):
    given = with_diagonal(Z, np.inf) if np.isinf(diagonal) else R.copy()
    lost = [0, 5]
    given[lost, :] = given[:, lost] = fill
    given[lost, lost] = diagonal
    assert np.flatnonzero(missing_regions(given)).tolist() == lost
    found = to_correlations(PATH, given)
    assert np.flatnonzero(np.isnan(np.diag(found.matrix))).tolist() == lost
    assert np.isnan(found.matrix[lost]).all()
    kept = np.setdiff1d(np.arange(N), lost)
    np.testing.assert_allclose(found.matrix[np.ix_(kept, kept)], R[np.ix_(kept, kept)], atol=1e-12)


def test_single_zeros_do_not_lose_a_region():
    given = R.copy()
    given[0, 1:-1] = given[1:-1, 0] = 0
    assert not missing_regions(given).any()


def test_regions_are_named_ten_at_most():
    labels = [f"R{k}" for k in range(14)]
    which = np.arange(14) < 12
    text = list_regions(labels, which)
    assert text.startswith("12 of 14 regions (R0, R1,")
    assert text.endswith("R9 and 2 more)")
    assert list_regions(labels, np.arange(14) == 3) == "1 of 14 regions (R3)"
