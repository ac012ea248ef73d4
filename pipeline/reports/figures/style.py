"""Common style of figures: colours, margins, legends, and conversion to inline SVG.

Colours are written as CSS variables of the page, so that figures follow light mode, dark mode and
print. Categories differ in shape or position as well as in colour (palette of Okabe & Ito, legible
with colour-vision deficiencies).
"""

import re
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, ParamSpec

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "ARM_LOOKS",
    "COMPACT",
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
    "clean_text",
    "framed",
    "legend_above",
    "legend_columns",
    "short_name",
    "styled",
    "to_svg",
    "variable",
]

P = ParamSpec("P")

# Each colour is replaced by a CSS variable of the page; these values are those of the light mode.
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
    MISSING: "--missing",
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
    "image.composite_image": False,  # otherwise images are resampled
    "legend.fontsize": 8,
    "legend.frameon": False,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "circuitshift",
    "text.color": INK,
    "text.parse_math": False,  # labels may contain dollar signs
    "text.usetex": False,
    "xtick.color": SOFT,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.color": SOFT,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8,
}
WIDTH = 7.4  # inches
COMPACT = 4.9  # inches; figures that fit the screen of a telephone without scrolling
_MAX_NAME = 34  # characters of a name in a figure; tables contain the complete names


def styled(draw: Callable[P, str]) -> Callable[P, str]:
    """Decorate a drawing function to use the style of the reports.

    Parameters
    ----------
    draw : callable
        Function that returns SVG.

    Returns
    -------
    callable
        The decorated function, which restores the settings of matplotlib when it returns.
    """

    @wraps(draw)
    def inner(*args: P.args, **kwargs: P.kwargs) -> str:
        import matplotlib as mpl  # noqa: PLC0415 - takes a second

        with mpl.rc_context(_RC), warnings.catch_warnings():
            # Glyphs that are missing here may be available in the browser of the reader.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            return draw(*args, **kwargs)

    return inner


def to_svg(figure: "Figure", *, key: str, alt: str, compact: bool = False) -> str:
    """Convert a figure to SVG for an HTML page.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Figure to convert.
    key : str
        Prefix of ids, unique in the page.
    alt : str
        Text alternative for screen readers.
    compact : bool
        Whether the figure shrinks to any screen; others scroll sideways on small screens.

    Returns
    -------
    str
        One ``<svg>`` element without date, style and namespace.
    """
    buffer = StringIO()
    figure.savefig(buffer, format="svg", dpi=150)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # The metadata contain the date, and the style would apply to the complete page.
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href=", "href=")
    used = {name for pair in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg) for name in pair}
    svg = re.sub(r'\sid="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    svg = re.sub(r'(\sid="|href="#|url\(#)', lambda m: f"{m[1]}{key}-", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    width, height = (figure.get_size_inches() * 72).tolist()
    return framed(svg[svg.index(">") + 1 :].strip(), (width, height), alt, compact=compact)


def framed(content: str, size: tuple[float, float], alt: str, *, compact: bool = False) -> str:
    """Put the start of a figure before its content.

    Parameters
    ----------
    content : str
        Elements of the figure, and the end of ``<svg>``.
    size : (float, float)
        Width and height, points.
    alt : str
        Text alternative for screen readers.
    compact : bool
        Whether the figure may be narrow on a narrow screen, see `to_svg`.

    Returns
    -------
    str
        One ``<svg>`` element.
    """
    label = escape(clean_text(alt))
    return (
        f'<svg class="plot{" compact" * compact}" role="img" aria-label="{label}" '
        f'viewBox="0 0 {size[0]:g} {size[1]:g}">{content}'
    )


def variable(colour: str) -> str:
    """Return the CSS variable of a colour of the page; other colours are returned unchanged."""
    return f"var({_VARIABLES[colour]})" if colour in _VARIABLES else colour


def clean_text(text: str) -> str:
    """Replace characters that XML does not allow."""
    return re.sub(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]", " ", text)


def short_name(text: str, max_length: int = _MAX_NAME) -> str:
    """Shorten a name in its middle, and remove characters that XML does not allow.

    Start and end are preserved because names of arms differ at the start, and names of visits at
    the end (``psilocybinpre`` and ``psilocybinpost``).

    Parameters
    ----------
    text : str
        Name to shorten.
    max_length : int
        Number of characters, including the ellipsis.

    Returns
    -------
    str
    """
    text = clean_text(text)
    if len(text) <= max_length:
        return text
    end = (max_length - 1) // 2
    return f"{text[: max_length - 1 - end]}…{text[len(text) - end :]}"


def canvas(width: float, height: float, edges: tuple[float, float, float, float]) -> "Figure":
    """Create a figure with fixed margins.

    Parameters
    ----------
    width, height : float
        Size of the figure, inches.
    edges : tuple of four float
        Left, right, top and bottom margins, inches.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - takes a second

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
    """Return the number of columns of a legend that fit, and the number of rows.

    Parameters
    ----------
    labels : sequence of str
        Labels of the legend.
    width : float
        Available width, inches.

    Returns
    -------
    n_columns, n_rows : int
    """
    widest = max((0.45 + 0.068 * len(label) for label in labels), default=1.0)
    columns = max(1, min(len(labels), int(width / widest)))
    return columns, max(1, -(-len(labels) // columns))


def legend_above(
    ax: "Axes", handles: "Sequence[Artist]", *, y: float = 1.0, columns: int | None = None
) -> None:
    """Place the legend above the axes.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes of the legend.
    handles : sequence of matplotlib.artist.Artist
        Entries of the legend.
    y : float
        Lower edge of the legend, in heights of the axes.
    columns : int, optional
        Number of columns; by default all entries are on one line.
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
