"""Kill -9 at random moments, again and again, and see that nothing was lost.

Run it as ``python tests/faults/sweep.py --seconds 120``. Each round takes a new output folder and
kills both levels, with workers, after times drawn at random from the length of a whole run; then
lets the command end. The bytes must be those of an undisturbed study, and no part, lock or scratch
of the killed ones may be left.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_SPEC = spec_from_file_location("faults_conftest", Path(__file__).with_name("conftest.py"))
assert _SPEC is not None
study = module_from_spec(_SPEC)
sys.modules["faults_conftest"] = study
_SPEC.loader.exec_module(study)


def _words(root: Path, out: Path, level: str) -> list[str]:
    more = ["--study", str(root / "study.toml")] if level == "group" else []
    execution = ["-w", str(root / "work"), "--nprocs", "2"]
    return study.command(root / "data", out, level, *execution, *more)


def _go(words: list[str], seconds: float | None) -> bool:
    """Run to the end, or for some time; tell whether it ended by itself."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(words, stdout=said, stderr=subprocess.STDOUT)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return False
        said.seek(0)
        text = said.read().decode(errors="replace")
    if code not in (0, 1) or "Traceback" in text:
        sys.exit(f"ended with {code}:\n{text[-3000:]}")
    if code == 1 and "has no usable run" not in text and "written to by another run" not in text:
        sys.exit(f"refused:\n{text[-3000:]}")
    return code == 0


def sweep(seconds: float, seed: int, kills: int) -> int:
    """Kill for some time; return how many runs were killed."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    end = time.monotonic() + seconds
    killed = rounds = 0
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        study.write_study(root / "data")
        (root / "study.toml").write_text(study.STUDY)
        start = time.monotonic()
        assert _go(_words(root, root / "undisturbed", "group"), None)
        length = time.monotonic() - start
        wanted = study.outputs(root / "undisturbed")
        while time.monotonic() < end:
            out = root / "out"
            for _ in range(kills):
                level = draw.choice(("participant", "group", "group"))
                killed += not _go(_words(root, out, level), draw.uniform(0.1, 1.0) * length)
            assert _go(_words(root, out, "group"), None)
            found = study.outputs(out)
            different = sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k))
            assert not different, f"seed {seed}, round {rounds}: {different}"
            left = [*out.rglob(".part-*"), *(out / "logs/running").glob("*.json")]
            left += [p for p in (root / "work").rglob("run-*") if p.is_dir()]
            assert not left, f"seed {seed}, round {rounds}: left behind: {left}"
            shutil.rmtree(out)
            rounds += 1
    print(f"{killed} runs killed in {rounds} rounds: every study ended with the same bytes")
    return killed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--kills", type=int, default=4, help="a round")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(2), "big"))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    sys.exit(not sweep(options.seconds, options.seed, options.kills))
