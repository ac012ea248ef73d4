"""Methods of a study: the COBIDAS checklist."""

import pytest

from circuitshift.pipeline.reports.references import cited, listed
from circuitshift.pipeline.reports.study.methods import _heterogeneity, checklist

DESIGN = {"baseline": "pre", "followup": "post", "alpha": 0.05, "sesoi_z": 0.1}


def test_the_checklist_leaves_items_open_that_the_files_do_not_contain(estimate):
    verdict = {
        "n": {"treated": 9, "control": 0, "reference": 4}, "design": DESIGN, "strategy": "24p",
        "settings": {"estimator": "pearson", "min_minutes": 2.0, "max_mean_fd_mm": 0.5,
                    "min_coverage": 0.5},
        "code_hash": "abc", "seed": 7, "plan": {"sentence": "No plan was frozen."},
    }  # fmt: skip
    rows_ = checklist(verdict, [estimate("dmn", "specific", method="Welch t")])
    answers = {item: answer for _, item, answer in rows_}
    assert answers["Number analysed, by group"] == "9 treated, 4 reference"
    assert answers["Denoising"] == "24p"
    assert answers["Test and correction"] == "Welch t"
    assert answers["Sample size and its justification"].startswith("detectable with 80 % power")
    assert answers["Code, settings and seed"] == "code hash abc, seed 7"
    for item in ("Random assignment", "Blinding", "Scanner, sequence, repetition time, "
                 "instructions", "Availability of data and code"):  # fmt: skip
        assert answers[item] == ""
    as_given = dict(verdict, strategy="as given")
    open_ = {item for _, item, answer in checklist(as_given, []) if not answer}
    assert {"Denoising", "Exclusion of data", "Sample size and its justification"} <= open_


def test_the_methods_state_how_circuits_were_compared_with_networks():
    found = {
        "n_blocks": 21,
        "source": "pairs of networks of the atlas",
        "smallest": 0.02,
    }
    text = _heterogeneity({"heterogeneity": found})
    assert "against the variation of change over 21 blocks of background edges (pairs of" in text
    assert "standard deviation of 0.020 Fisher z" in text
    assert listed(cited([text]))[0].startswith("DerSimonian, Rebecca and Kacker, Raghu (2007)")
    unknown = {"n_blocks": 0, "reason": "too few networks"}
    assert _heterogeneity({"heterogeneity": unknown}) == "Circuits were tested against 0."
    assert _heterogeneity({}) == ""


@pytest.mark.parametrize(
    ("randomised", "compared", "answer"),
    [
        (None, "analysis of covariance with the baseline", ""),
        (True, "analysis of covariance with the baseline", "yes"),
        (False, "changes from baseline (arms not randomised)", "no"),
    ],
)
def test_the_checklist_states_how_arms_were_compared(randomised, compared, answer):
    design = DESIGN | {"randomised": randomised}
    rows = checklist({"n": {"treated": 9, "control": 8}, "design": design}, [])
    answers = {item: given for _, item, given in rows}
    assert answers["Comparison of the arms"] == compared
    assert answers["Random assignment"] == answer
    one_arm = checklist({"n": {"treated": 9, "control": 0}, "design": design}, [])
    assert {item: given for _, item, given in one_arm}["Comparison of the arms"] == ""
