"""Kill runs at random times and check that the final results are complete.

Run it as ``python tests/faults/sweep.py --seconds 120``. Each round uses a new output folder and
kills runs of both levels, with workers, after random fractions of the duration of a complete run
(SIGKILL). The command is then run to its end. The results must be identical to those of an
undisturbed study, and no partial file, lock or scratch folder of killed runs may remain.
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
assert _SPEC.loader is not None
study = module_from_spec(_SPEC)
sys.modules["faults_conftest"] = study
_SPEC.loader.exec_module(study)


def _words(root: Path, out: Path, level: str) -> list[str]:
    more = ["--study", str(root / "study.toml")] if level == "group" else []
    execution = ["-w", str(root / "work"), "--nprocs", "2"]
    command: list[str] = study.command(root / "data", out, level, *execution, *more)
    return command


def _run(words: list[str], seconds: float | None) -> bool:
    """Run a command, kill it after some seconds, and return whether it ended before."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return False
        output.seek(0)
        text = output.read().decode(errors="replace")
    if code not in (0, 1) or "Traceback" in text:
        sys.exit(f"ended with {code}:\n{text[-3000:]}")
    if code == 1 and "has no usable run" not in text and "written to by another run" not in text:
        sys.exit(f"refused:\n{text[-3000:]}")
    return code == 0


def sweep(seconds: float, seed: int, kills: int) -> int:
    """Run rounds for some seconds and return the number of killed runs."""
    draw = random.Random(seed)  # noqa: S311 - not used for security
    end = time.monotonic() + seconds
    killed = rounds = 0
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        study.write_study(root / "data")
        (root / "study.toml").write_text(study.STUDY)
        start = time.monotonic()
        assert _run(_words(root, root / "undisturbed", "group"), None)
        length = time.monotonic() - start
        expected = study.outputs(root / "undisturbed")
        while time.monotonic() < end:
            out = root / "out"
            for _ in range(kills):
                level = draw.choice(("participant", "group", "group"))
                killed += not _run(_words(root, out, level), draw.uniform(0.1, 1.0) * length)
            assert _run(_words(root, out, "group"), None)
            found = study.outputs(out)
            different = sorted(k for k in {*found, *expected} if found.get(k) != expected.get(k))
            assert not different, f"seed {seed}, round {rounds}: {different}"
            remaining = [*out.rglob(".part-*"), *(out / "logs/running").glob("*.json")]
            remaining += [p for p in (root / "work").rglob("run-*") if p.is_dir()]
            assert not remaining, f"seed {seed}, round {rounds}: files remain: {remaining}"
            shutil.rmtree(out)
            rounds += 1
    print(f"{killed} runs killed in {rounds} rounds: all results equal the undisturbed ones")
    return killed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--kills", type=int, default=4, help="number of killed runs per round")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(2), "big"))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    sys.exit(not sweep(options.seconds, options.seed, options.kills))
