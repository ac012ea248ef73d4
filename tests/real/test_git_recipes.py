"""Recipes that enter by series or matrices, on the published files.

The numbers are those of the README of the shared data, which were computed independently.
"""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from scipy.stats import ttest_1samp

from circuitshift.atlases.load import load_atlas
from circuitshift.atlases.resolve import load_circuits
from circuitshift.pipeline import edges
from circuitshift.pipeline.bids.convert.derivative import convert_inputs
from circuitshift.pipeline.bids.convert.description import read_inputs
from circuitshift.pipeline.bids.select_runs import Query, find_runs
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.validation.opendata.git_source import fetch_git, is_present
from circuitshift.pipeline.validation.opendata.recipe import load_recipe
from circuitshift.workflows.cli import main as cli
from circuitshift.workflows.cli.exit_status import EXIT_OK

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def data_of(name: str) -> Path:
    """Return the folder of a recipe's files, or skip the test."""
    folder = SHARED / load_recipe(name).data_sets[0].accession
    if not folder.is_dir():
        pytest.skip(f"shared/data/{folder.name} is not on this machine")
    return folder


def values_of(folder: Path) -> dict[str, dict[str, list[np.ndarray]]]:
    """Return the Fisher z of all edges of each run, by session and participant."""
    out: dict[str, dict[str, list[np.ndarray]]] = {}
    for run in find_runs(folder, Query()).runs:
        if run.path.name.endswith("_timeseries.tsv"):
            z = edges.edges(tables.read_series(run.path)[1])
        else:
            z = edges.fisher_z(edges.from_matrix(tables.read_matrix(run.path)[1]))
        out.setdefault(run.session, {}).setdefault(run.participant, []).append(z)
    return out


def converted(name: str, data: Path, folder: Path) -> dict[str, dict[str, list[np.ndarray]]]:
    """Convert the files of a recipe with its own study file."""
    convert_inputs(data, read_inputs(load_recipe(name).study), folder)
    return values_of(folder)


def test_recovery_from_brain_injury(tmp_path):
    found = converted("tbi2024", data_of("tbi2024"), tmp_path / "out")
    table = next((tmp_path / "out").glob("atlas-*_dseg.tsv"))
    atlas = load_atlas(table)
    circuits = {c.name: c for c in load_circuits(atlas).circuits}
    space = FeatureSpace.of_edges(atlas.labels)
    conn = [k for k, label in enumerate(atlas.labels) if label.startswith("atlas.")]
    assert len(conn) == 132
    first, second = space.ends
    of_conn = np.isin(first, conn) & np.isin(second, conn)
    expected = {  # CONN's atlas, default mode, middle frontal gyrus - amygdala
        ("TBI", "1"): (0.0567, 0.4834, -0.0690),
        ("TBI", "2"): (0.0532, 0.4856, -0.0678),
        ("TBI", "3"): (0.0566, 0.4949, -0.0669),
        ("HC", "1"): (0.0685, 0.5246, -0.1123),
        ("HC", "2"): (0.0714, 0.5999, -0.0650),
    }
    for (prefix, session), numbers in expected.items():
        z = np.array([runs[0] for who, runs in found[session].items() if who.startswith(prefix)])
        assert len(z) == 12
        means = [z[:, of_conn].mean()]
        for name in ("dmn", "dlpfc_amygdala"):
            means.append(space.circuit_values(z, [circuits[name]]).mean())
        np.testing.assert_allclose(means, numbers, atol=1e-4)
    change = [
        np.mean(found["3"][who][0] - found["1"][who][0]) for who in found["1"] if "TBI" in who
    ]
    assert abs(ttest_1samp(change, 0).statistic) < 0.7


@pytest.mark.parametrize(
    ("name", "n_regions", "change", "t", "p"),
    [
        ("dbs2025", 48, -0.0141, -3.79, 0.002),
        ("dbs2025-motor", 60, 0.0003, 0.05, 0.96),
        ("dbs2025-associative", 46, -0.0005, -0.08, 0.94),
    ],
)
def test_deep_brain_stimulation(tmp_path, name, n_regions, change, t, p):
    found = converted(name, data_of(name), tmp_path / "out")
    assert set(found) == {"OFF", "ON"}
    difference = []
    for who, on in found["ON"].items():
        off = found["OFF"][who]
        assert len(on) == len(off) == 2
        assert on[0].size == n_regions * (n_regions - 1) // 2
        difference.append(np.mean(on) - np.mean(off))
    assert len(difference) == 16
    test = ttest_1samp(difference, 0)
    assert np.mean(difference) == pytest.approx(change, abs=1e-4)
    assert test.statistic == pytest.approx(t, abs=0.01)
    assert test.pvalue == pytest.approx(p, abs=0.005)


def git(folder: Path, *words: str) -> str:
    env = os.environ | {
        f"GIT_{role}_{what}": "x@localhost"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    command = ["git", *words]
    done = subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_psilocybin_from_the_layout_of_its_repository(tmp_path):
    """The file of the repository is built from the shared series, and fetched from git."""
    data = data_of("psilocybin-aal90")
    sessions = ("placebopre", "placebopost", "psilocybinpre", "psilocybinpost")
    cells = np.empty((9, 4), object)
    for person, visit in np.ndindex(9, 4):
        stem = f"sub-{person + 1:02d}_ses-{sessions[visit]}"
        (path,) = data.glob(f"sub-*/ses-*/func/{stem}_*_timeseries.tsv")
        cells[person, visit] = tables.read_series(path)[1].T
    repository = tmp_path / "repository"
    repository.mkdir()
    git(repository, "init", "--quiet")
    savemat(repository / "psilotc.mat", {"tc_aal": cells})
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "series")
    recipe = load_recipe("psilocybin-aal90")
    source = recipe.data_sets[0].source
    assert source is not None
    local = replace(source, git=repository.as_uri(), commit=git(repository, "rev-parse", "HEAD"))
    assert fetch_git(local, tmp_path / "data", notify=lambda _: None) == 1
    found = converted("psilocybin-aal90", tmp_path / "data", tmp_path / "out")
    means = {session: np.mean(list(found[session].values())) for session in sessions}
    expected = (0.1912, 0.1900, 0.1889, 0.2373)  # tests/real/test_psilocybin.py
    np.testing.assert_allclose([means[s] for s in sessions], expected, atol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "n", "term", "estimate"),
    [
        ("tbi2024", {"treated": 12, "reference": 12}, "average_change", -0.0002),
        ("dbs2025", {"treated": 16}, "average_change", -0.017),
        ("psilocybin-aal90", {"treated": 9}, "average_change", 0.048),
    ],
)
def test_one_command_leads_to_the_comparison(tmp_path, capsys, name, n, term, estimate):
    source = load_recipe(name).data_sets[0].source
    assert source is not None
    assert is_present(source, data_of(name))
    words = ("validate", name, tmp_path / "out", "--data", SHARED, "--nprocs", 1)
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    assert ended.value.code == EXIT_OK
    assert f"Terms of use: {source.licence}" in capsys.readouterr().out
    verdict = tables.read_json(tmp_path / "out/results/group/verdict.json")
    assert {arm: verdict["n"][arm] for arm in n} == n
    assert verdict["global"][term]["estimate"] == pytest.approx(estimate, abs=0.005)
    page = (tmp_path / "out/validation.html").read_text()
    for row in load_recipe(name).published:
        assert row.quantity in page
    assert "No participant is missing from both" in page
