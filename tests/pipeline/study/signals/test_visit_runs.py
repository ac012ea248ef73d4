"""Runs of the visits of a comparison, and the change of a quantity of runs."""

import numpy as np
import pytest

from circuitshift.pipeline.io import tables
from circuitshift.pipeline.study.signals.visit_runs import (
    change_of_visits,
    runs_of_visits,
    visits_of,
)


def found(context, fitted):
    return runs_of_visits(context, fitted.cohort, fitted.strategy)


def test_runs_of_other_visits_strategies_and_participants_are_not_used(write_run, study):
    series = np.random.default_rng(0).normal(size=(60, 2))
    rows = [
        write_run("01", "pre", series=series),
        write_run("01", "late", series=series),
        write_run("01", "post", series=series, strategy="other"),
        write_run("02", "post", series=series, status="excluded"),
        write_run("03", "pre", series=series),
        write_run("02", "pre"),  # a matrix
    ]
    (run,) = found(*study(rows))
    assert (run.person, run.session) == ("01", "pre")
    np.testing.assert_allclose(tables.read_series(run.series)[1], series, atol=1e-5)
    np.testing.assert_allclose(run.retained_fd_mm(), np.linspace(0.1, 0.5, 60), atol=1e-5)
    assert run.about["Atlas"] == "A"
    without = write_run("02", "pre", series=series, motion=False)
    assert found(*study([without]))[0].retained_fd_mm() is None
    assert found(*study([without | {"relmat": "sub-02/none.tsv"}])) == []


def test_the_change_is_averaged_over_runs_and_missing_where_a_visit_is(study):
    context, _ = study([])
    one = np.array([1.0, 2.0])
    values = {("01", "pre"): [one, 3 * one], ("01", "post"): [5 * one], ("02", "pre"): [one]}
    change = change_of_visits(context, ("01", "02"), values)
    np.testing.assert_array_equal(change, [3 * one, [np.nan, np.nan]])
    assert change_of_visits(context, ("02",), values) is None


def test_a_crossover_subtracts_the_change_of_the_control_condition(study):
    context, _ = study([], control_baseline="pre2", control_followup="post2")
    assert visits_of(context) == ("pre", "post", "pre2", "post2")
    values = {("01", v): [np.array([x])] for v, x in zip(visits_of(context), (1, 5, 2, 3))}  # noqa: B905
    assert change_of_visits(context, ("01",), values) == pytest.approx(4 - 1)
