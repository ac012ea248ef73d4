"""Sentences, tables and figures of pooled results."""

from dataclasses import replace

import numpy as np

from circuitshift.pipeline.reports.blocks import Box, Details, Figure, Items, PageTable
from circuitshift.pipeline.reports.pool import results


def term(analysis, name):
    return next(term for term in analysis.terms if term.term == name)


def test_a_significant_circuit_is_described_with_interval_prediction_and_networks(analysis):
    headline, first, *rest = results.answer(analysis.terms)
    assert headline == "Changed on average over studies: Default mode."
    dmn = term(analysis, "dmn")
    assert first.startswith("Default mode: residual change \N{MINUS SIGN}0.210 Fisher z over 3 ")
    assert "95 % prediction interval" in first
    assert "more than pairs of networks do" in first
    assert results.is_significant(dmn)
    assert rest == [
        "A mean effect as large as the smallest effect of interest is ruled out for shift."
    ]


def test_no_evidence_is_not_called_absence(analysis):
    dmn = term(analysis, "dmn")
    weak = replace(dmn, p_corrected=0.3, standard=None)
    sentences = results.answer([weak, replace(dmn, effect=None, title="Salience")])
    assert sentences == [
        "No mean effect differs from zero after correction for the number of tests.",
        "Neither an effect nor its absence is shown for Default mode: this is not evidence of "
        "absence.",
        "Not pooled, because fewer than two studies have an estimate: Salience.",
    ]


def test_an_effect_is_ruled_out_only_if_its_interval_contains_zero(analysis):
    shift = term(analysis, "shift")
    assert results.is_ruled_out(shift)
    moved = replace(shift.standard, ci_low=0.01, ci_high=0.1)
    assert not results.is_ruled_out(replace(shift, standard=moved))


def test_warnings_stand_beside_the_result(analysis):
    boxes = [block for block in results.result_section(analysis) if isinstance(block, Box)]
    assert [box.look for box in boxes] == ["answer", "warn"]
    (items,) = [block for block in boxes[1].blocks if isinstance(block, Items)]
    assert any("Atlas differs" in line for line in items.lines)


def test_a_study_without_an_estimate_is_named_below_its_forest_plot(analysis):
    blocks = list(results.circuits_section(analysis))
    (secondary,) = [b for b in blocks if isinstance(b, Details) and b.summary.startswith("Sec")]
    (figure,) = secondary.blocks
    assert isinstance(figure, Figure)
    assert "Without an estimate: c: not a circuit of this analysis." in figure.caption


def test_numbers_are_shown_in_both_units(analysis):
    table = results.results_table([term(analysis, "dmn")], "Circuits")
    assert [row[2] for row in table.rows] == ["Fisher z", "smallest effects"]
    assert table.rows[0][3] == "\N{MINUS SIGN}0.210"


def test_heterogeneity_lists_every_pooled_term(analysis):
    blocks = list(results.heterogeneity_section(analysis))
    (table,) = [block for block in blocks if isinstance(block, PageTable)]
    assert [row[0] for row in table.rows] == [
        term.title for term in analysis.terms if term.effect is not None
    ]


def test_studies_that_decide_a_test_are_named(analysis):
    dmn = term(analysis, "dmn")
    other = replace(dmn, left_out=(*dmn.left_out[:2], replace(dmn.left_out[2], p=0.2)))
    changed = replace(analysis, terms=(other,))
    items = [b for b in results.influence_section(changed) if isinstance(b, Items)]
    significant = [bool(e.p < 0.05) for e in dmn.left_out[:2]]
    assert len(items[0].lines) == 1 + significant.count(False)
    assert items[0].lines[-1] == "Default mode without c: p = 0.200"
    assert np.isfinite(dmn.effect.p)
