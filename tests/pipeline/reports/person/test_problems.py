"""Problems are listed once, with advice that names existing options."""

import re
from dataclasses import replace

from circuitshift.pipeline.reports.person import problems
from circuitshift.workflows.cli.parsers import app_parser


def test_a_problem_is_listed_once_with_advice_that_names_existing_options(
    tmp_path, participant_report, write
):
    row = {"run": "sub-01_task-rest", "status": "failed", "code": "confounds"}
    rows = [
        row | {"strategy": name, "reason": f"x.tsv: strategy {name} cannot be used"}
        for name in ("24p", "24p+gsr")
    ]
    rows += [row | {"strategy": "24p", "status": "included", "code": "n/a", "reason": "n/a"}]
    rows += [row | {"strategy": "24p", "status": "excluded", "code": "motion; too-short",
                    "reason": "it moved; it is short"}]  # fmt: skip
    crash = tmp_path / "crash-1.txt"
    crash.write_text("one\n" * 40 + "ValueError: the last line")
    rows += [row | {"strategy": "n/a", "code": "crash", "reason": f"see {crash}"}]
    first, second, third = problems.problems_of(rows, tmp_path)
    assert first.text == "x.tsv: strategy 24p cannot be used (also with 24p+gsr)"
    assert "--denoise" in first.advice
    assert second.log.endswith("ValueError: the last line")
    assert second.log.count("\n") == 14
    assert "--max-mean-fd" in third.advice
    assert "--min-minutes" in third.advice
    flags = set(app_parser()._option_string_actions)
    assert {
        f for advice in problems.ADVICE.values() for f in re.findall("--[a-z-]+", advice)
    } <= flags
    page = write(replace(participant_report(), problems=(first, second), left_out=(third,)))
    assert "Likely to help: Use --denoise" in page.text
    assert "ValueError: the last line" in page.text
