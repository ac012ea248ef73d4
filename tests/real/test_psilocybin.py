"""Real regional series: nine people before and after psilocybin and placebo, AAL-90.

The expected means come from an independent computation on the same files (no denoising).
"""

from pathlib import Path

import numpy as np
import pytest

from circuitshift.atlases.load import load_atlas
from circuitshift.atlases.resolve import load_circuits
from circuitshift.pipeline import bids, connectivity, tables

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "psilocybin-aal90"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real series are not on this machine")

EXPECTED = {  # session: mean over all edges, and over the ten-region DMN, Fisher z
    "placebopre": (0.1912, 0.5487),
    "placebopost": (0.1900, 0.5383),
    "psilocybinpre": (0.1889, 0.5433),
    "psilocybinpost": (0.2373, 0.5535),
}


def test_means_agree_with_an_independent_computation():
    found = bids.find_runs(DATA, bids.Query())
    assert len(found.runs) == 36
    assert not found.faults
    atlas = load_atlas(DATA / "atlas-AAL90_dseg.tsv")
    dmn = next(c for c in load_circuits(atlas).circuits if c.name == "dmn")
    assert {atlas.labels[k].rsplit("_", 1)[0] for k in dmn.seeds} == {
        "Precuneus",
        "Cingulum_Post",
        "Angular",
        "Frontal_Sup_Medial",
        "Frontal_Med_Orb",
    }
    for session, (everything, within) in EXPECTED.items():
        runs = [run for run in found.runs if run.session == session]
        assert len(runs) == 9
        z = np.array([connectivity.edges(tables.read_series(run.path)[1]) for run in runs])
        assert z.mean() == pytest.approx(everything, abs=2e-4)
        values = connectivity.circuit_values(z, [dmn])
        assert values.mean() == pytest.approx(within, abs=2e-4)
