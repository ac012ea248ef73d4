"""Overview figures: intervals beyond the axis, and effects that were not tested."""

import re
from pathlib import Path

from circuitshift.pipeline.reports import figures, page

NAN = float("nan")


def rows(svg):
    """Return the texts of a figure."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_the_first_figures_fit_small_screens():
    """The page does not scroll them sideways, and letters are 8 pixels high there."""
    row = figures.ForestRow("A name " * 12, 0.2, 0.1, 0.3, 0.1, "+0.20 [0.10, 0.30]  p 0.500")
    scale = figures.one_scale([("Circuits", [row])], key="k", alt="One circuit.")
    words = ("Not analysed: 2", "no usable run at ses-psilocybinpost: 2")
    arm = figures.FlowArm("treated", [("Usable at ses-psilocybinpost", 12)], words)
    flow = figures.flow([arm] * 4, key="f", alt="Four arms.")
    for svg in (scale, flow):
        assert 'class="plot compact"' in svg
        width = float(re.search(r'viewBox="0 0 ([\d.]+) ', svg)[1])
        sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", svg)]
        assert min(sizes) * 388 / width > 8
    style = (Path(page.__file__).parent / "templates/style.css").read_text()
    assert "svg.compact { min-width: 0;" in style
    printed = style.partition("@media print { nav")[2]  # its rule follows that of all figures
    assert re.search(r"svg\.plot \{[^}]*\} svg\.compact \{ max-width: 13cm", printed)


def test_intervals_beyond_the_axis_end_in_an_arrow():
    far = figures.ForestRow("far", 0.2, -5.0, 9.0, 0.1, "text")
    near = figures.ForestRow("near", 0.2, 0.1, 0.3, 0.1, "text")
    missing = figures.ForestRow("missing", NAN, NAN, NAN, 0.1, "not available")
    svg = figures.one_scale([("Circuits", [far, near, missing])], key="k", alt="Three circuits.")
    ticks = [float(t.replace("\N{MINUS SIGN}", "-")) for t in rows(svg) if re.search(r"^.?\d+$", t)]
    assert max(ticks) == 6
    assert "not tested" in rows(svg)
