"""Print the coverage of each room from the JSON file of coverage.py.

Run as ``make coverage``, or on any such file: ``python tests/coverage_by_room.py FILE``.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "build" / "coverage" / "coverage.json"
FOLDERS = ("atlases", "pipeline", "workflows")


def room_of(file: str) -> str:
    """Return the room of a source file: its folder, or that of modules outside the folders."""
    parts = PurePosixPath(file).parts
    parts = parts[max(k for k, part in enumerate(parts[:-1]) if part in FOLDERS) :]
    return "/".join(parts[:2]) if len(parts) > 2 and parts[0] != "atlases" else parts[0]


def by_room(files: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, tuple[int, ...]]:
    """Sum files, statements and missed statements of each room.

    Copies of the code outside the checkout, which some tests make and change, are not counted.
    """
    out: dict[str, tuple[int, ...]] = {}
    for file, found in files.items():
        if not (ROOT / file).resolve().is_relative_to(ROOT):
            continue
        summary = found["summary"]
        more = (1, int(summary["num_statements"]), int(summary["missing_lines"]))
        room = room_of(file.replace("\\", "/"))
        out[room] = tuple(a + b for a, b in zip(out.get(room, (0, 0, 0)), more, strict=True))
    return dict(sorted(out.items()))


def table(rooms: Mapping[str, tuple[int, ...]]) -> str:
    """Format the rooms as text, with a line of sums."""
    sums = tuple(map(sum, zip(*rooms.values(), strict=True)))
    lines = [f"{'room':<24}{'files':>7}{'statements':>12}{'missed':>8}{'covered':>10}"]
    for room, (n, statements, missed) in {**rooms, "all": sums}.items():
        share = 1 - missed / statements if statements else 1.0
        lines.append(f"{room:<24}{n:>7}{statements:>12}{missed:>8}{share:>10.1%}")
    return "\n".join(lines)


def main() -> int:
    """Print the table."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULT
    files = json.loads(path.read_text(encoding="utf-8"))["files"]
    if not files:
        print(f"{path}: the result contains no file", file=sys.stderr)
        return 1
    print(table(by_room(files)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
