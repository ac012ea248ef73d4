"""Draw docs/rooms.svg: the rooms of the code and the imports between them.

Run as ``make graph``, which puts tests/_typing on the path. Rooms are folders; their order is
that of the import contracts in pyproject.toml. An arrow points from a room to a room that it
imports; arrows that follow from other arrows are pale. `tests/test_rooms.py` compares the committed
picture with the code.
"""

import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import grimp

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "rooms.svg"
PREFIX = "circuitshift."
GRAPHS = ("plan", "steps", "participant", "group", "in_turn")  # modules of workflows/ itself
NOUNS = ("edges", "features", "records", "arrays", "errors", "words")  # modules of pipeline/ itself
TOP = 60
ROW = 92
WIDE = 760
BOX = (176, 54)


@dataclass(frozen=True)
class Picture:
    """Rooms in rows, highest first, and the imports between them."""

    rows: tuple[tuple[str, ...], ...]
    files: Counter[str]
    imports: Counter[tuple[str, str]]

    def upward(self) -> list[tuple[str, str]]:
        """Return the imports that do not lead to a lower row."""
        level = {room: k for k, row in enumerate(self.rows) for room in row}
        return [(a, b) for a, b in self.imports if level[a] >= level[b]]

    def implied(self) -> set[tuple[str, str]]:
        """Return the imports between rooms that are also connected through other rooms."""
        below: dict[str, set[str]] = {}
        for room in (r for row in reversed(self.rows) for r in row):
            direct = {b for a, b in self.imports if a == room}
            below[room] = direct.union(*(below[b] for b in direct if b in below))
        return {
            (a, b)
            for a, b in self.imports
            if any(b in below[c] for x, c in self.imports if x == a and c != b)
        }


def room_of(module: str) -> str:
    """Return the room of a module: its folder, or the group of modules outside the folders."""
    parts = module.removeprefix(PREFIX).split(".")
    if parts[0] == "atlases":
        return "atlases"
    if len(parts) == 1:
        return f"{parts[0]}"
    if parts[0] == "workflows" and parts[1] in GRAPHS:
        return "workflows"
    if parts[0] == "pipeline" and parts[1] in NOUNS:
        return "pipeline"
    return "/".join(parts[:2])


def layers() -> tuple[tuple[str, ...], ...]:
    """Read the rows of rooms from the import contracts."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    rows: dict[str, list[tuple[str, ...]]] = {}
    for contract in contracts:
        for container in contract.get("containers", ()):
            found: list[tuple[str, ...]] = []
            for layer in contract["layers"]:
                names = [room_of(f"{container}.{name.strip()}") for name in layer.split("|")]
                row = tuple(dict.fromkeys(n for n in names if not any(n in r for r in found)))
                if row:
                    found.append(row)
            rows[container] = found
    return (
        *rows["circuitshift.workflows"],
        *rows["circuitshift.pipeline"],
        ("atlases",),
    )


def picture() -> Picture:
    """Measure the imports of the installed code."""
    names = ("circuitshift.workflows", "circuitshift.pipeline", "circuitshift.atlases")
    graph = grimp.build_graph("circuitshift", cache_dir=None)
    modules = graph.modules - {"circuitshift", *names}
    files = Counter(room_of(module) for module in modules)
    imports: Counter[tuple[str, str]] = Counter()
    for module in modules:
        for other in graph.find_modules_directly_imported_by(module):
            a, b = room_of(module), room_of(other)
            # the version number of the package, which every room may read
            if a != b and other in modules:
                imports[a, b] += 1
    return Picture(layers(), files, imports)


def draw(picture: Picture) -> str:
    """Return the picture as SVG."""
    place: dict[str, tuple[float, float]] = {}
    for k, row in enumerate(picture.rows):
        for j, room in enumerate(row):
            x = WIDE * (j + 1) / (len(row) + 1) + (90 if k % 2 else -90) * (len(row) == 1)
            place[room] = (x, TOP + ROW * k)
    implied = picture.implied()
    high = TOP + ROW * len(picture.rows)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {high}" '
        'font-family="sans-serif" font-size="14" role="img" aria-labelledby="title">',
        '<title id="title">Rooms of circuitshift and their imports; every arrow points down'
        "</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="context-stroke"/></marker>'
        "</defs>",
        f'<rect width="{WIDE}" height="{high}" fill="#fff"/>',
    ]
    order = sorted(picture.imports, key=lambda pair: (pair not in implied, pair))
    for a, b in order:
        (x, y), (u, v) = place[a], place[b]
        y, v = y + BOX[1] / 2, v - BOX[1] / 2
        pale = (a, b) in implied
        style = 'stroke="#d5d9de" stroke-width="1"' if pale else 'stroke="#345" stroke-width="1.6"'
        bend = (v - y) / 2
        out.append(
            f'<path d="M{x:.0f} {y:.0f}C{x:.0f} {y + bend:.0f} {u:.0f} {v - bend:.0f} {u:.0f} '
            f'{v:.0f}" fill="none" {style} marker-end="url(#head)"/>'
        )
    for room, (x, y) in place.items():
        left, top = x - BOX[0] / 2, y - BOX[1] / 2
        folder = room.split("/")[0]
        fill = {"workflows": "#fdf1dc", "pipeline": "#e4eef8", "atlases": "#e6f3e6"}[folder]
        out += [
            f'<rect x="{left:.0f}" y="{top:.0f}" width="{BOX[0]}" height="{BOX[1]}" rx="6" '
            f'fill="{fill}" stroke="#345"/>',
            f'<text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle" font-weight="600">'
            f"{escape(room)}</text>",
        ]
    return "\n".join([*out, "</svg>", ""])


if __name__ == "__main__":
    found = picture()
    if found.upward():
        sys.exit(f"imports that lead upwards: {found.upward()}")
    TARGET.write_text(draw(found), encoding="utf-8")
    print(f"{len(found.files)} rooms, {len(found.imports)} imports between them: {TARGET.name}")
