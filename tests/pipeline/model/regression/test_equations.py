"""Normal equations: comparison with loops over pairs of participants, and unstable moments."""

import numpy as np
import pytest

from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.centred_features import CentredFeatures, Residuals
from circuitshift.pipeline.model.regression.equations import Equations, Frame, Group, solve
from circuitshift.pipeline.model.regression.sums import Healthy, Parts, PatientSums, own_columns

N_EDGES, N = 66, 7
NAMES = ("m", "h", "w", "d")


@pytest.fixture(scope="module")
def sample() -> CentredFeatures:
    rng = np.random.default_rng(1)
    typical = rng.normal(0.3, 0.2, N_EDGES)
    baseline = typical + rng.normal(0, 0.1, (N, N_EDGES))
    baseline[2:, 30] = np.nan  # two participants are too few for the fit
    return CentredFeatures.from_values(
        change=rng.normal(0, 0.1, (N, N_EDGES)),
        baseline=baseline,
        circuits={"c": np.arange(4), "none": np.array([], int)},
        features=FeatureSpace.of_edges(12, length_mm=rng.uniform(10, 90, N_EDGES)),
        reference=typical + rng.normal(0, 0.1, (5, N_EDGES)),
    )


@pytest.fixture(scope="module")
def frame(sample: CentredFeatures) -> Frame:
    return Frame(
        sums=PatientSums.of(sample),
        healthy=Healthy.of(sample.reference),
        background=sample.background,
        basis=sample.basis,
        parts=Parts(tuple(sample.circuits.values())),
    )


def equations_of(sample: CentredFeatures, frame: Frame, i: int) -> tuple[Group, Equations]:
    own = own_columns(sample, slice(i, i + 1))
    change = sample.change[i : i + 1]
    group = Group.of(frame, np.isfinite(change.residual[0]), own.available[0])
    return group, group.equations(change, own)


def test_equations_equal_loops_over_pairs_of_others(sample: CentredFeatures, frame: Frame) -> None:
    i = 4
    group, found = equations_of(sample, frame, i)
    assert found.names == NAMES
    assert not group.used[30]
    used = group.used
    others = [k for k in range(N) if k != i]
    rows = {k: sample.columns()[k][:].residual[others] for k in ("m", "h", "w")}
    reference = sample.reference[:].residual[:, used]

    def product(a: str, b: str) -> float:
        if "d" not in (a, b):
            return float(
                np.mean(
                    [
                        rows[a][j, used] @ rows[b][k, used]
                        for j in range(N - 1)
                        for k in range(N - 1)
                        if j != k
                    ]
                )
            )
        other = b if a == "d" else a
        if other != "d":
            with_reference = reference.mean(axis=0) @ rows[other][:, used].mean(axis=0)
            return float(with_reference - product("m", other))
        square = np.mean(
            [x @ y for j, x in enumerate(reference) for k, y in enumerate(reference) if j != k]
        )
        with_m = reference.mean(axis=0) @ rows["m"][:, used].mean(axis=0)
        return float(square - 2 * with_m + product("m", "m"))

    expected = [[product(a, b) for b in NAMES] for a in NAMES]
    np.testing.assert_allclose(found.moments[0], expected, atol=1e-10)
    columns = np.array([np.nanmean(rows[k], axis=0) for k in ("m", "h", "w")])
    columns = np.vstack([columns, sample.reference[:].residual.mean(axis=0) - columns[0]])
    np.testing.assert_allclose(
        group.columns(own_columns(sample, np.array([i])).columns[0])[:, used], columns[:, used]
    )
    change = sample.change[i : i + 1].residual[0]
    np.testing.assert_allclose(found.rhs[0], columns[:, used] @ change[used])
    np.testing.assert_allclose(
        found.cross[0], columns[:, used] @ sample.basis[:, used].T, atol=1e-10
    )
    np.testing.assert_allclose(found.gram, sample.basis[:, used] @ sample.basis[:, used].T)
    np.testing.assert_allclose(found.column_means[0, :, 0], columns[:, :4].mean(axis=1))
    assert found.value_means[0, 0] == pytest.approx(change[:4].mean())
    assert np.isnan(found.value_means[0, 1])


def test_a_selection_of_columns_solves_the_smaller_equations(
    sample: CentredFeatures, frame: Frame
) -> None:
    _, found = equations_of(sample, frame, 0)
    two = found.take(("w", "m"))
    slopes, rest = two.solve()
    at = [2, 0]
    k = found.gram.shape[0]
    matrix = np.block(
        [[found.moments[0][np.ix_(at, at)], found.cross[0, at]], [found.cross[0, at].T, found.gram]]
    )
    expected = np.linalg.solve(matrix, np.r_[found.rhs[0, at], found.rhs_fixed[0]])
    np.testing.assert_allclose(np.r_[slopes[0], rest[0]], expected)
    predicted = slopes[0] @ found.column_means[0][at] + rest[0] @ found.basis_means
    np.testing.assert_allclose(
        two.beyond(slopes, rest)[0, 0], found.value_means[0, 0] - predicted[0]
    )
    rhs = np.hstack([two.rhs, two.rhs_fixed])
    np.testing.assert_allclose((rhs @ two.inverse())[0], expected)
    none, fixed = found.take(()).solve()
    assert none.shape == (1, 0)
    np.testing.assert_allclose(fixed[0], np.linalg.solve(found.gram, found.rhs_fixed[0]))
    assert k == 2


def test_pooled_moments_contain_all_participants(sample: CentredFeatures, frame: Frame) -> None:
    group = Group.of(frame, np.ones(N_EDGES, bool))
    zero = Residuals(np.zeros((1, N_EDGES)), np.zeros((1, 2)))
    shared = group.equations(zero)
    np.testing.assert_allclose(shared.pooled, shared.moments)
    _, one = equations_of(sample, frame, 3)
    used = group.used
    z = sample.baseline[:].residual[:, used]
    pairs = [z[j] @ z[k] for j in range(N) for k in range(N) if j != k]
    assert one.pooled[0, 0, 0] == pytest.approx(np.mean(pairs))


def test_unstable_matrices_are_replaced() -> None:
    good = np.array([[2.0, 0.5], [0.5, 1.0]])
    negative = np.array([[-0.1, 0.0], [0.0, 1.0]])
    nearly_singular = np.array([[2.0, 1.3], [1.3, 1.0]])
    matrix = np.array([good, negative, nearly_singular])
    rhs = np.array([[1.0, 2.0]] * 3)
    found = solve(matrix, rhs, np.array([good] * 3))
    np.testing.assert_allclose(found, [np.linalg.solve(good, [1.0, 2.0])] * 3)
    other = solve(good[None], rhs, good[None])
    np.testing.assert_allclose(other, found)
    singular = np.array([[[1.0, 1.0], [1.0, 1.0]]])
    np.testing.assert_allclose(solve(singular, rhs[:1] * 0 + 2, singular), [[1.0, 1.0]])
