"""Figures as inline SVG text; identical data give identical bytes.

Figures of the study report are imported when they are first used, because they need matplotlib,
whose import takes longer than drawing all figures of a participant.
"""

from typing import TYPE_CHECKING

from circuitshift.pipeline.reports.figures.images import (
    Scale,
    brain_maps,
    carpets,
    confound_matrices,
    coverage,
    outlined_slices,
)
from circuitshift.pipeline.reports.figures.timeseries import (
    Motion,
    carpet,
    circuit_values,
    matrices,
    motion,
    retained,
)

if TYPE_CHECKING:
    from circuitshift.pipeline.reports.figures.brain import connectome, network_matrix, outline_mm
    from circuitshift.pipeline.reports.figures.edges import change_by_strength, motion_by_length
    from circuitshift.pipeline.reports.figures.effects import (
        ForestRow,
        Spaghetti,
        circuit_forest,
        global_forest,
        quality_by_arm,
        spaghetti,
        symptom_by_change,
    )
    from circuitshift.pipeline.reports.figures.overview import (
        FlowArm,
        Specified,
        flow,
        one_scale,
        specification_curve,
        two_ways,
    )
    from circuitshift.pipeline.reports.figures.pooled import (
        PooledRow,
        StudyRow,
        pooled_overview,
        study_forest,
    )

__all__ = [
    "FlowArm",
    "ForestRow",
    "Motion",
    "PooledRow",
    "Scale",
    "Spaghetti",
    "Specified",
    "StudyRow",
    "brain_maps",
    "carpet",
    "carpets",
    "change_by_strength",
    "circuit_forest",
    "circuit_values",
    "confound_matrices",
    "connectome",
    "coverage",
    "flow",
    "global_forest",
    "matrices",
    "motion",
    "motion_by_length",
    "network_matrix",
    "one_scale",
    "outline_mm",
    "outlined_slices",
    "pooled_overview",
    "quality_by_arm",
    "retained",
    "spaghetti",
    "specification_curve",
    "study_forest",
    "symptom_by_change",
    "two_ways",
]


def __getattr__(name: str) -> object:
    """Import the modules of the figures of the study report (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from circuitshift.pipeline.reports.figures import (  # noqa: PLC0415 - matplotlib
        brain,
        edges,
        effects,
        overview,
        pooled,
    )

    modules = (brain, edges, effects, overview, pooled)
    return next(getattr(module, name) for module in modules if name in module.__all__)
