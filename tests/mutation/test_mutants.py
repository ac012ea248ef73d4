"""The lists of mutants match the code, and the runner distinguishes the outcomes."""

import ast
import importlib.util
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
_spec = importlib.util.spec_from_file_location("mutation_run", HERE / "run.py")
run = importlib.util.module_from_spec(_spec)
sys.modules["mutation_run"] = run  # dataclasses look up their module
_spec.loader.exec_module(run)

MUTANTS = run.load_mutants()
ROOMS = {
    *("atlases", "bids", "io", "measure", "model", "pipeline", "preproc", "reports", "stats"),
    *("study", "validation", "workflows"),
}


@cache
def parsed(text):
    return ast.dump(ast.parse(text))


def room_of(file):
    top, *rest = Path(file).parts
    if top == "pipeline":
        return rest[0] if len(rest) > 1 else "pipeline"
    return top


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_matches_the_code_and_existing_tests(mutant):
    path = run.ROOT / mutant.file
    assert path.is_file(), (
        f"{mutant.file} does not exist; state the file that contains the line now"
    )
    text = path.read_text(encoding="utf-8")
    count = text.count(mutant.old)
    assert count == 1, f"{mutant.old!r} occurs {count} times in {mutant.file}, not once"
    assert "\n" not in mutant.old + mutant.new
    mutated = mutant.apply(text)
    assert mutated != text
    if path.suffix == ".py":
        assert ast.dump(ast.parse(mutated)) != parsed(text), (
            "the mutant changes a comment or docstring only"
        )
    assert room_of(mutant.file) == mutant.room
    assert mutant.why.endswith(".")
    assert mutant.tests
    for name in mutant.tests:
        file, _, test = name.partition("::")
        assert (run.ROOT / file).is_file(), f"{file} does not exist"
        source = (run.ROOT / file).read_text(encoding="utf-8")
        assert not test or f"def {test}(" in source, f"{file} has no test {test}"


def test_every_room_has_mutants():
    assert {mutant.room for mutant in MUTANTS} == ROOMS
    assert len(MUTANTS) >= 80


@pytest.mark.parametrize(
    ("code", "output", "outcome"),
    [
        (0, "3 passed in 1 s", "survived"),
        (0, "2 skipped in 1 s", "invalid"),
        (1, "E   assert 1 == 2\n1 failed", "killed"),
        (1, "E   ValueError: nothing\n1 failed", "killed"),
        (1, "E   NameError: name 'x' is not defined\n1 failed", "invalid"),
        (1, "E   ImportError: no x\n1 failed", "invalid"),
        (2, "1 error during collection", "invalid"),
        (4, "ERROR: not found: x.py::test_y", "invalid"),
        (5, "no tests ran", "invalid"),
    ],
)
def test_outcomes_follow_from_status_and_output(code, output, outcome):
    assert run.outcome_of(code, output) == outcome


LIST = """
[noticed]
file = "pipeline/edges.py"
old = "_R_MAX = 0.999999"
new = "_R_MAX = 0.9"
why = "It matters."
tests = ["tests/pipeline/test_edges.py::test_strong_correlations_keep_their_fisher_z"]

[unnoticed]
file = "pipeline/edges.py"
old = "_R_MAX = 0.999999"
new = "_R_MAX = 0.9999999"
why = "It matters little."
tests = ["tests/pipeline/test_edges.py::test_strong_correlations_keep_their_fisher_z"]
"""


def test_a_surviving_mutant_gives_status_1_and_the_code_is_unchanged(tmp_path):
    (tmp_path / "pipeline.toml").write_text(LIST)
    source = (run.ROOT / "pipeline/edges.py").read_bytes()
    command = [sys.executable, HERE / "run.py", "--lists", tmp_path, "--jobs", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "score: 1 of 2 killed (50.0 %)" in done.stdout
    assert "survived: unnoticed (pipeline/edges.py): It matters little." in done.stdout
    assert (run.ROOT / "pipeline/edges.py").read_bytes() == source
    only = subprocess.run([*command, "--id", "noticed"], capture_output=True, text=True)
    assert only.returncode == 0, only.stdout + only.stderr
    wrong = subprocess.run([*command, "--id", "nothing"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "nothing: not in the lists (noticed, unnoticed)" in wrong.stderr
