"""The table: counts over studies, and its independence of the number of processes."""

from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.model.contrasts import Rules
from circuitshift.pipeline.validation.outside.claims import Precision
from circuitshift.pipeline.validation.outside.rows import ROWS
from circuitshift.pipeline.validation.outside.series import Design
from circuitshift.pipeline.validation.outside.table import (
    HEAD,
    METHODS,
    Judgement,
    judge,
    markdown_row,
    outside_table,
    summarise,
)

RULES = Rules(n_permutations=49)
TINY = Design(n_treated=6, n_reference=0, volumes=(60, 60))
SMALL_ROWS = {name: replace(ROWS[name], design=TINY) for name in ("shift", "gain + specific")}


def judgement(verdict, *, laws=(), false=(), found=None, covered=(), errors=(), ratio=np.nan):
    precision = Precision(tuple(covered), tuple(errors))
    return Judgement(
        verdict, frozenset(laws), frozenset(false), found or {}, precision, Precision(), ratio
    )


def test_shares_are_counted_over_studies():
    right = judgement(
        "global",
        laws=("gain",),
        found={"law": 1.0},
        covered=(True, True),
        errors=(0.1, 0.0),
        ratio=0.7,
    )
    wrong = judgement(
        "both",
        laws=("gain", "shift"),
        false=("law", "circuit"),
        found={"law": 1.0},
        covered=(True, False),
        errors=(0.3, 0.0),
        ratio=0.9,
    )
    missed = judgement("neither", false=("absence",), found={"law": 0.0})
    naive = judgement("undetermined", found={"law": 0.0})
    studies = [
        dict(zip(METHODS, (one, right, naive), strict=True))
        for one in (right, wrong, missed, missed)
    ]
    row = summarise("a gain", studies)
    present = row.methods["present"]
    assert row.n_studies == 4
    assert present.verdicts == {"both": 0.25, "global": 0.25, "neither": 0.5}
    assert present.laws == {"gain": 0.5, "shift": 0.25}
    assert present.false == 0.75
    assert present.kinds == {"law": 0.25, "circuit": 0.25, "widespread": 0.0, "absence": 0.5}
    assert present.found == {"law": 0.5}
    assert present.coverage == {"circuits": 0.75}
    assert present.bias["circuits"] == pytest.approx(0.1)
    assert present.se_ratio == pytest.approx(0.8)
    cells = [cell.strip() for cell in markdown_row(row).strip().strip("|").split("|")]
    assert cells == [
        "a gain",
        "both 0.25, global 0.25, neither 0.50",
        "gain 0.50, shift 0.25",
        "0.75 (0.30-0.95)",
        "law 0.25, circuit 0.25, absence 0.50",
        "law 0.50",
        "0.75, -",
        "+0.100",
        "0.80",
        "0.00; law 1.00",
        "0.00; -",
    ]
    head, rule = HEAD.splitlines()
    assert head.count("|") == rule.count("|") == markdown_row(row).count("|")


def test_rows_without_true_values_have_no_coverage():
    studies = [dict.fromkeys(METHODS, judgement("widespread", found={"widespread": 1.0}))] * 2
    line = markdown_row(summarise("blocks", studies))
    assert "| widespread 1.00 | - | 0.00 (0.00-0.66) | - | widespread 1.00 | -, - | - | - |" in line


def test_a_study_is_judged_by_all_methods():
    row = replace(ROWS["gain + specific"], design=replace(TINY, n_treated=12, volumes=(150, 150)))
    judged = judge(np.random.SeedSequence(5), row=row, rules=RULES)
    assert tuple(judged) == METHODS
    for method in ("present", "first version"):
        assert len(judged[method].circuits.covered) == 4
        assert np.abs(judged[method].circuits.errors).max() < 0.2
        assert set(judged[method].found) == {"law", "circuit"}
    assert not judged["naive"].laws


def test_results_depend_neither_on_processes_nor_on_other_rows():
    one, two = (
        list(outside_table(names, n_studies=3, n_procs=n_procs, rules=RULES, rows=SMALL_ROWS))
        for n_procs, names in ((1, ("gain + specific",)), (2, ("shift", "gain + specific")))
    )
    assert repr(one[0]) == repr(two[1])  # NaN is not equal to itself
    assert [row.name for row in two] == ["shift", "gain + specific"]
