"""What all figures share: colours, style, margins, and the way from a figure to inline SVG.

Colours are written as CSS variables of the page, so that a figure follows light, dark and print.
Categories differ in shape or place as well as in colour (Okabe & Ito's colour-blind safe palette).
"""

import re
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from html import escape
from io import StringIO
from typing import ParamSpec

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = [
    "ARM_LOOKS",
    "CONTROL",
    "GRID",
    "INK",
    "MISSING",
    "PAPER",
    "REFERENCE",
    "SOFT",
    "TREATED",
    "WIDTH",
    "canvas",
    "legend_above",
    "legend_columns",
    "short_name",
    "styled",
    "to_svg",
]

P = ParamSpec("P")

# Each colour stands for a CSS variable of the page; its value here is the light one.
INK, SOFT, GRID, PAPER = "#1b1f24", "#5a6470", "#d4d9df", "#fefefe"
TREATED, CONTROL, REFERENCE, MISSING = "#d55e01", "#0072b3", "#018f68", "#cc79a8"
_VARIABLES = {
    INK: "--ink",
    SOFT: "--soft",
    GRID: "--grid",
    PAPER: "--paper",
    TREATED: "--treated",
    CONTROL: "--control",
    REFERENCE: "--reference",
    MISSING: "--lost",
}
ARM_LOOKS = {"treated": (TREATED, "o"), "control": (CONTROL, "s"), "reference": (REFERENCE, "D")}
_RC = {
    "axes.edgecolor": SOFT,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "image.composite_image": False,  # or images are resampled to the figure's dots per inch
    "legend.fontsize": 8,
    "legend.frameon": False,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "circuitshift",
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a label is a dollar sign
    "text.usetex": False,
    "xtick.color": SOFT,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.color": SOFT,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8,
}
WIDTH = 7.4  # inches
_MAX_NAME = 34  # characters of a name in a figure; tables hold whole names


def styled(draw: Callable[P, str]) -> Callable[P, str]:
    """Run a drawing function under the style of the house.

    Parameters
    ----------
    draw : callable
        Returns SVG.

    Returns
    -------
    callable
        The same; the settings of matplotlib are as before when it returns.
    """

    @wraps(draw)
    def inner(*args: P.args, **kwargs: P.kwargs) -> str:
        with mpl.rc_context(_RC), warnings.catch_warnings():
            # The reader's browser has the glyph, or shows a box; measuring it here does not matter.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            return draw(*args, **kwargs)

    return inner


def to_svg(figure: Figure, *, key: str, alt: str) -> str:
    """Make a figure into SVG for an HTML page.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    key : str
        Prefix of ids, unique in the page.
    alt : str
        Description for those who cannot see it.

    Returns
    -------
    str
        One ``<svg>`` element: no date, no style, no namespace.
    """
    buffer = StringIO()
    figure.savefig(buffer, format="svg", dpi=150)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # Metadata hold the date, the style would reach beyond the figure.
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href=", "href=")
    used = {name for pair in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg) for name in pair}
    svg = re.sub(r'\sid="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    svg = re.sub(r'(\sid="|href="#|url\(#)', lambda m: f"{m[1]}{key}-", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    width, height = figure.get_size_inches() * 72
    head = (
        f'<svg class="plot" role="img" aria-label="{escape(_clean(alt))}" '
        f'viewBox="0 0 {width:g} {height:g}">'
    )
    return head + svg[svg.index(">") + 1 :].strip()


def _clean(text: str) -> str:
    """Replace characters that must not stand in XML."""
    return re.sub(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]", " ", text)


def short_name(text: str, most: int = _MAX_NAME) -> str:
    """Cut a name in its middle to what has room, and take out what must not stand in XML.

    Visits differ at the end, ``psilocybinpre`` and ``psilocybinpost``, arms at the start.

    Parameters
    ----------
    text : str
    most : int
        Characters, with the ellipsis.

    Returns
    -------
    str
    """
    text = _clean(text)
    if len(text) <= most:
        return text
    end = (most - 1) // 2
    return f"{text[: most - 1 - end]}…{text[len(text) - end :]}"


def canvas(width: float, height: float, edges: tuple[float, float, float, float]) -> Figure:
    """Make a figure with fixed margins.

    Parameters
    ----------
    width, height : float
        Inches.
    edges : tuple of four float
        Margins: left, right, top, bottom; inches.

    Returns
    -------
    matplotlib.figure.Figure
    """
    left, right, top, bottom = edges
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(
        left=left / width,
        right=1 - right / width,
        top=1 - top / height,
        bottom=bottom / height,
    )
    return figure


def legend_columns(labels: Sequence[str], width: float) -> tuple[int, int]:
    """Find how many columns of a legend fit, and how many rows they make.

    Parameters
    ----------
    labels : sequence of str
    width : float
        Room, inches.
    """
    widest = max((0.45 + 0.068 * len(label) for label in labels), default=1.0)
    columns = max(1, min(len(labels), int(width / widest)))
    return columns, max(1, -(-len(labels) // columns))


def legend_above(
    ax: Axes, handles: Sequence[Artist], *, y: float = 1.0, columns: int | None = None
) -> None:
    """Put the legend above the axes.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    handles : sequence of matplotlib.artist.Artist
    y : float
        Its lower edge, in heights of the axes.
    columns : int, optional
        One line when left out.
    """
    ax.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, y),
        ncols=columns or max(1, len(handles)),
        borderaxespad=0.2,
        handlelength=2.2,
        columnspacing=1.4,
    )
