"""Common style of figures: short names, colours, and unchanged settings of matplotlib."""

from circuitshift.pipeline.reports import figures
from circuitshift.pipeline.reports.figures import style as figures_base


def test_short_names_preserve_the_difference_between_visits():
    names = [figures_base.short_name(f"psilocybin{when}", 9) for when in ("pre", "post")]
    assert names == ["psil…npre", "psil…post"]
    assert max(map(len, names)) <= 9


def test_drawing_does_not_change_the_settings_of_matplotlib():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    row = figures.ForestRow("dmn", 0.2, 0.1, 0.3, 0.1, "0.20 [0.10, 0.30]")
    figures.circuit_forest([row], key="k", alt="One circuit with its interval.")
    assert dict(mpl.rcParams) == before
