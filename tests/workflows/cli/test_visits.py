"""Equal minutes and concatenated runs from time series to the tables and reports of a study."""

import json

import numpy as np
import pytest

from circuitshift.pipeline.io import tables
from circuitshift.workflows.cli import main as cli
from circuitshift.workflows.cli.exit_status import EXIT_FAILED, EXIT_OK

LENGTHS = {"pre": (50, 70), "post": (40, 50, 60)}  # volumes of 2 s
N_USED = 90  # 3 minutes
REGIONS = tuple(
    f"7Networks_{side}H_{network}_{k}"
    for network in ("Default", "DorsAttn", "Cont", "Vis", "SomMot")
    for side in "LR"
    for k in (1, 2, 3)
)


def run(*words):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return ended.value.code


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Write the series of six participants; return the folder and the series of each visit."""
    root = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(3)
    series = {}
    for person in range(1, 7):
        common = rng.standard_normal((1, len(REGIONS)))
        for session, lengths in LENGTHS.items():
            for number, n in enumerate(lengths, start=1):
                noise = rng.standard_normal((n, len(REGIONS)))
                values = noise + 0.5 * common * rng.standard_normal((n, 1))
                folder = root / "in" / f"sub-{person:02}" / f"ses-{session}" / "func"
                stem = f"sub-{person:02}_ses-{session}_task-rest_run-{number}_atlas-Tiny"
                path = folder / f"{stem}_stat-mean_timeseries.tsv"
                tables.write_series(path, REGIONS, values, sidecar={"RepetitionTime": 2.0})
                series.setdefault((person, session), []).append(values)
    table = "participant_id\tgroup\n" + "".join(f"sub-{k:02}\tdrug\n" for k in range(1, 7))
    (root / "in" / "participants.tsv").write_text(table)
    description = {"Name": "series", "BIDSVersion": "1.10.0", "DatasetType": "derivative"}
    (root / "in" / "dataset_description.json").write_text(json.dumps(description))
    (root / "study.toml").write_text(
        '[groups]\ntreated = ["drug"]\n[sessions]\nbaseline = "pre"\nfollowup = "post"\n'
        "[tests]\nn_permutations = 100\n"
    )
    return root, series


def first_volumes(runs):
    """Return the parts of the runs that make up the first three minutes."""
    parts, left = [], N_USED
    for values in runs:
        parts.append(values[:left])
        left -= len(parts[-1])
    return [part for part in parts if len(part)]


def scaled(part):
    return (part - part.mean(axis=0)) / part.std(axis=0, ddof=1)


def test_the_study_uses_the_requested_minutes_of_each_visit(study, tmp_path):
    root, series = study
    out = tmp_path / "out"
    words = (root / "in", out, "group", "-w", tmp_path / "work", "--nprocs", 1, "--study")
    words += (root / "study.toml", "--visit-minutes", 3, "--min-minutes", 1)
    assert run(*words, "--combine-runs", "concatenate") == EXIT_OK
    upper = np.triu_indices(len(REGIONS), 1)

    def visit_z(runs):
        whole = np.vstack(list(map(scaled, first_volumes(runs))))
        return np.arctanh(np.corrcoef(whole.T)[upper])

    pre, post = (
        np.array([visit_z(series[person, session]) for person in range(1, 7)])
        for session in LENGTHS
    )
    edges = tables.read_table(out / "group/edges.tsv")
    np.testing.assert_allclose(edges.numbers("typical_z"), pre.mean(axis=0), atol=6e-6)
    change = (post - pre).mean(axis=0)
    np.testing.assert_allclose(edges.numbers("change_treated_z"), change, atol=6e-6)
    excluded = tables.read_table(out / "group/exclusions.tsv")
    assert set(excluded.column("code")) == {"beyond-minutes"}
    assert len(excluded.column("code")) == 6  # the third run after treatment
    page = (out / "sub-01.html").read_text()
    assert "3.0 minutes of data enter the analysis" in page
    assert "6.0 minutes of data enter the analysis" not in page
    report = (out / "group/report.html").read_text()
    assert "the first 3 retained minutes of each session were used" in report
    assert "concatenated and correlated as one series" in report


def test_matrices_are_refused_before_anything_is_computed(tmp_path, capsys):
    labels = ("a", "b", "c")
    folder = tmp_path / "in" / "sub-01" / "ses-pre" / "func"
    path = folder / "sub-01_ses-pre_task-rest_atlas-Mine_stat-pearsoncorrelation_relmat.tsv"
    tables.write_matrix(path, labels, np.eye(3))
    words = (tmp_path / "in", tmp_path / "out", "participant", "-w", tmp_path / "work")
    for flags in (("--visit-minutes", 5), ("--combine-runs", "concatenate")):
        assert run(*words, *flags) == EXIT_FAILED
        assert "need time series, but this is a matrix" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [("--visit-minutes", 0), ("--combine-runs", "sum")])
def test_other_values_are_refused(tmp_path, words):
    assert run(tmp_path, tmp_path / "out", "participant", *words) == 2
