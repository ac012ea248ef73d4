"""Sections of the page of a meta-analysis: its studies, and how they differ."""

from collections.abc import Iterator

from circuitshift.pipeline.reports import wording
from circuitshift.pipeline.reports.blocks import Block, Cell, Details, Items, PageTable, Prose
from circuitshift.pipeline.study.pooling.comparable import contrast_of
from circuitshift.pipeline.study.pooling.pool import PooledAnalysis

__all__ = ["differences_section", "studies_section"]


def studies_section(analysis: PooledAnalysis) -> Iterator[Block | None]:
    """List the studies with their own verdicts, and the terms that some of them lack.

    Parameters
    ----------
    analysis : PooledAnalysis

    Yields
    ------
    Block or None
    """
    rows: list[list[str | Cell]] = []
    for study in analysis.studies:
        n = study.verdict.get("n") or {}
        counts = [str(n.get(role) or 0) for role in ("treated", "control", "reference")]
        rows.append(
            [
                study.name,
                *counts,
                contrast_of(study),
                *(
                    Cell(wording.cell(study.verdict.get(key)), "nowrap")
                    for key in ("atlas", "strategy", "verdict")
                ),
            ]
        )
    head = ("study", "treated", "control", "reference", "contrast", "atlas", "denoising", "verdict")
    yield PageTable("Studies of the meta-analysis, with the verdict of each", head, rows, "text")
    yield Details(
        "Sentences of the studies",
        (Items([f"{s.name}: {s.verdict.get('sentence') or ''}" for s in analysis.studies]),),
    )
    missing = [
        [term.title, each.study, each.missing]
        for term in analysis.terms
        for each in term.contributions
        if each.missing
    ]
    if missing:
        table = PageTable(
            "Terms and circuits without an estimate", ("term", "study", "reason"), missing, "text"
        )
        n = wording.count(len({row[0] for row in missing}), "term or circuit", "terms or circuits")
        yield Prose(f"Not all studies have an estimate of {n}.")
        yield Details("Missing estimates", (table,))


def differences_section(analysis: PooledAnalysis) -> Iterator[Block | None]:
    """Show the settings that differ between the studies.

    Parameters
    ----------
    analysis : PooledAnalysis

    Yields
    ------
    Block or None
    """
    differences = analysis.comparison.differences
    if not differences:
        yield Prose("The studies have the same settings and kind of design.")
        return
    yield Prose(
        "Differences in what is estimated are refused. Other differences are part of the "
        "heterogeneity; those with a warning may be its cause."
    )
    names = [study.name for study in analysis.studies]
    rows = [[d.setting, *map(wording.cell, d.values), d.consequence] for d in differences]
    yield PageTable(
        "Settings that differ between studies", ("setting", *names, "consequence"), rows, "text"
    )
