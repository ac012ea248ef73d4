"""Rows of the table: what is planted agrees with the claims that are allowed."""

import numpy as np
import pytest

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.validation.outside.effects import Gain, Specific, Standardised, Sum
from circuitshift.pipeline.validation.outside.rows import (
    ROWS,
    circuit_changes,
    rows_of,
    select_rows,
)
from circuitshift.pipeline.validation.outside.world import CIRCUITS, invented_world

# issue 17 asks for these, with one and with two arms
REQUIRED = (
    "nothing",
    "shift",
    "gain",
    "r' = .8 r",
    "saturating",
    "step",
    "normalisation",
    "gain + specific",
    "heavy tails",
    "8 participants",
    "distance",
    "two unnamed networks",
    "one unnamed network",
    "global signal +35 %",
    "global signal -25 %",
    "hubs",
    "specific, d = .4",
)


@pytest.fixture(scope="module")
def world():
    return invented_world(np.random.default_rng(1), {"dmn": 0.1})


def test_all_required_rows_exist_with_one_and_two_arms():
    for name in REQUIRED:
        assert not ROWS[name].design.n_control
        assert ROWS[f"{name}, two arms"].design.n_control
        assert ROWS[f"{name}, two arms"].effect == ROWS[name].effect
    assert set(ROWS) == set(rows_of(1)) | set(rows_of(2))
    unequal = ROWS["8 against 30, two arms"].design
    assert (unequal.n_treated, unequal.n_control) == (8, 30)
    equal = ROWS["8 participants, two arms"].design
    assert (equal.n_treated, equal.n_control) == (8, 8)


@pytest.mark.parametrize("name", list(ROWS))
def test_claims_of_circuits_agree_with_the_planted_effect(name, world):
    row = ROWS[name]
    assert set(row.circuits) <= set(CIRCUITS)
    if row.is_exact:
        signs = {k: np.sign(v) for k, v in circuit_changes(row.effect, world).items() if v}
        assert signs == row.circuits
    else:
        assert not row.circuits


@pytest.mark.parametrize("name", list(ROWS))
def test_global_terms_with_a_value_are_those_that_may_be_claimed(name):
    row = ROWS[name]
    assert {term for term, value in row.values.items() if value} <= row.laws
    if row.values.get("shift"):  # the average change contains the shift
        assert row.values["average_change"] == row.values["shift"]


def test_changes_of_circuits_are_read_from_the_effect(world):
    unchanged = dict.fromkeys(CIRCUITS, 0.0)
    assert circuit_changes(Gain(), world) == unchanged
    both = Sum((Gain(), Specific({"tpn": 0.2})))
    assert circuit_changes(both, world) == unchanged | {"tpn": 0.2}
    assert circuit_changes(Standardised("dmn", -0.4), world)["dmn"] == pytest.approx(-0.04)


def test_only_rows_in_which_nothing_is_planted_are_null():
    null = {name for name in rows_of(1) if ROWS[name].is_null}
    assert {"nothing", "distance", "heavy tails", "selected for a strong DMN"} <= null
    assert not null & {"gain", "hubs", "two unnamed networks", "specific, d = .4"}


def test_rows_are_selected_by_name_arms_and_source():
    assert select_rows(["gain"]) == ("gain",)
    assert select_rows([]) == tuple(ROWS)
    assert select_rows([], arms=2) == tuple(rows_of(2))
    measured = select_rows([], arms=1, measured=True)
    assert "hubs" in measured
    assert not {"normalisation", "heavy tails", "selected for a strong DMN"} & set(measured)
    for names, options in ((["gian"], {}), (["normalisation"], {"measured": True})):
        with pytest.raises(InputError, match="there is no row '"):
            select_rows(names, **options)
