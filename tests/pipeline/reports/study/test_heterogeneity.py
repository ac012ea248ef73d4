import re
from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.reports.study import heterogeneity as part

FOUND = {
    "source": "pairs of networks of the atlas",
    "n_blocks": 3,
    "tau": 0.034,
    "ci_low": 0.021,
    "ci_high": 0.052,
    "p": 0.004,
    "level": 0.02,
    "smallest": 0.02,
    "reason": "",
}
EXPLAINED = {
    "circuit": "dmn",
    "kind": "regional",
    "part": -0.08,
    "part_low": -0.11,
    "part_high": -0.05,
    "rest": -0.02,
    "rest_low": -0.06,
    "rest_high": 0.02,
    "explains": True,
}


def block(row, term, estimate, p):
    return {**row, "test": term, "family": "blocks", "term": term} | {
        "estimate": estimate,
        "p_corrected": p,
    }


@pytest.fixture
def report(full_study):
    base = full_study()
    tests = [
        *base.tests,
        block(base.tests[0], "Vis", -0.1, 0.004),
        block(base.tests[0], "SomMot", 0.02, 0.6),
        block(base.tests[0], "SomMot \N{EN DASH} Vis", 0.05, 0.2),
    ]
    verdict = dict(base.verdict) | {"heterogeneity": FOUND, "explanations": [EXPLAINED]}
    return replace(base, verdict=verdict, tests=tests)


def test_the_figure_places_blocks_by_network(report):
    figure = part.block_figure(report)
    text = " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", str(figure.svg)))
    assert "Vis" in text
    assert "SomMot" in text
    assert "(1 block)" in str(figure.caption)


def test_the_part_states_tau_with_its_interval(report, write):
    page = write(report)
    text = page.text
    assert "The omnibus test rejects one global law (p 0.004, significance level 0.02; " in text
    assert "largest statistic over 3 blocks" in text
    assert "standard deviation of 0.034 (95 % confidence interval 0.021 to 0.052" in text


def test_a_law_that_is_not_rejected_is_not_called_proven(report, write):
    verdict = dict(report.verdict) | {"heterogeneity": FOUND | {"p": 0.4}}
    text = write(replace(report, verdict=verdict)).text
    assert "does not reject one global law" in text


def test_heterogeneity_that_was_not_tested_gives_its_reason(report, write):
    unknown = {"n_blocks": 0, "reason": "the atlas has too few networks"}
    verdict = dict(report.verdict) | {"heterogeneity": unknown}
    tests = [row for row in report.tests if row.get("family") != "blocks"]
    text = write(replace(report, verdict=verdict, tests=tests)).text
    assert "was not tested (the atlas has too few networks). Circuits were compared with 0." in text


def test_explanations_are_tabulated_with_both_estimates(report):
    table = part.explanation_table(report)
    (row,) = table.rows
    assert row[0] == report.title("dmn")
    assert row[1] == "its regions changed in all their connections"
    assert "0.080" in row[2]
    assert "0.020" in row[3]
    assert row[4] == "yes"
    none = dict(report.verdict) | {"explanations": []}
    assert part.explanation_table(replace(report, verdict=none)) is None


def test_older_results_have_no_such_part(report, write):
    verdict = {k: v for k, v in report.verdict.items() if k != "heterogeneity"}
    text = write(replace(report, verdict=verdict)).text
    assert "global law" not in text


def test_tests_of_pairs_of_networks_become_symmetric_matrices():
    rows = [
        {"estimate": "0.1", "p_corrected": "0.02"},
        {"estimate": "-0.3", "p_corrected": "0.5"},
    ]
    names, change, corrected = part.network_matrices(rows, [("b", "a"), ("b", "b")], "estimate")
    assert names == ["a", "b"]
    np.testing.assert_array_equal(change, [[np.nan, 0.1], [0.1, -0.3]])
    np.testing.assert_array_equal(corrected, [[np.nan, 0.02], [0.02, 0.5]])
