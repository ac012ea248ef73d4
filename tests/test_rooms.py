"""The picture of the rooms: drawn from the code by this test, and nothing points upwards."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_committed_picture_is_that_of_the_code(tmp_path):
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
