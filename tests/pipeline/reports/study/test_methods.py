"""Methods of a study: the COBIDAS checklist."""

from circuitshift.pipeline.reports.study.methods import checklist

DESIGN = {"baseline": "pre", "followup": "post", "alpha": 0.05, "sesoi_z": 0.1}


def test_the_checklist_leaves_items_open_that_the_files_do_not_contain(estimate):
    verdict = {
        "n": {"treated": 9, "control": 0, "reference": 4}, "design": DESIGN, "strategy": "24p",
        "science": {"estimator": "pearson", "min_minutes": 2.0, "max_mean_fd_mm": 0.5,
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
    for item in ("Random assignment and blinding", "Scanner, sequence, repetition time, "
                 "instructions", "Availability of data and code"):  # fmt: skip
        assert answers[item] == ""
    as_given = dict(verdict, strategy="as given")
    open_ = {item for _, item, answer in checklist(as_given, []) if not answer}
    assert {"Denoising", "Exclusion of data", "Sample size and its justification"} <= open_
