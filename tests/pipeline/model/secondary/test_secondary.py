"""Requirements that every secondary analysis of the list must meet, including new ones."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.analyse import analyse
from circuitshift.pipeline.model.contrasts import Levels, Rules, Visits
from circuitshift.pipeline.model.secondary.record import (
    SecondaryAnalysis,
    SecondaryData,
    SecondaryResult,
)
from circuitshift.pipeline.model.secondary.secondary import (
    _STREAMS,
    ANALYSES,
    secondary_analyses,
    secondary_tables,
)
from circuitshift.pipeline.validation.simulate.edges import Truth

NAMES = [analysis.name for analysis in ANALYSES]
#: Analyses that only a crossover allows.
OF_CROSSOVERS = {"order"}


@pytest.fixture(scope="module")
def data(study_of):
    return study_of(Truth(shift=0.1, normalisation=0.4))


@pytest.fixture(scope="module")
def found(data):
    return secondary_analyses(data)


@pytest.fixture(scope="module")
def crossover(study_of):
    one_arm = study_of(Truth(shift=0.1), n_control=0)
    visits = one_arm.visits
    return study_of(
        Truth(shift=0.1),
        n_control=0,
        control_baseline=visits.baseline + 0.01,
        control_followup=visits.baseline[::-1].copy(),
    )


def same(one, two):
    """Whether two results hold the same values; NaN equals NaN."""
    return repr(one) == repr(two)


def test_names_of_analyses_and_tables_are_unique():
    assert len(set(NAMES)) == len(NAMES)
    tables = [table.name for table in secondary_tables()]
    assert len(set(tables)) == len(tables)
    assert set(_STREAMS) <= set(NAMES)


@pytest.mark.parametrize("analysis", ANALYSES, ids=NAMES)
def test_every_record_describes_itself(analysis):
    assert analysis.title
    assert analysis.tables or analysis.families  # otherwise its results are written nowhere
    for table in analysis.tables:
        assert table.caption[0].isupper()
        assert not table.caption.endswith(".")
        assert all(text.strip() for text in table.columns.values())
        assert table.shown in {"table", "figure", "file"}


@pytest.mark.parametrize("analysis", ANALYSES, ids=NAMES)
def test_every_analysis_returns_what_its_record_describes(analysis, data, found, crossover):
    own = found.by_analysis[analysis.name]
    if analysis.name in OF_CROSSOVERS:
        assert own == SecondaryResult()  # of two arms
        own = secondary_analyses(crossover, [analysis]).by_analysis[analysis.name]
    assert not own.remarks
    assert {e.family for e in own.estimates} == set(analysis.families)
    assert set(own.tables) == {table.name for table in analysis.tables}
    for table in analysis.tables:
        assert own.tables[table.name]
        for row in own.tables[table.name]:
            assert set(row) == set(table.described(tuple(data.circuits)))
    json.dumps(own.summary)


@pytest.mark.parametrize("analysis", ANALYSES, ids=NAMES)
def test_one_analysis_does_not_depend_on_the_others(analysis, data, found):
    number = _STREAMS.get(analysis.name)
    with_it = [a for a in ANALYSES if number is not None and _STREAMS.get(a.name) == number]
    before = with_it[: with_it.index(analysis)] if with_it else []
    alone = secondary_analyses(data, [*before, analysis])
    assert same(alone.by_analysis[analysis.name], found.by_analysis[analysis.name])


def test_an_analysis_that_is_added_changes_no_other_and_has_its_own_numbers(data, found):
    drawn = []

    def draw(own):
        drawn.append(own.rng.random())
        return SecondaryResult()

    more = [SecondaryAnalysis(name, name, draw) for name in ("one", "two")]
    with_more = secondary_analyses(data, [more[0], *ANALYSES, more[1]])
    for name in NAMES:
        assert same(with_more.by_analysis[name], found.by_analysis[name]), name
    assert drawn[0] != drawn[1]
    secondary_analyses(data, more[::-1])
    assert drawn[2:] == drawn[1::-1]
    secondary_analyses(replace(data, rng=np.random.default_rng(99)), more)
    assert len(set(drawn)) == 4


def test_the_results_are_joined(found):
    families = {family for analysis in ANALYSES for family in analysis.families}
    assert {e.family for e in found.estimates} == families
    assert set(found.edges) == {"estimate_z", "statistic", "p", "p_corrected", "p_tfnbs"}
    findings = found.summary["findings"]
    assert findings == [one.finding for one in found.by_analysis.values() if one.finding]
    best = found.summary["best_predicting_model"]
    assert any(f"'{best}' predicts left-out participants best." in text for text in findings)
    assert not found.remarks


def test_an_analysis_that_the_design_does_not_allow_leaves_a_remark_and_the_others_run(study_of):
    small = study_of(n_treated=4, n_control=0, n_reference=0)
    small = replace(small, levels=None, baseline_halves=None)
    found = secondary_analyses(small)
    text = " ".join(found.remarks)
    assert "Predictive comparison: 4 participants have all values" in text
    assert "Reliability: no participant was scanned twice without treatment" in text
    assert found.by_analysis["specification"].tables["specification"]
    assert found.by_analysis["trajectories"] == SecondaryResult()
    assert not any("predicts" in text for text in found.summary["findings"])

    def refuse(_own):
        raise DesignError("there are no data")

    refused = secondary_analyses(small, [SecondaryAnalysis("one", "A dummy", refuse)])
    assert refused.remarks == ("A dummy: there are no data.",)


def test_regional_features_are_analysed_in_their_unit_without_analyses_of_edges():
    rng = np.random.default_rng(9)
    regions = FeatureSpace.of_regions(120, unit="mm", valid_range=(0, 10))
    typical, deviation = rng.normal(2.6, 0.3, 120), rng.normal(-0.1, 0.1, 120)
    own = typical + deviation + rng.normal(0, 0.1, (24, 120))
    before, after = (own + rng.normal(0, 0.05, (24, 120)) for _ in range(2))
    treated = np.arange(24) < 12
    after[treated] += 0.1
    healthy = typical + rng.normal(0, 0.1, (16, 120))
    visits = Visits(before, after, regions, treated=treated, reference=healthy)
    rules = Rules(n_permutations=199)
    levels = Levels(
        z=np.vstack([before, after]),
        person=np.tile(np.arange(24), 2),
        owner=np.tile(np.arange(24), 2),
        visit=np.repeat([0, 1], 24),
        names=("pre", "post"),
        days=(0.0, 30.0),
        treated=np.tile(treated, 2),
        motion_mm=None,
        covariates=np.empty((48, 0)),
    )
    data = SecondaryData(
        analyse(visits, {"frontal": np.arange(12)}, rng=rng, rules=rules),
        visits,
        rules,
        participants=[f"sub-{k:02d}" for k in range(24)],
        networks=["Frontal"] * 60 + [""] * 60,
        rng=np.random.default_rng(9),
        levels=levels,
    )
    more = secondary_analyses(data)
    edges_only = ("random circuits", "network-based statistics")
    assert set(more.remarks) == {regions.reason_to_omit(part) for part in edges_only}
    rows = {(e.family, e.term): e for e in more.estimates}
    course = rows["trajectory: global", "shift at ses-post"]
    assert course.unit == "mm"
    assert course.p_corrected < 0.05
    assert course.estimate == pytest.approx(0.1, abs=0.03)
    assert rows["trajectory: global", "shift per 30 days"].unit == "mm per 30 days"
    assert rows["ranks: global", "shift"].p_corrected < 0.05
    assert not any("Fisher" in e.unit for e in more.estimates)
    assert "spatial" not in more.by_analysis["spatial"].tables
    assert len(more.by_analysis["maps"].tables["regions"]) == 120
    assert more.summary["components"] == []
    assert list(more.summary["normalisation_by_circuit"]) == ["frontal"]
    assert more.summary["best_predicting_model"] in ("global", "both")


def line_of(analysis):
    """Line of docs/secondary-analyses.md that follows from a record."""
    files = [
        f"`{table.name}.tsv`: {table.caption[0].lower()}{table.caption[1:]}"
        for table in analysis.tables
    ]
    if analysis.families:
        files.append("`tests.tsv`: " + ", ".join(f"`{name}`" for name in analysis.families))
    return f"| {analysis.title} | {'; '.join(files)} |"


def test_the_documentation_lists_every_analysis_with_its_title_and_tables():
    path = Path(__file__).resolve().parents[4] / "docs" / "secondary-analyses.md"
    lines = [line for line in path.read_text().splitlines() if line.startswith("| ")]
    assert lines[1:] == [line_of(analysis) for analysis in ANALYSES]
