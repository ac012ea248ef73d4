"""Rules for the source code that can be checked automatically."""

import ast
import doctest
import importlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("pipeline", "workflows", "atlases")
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
#: Scripts that `make test` does not run.
SCRIPTS = [
    *sorted((ROOT / "tests" / "benchmarks").glob("*.py")),
    *(ROOT / "tests" / "faults" / name for name in ("fuzz.py", "sweep.py")),
]
README = (ROOT / "README.md").read_text()


def modules():
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def test_every_package_is_in_the_wheel_list():
    packages = {
        "circuitshift." + ".".join(path.parent.relative_to(ROOT).parts)
        for path in modules()
        if path.name == "__init__.py"
    }
    packages = packages - {"circuitshift.pipeline.public"} | {"circuitshift"}
    assert packages == set(SETTINGS["tool"]["setuptools"]["packages"])


def test_modules_and_folders_are_small_and_have_specific_names():
    long = {p.name: n for p in modules() if (n := len(p.read_text().splitlines())) > 650}
    assert not long
    files = Counter(path.parent for path in modules() if path.name != "__init__.py")
    assert not {folder: n for folder, n in files.items() if n > 12}
    assert not [p for p in modules() if re.search(r"util|helper|common|misc", p.stem)]


def test_every_module_with_functions_has_its_own_test_file():
    without = []
    for path in modules():
        tree = ast.parse(path.read_text())
        has_functions = any(isinstance(node, ast.FunctionDef) for node in ast.walk(tree))
        test = ROOT / "tests" / path.relative_to(ROOT).parent / f"test_{path.name}"
        if path.name != "__init__.py" and has_functions and not test.exists():
            without.append(str(path.relative_to(ROOT)))
    assert not without


def test_generic_names_are_not_importable_from_outside(tmp_path):
    code = f"import importlib.util as u; print([n for n in {FOLDERS} if u.find_spec(n)])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_the_parser_has_no_heavy_imports(tmp_path):
    code = (
        "import sys, circuitshift.workflows.cli.parsers as c; c.app_parser().format_help(); "
        "print([m for m in ('numpy', 'scipy', 'nilearn', 'nipype', 'matplotlib', 'nibabel') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_both_levels_load_without_heavy_imports(tmp_path):
    code = (
        "import sys, circuitshift.pipeline.measure.person, "
        "circuitshift.pipeline.study.group_level; "
        "print([m for m in ('scipy.signal', 'nilearn', 'nipype', 'matplotlib', 'pandas', "
        "'nibabel', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_the_command_loads_without_heavy_imports(tmp_path):
    code = (
        "import sys, circuitshift.workflows.cli.bids_app; "
        "print([m for m in ('scipy', 'nibabel', 'nilearn', 'nipype', 'matplotlib', 'pandas', "
        "'sklearn', 'multiprocessing', 'PIL', 'jinja2', 'circuitshift.pipeline.model.analyse') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_every_flag_is_in_the_readme_and_has_help():
    from circuitshift.workflows.cli.parsers import app_parser
    from circuitshift.workflows.cli.tool_parsers import tool_parsers

    for parser in (app_parser(), *tool_parsers().values()):
        for action in parser._actions:
            for flag in action.option_strings:
                if flag.startswith("--") and flag not in ("--help",):
                    assert f"`{flag}`" in README or f"{flag} " in README, flag


def test_every_strategy_and_circuit_is_documented():
    from circuitshift.pipeline.measure.denoise import load_strategies

    text = (ROOT / "docs" / "denoising.md").read_text()
    names = {name.removesuffix("+gsr") for name in load_strategies()}
    assert not [name for name in names if f"| `{name}`" not in text]
    atlases = (ROOT / "docs" / "atlases.md").read_text()
    circuits = sorted((ROOT / "atlases" / "circuits").glob("*.toml"))
    assert len(circuits) >= 11
    assert not [path.stem for path in circuits if f"`{path.stem}`" not in atlases]


def test_links_in_documents_lead_to_files():
    for document in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_mypy_checks_every_script():
    files = {path.stem for path in SCRIPTS}
    assert files == set(SETTINGS["tool"]["mypy"]["modules"])


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_use_the_options_that_they_define(path):
    nodes = list(ast.walk(ast.parse(path.read_text())))
    calls = [n for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]
    defined = {
        call.args[0].value.removeprefix("--").replace("-", "_")
        for call in calls
        if call.func.attr == "add_argument"
    }
    used = {
        n.attr
        for n in nodes
        if isinstance(n, ast.Attribute)
        and (
            (isinstance(n.value, ast.Name) and n.value.id == "options")
            or (isinstance(n.value, ast.Call) and ast.unparse(n.value) == "parser.parse_args()")
        )
    }
    assert used == defined


@pytest.mark.slow
def test_the_wheel_works_outside_the_repository(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder)
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(source)], check=True)
    wheel = next(tmp_path.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    data = (
        "pipeline/measure/strategies.toml",
        "atlases/circuits/dmn.toml",
        "workflows/cluster/resources.toml",
    )
    for name in (*data, "pipeline/py.typed", "__init__.py"):
        assert f"circuitshift/{name}" in names
    assert any(name.startswith("circuitshift/pipeline/reports/templates/") for name in names)
    # -S: with the libraries of this environment, but without its editable installation
    path = os.pathsep.join([str(tmp_path / "site"), sysconfig.get_path("purelib")])
    code = (
        "import circuitshift.pipeline.measure.person as m, circuitshift.atlases.load as l, "
        "circuitshift.atlases.resolve as r; atlas = l.load_atlas('seitzman300'); "
        "print(m.__file__, len(atlas.regions), len(r.load_circuits(atlas).circuits) >= 11)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": path, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == [
        str(tmp_path / "site/circuitshift/pipeline/measure/person.py"),
        "300",
        "True",
    ], done.stderr


@pytest.mark.parametrize(
    "path", [p for p in modules() if ">>>" in p.read_text()], ids=lambda path: path.stem
)
def test_examples_of_docstrings(path):
    name = "circuitshift." + ".".join(path.relative_to(ROOT).with_suffix("").parts)
    done = doctest.testmod(importlib.import_module(name))
    assert done.attempted
    assert not done.failed


def test_the_python_of_the_readme_runs(capsys):
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(block, "README.md", "exec"), {})
    assert "dmn" in capsys.readouterr().out
