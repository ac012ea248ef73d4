"""Sections on sensitivity: each specification is listed once."""

import re

from circuitshift.pipeline.reports.study import sensitivity as section

DESIGN = {"baseline": "pre", "followup": "post", "alpha": 0.05, "sesoi_z": 0.1}


def rows(svg):
    """Return the texts of a figure."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_each_specification_and_denoising_strategy_is_listed_once(estimate, small_study):
    tests = [
        estimate("dmn", "specific", 0.2, 0.001),
        estimate("dmn", "sensitivity: 24p+gsr: specific", 0.1, 0.2),
        estimate("dmn", "sensitivity: none: circuit change", 0.5, 0.2),
    ]
    specification = [
        {"background": b, "covariates": c, "family": "specific", "term": "dmn",
         "estimate": "0.19" if b == "matched" else "n/a", "p_corrected": "0.01"}
        for b in ("all", "matched", "disjoint") for c in ("with", "without")
    ]  # fmt: skip
    verdict = {
        "strategy": "24p", "covariates": ["motion"], "design": DESIGN | {"background": "all"},
        "sensitivity": [{"strategy": "24p+gsr"}, {"strategy": "none"}],
    }  # fmt: skip
    report = small_study(verdict, tests=tests, secondary={"specification": specification})
    found = section.specifications(report, tests[0])
    assert [(one.estimate, one.ours) for one in found] == [
        (0.2, True), (0.19, False), (0.19, False), (0.1, False),
    ]  # fmt: skip
    assert found[0].choices == {"background": "all", "covariates": "with", "denoising": "24p"}
    assert found[-1].choices["denoising"] == "24p+gsr"
    assert [one.hit for one in found] == [True, True, True, False]
    figure = section.specification_figure(report)
    assert "denoising: 24p+gsr" in rows(figure.svg)
