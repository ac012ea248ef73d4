"""Test the tests: insert one error at a time into a copy of the code and require a test to fail.

Each file ``tests/mutation/<room>.toml`` lists the mutants of one room: a line of source, the line
with the error, why the error matters, and the test files or tests that must fail. ``make
mutation-test`` runs this script. The exit status is 1 unless all mutants are killed. The source
tree is not changed: each worker has a copy of the package in a temporary folder, which is first on
PYTHONPATH.
"""

import argparse
import os
import queue
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PACKAGE = ROOT / "tests" / "_typing" / "circuitshift"  # links to the folders of the code
KEYS = {"file", "old", "new", "why", "tests"}
NOT_INHERITED = ("PYTEST_ADDOPTS", "PYTHONPYCACHEPREFIX")
MIN_LIMIT_S = 60.0
TIMES_UNMUTATED = 10  # allowed duration of tests with a mutant, relative to tests without it

RUNNING: set[int] = set()  # process identifiers of running tests
Outcome = Literal["killed", "survived", "invalid", "timeout"]

# tests with these errors fail for another reason than the mutant
NOT_A_KILL = re.compile(
    r"^E\s+(?:\w+\.)*(SyntaxError|IndentationError|ImportError|ModuleNotFoundError|NameError"
    r"|UnboundLocalError)\b",
    re.MULTILINE,
)


@dataclass(frozen=True, order=True)
class Mutant:
    """One error, and the tests that must fail because of it."""

    room: str
    name: str
    file: str
    old: str
    new: str
    why: str
    tests: tuple[str, ...]

    def apply(self, text: str) -> str:
        """Return the source with the error; the original text must occur exactly once."""
        count = text.count(self.old)
        if count != 1:
            raise ValueError(f"{self.name}: {self.old!r} occurs {count} times in {self.file}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Result:
    """Outcome of the tests of a mutant."""

    outcome: Outcome
    seconds: float
    output: str = ""


def load_mutants(folder: Path = HERE) -> list[Mutant]:
    """Read the mutants of all rooms."""
    found: dict[str, Mutant] = {}
    for path in sorted(folder.glob("*.toml")):
        for name, entry in tomllib.loads(path.read_text(encoding="utf-8")).items():
            if set(entry) != KEYS:
                raise ValueError(f"{path.name}, [{name}]: the keys must be {sorted(KEYS)}")
            if name in found:
                raise ValueError(
                    f"{path.name}, [{name}]: {found[name].room}.toml also contains this name"
                )
            found[name] = Mutant(
                path.stem, name, **(entry | {"tests": tuple(sorted(entry["tests"]))})
            )
    return sorted(found.values())


def outcome_of(code: int, output: str) -> Outcome:
    """Determine the outcome from exit status and output of pytest."""
    if code == 0:
        return "survived" if re.search(r"\b\d+ passed\b", output) else "invalid"
    return "killed" if code == 1 and not NOT_A_KILL.search(output) else "invalid"


class Copy:
    """A copy of the package into which mutants are inserted one after the other."""

    def __init__(self, folder: Path, pristine: Path) -> None:
        self.folder, self.pristine = folder, pristine
        shutil.copytree(
            pristine, folder
        )  # keeps modification times, so that compiled files stay valid
        (folder / "tmp").mkdir()

    @contextmanager
    def inserted(self, mutant: Mutant) -> Iterator[None]:
        """Insert a mutant, and restore the original file at the end."""
        path = self.folder / "circuitshift" / mutant.file
        text = mutant.apply(path.read_text(encoding="utf-8"))
        if path.suffix == ".py":
            compile(text, mutant.file, "exec")
        compiled = path.with_suffix(f".{sys.implementation.cache_tag}.pyc").name
        pair = [path, path.parent / "__pycache__" / compiled]
        try:
            path.write_text(text, encoding="utf-8")
            pair[1].unlink(missing_ok=True)
            yield
        finally:
            for each in pair:
                original = self.pristine / each.relative_to(self.folder)
                if original.exists():
                    shutil.copy2(original, each)

    def environment(self) -> dict[str, str]:
        """Return the environment in which this copy of the package is imported."""
        own = {
            "PYTHONPATH": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HYPOTHESIS_STORAGE_DIRECTORY": str(self.folder / "hypothesis"),
            "TMPDIR": str(self.folder / "tmp"),
        }
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        others = {k: v for k, v in os.environ.items() if k not in NOT_INHERITED}
        return others | threads | own

    def check(self) -> None:
        """Check that tests import this copy of the package."""
        names = ("pipeline", "workflows", "atlases")
        code = f"import {', '.join(f'circuitshift.{n} as {n}' for n in names)}\n"
        code += f"print(*({', '.join(f'{n}.__file__' for n in names)}), sep='\\n')"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=self.environment(), cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        found = [Path(line) for line in done.stdout.splitlines()]
        if not all(path.is_relative_to(self.folder) for path in found):
            raise RuntimeError(f"tests would import {found}, not {self.folder}")

    def test(self, tests: Iterable[str], limit_s: float) -> Result:
        """Run tests with this copy."""
        scratch = self.folder / "pytest"
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        command += ["--tb=short", f"--basetemp={scratch}", *tests]
        start = time.monotonic()
        with subprocess.Popen(  # in its own session, so that its children can be killed, too
            command, cwd=ROOT, env=self.environment(), text=True, errors="replace",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        ) as process:  # fmt: skip
            RUNNING.add(process.pid)
            try:
                output = process.communicate(timeout=limit_s)[0]
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return Result("timeout", limit_s, process.communicate()[0])
            finally:
                RUNNING.discard(process.pid)
                shutil.rmtree(scratch, ignore_errors=True)
        return Result(outcome_of(process.returncode, output), time.monotonic() - start, output)


def copies(folder: Path, n: int) -> "queue.Queue[Copy]":
    """Copy the package for each of `n` workers."""
    pristine = folder / "pristine"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, pristine / "circuitshift", ignore=ignored)
    clean = {k: v for k, v in os.environ.items() if k not in NOT_INHERITED}
    subprocess.run([sys.executable, "-m", "compileall", "-q", pristine], env=clean, check=True)
    free: queue.Queue[Copy] = queue.Queue()
    for number in range(n):
        copy = Copy(folder / f"copy{number}", pristine)
        copy.check()
        free.put(copy)
    return free


def files_of(mutants: Iterable[Mutant]) -> dict[str, tuple[str, ...]]:
    """Return the tests to run by file: single tests, or the file if a mutant requires all of it."""
    named: dict[str, set[str]] = {}
    for test in (test for mutant in mutants for test in mutant.tests):
        named.setdefault(test.partition("::")[0], set()).add(test)
    return {
        file: (file,) if file in tests else tuple(sorted(tests)) for file, tests in named.items()
    }


def unmutated(files: dict[str, tuple[str, ...]], free: "queue.Queue[Copy]") -> dict[str, Result]:
    """Run the tests of each file without a mutant."""

    def one(tests: tuple[str, ...]) -> Result:
        copy = free.get()
        try:
            return copy.test(tests, 600.0)
        finally:
            free.put(copy)

    with ThreadPoolExecutor(free.qsize()) as pool:
        return dict(zip(files, pool.map(one, files.values()), strict=True))


def judge(mutant: Mutant, before: dict[str, Result], free: "queue.Queue[Copy]") -> Result:
    """Run the tests of a mutant with this mutant."""
    own = [before[test.partition("::")[0]] for test in mutant.tests]
    for result in own:
        if result.outcome != "survived":
            return Result("invalid", 0.0, f"the tests fail without the mutant:\n{result.output}")
    copy = free.get()
    try:
        with copy.inserted(mutant):
            limit = max(MIN_LIMIT_S, TIMES_UNMUTATED * sum(r.seconds for r in own))
            return copy.test(mutant.tests, limit)
    except (SyntaxError, ValueError) as error:
        return Result("invalid", 0.0, str(error))
    finally:
        free.put(copy)


def table(results: dict[Mutant, Result]) -> str:
    """Count outcomes by room."""
    outcomes: tuple[Outcome, ...] = ("killed", "survived", "invalid", "timeout")
    lines = [f"{'room':<12}{'mutants':>9}" + "".join(f"{name:>10}" for name in outcomes)]
    rooms = sorted({mutant.room for mutant in results})
    for room in [*rooms, "all"]:
        found = [r.outcome for m, r in results.items() if room in (m.room, "all")]
        counts = "".join(f"{found.count(name):>10}" for name in outcomes)
        lines.append(f"{room:<12}{len(found):>9}{counts}")
    return "\n".join(lines)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Create a temporary folder; when interrupted, kill running tests and remove the folder."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as name:

        def stop(*_: object) -> None:
            for pid in list(RUNNING):
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
            shutil.rmtree(name, ignore_errors=True)
            os._exit(130)

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield Path(name).resolve()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run(mutants: Sequence[Mutant], jobs: int, *, verbose: bool = False) -> dict[Mutant, Result]:
    """Test several mutants at a time, and print each outcome when it is available."""
    files = files_of(mutants)
    results: dict[Mutant, Result] = {}
    with scratch_folder() as folder:
        free = copies(folder, min(jobs, len(mutants)))
        print(f"{len(files)} test files run without mutants", flush=True)
        before = unmutated(files, free)
        with ThreadPoolExecutor(free.qsize()) as pool:
            pending = {pool.submit(judge, m, before, free): m for m in mutants}
            for done in as_completed(pending):
                mutant, result = pending[done], done.result()
                results[mutant] = result
                print(
                    f"[{len(results)}/{len(mutants)}] {result.outcome:<9}"
                    f"{result.seconds:6.1f} s  {mutant.room}  {mutant.name}",
                    flush=True,
                )
                if result.outcome != "killed" or verbose:
                    print(result.output[-3000:], flush=True)
    return results


def main(argv: Sequence[str] | None = None) -> int:
    """Run the requested mutants."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--room", action="append", help="run only mutants of this room")
    parser.add_argument("--id", action="append", dest="names", help="run only this mutant")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="number of processes")
    parser.add_argument("--lists", type=Path, default=HERE, help="folder with the lists of mutants")
    parser.add_argument("--verbose", action="store_true", help="print the output of the tests")
    options = parser.parse_args(argv)
    all_mutants = load_mutants(options.lists)
    for requested, available in (
        (options.room, {m.room for m in all_mutants}),
        (options.names, {m.name for m in all_mutants}),
    ):
        if unknown := sorted(set(requested or ()) - available):
            parser.error(f"{', '.join(unknown)}: not in the lists ({', '.join(sorted(available))})")
    mutants = [
        m
        for m in all_mutants
        if m.room in (options.room or [m.room]) and m.name in (options.names or [m.name])
    ]
    if not mutants:
        parser.error("no mutant matches --room and --id")
    start = time.monotonic()
    results = run(mutants, options.jobs, verbose=options.verbose)
    killed = sum(result.outcome == "killed" for result in results.values())
    print(f"\n{table(results)}\n")
    for mutant, result in sorted(results.items(), key=lambda item: item[0]):
        if result.outcome != "killed":
            print(f"{result.outcome}: {mutant.name} ({mutant.file}): {mutant.why}")
    share = 100 * killed / len(results)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"score: {killed} of {len(results)} killed ({share:.1f} %) in "
        f"{time.monotonic() - start:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of processor time"
    )
    return 0 if killed == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
