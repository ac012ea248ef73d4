"""Arrays -> figures as text of inline SVG: no files, no global state, same data same bytes.

The door to `figures_person`, `figures_views`, `figures_preproc` and `figures_group`;
`figures_base` has what they share.
"""

from circuitshift.pipeline.figures_group import (
    ForestRow,
    Spaghetti,
    change_by_strength,
    circuit_forest,
    global_forest,
    quality_by_arm,
    spaghetti,
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
    "ForestRow",
    "Motion",
    "Scale",
    "Spaghetti",
    "brain_maps",
    "carpet",
    "carpets",
    "change_by_strength",
    "circuit_forest",
    "circuit_values",
    "confound_matrices",
    "coverage",
    "global_forest",
    "matrices",
    "motion",
    "outlined_slices",
    "quality_by_arm",
    "retained",
    "spaghetti",
]
