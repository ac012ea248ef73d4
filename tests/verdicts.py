"""Draw docs/verdicts.svg: how the change of edges looks under each verdict.

Run as ``make graph``. The edges are simulated without noise
of measurement, to show the laws and not their tests. `tests/test_verdicts.py` compares the
committed picture with this code.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

TARGET = Path(__file__).resolve().parents[1] / "docs" / "verdicts.svg"
SIZE = 190  # side of a panel
GAP = 26
LEFT, TOP = 52, 46
LIMIT = 0.24  # of the change that is drawn
COLOURS = ("#b9bec5", "#c8372d", "#2d6fc8", "#d98a1f")  # background, circuit, two networks


@dataclass(frozen=True)
class Panel:
    """Change of edges under one verdict.

    Parameters
    ----------
    verdict : str
        Name of the verdict.
    words : str
        What the panel shows.
    change : ndarray, shape (n_edges,)
        Change of each edge, Fisher z.
    law : tuple of float
        Intercept and slope of the line that the background follows.
    """

    verdict: str
    words: str
    change: Floats
    law: tuple[float, float]


def edges() -> tuple[Floats, npt.NDArray[np.intp], Floats]:
    """Return typical strength, group (0 background, 1 circuit, 2 and 3 networks) and scatter."""
    rng = np.random.default_rng(3)
    group = np.repeat([0, 2, 3, 1], [170, 30, 30, 30])
    centre = np.array([0.15, 0.42, 0.28, 0.38])[group]
    strength = centre + rng.normal(0, np.array([0.17, 0.09, 0.1, 0.1])[group])
    return strength, group, rng.normal(0, 0.012, group.size)


def panels() -> tuple[Panel, ...]:
    """Return one panel for each verdict that names a pattern."""
    z, group, scatter = edges()
    circuit, own = group == 1, np.array([0.0, 0.0, 0.1, -0.12])[group]
    gain = 0.3 * z
    return (
        Panel("global", "one law moves all edges", gain + scatter, (0.0, 0.3)),
        Panel("circuit-specific", "one circuit leaves the law", scatter - 0.14 * circuit, (0, 0)),
        Panel("both", "a law, and a circuit beyond it", gain + scatter - 0.16 * circuit, (0, 0.3)),
        Panel("widespread", "networks change, no law holds", scatter + own, (0.0, 0.0)),
        Panel("neither", "all changes are small", scatter, (0.0, 0.0)),
    )


def draw() -> str:
    """Return the picture as SVG."""
    z, group, _ = edges()
    width = LEFT + len(panels()) * (SIZE + GAP)
    height = TOP + SIZE + 92
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'font-family="Helvetica, Arial, sans-serif" font-size="12" '
        'aria-label="Change of edges against their typical strength, under each verdict">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for k, panel in enumerate(panels()):
        out += _panel(panel, z, group, LEFT + k * (SIZE + GAP))
    middle = TOP + SIZE / 2
    out.append(
        f'<text transform="translate(16 {middle:.0f}) rotate(-90)" text-anchor="middle">'
        "change, Fisher z</text>"
    )
    names = ("background", "circuit of the hypothesis", "one network", "another network")
    for k, (name, colour) in enumerate(zip(names, COLOURS, strict=True)):
        x = LEFT + k * 190
        out.append(f'<circle cx="{x + 5}" cy="{height - 16}" r="4" fill="{colour}"/>')
        out.append(f'<text x="{x + 15}" y="{height - 12}">{name}</text>')
    return "\n".join([*out, "</svg>", ""])


def _panel(panel: Panel, z: Floats, group: npt.NDArray[np.intp], left: float) -> list[str]:
    def across(value: float) -> float:
        return left + (value + 0.4) / 1.2 * SIZE

    def down(value: float) -> float:
        return TOP + (LIMIT - value) / (2 * LIMIT) * SIZE

    out = [
        f'<text x="{left}" y="{TOP - 24}" font-weight="bold">{panel.verdict}</text>',
        f'<text x="{left}" y="{TOP - 8}" fill="#555555">{panel.words}</text>',
        f'<rect x="{left}" y="{TOP}" width="{SIZE}" height="{SIZE}" fill="none" stroke="#888888"/>',
        f'<line x1="{left}" x2="{left + SIZE}" y1="{down(0):.1f}" y2="{down(0):.1f}" '
        'stroke="#dddddd"/>',
    ]
    is_widespread = panel.verdict == "widespread"
    for x, y, kind in zip(z.tolist(), panel.change.tolist(), group.tolist(), strict=True):
        if abs(y) > LIMIT or not -0.4 < x < 0.8:
            continue
        colour = COLOURS[kind] if kind < 2 or is_widespread else COLOURS[0]
        out.append(
            f'<circle cx="{across(x):.1f}" cy="{down(y):.1f}" r="2.4" fill="{colour}" '
            'fill-opacity="0.85"/>'
        )
    dashes = ' stroke-dasharray="5 4"' if is_widespread else ""
    first, slope = panel.law
    out.append(
        f'<line x1="{across(-0.3):.1f}" y1="{down(first - 0.3 * slope):.1f}" '
        f'x2="{across(0.7):.1f}" y2="{down(first + 0.7 * slope):.1f}" stroke="#222222" '
        f'stroke-width="1.5"{dashes}/>'
    )
    for value in (-0.2, 0.0, 0.2) if left == LEFT else ():
        out.append(
            f'<text x="{left - 6}" y="{down(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
        )
    for value in (0.0, 0.5):
        out.append(
            f'<text x="{across(value):.1f}" y="{TOP + SIZE + 16}" text-anchor="middle">{value:g}'
            "</text>"
        )
    out.append(
        f'<text x="{left + SIZE / 2:.1f}" y="{TOP + SIZE + 34}" text-anchor="middle">'
        "typical strength, Fisher z</text>"
    )
    return out


if __name__ == "__main__":
    TARGET.write_text(draw())
