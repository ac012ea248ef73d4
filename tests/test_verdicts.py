"""The picture of the verdicts is that of the code, and shows what its titles state."""

import importlib.util
import sys
from pathlib import Path

_SPEC = importlib.util.spec_from_file_location("verdicts", Path(__file__).with_name("verdicts.py"))
verdicts = importlib.util.module_from_spec(_SPEC)
sys.modules["verdicts"] = verdicts
_SPEC.loader.exec_module(verdicts)


def test_the_committed_picture_is_that_of_the_code():
    assert verdicts.TARGET.read_text() == verdicts.draw(), "run: make graph"


def test_each_panel_shows_its_verdict():
    z, group, _ = verdicts.edges()
    for panel in verdicts.panels():
        intercept, slope = panel.law
        rest = panel.change - intercept - slope * z
        means = [rest[group == k].mean() for k in range(4)]
        assert abs(means[0]) < 0.01
        assert (abs(means[1]) > 0.1) == (panel.verdict in ("circuit-specific", "both"))
        assert (abs(means[2]) > 0.05) == (panel.verdict == "widespread")
        assert bool(slope) == (panel.verdict in ("global", "both"))
    assert len(verdicts.COLOURS) == len(set(verdicts.COLOURS))
