"""Arrays -> figures as text of inline SVG: no files, no global state, same data same bytes.

The door to `figures_person`, `figures_views`, `figures_preproc`, and, of a study, to
`figures_answer`, `figures_group`, `figures_edges` and `figures_brain`; `figures_base` has what they
share.
"""

from circuitshift.pipeline.figures_answer import (
    FlowArm,
    Specified,
    flow,
    one_scale,
    specification_curve,
    two_ways,
)
from circuitshift.pipeline.figures_brain import connectome, network_matrix, outline_mm
from circuitshift.pipeline.figures_edges import change_by_strength, motion_by_length
from circuitshift.pipeline.figures_group import (
    ForestRow,
    Spaghetti,
    circuit_forest,
    global_forest,
    quality_by_arm,
    spaghetti,
    symptom_by_change,
)
from circuitshift.pipeline.figures_person import (
    Motion,
    carpet,
    circuit_values,
    matrices,
    motion,
    retained,
)
from circuitshift.pipeline.figures_preproc import outlined_slices
from circuitshift.pipeline.figures_views import (
    Scale,
    brain_maps,
    carpets,
    confound_matrices,
    coverage,
)

__all__ = [
    "FlowArm",
    "ForestRow",
    "Motion",
    "Scale",
    "Spaghetti",
    "Specified",
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
    "quality_by_arm",
    "retained",
    "spaghetti",
    "specification_curve",
    "symptom_by_change",
    "two_ways",
]
