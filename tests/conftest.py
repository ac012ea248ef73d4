"""Fixtures for tests in all rooms, and settings that shorten a run of all tests."""

import gc
import inspect
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

with pytest.MonkeyPatch.context() as _patch:
    # The command limits these libraries to one thread before it loads them. Tests that call it in
    # their own process must do the same, or two processes of pytest compete with four threads.
    # The variables are restored, so that commands in other processes still set them themselves.
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        _patch.setenv(_name, "1")
    import numpy  # noqa: F401
    import scipy.linalg  # noqa: F401

TESTS = Path(__file__).parent
#: Files with the longest tests, in descending order of the time that they take. Two processes
#: start with these, so that neither waits for the other at the end.
LONGEST = (
    "pipeline/preproc/test_derivatives.py",
    "workflows/cli/test_bids_app.py",
    "browser/test_pages.py",
    "workflows/cli/test_open_data.py",
    "real/test_openneuro.py",
    "real/test_semi_real.py",
    "faults/test_inputs.py",
    "faults/test_processes.py",
    "pipeline/model/test_families.py",
    "pipeline/preproc/test_anatomy.py",
    "faults/test_outputs.py",
    "pipeline/validation/test_calibration.py",
    "workflows/cli/test_trial.py",
    "pipeline/preproc/test_brain_mask.py",
    "real/test_psilocybin.py",
    "pipeline/validation/simulate/test_scenarios.py",
    "pipeline/validation/simulate/test_raw_data_set.py",
    "faults/test_odd_folders.py",
)

#: How often `few_figures` draws each kind of figure.
N_DRAWN = 4


def pytest_collection_modifyitems(config, items):
    """Let the processes of pytest-xdist start with the longest files, then with the largest."""
    absent = [name for name in LONGEST if not (TESTS / name).is_file()]
    if absent:
        raise pytest.UsageError(f"LONGEST in tests/conftest.py names absent files: {absent}")
    if not hasattr(config, "workerinput"):
        return
    position = {TESTS / name: number for number, name in enumerate(LONGEST)}
    n_tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (position.get(item.path, len(LONGEST)), -n_tests[item.path]))


def pytest_collection_finish():
    """Exempt what was collected from garbage collection, which would visit it again and again.

    Nipype collects garbage each time it looks for completed steps, which takes a third of a second
    in a process that has collected all tests.
    """
    gc.collect()
    gc.freeze()


@contextmanager
def _empty_figures():
    from matplotlib.figure import Figure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda _, file, **__: file.write("<svg></svg>"))
        yield


@contextmanager
def _few_figures():
    from circuitshift.pipeline.reports import figures

    n_drawn = Counter()

    def draw(function, *args, **kwargs):
        n_drawn[function] += 1
        return function(*args, **kwargs) if n_drawn[function] <= N_DRAWN else "<svg></svg>"

    with _empty_figures(), pytest.MonkeyPatch.context() as patch:
        for name, function in vars(figures).items():
            if inspect.isfunction(function) and hasattr(function, "__wrapped__"):  # `style.styled`
                patch.setattr(figures, name, partial(draw, function))
        yield


@pytest.fixture(scope="module")
def empty_figures():
    """Draw the figures of reports, but write empty ones: half of the time of a report.

    For tests of a module that do not read figures. It affects this process only, that is, commands
    that are called with ``--nprocs 1``.
    """
    with _empty_figures():
        yield


@pytest.fixture
def few_figures():
    """Draw each kind of figure for the first participants only; write empty figures.

    For data sets with many participants, in tests that do not read figures. As `empty_figures`, it
    affects this process only.
    """
    with _few_figures():
        yield


@pytest.fixture(scope="module")
def few_figures_of_module():
    """Do as `few_figures` for all tests of a module together."""
    with _few_figures():
        yield


#: Columns of ``tests.tsv`` that a meta-analysis reads.
TEST_COLUMNS = (
    "family", "term", "estimate", "se", "sd", "bound", "unit", "ci_low", "ci_high", "n",
    "n_control", "method", "note",
)  # fmt: skip


def write_finished(root, name, rows, **verdict):
    """Write the tables of a finished analysis, and return its folder."""
    from circuitshift.pipeline.io import tables

    group = root / name / "group"
    columns = {column: [] for column in TEST_COLUMNS}
    for family, term, estimate, se, *more in rows:
        row = {
            "family": family, "term": term, "estimate": estimate, "se": se, "sd": 0.1,
            "bound": 0.05, "unit": "Fisher z", "ci_low": estimate - 2.1 * se,
            "ci_high": estimate + 2.1 * se, "n": 20, "n_control": 20,
            "method": "Welch t adjusted for the baseline", "note": "",
        } | (more[0] if more else {})  # fmt: skip
        for column in TEST_COLUMNS:
            columns[column].append(row[column])
    tables.write_table(group / "tests.tsv", columns)
    title = {"title": "Default mode", "predicted": "decrease", "reference": "A 2000"}
    circuits = {term: title for family, term, *_ in rows if family == "specific"}
    other = {term: title for family, term, *_ in rows if family == "secondary"}
    content = {
        "schema_version": "3.0",
        "verdict": "undetermined",
        "sentence": "The data do not distinguish between the hypotheses.",
        "n": {"treated": 20, "control": 20, "reference": 10},
        "circuits": circuits,
        "secondary_circuits": other,
        "heterogeneity": {"n_blocks": 15, "tau": 0.02},
        "strategy": "24p+acompcor",
        "global_signal": {"removed": False, "source": "strategy"},
        "covariates": [],
        "settings": {"estimator": "pearson"},
        "design": {
            "baseline": "pre", "followup": "post", "sesoi_z": None, "sesoi_d": 0.3,
            "sesoi_gain": 0.15, "sesoi_share": 0.25, "background": "all",
            "labels": [["treated", "drug"], ["control", "placebo"]],
        },
        "atlas": "Seitzman300",
        "circuits_not_resolved": [],
        "code_hash": "abc",
        "versions": {"circuitshift": "0.1.0"},
        "made_from": {"results": f"results of {name}", "participants": f"table of {name}"},
        "files": {"tests.tsv": tables.checksum(group / "tests.tsv"), "change.tsv": name},
    } | verdict  # fmt: skip
    tables.write_json(group / "verdict.json", content)
    return root / name


@pytest.fixture
def finished_study(tmp_path):
    """Return a function that writes the tables of a finished analysis, and returns its folder.

    ``rows`` holds (family, term, estimate, standard error) and further columns by name; ``verdict``
    replaces keys of ``verdict.json``.
    """
    return partial(write_finished, tmp_path)


@pytest.fixture(scope="session")
def pooled_page(tmp_path_factory):
    """Write the page of a meta-analysis of five studies with warnings and a missing circuit."""
    from circuitshift.workflows.cli.tool_requests import PoolRequest
    from circuitshift.workflows.cli.tools import pool

    root = tmp_path_factory.mktemp("pooled")
    studies = []
    for k, dmn in enumerate((-0.2, -0.12, -0.25, -0.02, -0.18)):
        rows = [
            ("global", "shift", 0.01 * k, 0.01),
            ("specific", "dmn", dmn, 0.05),
            ("specific, from zero", "dmn", dmn, 0.03),
        ]
        if k < 3:
            rows.append(("secondary", "tpn", 0.02 * k, 0.04))
        name = f"Site {k + 1} of the long name"
        studies.append((name, write_finished(root, name, rows, atlas=f"Atlas{k % 2}")))
    pool(PoolRequest(tuple(studies), root / "out"))
    return root / "out/pool.html"
