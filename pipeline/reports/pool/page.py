"""The page of a meta-analysis: the list of its sections, and the function that writes it."""

from pathlib import Path

from circuitshift.pipeline.io.tables import write_text
from circuitshift.pipeline.reports.blocks import Section, shown_sections
from circuitshift.pipeline.reports.page import render
from circuitshift.pipeline.reports.pool.methods import methods_section
from circuitshift.pipeline.reports.pool.results import (
    circuits_section,
    global_section,
    heterogeneity_section,
    influence_section,
    result_section,
)
from circuitshift.pipeline.reports.pool.studies import differences_section, studies_section
from circuitshift.pipeline.study.pooling.pool import PooledAnalysis

__all__ = ["SECTIONS", "write_pool_report"]

#: Sections of the page, in their order.
SECTIONS: tuple[Section[PooledAnalysis], ...] = (
    Section("result", "Result", result_section),
    Section("studies", "Studies", studies_section),
    Section("differences", "Differences between studies", differences_section),
    Section("global", "Global change", global_section),
    Section("circuits", "Circuits", circuits_section),
    Section("heterogeneity", "Heterogeneity", heterogeneity_section),
    Section("influence", "Influence of single studies", influence_section),
    Section("methods", "Methods", methods_section),
)


def write_pool_report(path: Path, analysis: PooledAnalysis) -> None:
    """Write the page of a meta-analysis.

    Parameters
    ----------
    path : Path
        File to write.
    analysis : PooledAnalysis
        Result of the meta-analysis.
    """
    page = render(
        shown_sections(SECTIONS, analysis),
        title=f"Meta-analysis of {len(analysis.studies)} studies",
        heading="Do global and circuit-specific changes agree between studies?",
        style="study.css",
    )
    write_text(path, page)
