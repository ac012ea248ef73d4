"""The table of coverage assigns files to rooms and sums statements."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("coverage_by_room.py")


def written(folder, **files):
    """Write a result as coverage.py does: statements and missed statements of files."""
    content = {
        name: {"summary": {"num_statements": n, "missing_lines": missed}}
        for name, (n, missed) in files.items()
    }
    path = folder / "coverage.json"
    path.write_text(json.dumps({"files": content}))
    return path


def test_statements_are_summed_by_room(tmp_path):
    path = written(
        tmp_path,
        **{
            "atlases/load.py": (10, 5),
            "pipeline/edges.py": (8, 0),
            "/elsewhere/circuitshift/pipeline/edges.py": (8, 8),  # a copy that a test changed
            "pipeline/stats/permutation.py": (30, 3),
            "pipeline/stats/combat.py": (10, 1),
            "pipeline/reports/figures/style.py": (7, 7),
            "site/pipeline/circuitshift/workflows/plan.py": (4, 1),
            "workflows/cli/main.py": (0, 0),
        },
    )
    done = subprocess.run([sys.executable, SCRIPT, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()[1:]}
    assert rows == {
        "atlases": ["1", "10", "5", "50.0%"],
        "pipeline": ["1", "8", "0", "100.0%"],
        "pipeline/reports": ["1", "7", "7", "0.0%"],
        "pipeline/stats": ["2", "40", "4", "90.0%"],
        "workflows": ["1", "4", "1", "75.0%"],
        "workflows/cli": ["1", "0", "0", "100.0%"],
        "all": ["7", "69", "17", "75.4%"],
    }
    empty = written(tmp_path)
    done = subprocess.run([sys.executable, SCRIPT, empty], capture_output=True, text=True)
    assert done.returncode == 1
    assert "the result contains no file" in done.stderr
