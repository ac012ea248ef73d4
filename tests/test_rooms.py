"""The picture of the rooms is that of the code, and no import leads upwards."""

import ast
import graphlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_committed_picture_equals_that_of_the_code(tmp_path):
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, 'tests'); import rooms\n"
        "found = rooms.picture()\n"
        "Path(sys.argv[1]).write_text(rooms.draw(found), encoding='utf-8')\n"
        "print(len(found.files), found.upward(), len(found.imports) > 40)"
    )
    target = tmp_path / "rooms.svg"
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests/_typing")},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["16", "[]", "True"], done.stderr
    drawn = (ROOT / "docs/rooms.svg").read_text(encoding="utf-8")
    assert target.read_text(encoding="utf-8") == drawn, "run `make graph`"


def test_no_file_imports_itself_through_others():
    """Imports inside functions count, too, since they hide circular imports."""
    paths = [p for top in ("pipeline", "workflows", "atlases") for p in (ROOT / top).rglob("*.py")]
    names = {
        "circuitshift." + ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in paths
    }
    imports = {name: set() for name in names}
    for name, path in names.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                found = {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
            elif isinstance(node, ast.Import):
                found = {alias.name for alias in node.names}
            else:
                continue
            imports[name] |= found & set(names) - {name}
    assert sum(map(len, imports.values())) > 300
    tuple(
        graphlib.TopologicalSorter(imports).static_order()
    )  # raises CycleError for circular imports
