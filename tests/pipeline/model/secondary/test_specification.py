"""The specification curve covers all choices, including those that cannot be analysed."""

from dataclasses import replace

import numpy as np

from circuitshift.pipeline.model.analyse import analyse
from circuitshift.pipeline.model.secondary.specification import specification_curve


def choices(rows):
    return {(row["background"], row["covariates"]) for row in rows}


def test_every_background_is_tried_with_and_without_covariates(study_of):
    data = study_of(covariates=np.random.default_rng(2).normal(size=(18, 1)))
    found = specification_curve(data)
    rows = found.tables["specification"]
    assert choices(rows) == {
        (background, words)
        for background in ("all", "disjoint", "matched")
        for words in ("with", "without")
    }
    assert sum(found.summary["specification"].values()) == 6
    again = analyse(
        replace(data.visits, covariates=None),
        data.circuits,
        rng=np.random.default_rng(0),
        rules=replace(data.rules, background="matched"),
    )
    expected = {e.term: e.estimate for e in again.estimates if e.family in ("global", "specific")}
    bare = [r for r in rows if (r["background"], r["covariates"]) == ("matched", "without")]
    assert {row["term"]: row["estimate"] for row in bare} == expected


def test_without_covariates_each_background_is_analysed_once(study_of):
    rows = specification_curve(study_of()).tables["specification"]
    assert choices(rows) == {(b, "none") for b in ("all", "disjoint", "matched")}


def test_a_specification_that_cannot_be_analysed_is_a_row_with_the_reason(study_of):
    i, j = np.triu_indices(20, 1)
    data = study_of()
    # circuits that touch every region leave no disjoint background
    wide = {"dmn": np.flatnonzero(i < 2), "tpn": np.flatnonzero((i > 1) & (j > 17))}
    analysis = analyse(data.visits, wide, rng=np.random.default_rng(0), rules=data.rules)
    found = specification_curve(replace(data, analysis=analysis))
    (refused,) = [row for row in found.tables["specification"] if row["background"] == "disjoint"]
    assert refused["verdict"].startswith("could not be analysed: the circuits leave 0 background")
    assert refused["term"] is None
    assert sum(found.summary["specification"].values()) == 3
