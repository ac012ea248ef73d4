"""Fixtures for tests in all rooms."""

from functools import partial

import pytest


@pytest.fixture(scope="module")
def empty_figures():
    """Draw the figures of reports, but write empty ones: half of the time of a report.

    For tests of a module that do not read figures. It affects this process only, that is, commands
    that are called with ``--nprocs 1``.
    """
    from matplotlib.figure import Figure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda _, file, **__: file.write("<svg></svg>"))
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
        "schema_version": "2.1",
        "verdict": "undetermined",
        "sentence": "The data do not distinguish between the hypotheses.",
        "n": {"treated": 20, "control": 20, "reference": 10},
        "circuits": circuits,
        "secondary_circuits": other,
        "heterogeneity": {"n_blocks": 15, "tau": 0.02},
        "strategy": "24p+acompcor",
        "global_signal": {"removed": False, "source": "strategy"},
        "covariates": [],
        "science": {"estimator": "pearson"},
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
