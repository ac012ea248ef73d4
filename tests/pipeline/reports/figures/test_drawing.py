"""Drawings: positions of values, ticks, legends, marks, and text that can be selected."""

import re
import subprocess
import sys

import numpy as np
import pytest
from matplotlib import font_manager, ticker
from matplotlib.ft2font import FT2Font

from circuitshift.pipeline.reports import figures
from circuitshift.pipeline.reports.figures import drawing

ALT = "A figure that is drawn for a test."
NAN = float("nan")


def panel(x_ends=(0.0, 10.0), y_ends=(-1.0, 1.0)):
    found = drawing.Drawing(4, 3)
    return found, drawing.Panel(found, drawing.Box(1, 0.5, 2, 1), x_ends, y_ends)


def shown(found):
    return found.svg(key="k", alt=ALT)


def test_values_have_positions_in_points():
    _, axes = panel()
    assert (axes.x(0), axes.x(10)) == (72, 216)
    assert (axes.y(-1), axes.y(1)) == (108, 36)
    np.testing.assert_allclose(axes.points([5, NAN], [0, 0]), [[144, 72], [NAN, 72]])
    _, turned = panel(y_ends=(4.5, -0.5))  # rows from top to bottom
    assert turned.y(-0.5) < turned.y(4.5)


@pytest.mark.parametrize("n", [2, 5, 9])
@pytest.mark.parametrize(
    ("low", "high"), [(0.5, 150.5), (-0.6, 0.6), (0, 2.3), (-4, 104), (0, 1e-3), (0, 1.0), (7, 7e5)]
)
def test_ticks_are_those_of_matplotlib(low, high, n):
    expected = ticker.MaxNLocator(n, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    expected = [v for v in expected if low - 1e-12 <= v <= high + 1e-12]
    np.testing.assert_allclose(drawing.nice_ticks(low, high, n), expected, atol=1e-12)


def test_texts_of_ticks_have_equal_decimals_and_a_minus_sign():
    assert drawing.tick_labels([-0.5, 0.0, 0.25]) == ["\N{MINUS SIGN}0.50", "0.00", "0.25"]
    assert drawing.tick_labels([0.0, 20.0]) == ["0", "20"]
    assert drawing.tick_labels([]) == []


def test_scales_contain_all_finite_values():
    low, high = drawing.wide_limits([0.0, 2.0, NAN, np.inf])
    assert (low, high) == (pytest.approx(-0.1), pytest.approx(2.1))
    assert drawing.wide_limits([NAN]) == (-1.0, 1.0)
    low, high = drawing.wide_limits([3.0, 3.0])
    assert low < 3 < high


def test_widths_of_text_are_those_of_the_font():
    font = FT2Font(font_manager.findfont("DejaVu Sans"))
    font.set_size(9, 72)
    for text in ("sub-01_ses-pre_task-rest", "DVARS 1.5: marked by fMRIPrep", "~{|}@W"):
        font.set_text(text)
        width = font.get_width_height()[0] / 64
        assert drawing._text_width(text, 9) == pytest.approx(width, rel=0.04, abs=1.0)


def test_legends_have_as_many_columns_as_fit():
    assert drawing.legend_size(["a", "b", "c"], 7.0) == (3, 1)
    assert drawing.legend_size(["a long name of a run"] * 4, 4.0) == (2, 2)
    assert drawing.legend_size(["x" * 200], 4.0) == (1, 1)
    assert drawing.legend_size([], 4.0) == (1, 1)
    found, _ = panel()
    entries = [drawing.Entry(f"entry {k}", "#123456", marker="o" * (k % 2)) for k in range(4)]
    drawing.draw_legend(found, (10.0, 60.0), entries, columns=2)
    rows = re.findall(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*>entry (\d)', shown(found))
    places = {int(k): (float(x), float(y)) for x, y, k in rows}
    assert places[0][1] == places[1][1] < places[2][1] == places[3][1] < 60
    assert places[0][0] == places[2][0] < places[1][0] == places[3][0]


def test_missing_values_interrupt_a_line_and_single_values_remain_visible():
    path = drawing._path(np.array([[0, 0], [1, 1], [NAN, 2], [3, 3], [4, NAN], [5, 5], [6, 6]]))
    assert path.count("M") == 3
    assert path.startswith("M0.00 0.00L1.00 1.00M2.75 2.75L3.25 3.25M5.00 5.00L")
    assert drawing._path(np.array([[NAN, 0.0]])) == ""


@pytest.mark.parametrize("marker", ["o", "s", "D", "^", "v"])
def test_each_available_value_has_a_mark_around_its_position(marker):
    found, _ = panel()
    points = np.array([[10.0, 20.0], [NAN, 5.0], [30.0, 40.0]])
    found.marks(points, marker, colour="#d55e01", size=6)
    svg = shown(found)
    assert len(re.findall(r"<circle|Z\"", svg)) == 2
    assert 'fill="var(--treated)"' in svg
    if marker != "o":
        numbers = re.findall(r"[ML]([\d.]+) ([\d.]+)", re.search(r'd="([^"]*)Z"', svg)[1])
        x, y = np.array(numbers, float).T
        assert x.min() < 10 < x.max()
        assert y.min() < 20 < y.max()


def test_text_is_escaped_and_turned_text_leads_upwards():
    found, axes = panel()
    axes.label_y("<b> & \x00", offset=20)
    axes.title("A title", left=True)
    svg = shown(found)
    assert "&lt;b&gt; &amp;" in svg
    assert "rotate(-90 " in svg
    assert "\x00" not in svg
    assert svg.startswith(f'<svg class="plot" role="img" aria-label="{ALT}" viewBox="0 0 288 216">')
    assert svg.endswith("</g></svg>")


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("size", [(1.0, 0.1), (0.1, 1.0)])
def test_a_colour_bar_has_values_and_a_label(size, above):
    found, _ = panel()
    colours = figures.Scale("r", -0.8, 0.8, diverging=True).colours()
    ends = (-0.8, 0.8)
    drawing.colour_bar(found, drawing.Box(1, 1, *size), colours, ends, label="r", above=above)
    svg = shown(found)
    assert svg.count("<image") == 1
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert "r" in texts
    assert {"\N{MINUS SIGN}0.5", "0.0", "0.5"} <= set(texts)


def test_identical_data_give_identical_figures():
    values = {"dmn": {"pre": 0.1, "post": 0.3}, "tpn": {"pre": NAN}}
    others = {"dmn": (0.0, 0.4)}
    first, second = (
        figures.circuit_values(values, ["pre", "post"], others=others, key="k", alt=ALT)
        for _ in range(2)
    )
    assert first == second
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", first)
    assert {"dmn", "tpn", "ses-pre", "ses-post", "other participants"} <= set(texts)


def test_figures_of_participants_are_drawn_without_matplotlib():
    code = (
        "import sys; from circuitshift.pipeline.reports import figures; "
        "figures.circuit_values({'dmn': {'a': 0.1}}, ['a'], key='k', alt='Values.'); "
        "print('matplotlib' in sys.modules); figures.flow; print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_every_figure_can_be_imported_and_unknown_names_are_refused():
    assert all(callable(getattr(figures, name)) for name in figures.__all__)
    with pytest.raises(AttributeError, match="no attribute 'pie_chart'"):
        _ = figures.pie_chart
