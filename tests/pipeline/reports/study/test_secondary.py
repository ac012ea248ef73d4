"""Sections on symptoms, detectable effects and secondary analyses."""

import pytest
from scipy import stats

from circuitshift.pipeline.model.secondary.secondary import secondary_tables
from circuitshift.pipeline.reports.study import secondary as section

NAN = float("nan")
DESIGN = {"baseline": "pre", "followup": "post", "alpha": 0.05, "sesoi_z": 0.1}


@pytest.mark.parametrize(
    ("single", "family", "bound", "answer"),
    [
        (0.06, 0.09, 0.1, "yes"),
        (0.06, 0.12, 0.1, "by a single test"),
        (0.2, 0.3, 0.1, "no"),
        (0.2, 0.3, NAN, "not available"),
    ],
)
def test_the_table_states_whether_the_effect_of_interest_is_detectable(
    single, family, bound, answer, estimate, small_study
):
    row = estimate("dmn", "specific", bound=bound, detectable=single, detectable_family=family)
    (table,) = section.detectable_tables(small_study(tests=[row]))
    assert table.rows[0][-1] == answer


def test_symptoms_are_drawn_for_participants_with_the_score_only(estimate, small_study):
    change = [
        {"participant_id": f"sub-{k}", "arm": "treated", "symptom_change": "n/a" if k == 2 else -k,
         "specific_dmn": 0.1 * k, "global_shift": 0.0}
        for k in range(4)
    ]  # fmt: skip
    tests = [estimate("dmn", "symptom: specific", 0.1, 0.01)]
    verdict = {"design": DESIGN | {"symptom": "madrs"}}
    report = small_study(verdict, tests=tests, change=change)
    words, figure, numbers = section.symptom_section(report)
    assert words.words == (
        "Change of madrs is associated with change of: dmn. 3 participants have the score at both "
        "visits."
    )
    assert figure.svg.count("<use") >= 3
    assert numbers.blocks[0].rows[0][0] == "dmn (symptom: specific)"
    assert section.symptom_figure(small_study(verdict, tests=tests)) is None
    assert list(section.symptom_section(small_study(tests=tests))) == []


def test_moderators_are_drawn_against_the_change_of_both_arms(small_study):
    change = [
        {"participant_id": f"sub-{k}", "arm": "control" if k % 2 else "treated",
         "specific_dmn": 0.1 * k, "global_shift": 0.0}
        for k in range(8)
    ]  # fmt: skip
    values = [
        {"moderator": "dose", "participant_id": f"sub-{k}", "value": "n/a" if k == 2 else k}
        for k in range(8)
    ]
    rows = [
        {"moderator": "dose", "kind": "circuit", "term": "dmn", "statistic": 5.0,
         "effect": effect, "p_corrected": p}
        for effect, p in (("slope within arms", 0.2), (section.SLOPE_DIFFERENCE, 0.01))
    ]  # fmt: skip
    report = small_study(change=change, secondary={"moderators": rows, "moderator_values": values})
    words, result, figure = section.moderator_section(report)
    assert "tests whether the effect of treatment depends on the moderator" in words.words
    assert result.words == "The change of dmn is associated with dose."
    assert figure.svg.count("<use") >= 7
    assert "dose" in figure.svg
    one_arm = small_study(secondary={"moderators": [rows[0] | {"p_corrected": 0.9}]})
    words, result, figure = section.moderator_section(one_arm)
    assert "difference between the slopes" not in words.words
    assert result.words == "No association between the change of connectivity and dose was found."
    assert figure is None
    assert list(section.moderator_section(small_study())) == []


def test_secondary_analyses_are_shown_as_described_in_their_records(small_study):
    rows = {table.name: [{"circuit": "dmn", "n/a": "n/a"}] for table in secondary_tables()}
    verdict = {"secondary": {"findings": ["One finding.", "Another."]}}
    start, *shown = section.secondary_section(small_study(verdict, secondary=rows))
    assert start.words == (
        "These analyses are descriptive and do not influence the verdict. One finding. Another."
    )
    expected = [table for table in secondary_tables() if table.shown == "table"]
    assert len(expected) >= 6
    for block, table in zip(shown, expected, strict=True):
        assert block.summary == f"{table.caption} ({table.name}.tsv)"
        assert block.blocks[0].rows == [("dmn", "\N{EN DASH}")]
    (_, nothing) = section.secondary_section(small_study())
    assert nothing.words == "No secondary analysis produced a table."


def test_power_is_that_of_each_test_with_its_standard_error(estimate, small_study):
    rows = [
        estimate("dmn", "specific", se=0.02, df=40, sd=0.1, bound=0.03, power=0.21),
        estimate("tpn", "specific", se=0.03, df=40, sd=0.1),
        estimate("gain", "global", se=NAN),
    ]
    table = section.power_table(small_study(tests=rows))
    assert [row[0] for row in table.rows] == ["dmn", "tpn"]
    limit = stats.t.isf(0.05 / 4, 40)  # two-sided, two circuits
    for row, se in zip(table.rows, (0.02, 0.03), strict=True):
        for cell, d in zip(row[3:6], (0.3, 0.4, 0.5), strict=True):
            nc = d * 0.1 / se
            assert cell == f"{stats.nct.sf(limit, 40, nc) + stats.nct.cdf(-limit, 40, nc):.0%}"
    assert table.rows[0][-1] == "21%"
    assert len(section.power_table(small_study()).rows) == 0
