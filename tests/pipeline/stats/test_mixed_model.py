"""Mixed model: comparison with statsmodels, lmerTest and t tests, and error rate."""

import csv
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.stats import mixed_model as mixed
from circuitshift.pipeline.stats.mixed_model import MixedResult, fit_mixed

FIXTURES = Path(__file__).parent / "lme4"  # written by make_fixtures.R
CASES = ("balanced", "unbalanced", "arm_by_time", "days", "likelihood", "boundary")
BOUNDARY = "the variance between participants is estimated as zero"
PER_COEFFICIENT = ("estimate", "se", "df", "statistic", "p")
ALL = (*PER_COEFFICIENT, "residual_variance", "participant_variance")


def visits(n_participants, n_visits, missing, rng):
    """Return the design (constant, time, arm, arm x time) and participants, with missing visits."""
    person = np.repeat(np.arange(n_participants), n_visits)
    time = np.tile(np.arange(float(n_visits)), n_participants)
    keep = rng.random(len(person)) >= missing
    person, time = person[keep], time[keep]
    arm = (person % 2).astype(float)
    return np.column_stack([np.ones(len(person)), time, arm, arm * time]), person


def simulate(person, n_variables, rng, *, participant_sd=0.7):
    shared = rng.normal(size=(person.max() + 1, n_variables)) * participant_sd
    return shared[person] + rng.normal(size=(len(person), n_variables))


def column(result: MixedResult, name: str, j: int):
    return getattr(result, name)[..., j]


def read(name: str) -> dict[str, np.ndarray]:
    with (FIXTURES / f"{name}.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    table = {}
    for key in rows[0]:
        cells = [row[key] for row in rows]
        table[key] = np.array(cells if key in ("person", "term") else [float(c) for c in cells])
    return table


# Comparison with other programs


@pytest.mark.parametrize("reml", [True, False])
def test_equals_statsmodels(reml):
    from statsmodels.regression.mixed_linear_model import MixedLM

    rng = np.random.default_rng(1)
    design, person = visits(25, 4, 0.3, rng)
    y = simulate(person, 6, rng) + design @ np.array([[0.2], [0.1], [-0.3], [0.4]])
    ours = fit_mixed(y, design, person, reml=reml)
    assert ours.trouble == ("",) * 6
    same = person[:, None] == person
    for j in range(y.shape[1]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peer = MixedLM(y[:, j], design, groups=person).fit(reml=reml, method="bfgs", gtol=1e-9)
        np.testing.assert_allclose(ours.estimate[:, j], peer.fe_params, rtol=0, atol=1e-6)
        between = float(np.asarray(peer.cov_re).item())
        assert ours.residual_variance[j] == pytest.approx(peer.scale, rel=1e-5)
        assert ours.participant_variance[j] == pytest.approx(between, rel=1e-4)
        # `peer.bse_fe` includes the sample covariance of coefficients and variances in the observed
        # information; the usual formula, as in lme4, is that of generalised least squares.
        covariance = peer.scale * np.eye(len(person)) + between * same
        information = design.T @ np.linalg.solve(covariance, design)
        se = np.sqrt(np.diag(np.linalg.inv(information)))
        np.testing.assert_allclose(ours.se[:, j], se, rtol=0, atol=1e-4)
        np.testing.assert_allclose(ours.se[:, j], peer.bse_fe, rtol=0.02)


@pytest.mark.parametrize("case", CASES)
def test_equals_lmertest(case):
    data, expected = read(f"{case}_data"), read(f"{case}_fit")
    design = np.column_stack([data[str(term)] for term in expected["term"]])
    ours = fit_mixed(data["y"][:, None], design, data["person"], reml=case != "likelihood")
    assert ours.trouble == (BOUNDARY if case == "boundary" else "",)
    np.testing.assert_allclose(ours.estimate[:, 0], expected["estimate"], rtol=1e-5)
    np.testing.assert_allclose(ours.se[:, 0], expected["se"], rtol=1e-4)
    np.testing.assert_allclose(ours.df[:, 0], expected["df"], rtol=1e-3)
    np.testing.assert_allclose(ours.statistic[:, 0], expected["statistic"], rtol=1e-4)
    np.testing.assert_allclose(ours.p[:, 0], expected["p"], rtol=1e-3)
    for name in ("participant_variance", "residual_variance"):
        np.testing.assert_allclose(getattr(ours, name)[0], expected[name][0], rtol=1e-4)


# Comparison with t tests, which are exact for balanced visits


@pytest.mark.parametrize("participant_sd", [1.0, 1e3])
def test_two_balanced_visits_are_a_paired_t_test(participant_sd):
    rng = np.random.default_rng(2)
    design, person = visits(20, 2, 0, rng)
    y = simulate(person, 50, rng, participant_sd=participant_sd) + 0.3 * design[:, [1]]
    ours = fit_mixed(y, design[:, :2], person)
    free = np.flatnonzero(ours.participant_variance > 0)
    assert len(free) > 40
    before, after = y[::2, free], y[1::2, free]
    expected = stats.ttest_rel(after, before)
    tolerance = 1e-8 if participant_sd == 1 else 1e-5
    np.testing.assert_allclose(ours.estimate[1, free], (after - before).mean(axis=0), atol=1e-8)
    np.testing.assert_allclose(ours.df[1, free], 19, rtol=tolerance)
    np.testing.assert_allclose(ours.statistic[1, free], expected.statistic, rtol=tolerance)
    np.testing.assert_allclose(ours.p[1, free], expected.pvalue, rtol=10 * tolerance)


def test_arm_by_time_is_the_t_test_of_differences():
    rng = np.random.default_rng(3)
    design, person = visits(21, 2, 0, rng)
    y = simulate(person, 50, rng, participant_sd=1)
    ours = fit_mixed(y, design, person)
    free = np.flatnonzero(ours.participant_variance > 0)
    assert len(free) > 40
    difference = (y[1::2] - y[::2])[:, free]
    treated = design[::2, 2] == 1
    expected = stats.ttest_ind(difference[treated], difference[~treated])
    np.testing.assert_allclose(ours.statistic[3, free], expected.statistic, rtol=1e-8)
    np.testing.assert_allclose(ours.df[3, free], 19, rtol=1e-8)
    np.testing.assert_allclose(ours.p[3, free], expected.pvalue, rtol=1e-8)


def test_without_variance_between_participants_it_is_least_squares():
    rng = np.random.default_rng(4)
    design, person = visits(12, 3, 0.2, rng)
    y = simulate(person, 60, rng, participant_sd=0)
    ours = fit_mixed(y, design, person)
    flat = np.array(ours.trouble) == BOUNDARY
    assert 10 < flat.sum() < 50
    assert not ours.participant_variance[flat].any()
    assert (ours.participant_variance[~flat] > 0).all()
    coefficients, rss = np.linalg.lstsq(design, y[:, flat])[:2]
    n, p = design.shape
    np.testing.assert_allclose(ours.estimate[:, flat], coefficients, atol=1e-12)
    np.testing.assert_allclose(ours.residual_variance[flat], rss / (n - p))
    assert (ours.df[:, flat] == n - p).all()


# Under the null


def test_false_positive_rate():
    rng = np.random.default_rng(5)
    design, person = visits(24, 3, 0.25, rng)
    ours = fit_mixed(simulate(person, 2000, rng), design, person)
    assert np.isfinite(ours.p).all()
    low, high = stats.binom.ppf([0.005, 0.995], 2000, 0.05)
    for k in range(design.shape[1]):
        assert low <= (ours.p[k] < 0.05).sum() <= high, k


# Invariances


def test_missing_rows_are_excluded():
    rng = np.random.default_rng(6)
    design, person = visits(16, 3, 0.1, rng)
    y = simulate(person, 12, rng)
    y[rng.random(y.shape) < 0.2] = np.nan
    y[:, 5] = simulate(person, 1, rng)[:, 0]  # complete
    y[np.isnan(y[:, 0]), 7] = np.nan  # the same missing rows as in variable 0
    y[~np.isnan(y[:, 0]) & np.isnan(y[:, 7]), 7] = 0.4
    together = fit_mixed(y, design, person)
    for j in range(y.shape[1]):
        rows = ~np.isnan(y[:, j])
        alone = fit_mixed(y[rows][:, [j]], design[rows], person[rows])
        assert alone.trouble[0] == together.trouble[j]
        for name in ALL:
            np.testing.assert_allclose(
                column(together, name, j), column(alone, name, 0), rtol=1e-7, atol=1e-11
            )


def test_order_of_rows_labels_and_block_size_have_no_effect(monkeypatch):
    rng = np.random.default_rng(7)
    design, person = visits(16, 3, 0.2, rng)
    y = simulate(person, 30, rng)
    ours = fit_mixed(y, design, person)
    shuffled = rng.permutation(len(person))
    named = np.array([f"sub-{k}" for k in rng.permutation(16)])[person]
    monkeypatch.setattr(mixed, "_BLOCK", 1)  # one variable at a time
    other = fit_mixed(y[shuffled], design[shuffled], named[shuffled])
    assert ours.trouble == other.trouble
    for name in ALL:
        np.testing.assert_allclose(getattr(ours, name), getattr(other, name), rtol=1e-7, atol=1e-11)


def test_units_have_no_effect():
    rng = np.random.default_rng(8)
    design, person = visits(16, 3, 0.2, rng)
    y = simulate(person, 30, rng)
    ours = fit_mixed(y, design, person)
    scale = np.array([1.0, 1e6, 1.0, 1e-6])
    other = fit_mixed(1e-5 * y + 1e-2, design * scale, person)
    for name in ("statistic", "df", "p"):
        np.testing.assert_allclose(
            getattr(ours, name)[1:], getattr(other, name)[1:], rtol=1e-6, atol=1e-9
        )


def test_no_variables():
    design, person = visits(4, 3, 0, np.random.default_rng(0))
    ours = fit_mixed(np.empty((12, 0)), design, person)
    assert ours.p.shape == (4, 0)
    assert ours.trouble == ()


# Problems


def test_problems_are_reported_for_each_variable():
    rng = np.random.default_rng(9)
    design, person = visits(10, 3, 0, rng)
    y = simulate(person, 8, rng, participant_sd=2)
    y[:, 1] = 0.3  # constant
    y[:, 2] = np.repeat(rng.normal(size=10), 3)  # the same at all visits
    y[4:, 3] = np.nan  # too few rows
    y[design[:, 1] > 0, 4] = np.nan  # a single visit each: time is collinear with the constant
    y[:, 5] = np.nan
    y[person > 2, 6] = np.nan  # three participants: 1 degree of freedom between them
    y[person % 2 == 1, 7] = np.nan  # one arm
    ours = fit_mixed(y, design, person)
    deficient = "the design is rank deficient for the available rows"
    too_few = "too few participants or rows"
    assert ours.trouble == (
        "",
        "the variable has no variance around the design",
        "the fit did not converge",
        too_few,
        deficient,
        too_few,
        "",
        deficient,
    )
    for name in ALL:
        assert np.isfinite(getattr(ours, name)[..., [0, 6]]).all()
        assert np.isnan(getattr(ours, name)[..., [1, 2, 3, 4, 5, 7]]).all()


def test_samples_that_do_not_identify_the_variances():
    too_few = ("too few participants or rows",)
    person = np.repeat(np.arange(2), 3)
    arm = np.column_stack([np.ones(6), person])
    assert fit_mixed(np.arange(6.0)[:, None] ** 2, arm, person).trouble == too_few
    person = np.repeat(np.arange(3), 2)
    own = np.column_stack([person == k for k in range(3)]) * np.tile([0.0, 1.0], 3)[:, None]
    assert fit_mixed(np.arange(6.0)[:, None] ** 2, own, person).trouble == too_few


def test_designs_that_cannot_be_fitted():
    rng = np.random.default_rng(10)
    design, person = visits(6, 2, 0, rng)
    y = simulate(person, 3, rng)
    missing = design.copy()
    missing[4, 2] = np.nan
    collinear = np.column_stack([design, design[:, 1] - design[:, 2]])
    infinite = y.copy()
    infinite[0, 0] = np.inf
    problems = [
        ("12, 12 and 11 rows", (y, design, person[1:])),
        ("12, 11 and 12 rows", (y, design[1:], person)),
        ("11, 12 and 12 rows", (y[1:], design, person)),
        ("they have 1, 2 and 1", (y[:, 0], design, person)),
        (r"not finite in 1 rows \(the first is row 4\)", (y, missing, person)),
        ("row 0 and variable 0 is infinite", (infinite, design, person)),
        ("12 rows are not enough for 13 model columns", (y, rng.normal(size=(12, 13)), person)),
        ("12 rows are not enough for 0 model columns", (y, np.empty((12, 0)), person)),
        ("collinear", (y, collinear, person)),
        ("collinear", (y, design * np.array([1, 1, 1, 0]), person)),
        ("no participant has two or more visits", (y, design, np.arange(12))),
    ]
    for message, given in problems:
        with pytest.raises(DesignError, match=message):
            fit_mixed(*given)
