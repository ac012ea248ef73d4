"""Which code counts for which result: the graph of imports, and what an edit makes stale.

Edits are made in a copy of the source tree.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from circuitshift.pipeline.io import provenance
from circuitshift.pipeline.io.provenance import code_hash, data_files, hash_of, source_files
from circuitshift.pipeline.study.preregistration import installed_code

ROOT = Path(__file__).resolve().parents[3]
#: Folder of each package that is imported, which is not below ROOT when mutants are tested.
PACKAGES = {
    f"circuitshift.{name}": Path(str(find_spec(f"circuitshift.{name}").origin)).resolve().parent
    for name in ("pipeline", "atlases")
}
MEASURING = "circuitshift.pipeline.measure.run"
#: What is made, the module that makes it, and whether its data files count with the code.
PRODUCTS = {
    "preprocessing": ("circuitshift.pipeline.preproc.derivatives", True),
    "measuring": (MEASURING, False),
    "participant page": ("circuitshift.pipeline.reports.person.inputs", True),
    "group level": ("circuitshift.pipeline.study.group_level", True),
    "study page": ("circuitshift.pipeline.reports.study.inputs", True),
    "image series": ("circuitshift.pipeline.validation.opendata.image_series", True),
}
PAGES = {"participant page", "study page"}


def modules():
    """Every module of the packages, by its full name."""
    out = {}
    for package, folder in PACKAGES.items():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            out[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return out


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A copy of the source, which the hashes are then of."""
    for name in ("pipeline", "atlases"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PACKAGES[f"circuitshift.{name}"], tmp_path / name, ignore=ignored)
    copy = {package: tmp_path / folder.name for package, folder in PACKAGES.items()}
    monkeypatch.setattr(provenance, "_PACKAGES", copy)
    forget()
    yield tmp_path
    forget()


def forget():
    provenance.code_hash.cache_clear()
    provenance._module.cache_clear()


def hashes():
    forget()
    return {name: code_hash(root, data=data) for name, (root, data) in PRODUCTS.items()}


def append(text):
    def edit(path):
        with path.open("a") as file:
            file.write(text)

    return edit


def write(text):
    return lambda path: path.write_text(text)


COMMENT = append("\n# a comment\n")


@pytest.mark.parametrize(
    ("file", "edit", "stale"),
    [
        ("pipeline/reports/figures/overview.py", COMMENT, PAGES),
        ("pipeline/reports/templates/macros.html", append(" "), PAGES),
        ("pipeline/reports/templates/a_new_section.html", write("<p></p>"), PAGES),
        ("pipeline/reports/study/verdict.py", COMMENT, {"study page"}),
        ("pipeline/reports/person/runs.py", COMMENT, PAGES),
        ("atlases/circuits/mine.toml", write("name = 'mine'\n"), {"group level", *PAGES}),
        ("atlases/resolve.py", COMMENT, {"group level", *PAGES}),
        ("pipeline/model/global_model.py", COMMENT, {"group level", "study page"}),
        ("pipeline/stats/permutation.py", COMMENT, {"group level", "study page"}),
        ("pipeline/preproc/motion.py", COMMENT, {"preprocessing"}),
        ("pipeline/preproc/transforms.py", COMMENT, {"preprocessing", *PAGES}),
        ("pipeline/measure/denoise.py", COMMENT, {"measuring", "group level", *PAGES}),
        ("pipeline/measure/voxelwise.py", COMMENT, {"measuring", *PAGES}),
        ("pipeline/measure/extract.py", COMMENT, {"measuring", "image series"}),
        ("pipeline/measure/strategies.toml", COMMENT, {"group level", *PAGES}),
        ("pipeline/edges.py", COMMENT, {"measuring", "group level", *PAGES}),
        ("pipeline/io/tables.py", COMMENT, set(PRODUCTS)),
        ("pipeline/errors.py", COMMENT, set(PRODUCTS)),
        ("pipeline/bids/scan.py", COMMENT, set()),  # which runs there are, not what they hold
        ("pipeline/validation/simulate/bold_run.py", COMMENT, set()),
        ("pipeline/validation/opendata/recipes/ds003007.toml", COMMENT, set()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_edit_makes_stale_what_it_can_change(tree, file, edit, stale):
    before = hashes()
    edit(tree / file)
    after = hashes()
    assert {name for name in PRODUCTS if before[name] != after[name]} == stale


def test_a_new_section_of_a_page_counts_from_the_import_on(tree):
    before = hashes()
    (tree / "pipeline/reports/person/sleep.py").write_text('"""A section."""\n')
    assert hashes() == before  # nothing shows it yet
    page = tree / "pipeline/reports/person/page.py"
    line = "from circuitshift.pipeline.reports.person import sleep\n"
    page.write_text(page.read_text().replace("from circuitshift", line + "from circuitshift", 1))
    after = hashes()
    name = "circuitshift.pipeline.reports.person.sleep"
    assert name in source_files(PRODUCTS["participant page"][0])
    assert {name for name in PRODUCTS if before[name] != after[name]} == PAGES


def test_the_number_of_a_release_changes_no_result(tree):
    before = hashes()
    path = tree / "pipeline/__init__.py"
    text = path.read_text()
    assert "__version__ = " in text
    path.write_text(text.replace('__version__ = "', '__version__ = "9.'))
    assert hashes() == before


def test_a_file_that_is_moved_or_renamed_counts_as_edited(tree):
    before = hashes()
    denoise = tree / "pipeline/measure/denoise.py"
    denoise.rename(denoise.with_name("cleaning.py"))
    for path in tree.rglob("*.py"):
        text = path.read_text()
        new = text.replace("measure.denoise", "measure.cleaning").replace(
            "measure import denoise", "measure import cleaning as denoise"
        )
        if new != text:
            path.write_text(new)
    assert hashes()["measuring"] != before["measuring"]
    assert "circuitshift.pipeline.measure.cleaning" in source_files(MEASURING)


@pytest.mark.usefixtures("tree")
def test_hashes_do_not_depend_on_where_the_source_is():
    copied = hashes()
    provenance._PACKAGES.update(PACKAGES)
    assert hashes() == copied


def test_the_hash_in_sidecars_is_that_of_the_code_that_measures():
    from circuitshift.pipeline.measure import validity
    from circuitshift.pipeline.study import group_level

    installed = installed_code()
    assert installed["measuring"] == validity.measuring_code()
    assert installed["group level"] == code_hash(group_level.__name__)
    assert len(set(installed.values())) == 3


# ---------------------------------------------------------------------------- graph of imports


GRAPH = """
import grimp, json
graph = grimp.build_graph("circuitshift", cache_dir=None)
print(json.dumps({n: sorted(graph.find_modules_directly_imported_by(n)) for n in graph.modules}))
"""


def test_reachable_modules_are_those_of_an_independent_graph():
    """grimp reads the package as one folder tree, which the links of tests/_typing are."""
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", GRAPH],
        env=os.environ | {"PYTHONPATH": str(root / "tests/_typing")},
        capture_output=True,
        text=True,
        check=True,
    )
    imported = json.loads(done.stdout)
    names = [n for n in imported if n.startswith(tuple(PACKAGES)) and not n.endswith(".public")]
    assert len(names) > 100

    def direct(name):
        """Modules that are imported by a module, and the packages that come with it."""
        parts = name.split(".")
        above = {".".join(parts[:n]) for n in range(2, len(parts))}
        return above | set(imported[name])

    for name in names:
        reached, left = set(), {name}
        while left:
            reached |= left
            left = set().union(*map(direct, left)) - reached
        assert set(source_files(name)) == reached, name


def test_packages_above_a_module_count():
    found = source_files(MEASURING)
    packages = {name for name, path in found.items() if path.name == "__init__.py"}
    assert {"circuitshift.pipeline", "circuitshift.pipeline.measure", "circuitshift.atlases"} <= (
        packages
    )


@pytest.mark.parametrize(
    "statement",
    [
        "from circuitshift.pipeline import b",
        "from circuitshift.pipeline import edges as a, b as c",
        "from circuitshift.pipeline.b import thing",
        "import circuitshift.pipeline.b",
        "import circuitshift.pipeline.b as c  # noqa: PLC0415",
        "from circuitshift.pipeline import (\n    a,  # no, b\n    b,\n)",
        "def f():\n    from circuitshift.pipeline import b",
        "if True:\n\tfrom circuitshift.pipeline.b import (thing)",
    ],
)
def test_every_form_of_import_is_followed(tmp_path, monkeypatch, statement):
    monkeypatch.setattr(provenance, "_PACKAGES", {"circuitshift.pipeline": tmp_path})
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "a.py").write_text(statement + "\n")
    (tmp_path / "b.py").write_text("thing = 1\n")
    (tmp_path / "c.py").write_text("")
    forget()
    found = set(source_files("circuitshift.pipeline.a"))
    forget()
    assert found == {f"circuitshift.pipeline{end}" for end in ("", ".a", ".b")}


def test_circles_and_other_projects_end_the_search(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "_PACKAGES", {"circuitshift.pipeline": tmp_path})
    (tmp_path / "a.py").write_text("import numpy\nfrom circuitshift.pipeline import b, gone\n")
    (tmp_path / "b.py").write_text("from circuitshift.pipeline import a\n")
    forget()
    found = set(source_files("circuitshift.pipeline.a"))
    forget()
    assert found == {"circuitshift.pipeline.a", "circuitshift.pipeline.b"}


def test_modules_are_imported_in_ways_that_a_reader_of_source_can_follow():
    """No import by a name that is computed, and no relative one."""
    for name, path in modules().items():
        if name == "circuitshift.pipeline.public":  # lazy, and imported by no other module
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, name
            called = node.func if isinstance(node, ast.Call) else None
            word = getattr(called, "attr", None) or getattr(called, "id", None)
            assert word not in ("import_module", "__import__", "load_module"), name


def test_a_module_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="nowhere does not exist"):
        code_hash("circuitshift.pipeline.nowhere")


def test_a_module_of_another_project_is_hashed_with_what_it_imports():
    assert source_files(__name__)[__name__] == Path(__file__)
    assert "circuitshift.pipeline.io.provenance" in source_files(__name__)


# ---------------------------------------------------------------------------------- data files


def test_every_data_file_is_named_by_the_module_that_reads_it():
    named = set()
    for name, path in modules().items():
        if "\nPACKAGE_DATA = " in path.read_text():
            found = {file.resolve() for file in data_files(name)}
            named |= {file for file in found if file.is_relative_to(path.parent)}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packaged = set()
    for package, patterns in settings["package-data"].items():
        if package.startswith(tuple(PACKAGES)):
            _, top, *parts = package.split(".")
            folder = PACKAGES[f"circuitshift.{top}"].joinpath(*parts)
            packaged |= {p for pattern in patterns for p in folder.glob(pattern)}
    assert named == {path for path in packaged if path.name != "py.typed"}


def test_what_measuring_reads_beside_its_code_is_hashed_by_content():
    """A further data file must enter `circuitshift.pipeline.measure.validity.run_key`."""
    assert [path.name for path in data_files(MEASURING)] == ["strategies.toml"]


def test_a_data_file_that_is_gone_is_named(tree):
    (tree / "pipeline/measure/strategies.toml").unlink()
    forget()
    with pytest.raises(ValueError, match=r"PACKAGE_DATA lists strategies\.toml"):
        code_hash("circuitshift.pipeline.measure.denoise")


def test_hashes_of_values_tell_values_apart():
    values = [(), (None,), ("",), (0,), ("0",), ("a", "b"), ("ab",), (["a"],), (("a",),)]
    assert len({hash_of(*value) for value in values}) == len(values)
    assert hash_of(1.5, "x") == hash_of(1.5, "x")
