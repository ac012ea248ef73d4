"""Tables of secondary analyses, and the visits that they use."""

from types import SimpleNamespace

import numpy as np
import pytest

from circuitshift.pipeline.io import tables
from circuitshift.pipeline.study import secondary_tables
from circuitshift.pipeline.study.pairing import Measured, Member, assemble
from circuitshift.pipeline.study.study_file import Design

MEMBERS = (
    Member("01", "drug", "treated", (30.0,), site="A"),
    Member("02", "sham", "control", (np.nan,), site="A"),
    Member("03", "drug", "treated", (50.0,), site="B"),
    Member("04", "hc", "reference", (20.0,), site="A"),
)
VISITS = {
    "01": ("pre", "post", "late"),
    "02": ("pre", "post"),
    "03": ("pre", "late"),
    "04": ("pre",),
}


def study(*, visits, days=(), fd=0.2):
    """Return context and fitted analysis with visits of all participants."""
    sessions = {
        (label, session): Measured(
            label, session, np.array([int(label), k], float), 30.0, 5.0, fd + k / 10, "run"
        )
        for label, labels in VISITS.items()
        for k, session in enumerate(labels)
    }
    design = Design("pre", "post", visits=visits, days=days)
    cohort = assemble(sessions, MEMBERS, Design("pre", "post"))
    context = SimpleNamespace(
        design=design, members=MEMBERS, measurements=SimpleNamespace(rows=[], participants={})
    )
    return context, SimpleNamespace(cohort=cohort, sessions=sessions)


def test_without_visits_in_the_study_file_there_are_no_levels():
    assert secondary_tables._levels(*study(visits=())) is None


def test_levels_contain_the_visits_of_treated_and_control_participants():
    days = (("pre", 0.0), ("post", 7.0), ("late", 90.0))
    levels = secondary_tables._levels(*study(visits=("pre", "post", "late"), days=days))
    assert levels.names == ("pre", "post", "late")
    assert levels.days == (0.0, 7.0, 90.0)
    np.testing.assert_array_equal(levels.person, [0, 0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(levels.visit, [0, 1, 2, 0, 1, 0, 2])
    np.testing.assert_array_equal(levels.z[:, 0], [1, 1, 1, 2, 2, 3, 3])
    np.testing.assert_array_equal(levels.treated, [True] * 3 + [False] * 2 + [True] * 2)
    # positions among participants with both visits, then those with a baseline only
    np.testing.assert_array_equal(levels.owner, [0, 0, 0, 1, 1, 2, 2])
    np.testing.assert_allclose(levels.motion_mm, [0.2, 0.3, 0.4, 0.2, 0.3, 0.2, 0.3])


def test_missing_covariates_are_replaced_by_the_mean_and_sites_are_indicators():
    levels = secondary_tables._levels(*study(visits=("pre", "post")))
    rows = levels.covariates
    mean_age = np.mean([30, 30, 50])  # over visits: two of the first and one of the third
    np.testing.assert_allclose(rows[:, 0], [30, 30, mean_age, mean_age, 50])
    np.testing.assert_array_equal(rows[:, 1], [0, 0, 0, 0, 1])


def test_motion_with_missing_values_is_not_used():
    levels = secondary_tables._levels(*study(visits=("pre", "post"), fd=np.nan))
    assert levels.motion_mm is None


def test_each_declared_table_is_written_with_descriptions(tmp_path, monkeypatch):
    """A secondary analysis declares its tables; those without rows have a header only."""
    table = SimpleNamespace(
        name="curves", described=lambda _: {"visit": "Visit", "mean_z": "Mean, Fisher z"}
    )
    unused = SimpleNamespace(name="unused", described=lambda _: {"x": "Unused"})
    rows = {"curves": [{"visit": "pre", "mean_z": 0.5}]}
    results = SimpleNamespace(by_analysis={"example": SimpleNamespace(tables=rows)})
    received = []

    def analyses(data):
        received.append(data)
        return results

    monkeypatch.setattr(secondary_tables, "secondary_analyses", analyses)
    monkeypatch.setattr(
        secondary_tables, "ANALYSES", [SimpleNamespace(name="example", tables=(table, unused))]
    )
    monkeypatch.setattr(secondary_tables, "baseline_halves", lambda *_: None)

    class Data(SimpleNamespace):
        circuits = ("dmn",)

    monkeypatch.setattr(secondary_tables, "SecondaryData", Data)
    context, fitted = study(visits=())
    context.atlas = SimpleNamespace(regions=[SimpleNamespace(network="Default")], labels=("a",))
    fitted.analysis, fitted.visits, fitted.rules = "analysis", "visits", "rules"
    fitted.strategy = "main"
    assert secondary_tables.write_secondary(context, fitted, tmp_path) is results
    written = tables.read_table(tmp_path / "curves.tsv")
    assert written.column("visit") == ["pre"]
    assert tables.read_json(tmp_path / "curves.json")["mean_z"]["Description"] == "Mean, Fisher z"
    assert (tmp_path / "unused.tsv").read_text() == "x\n"
    (data,) = received
    assert data.participants == ["sub-01", "sub-02"]
    assert data.networks == ["Default"]
    # secondary analyses have a random stream of their own
    expected = np.random.default_rng([context.design.seed, 1]).random()
    assert data.rng.random() == pytest.approx(expected)
