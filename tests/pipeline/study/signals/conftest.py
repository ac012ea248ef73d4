"""Outputs of the participant level on disk, for the analyses of series and motion."""

from types import SimpleNamespace

import numpy as np
import pytest

from circuitshift.pipeline.io import tables
from circuitshift.pipeline.study.study_file import Design


def _write_run(root, person, session, *, series=None, motion=True, **row):
    """Write the files of one run and return its row."""
    stem = f"sub-{person}_ses-{session}_task-rest"
    folder = root / f"sub-{person}"
    matrix = f"sub-{person}/{stem}_atlas-A_stat-pearsoncorrelation_relmat.tsv"
    files = {matrix: ""}
    folder.mkdir(exist_ok=True, parents=True)
    if series is not None:
        name = f"sub-{person}/{stem}_atlas-A_stat-mean_timeseries.tsv"
        tables.write_series(root / name, ("a", "b"), series, sidecar={"Atlas": "A"})
        files[name] = ""
    if motion:
        keep = np.r_[0.0, np.ones(len(series))] if series is not None else np.ones(5)
        fd = np.r_[np.nan, np.linspace(0.1, 0.5, len(keep) - 1)]
        for kind, values in (("motion", fd), ("outliers", 1 - keep)):
            name = f"sub-{person}/{stem}_{kind}.tsv"
            tables.write_table(root / name, {"framewise_displacement": values})
            files[name] = ""
    tables.write_json((root / matrix).with_suffix(".json"), {"Files": files})
    return {
        "person": person, "session": session, "root": str(root), "relmat": matrix,
        "status": "included", "strategy": "main", "atlas": "A",
    } | row  # fmt: skip


def _study(rows, participants=("01", "02"), **design):
    context = SimpleNamespace(
        design=Design("pre", "post", **design),
        measurements=SimpleNamespace(rows=rows),
        atlas=SimpleNamespace(name="A"),
        settings=SimpleNamespace(estimator="pearson"),
    )
    pairs = [SimpleNamespace(participant=p) for p in participants]
    cohort = SimpleNamespace(pairs=pairs, lone=[])
    return context, SimpleNamespace(cohort=cohort, strategy="main")


@pytest.fixture
def write_run(tmp_path):
    """Return a function that writes the files of one run and returns its row."""
    return lambda *names, **keys: _write_run(tmp_path, *names, **keys)


@pytest.fixture
def study():
    """Return a function that returns the context and the fitted analysis of some rows."""
    return _study
