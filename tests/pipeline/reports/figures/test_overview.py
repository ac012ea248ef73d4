"""Overview figures: intervals beyond the axis, and effects that were not tested."""

import re

from circuitshift.pipeline.reports import figures

NAN = float("nan")


def rows(svg):
    """Return the texts of a figure."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_intervals_beyond_the_axis_end_in_an_arrow():
    far = figures.ForestRow("far", 0.2, -5.0, 9.0, 0.1, "text")
    near = figures.ForestRow("near", 0.2, 0.1, 0.3, 0.1, "text")
    missing = figures.ForestRow("missing", NAN, NAN, NAN, 0.1, "not available")
    svg = figures.one_scale([("Circuits", [far, near, missing])], key="k", alt="Three circuits.")
    ticks = [float(t.replace("\N{MINUS SIGN}", "-")) for t in rows(svg) if re.search(r"^.?\d+$", t)]
    assert max(ticks) == 6
    assert "not tested" in rows(svg)
