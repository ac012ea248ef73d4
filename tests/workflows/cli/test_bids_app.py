"""A study from input files to the verdict: outputs, repeated runs, settings and failures."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.pipeline.study import group_level, secondary_tables
from circuitshift.pipeline.study.group_level import DataSet
from circuitshift.pipeline.validation.simulate.data_set import (
    PlantedTruth,
    SimulationSpec,
    write_simulated_data_set,
)
from circuitshift.workflows.cli import bids_app
from circuitshift.workflows.cli import main as cli
from circuitshift.workflows.cli.exit_status import EXIT_FAILED, EXIT_OK, EXIT_PARTIAL
from circuitshift.workflows.cluster.status import group_state

SPEC = SimulationSpec(
    n_treated=5, n_control=5, n_reference=5, n_volumes=70, share_missing=0.2, share_out_of_view=0.2
)
STUDY = "[tests]\nn_permutations = 100\n"
SMALL_STUDY = "[tests]\nn_permutations = 50\n"  # fewer than the 70 relabellings that exist


def run(*words):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return ended.value.code


def snapshot(folder):
    """Return time stamp and content of all files in a folder."""
    return {
        path.relative_to(folder): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Simulate a small study and run both levels once."""
    root = tmp_path_factory.mktemp("study")
    write_simulated_data_set(
        root / "data", PlantedTruth("shift"), spec=SPEC, rng=np.random.default_rng(5)
    )
    (root / "study.toml").write_text(STUDY)
    before = snapshot(root / "data")
    codes = [
        run(
            root / "data",
            root / "out",
            level,
            "-w",
            root / "work",
            "--nprocs",
            2,
            "--study",
            root / "study.toml",
        )
        for level in ("participant", "group")
    ]
    assert snapshot(root / "data") == before  # nothing is written into the input
    return root, codes


REGIONS = tuple(
    f"7Networks_{side}H_{network}_{k}"
    for network in ("Default", "DorsAttn", "Cont", "Vis", "SomMot")
    for side in "LR"
    for k in (1, 2, 3)
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Measure and analyse series of 30 regions: a group level in a tenth of the time.

    For tests of the group level that do not depend on images or on the number of regions.
    """
    root = tmp_path_factory.mktemp("small")
    rng = np.random.default_rng(3)
    rows = ["participant_id\tgroup\tsex\tMADRS_ses-pre\tMADRS_ses-post"]
    for k in range(1, 9):
        before, after = rng.integers(20, 35), rng.integers(5, 25)
        arm = "treated" if k <= 4 else "control"
        rows.append(f"sub-{k:02d}\t{arm}\t{'FM'[k % 2]}\t{before}\t{after}")
        for session in ("pre", "post"):
            stem = f"sub-{k:02d}_ses-{session}_task-rest_atlas-Tiny_timeseries.tsv"
            # a global signal and one signal per network, so that edges differ in strength
            common = np.repeat(rng.normal(size=(40, 5)), 6, axis=1) + rng.normal(size=(40, 1))
            tables.write_series(
                root / "data" / f"sub-{k:02d}" / f"ses-{session}" / "func" / stem,
                REGIONS,
                common + rng.normal(size=common.shape),
                sidecar={"RepetitionTime": 5.0},
            )
    (root / "data/participants.tsv").write_text("\n".join(rows) + "\n")
    (root / "study.toml").write_text(SMALL_STUDY)
    words = ("-w", root / "work", "--nprocs", 1, "--study", root / "study.toml")
    assert run(root / "data", root / "out", "group", *words) == EXIT_OK
    return root


@pytest.fixture
def only_primary(monkeypatch):
    """Omit the secondary analyses, which take most of the time of a group level in this process."""
    without = partial(secondary_tables.secondary_analyses, analyses=())
    monkeypatch.setattr(secondary_tables, "ANALYSES", ())
    monkeypatch.setattr(secondary_tables, "secondary_analyses", without)


def verdict(root):
    return json.loads((root / "out/group/verdict.json").read_text())


@pytest.mark.slow
def test_each_participant_is_measured_and_has_a_report(study):
    root, codes = study
    assert codes == [EXIT_OK, EXIT_OK]
    participants = tables.read_table(root / "data/participants.tsv").column("participant_id")
    assert len(participants) == 15
    for participant in participants:
        assert (root / "out" / f"{participant}.html").stat().st_size > 10_000
        rows = list(tables.read_table(root / f"out/{participant}/{participant}_runs.tsv").rows())
        assert {row["status"] for row in rows} <= {"included", "excluded"}
        assert {row["strategy"] for row in rows} == {"24p+acompcor", "24p+acompcor+gsr"}


@pytest.mark.slow
def test_names_of_outputs_are_those_of_xcp_d(study):
    root, _ = study
    stem = "sub-01_ses-pre_task-rest"
    func = root / "out/sub-01/ses-pre/func"
    spaced = f"{stem}_space-MNI152NLin2009cAsym_atlas-Seitzman300Circuits"
    names = {path.name for path in func.iterdir()}
    for name in (
        f"{spaced}_stat-mean_timeseries.tsv",
        f"{spaced}_stat-pearsoncorrelation_relmat.tsv",
        f"{spaced}_stat-pearsoncorrelation_relmat.json",
        f"{spaced}_stat-pearsoncorrelation_desc-24pAcompcorGsr_relmat.tsv",
        f"{spaced}_stat-coverage_bold.tsv",
        f"{stem}_motion.tsv",
        f"{stem}_outliers.tsv",
    ):
        assert name in names


@pytest.mark.slow
def test_edges_are_the_correlations_of_the_series(study):
    root, _ = study
    func = root / "out/sub-01/ses-pre/func"
    labels, matrix = tables.read_matrix(
        next(func.glob("*Seitzman300Circuits_stat-pearson*n_relmat.tsv"))
    )
    names, series = tables.read_series(
        next(func.glob("*Seitzman300Circuits_stat-mean_timeseries.tsv"))
    )
    assert labels == names
    available = np.isfinite(series).all(axis=0)
    np.testing.assert_allclose(
        matrix[np.ix_(available, available)], np.corrcoef(series[:, available].T), atol=1e-6
    )
    assert np.isnan(matrix[~available]).all()


@pytest.mark.slow
def test_a_missing_region_remains_a_column(study):
    root, _ = study
    missing = 0
    for path in (root / "out").glob(
        "sub-*/ses-*/func/*Seitzman300Circuits_stat-mean_timeseries.tsv"
    ):
        labels, series = tables.read_series(path)
        assert len(labels) == 307
        missing += int(np.isnan(series).all(axis=0).sum())
    assert missing > 0  # some runs were simulated with their lowest slices out of view


@pytest.mark.slow
def test_the_verdict_describes_the_analysis(study):
    root, _ = study
    content = verdict(root)
    assert content["verdict"] in (
        "global",
        "both",
        "circuit-specific",
        "widespread",
        "neither",
        "undetermined",
    )
    assert content["n"] == {
        "treated": 4,
        "control": 4,
        "reference": 5,
        "baseline_only": 2,
        "listed": 15,
    }
    assert content["design"]["treated"] == ["treatment"] or content["design"]["treated"]
    assert content["design"]["n_permutations"] == 100
    assert [row["strategy"] for row in content["sensitivity"]] == ["24p+acompcor+gsr"]
    assert content["sensitivity"][0]["global_signal_removed"] is True
    families = set(tables.read_table(root / "out/group/tests.tsv").column("family"))
    assert {"global", "specific", "circuit change"} <= families
    assert "sensitivity: 24p+acompcor+gsr: specific" in families
    assert (
        "sensitivity: 24p+acompcor+gsr: global" not in families
    )  # not defined after global signal regression
    excluded = tables.read_table(root / "out/group/exclusions.tsv")
    assert excluded.column("code").count("missing-visit") == 2


@pytest.mark.slow
def test_every_column_is_described(study):
    root, _ = study
    for path in (*(root / "out/group").glob("*.tsv"), *(root / "out").glob("sub-*/*_runs.tsv")):
        about = tables.read_json(path.with_suffix(".json"))
        assert not set(tables.read_table(path).columns) - set(about), path.name


@pytest.mark.slow
def test_a_second_run_restores_missing_outputs_only(study):
    root, _ = study
    words = (
        root / "data",
        root / "out",
        "participant",
        "-w",
        root / "work2",
        "--nprocs",
        1,
        "--participant-label",
        "01",
    )
    folder = root / "out/sub-01"
    before = snapshot(folder / "ses-pre")
    page = (root / "out/sub-01.html").stat().st_mtime_ns
    assert run(*words) == EXIT_OK
    assert snapshot(folder / "ses-pre") == before
    assert (root / "out/sub-01.html").stat().st_mtime_ns == page
    output = next(folder.glob("ses-pre/func/*Seitzman300Circuits_stat-mean_timeseries.tsv"))
    content = output.read_bytes()
    output.unlink()
    assert run(*words) == EXIT_OK
    assert output.read_bytes() == content


def test_the_same_seed_gives_the_same_bytes(small):
    group = small / "out/group"
    names = ("tests.tsv", "verdict.json", "circuits.tsv", "change.tsv", "edges.tsv", "report.html")
    before = {name: (group / name).read_bytes() for name in names}
    for name in names:  # valid outputs would not be computed again
        (group / name).unlink()
    words = ("-w", small / "work2", "--study", small / "study.toml")
    assert run(small / "data", small / "out", "group", *words) == EXIT_OK
    for name in names:
        assert (group / name).read_bytes() == before[name], name


@pytest.mark.slow
def test_reports_can_be_written_without_measuring(study):
    root, _ = study
    report, matrix = root / "out/sub-01.html", next((root / "out/sub-01").rglob("*_relmat.tsv"))
    before = matrix.stat().st_mtime_ns
    report.unlink()
    assert (
        run(
            root / "data",
            root / "out",
            "participant",
            "--reports-only",
            "-w",
            root / "work4",
            "--participant-label",
            "01",
            "--nprocs",
            1,
        )
        == EXIT_OK
    )
    assert report.exists()
    study_report = root / "out/group/report.html"
    content = study_report.read_bytes()
    study_report.unlink()
    assert (
        run(root / "data", root / "out", "group", "--reports-only", "-w", root / "work4") == EXIT_OK
    )
    assert study_report.read_bytes() == content
    assert matrix.stat().st_mtime_ns == before


@pytest.mark.slow
def test_the_group_level_uses_the_settings_of_the_participant_level(study, tmp_path, capsys):
    root, _ = study
    words = (root / "data", root / "out", "group", "-w", tmp_path / "work")
    assert run(*words, "--min-minutes", 3, "--denoise", "36p") == EXIT_FAILED
    message = capsys.readouterr().err
    assert "min_minutes = 3.0 (measured with 2.0)" in message
    assert "36p" in message
    shutil.copytree(root / "out", tmp_path / "out")
    again = (root / "data", tmp_path / "out", "participant", "-w", tmp_path / "work", "--nprocs", 1)
    assert run(*again, "--participant-label", "01", "--min-minutes", 3) == EXIT_OK
    words = (root / "data", tmp_path / "out", "group", "-w", tmp_path / "work")
    assert run(*words) == EXIT_FAILED
    assert "measured with different settings (01 unlike 02" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("only_primary")
def test_participants_measured_with_other_code_are_named(study, tmp_path):
    root, _ = study
    shutil.copytree(root / "out", tmp_path / "out")
    verdict = tmp_path / "out/group/verdict.json"
    assert not any(
        "version of the measuring code" in note for note in tables.read_json(verdict)["notes"]
    )
    for path in (tmp_path / "out/sub-02").rglob("*relmat.json"):
        tables.write_json(path, tables.read_json(path) | {"CodeHash": "0123456789ab"})
    words = (root / "data", tmp_path / "out", "group", "-w", tmp_path / "work", "--nprocs", 1)
    assert run(*words, "--study", root / "study.toml") == EXIT_OK
    message = (
        "1 participant was measured by another version of the measuring code than the one "
        "installed (sub-02)"
    )
    assert any(note.startswith(message) for note in tables.read_json(verdict)["notes"])


@pytest.mark.slow
def test_the_state_of_the_group_level_is_that_of_results_and_ratings(study, tmp_path):
    root, _ = study
    out = tmp_path / "out"
    shutil.copytree(root / "out", out)
    data_sets = [DataSet(out, root / "data")]

    def is_done():
        return group_state(out, data_sets)

    for path in out.rglob("*"):
        os.utime(path, (1, 1))  # dates have no effect
    assert is_done()[0]
    rating = out / "ratings/sub-02.json"
    tables.write_json(rating, {"participant_id": "sub-02", "rating": "doubt"})
    message = "the verdict was made from other ratings than those in ratings/"
    assert is_done() == (False, message)
    rating.unlink()  # rating withdrawn
    assert is_done()[0]
    matrix = next((out / "sub-02").rglob("*_relmat.tsv"))
    content = matrix.read_bytes()
    matrix.write_bytes(content.replace(b"0.1", b"0.2", 1))
    message = "the verdict was made from other results of the participant level"
    assert is_done() == (False, message)
    matrix.write_bytes(content)
    assert is_done()[0]
    (out / "group/verdict.json").unlink()
    assert is_done() == (False, "no verdict yet")


def test_a_plan_is_frozen_and_followed(small, tmp_path):
    shutil.copytree(small / "out", tmp_path / "out", ignore=shutil.ignore_patterns("group"))
    words = (small / "data", tmp_path / "out", "group", "-w", tmp_path / "work", "--nprocs", 1)
    stated = ("--study", small / "study.toml")
    assert run(*words, *stated, "--freeze-plan") == EXIT_OK
    assert [p.name for p in (tmp_path / "out/group").iterdir()] == ["plan.json"]
    assert run(*words, *stated) == EXIT_OK
    content = json.loads((tmp_path / "out/group/verdict.json").read_text())
    assert content["plan"]["followed"]
    page = (tmp_path / "out/group/report.html").read_text()
    assert "this analysis follows it" in page
    (tmp_path / "other.toml").write_text(SMALL_STUDY + "alpha = 0.01\n")
    assert run(*words, "--study", tmp_path / "other.toml") == EXIT_OK
    content = json.loads((tmp_path / "out/group/verdict.json").read_text())
    assert content["plan"]["departures"] == ["study file: alpha"]
    assert not verdict(small)["plan"]["frozen"]


@pytest.mark.slow
def test_secondary_analyses_are_in_the_verdict_and_in_tables(study):
    root, _ = study
    folder = root / "out/group"
    content = verdict(root)["secondary"]
    assert len(content["models"]) == 4
    assert set(content["spatial_rank"]) == {
        *verdict(root)["circuits"],
        *verdict(root)["secondary_circuits"],
    }
    assert sum(content["specification"].values()) == 6
    for name in ("normalisation", "reliability", "models", "spatial", "influence", "regions"):
        table = tables.read_table(folder / f"{name}.tsv")
        assert table.n_rows, name
        assert set(json.loads((folder / f"{name}.json").read_text())) == set(table.columns)
    edges = tables.read_table(folder / "edges.tsv")
    assert np.nanmin(edges.numbers("p_corrected")) > 0
    families = set(tables.read_table(folder / "tests.tsv").column("family"))
    assert {"ranks: global", "ranks: specific"} <= families


def test_symptom_factor_and_visits_from_the_study_file(small, tmp_path):
    shutil.copytree(small / "out", tmp_path / "out", ignore=shutil.ignore_patterns("group"))
    (tmp_path / "study.toml").write_text(
        '[sessions]\nvisits = ["pre", "post"]\ndays = {pre = 0, post = 56}\n'
        '[model]\nsymptom = "MADRS"\nfactor = "sex"\nfactor_levels = ["F", "M"]\n'
        "[tests]\nn_permutations = 50\n"
    )
    words = (small / "data", tmp_path / "out", "group", "-w", tmp_path / "work", "--nprocs", 1)
    code = run(*words, "--study", tmp_path / "study.toml")
    if code == EXIT_FAILED:
        pytest.fail("the study file was refused")
    content = json.loads((tmp_path / "out/group/verdict.json").read_text())
    assert set(content["further"]) == {"factor", "interaction", "symptom"}
    found = tables.read_table(tmp_path / "out/group/tests.tsv")
    families = set(found.column("family"))
    assert {"trajectory: global", "trajectory: specific", "symptom: specific"} <= families
    terms = [row["term"] for row in found.rows() if row["family"] == "trajectory: global"]
    assert {"shift at ses-post", "shift per 30 days"} <= set(terms)


@pytest.mark.slow
def test_dry_run_writes_nothing(study, tmp_path, capsys):
    root, _ = study
    assert run(root / "data", tmp_path / "out", "group", "--dry-run") == EXIT_OK
    message = capsys.readouterr().out
    assert "15 participants, 23 runs, 8 participants with two or more sessions" in message
    assert "sub-01" in message
    assert "_relmat.tsv" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["OUTPUT_DIR", "--work-dir"])
def test_folders_that_cannot_be_written_to_are_refused_at_the_start(study, tmp_path, capsys, name):
    root, _ = study
    (tmp_path / "file").write_text("")
    out, work = ("file/out", "work") if name == "OUTPUT_DIR" else ("out", "file/work")
    code = run(root / "data", tmp_path / out, "participant", "-w", tmp_path / work)
    assert code == EXIT_FAILED
    assert f"{name}: cannot write into {tmp_path}/file/" in capsys.readouterr().err


@pytest.mark.slow
def test_the_resource_monitor_records_each_step(study, tmp_path):
    root, _ = study
    words = [root / "data", tmp_path / "out", "participant", "-w", tmp_path / "work"]
    command = [sys.executable, "-m", "circuitshift.workflows.cli.main", *map(str, words)]
    rest = ["--participant-label", "01", "--resource-monitor", "--write-graph", "--nprocs", "1"]
    (tmp_path / "here").mkdir()
    subprocess.run([*command, *rest], check=True, capture_output=True, cwd=tmp_path / "here")
    assert list((tmp_path / "here").iterdir()) == []
    content = json.loads((tmp_path / "out/logs/resources.json").read_text())
    assert set(content["name"]) >= {"participant_wf.sub_01_wf.measure"}
    assert min(content["rss_GiB"]) > 0
    assert (tmp_path / "out/logs/participant_wf.dot").exists() or (
        tmp_path / "out/logs/participant_wf.svg"
    ).exists()


@pytest.mark.slow
@pytest.mark.usefixtures("only_primary")
def test_the_group_level_starts_from_matrices_alone(study, tmp_path):
    """Matrices that the participant level wrote give the same tests when used as input."""
    root, _ = study
    given = tmp_path / "matrices"
    for path in (root / "out").glob("sub-*/ses-*/func/*n_relmat.tsv"):
        if "desc-" not in path.name:
            target = given / path.relative_to(root / "out")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    shutil.copy(root / "data/participants.tsv", given)
    (tmp_path / "study.toml").write_text(STUDY)
    code = run(
        given,
        tmp_path / "out",
        "group",
        "-w",
        tmp_path / "work",
        "--atlas",
        "seitzman300circuits",
        "--nprocs",
        1,
        "--study",
        tmp_path / "study.toml",
    )
    assert code == EXIT_OK
    content = json.loads((tmp_path / "out/group/verdict.json").read_text())
    assert content["n"]["treated"] == 4
    assert content["strategy"] == "as given"
    ours, theirs = (
        tables.read_table(where / "group/circuits.tsv")
        for where in (root / "out", tmp_path / "out")
    )
    assert theirs.column("circuit") == ours.column("circuit")
    np.testing.assert_allclose(theirs.numbers("value_z"), ours.numbers("value_z"), atol=1e-7)


@pytest.mark.slow
def test_ctrl_c_ends_the_run_and_the_next_run_continues(study, tmp_path):
    root, _ = study
    words = [root / "data", tmp_path / "out", "participant", "-w", tmp_path / "work"]
    words += ["--participant-label", "01", "02", "03", "04", "05"]
    command = [sys.executable, "-m", "circuitshift.workflows.cli.main", *map(str, words)]
    with subprocess.Popen(
        [*command, "--nprocs", "1"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout:
            if line.startswith("[3/"):  # after the second participant is measured
                process.send_signal(signal.SIGINT)
                break
        rest = process.stdout.read()
    assert process.returncode == 130
    assert "interrupted; run the same command again to continue" in rest
    measured = len(list((tmp_path / "out").glob("sub-*/sub-*_runs.tsv")))
    assert 2 <= measured < 5
    assert run(*words, "--nprocs", 2) == EXIT_OK
    assert len(list((tmp_path / "out").glob("sub-*.html"))) == 5


@pytest.mark.slow
@pytest.mark.usefixtures("only_primary")
def test_faults_of_some_participants_do_not_affect_the_others(study, tmp_path):
    root, _ = study
    shutil.copytree(root / "data", tmp_path / "data")
    fmriprep = tmp_path / "data/derivatives/fmriprep"
    bold = sorted(fmriprep.glob("sub-*/ses-pre/func/*_desc-preproc_bold.nii.gz"))
    bold[0].write_bytes(bold[0].read_bytes()[:5000])
    bold[1].write_bytes(b"")
    bold[2].unlink()
    bold[2].symlink_to(tmp_path / ".git/annex/objects/x")
    confounds = next(bold[3].parent.glob("*confounds_timeseries.tsv"))
    confounds.write_text(confounds.read_text().replace("comp_cor_", "comp_kor_"))
    confounds = next(bold[4].parent.glob("*confounds_timeseries.tsv"))
    confounds.write_text("\n".join(confounds.read_text().splitlines()[:-3]) + "\n")
    next(bold[5].parent.glob("*brain_mask.nii.gz")).write_bytes(b"<!DOCTYPE html>")
    shutil.copytree(root / "out", tmp_path / "out", ignore=shutil.ignore_patterns("group"))
    words = ("-w", tmp_path / "work", "--nprocs", 2)
    assert run(tmp_path / "data", tmp_path / "out", "participant", *words) == EXIT_PARTIAL
    failed = {}
    for path in sorted((tmp_path / "out").glob("sub-*/sub-*_runs.tsv")):
        for row in tables.read_table(path).rows():
            if row["status"] == "failed":
                failed.setdefault(path.parent.name, []).append(row["reason"])
    labels = [path.name.split("_")[0] for path in bold]
    assert sorted(failed) == labels[:6]
    for label, word in zip(
        labels[:6],
        ("truncated", "empty", "never fetched", "comp_cor", "rows", "brain_mask"),
        strict=True,
    ):
        assert word in " ".join(failed[label])
    words = ("-w", tmp_path / "work", "--nprocs", 1, "--study", root / "study.toml")
    assert run(tmp_path / "data", tmp_path / "out", "group", *words) == EXIT_PARTIAL
    excluded = tables.read_table(tmp_path / "out/group/exclusions.tsv")
    assert {f"sub-{x.removeprefix('sub-')}" for x in labels[:6]} <= set(
        excluded.column("participant_id")
    )
    assert "failed" not in Path(tmp_path / "out" / f"{labels[7]}.html").name


@pytest.mark.slow
@pytest.mark.usefixtures("only_primary")
def test_failed_registrations_are_excluded_and_reported_at_both_levels(study, tmp_path):
    root, _ = study
    shutil.copytree(root / "data", tmp_path / "data")
    shutil.copytree(root / "out", tmp_path / "out", ignore=shutil.ignore_patterns("group"))
    fmriprep = tmp_path / "data/derivatives/fmriprep"
    sidecars = sorted(fmriprep.glob("sub-*/ses-pre/func/*_desc-preproc_bold.json"))
    stated = [{"BoundaryCost": 0.21}, {"BoundaryCost": 0.48}]
    stated.append({"BoundaryCost": 0.22, "RegistrationDisagreement": 21.6})
    for path, more in zip(sidecars, stated, strict=False):
        path.write_text(json.dumps(json.loads(path.read_text()) | more))
    labels = [path.name.split("_")[0] for path in sidecars[:3]]
    words = ("-w", tmp_path / "work", "--nprocs", 2)
    assert run(tmp_path / "data", tmp_path / "out", "participant", *words) == EXIT_OK
    codes = ("n/a", "registration", "registration-disagrees")
    for label, more, code in zip(labels, stated, codes, strict=True):
        table = tables.read_table(tmp_path / "out" / label / f"{label}_runs.tsv")
        row = next(row for row in table.rows() if row["session"] == "pre")
        assert (row["code"], row["boundary_cost"]) == (code, str(more["BoundaryCost"]))
        page = (tmp_path / "out" / f"{label}.html").read_text()
        assert ("the registration to the T1-weighted image" in page) == (code != "n/a")
    words = ("-w", tmp_path / "work", "--nprocs", 1, "--study", root / "study.toml")
    assert run(tmp_path / "data", tmp_path / "out", "group", *words) == EXIT_OK
    excluded = tables.read_table(tmp_path / "out/group/exclusions.tsv")
    found = {row["participant_id"]: row["code"] for row in excluded.rows()}
    assert [found.get(label, "n/a") for label in labels[1:]] == list(codes[1:])
    report = (tmp_path / "out/group/report.html").read_text()
    assert "It ranges from 0.21 to 0.48." in report
    assert "<td>registration-disagrees</td>" in report


@pytest.mark.slow
def test_an_unexpected_error_affects_one_participant_only(study, tmp_path, monkeypatch):
    from circuitshift.pipeline import edges as connectivity

    root, _ = study
    original, calls = connectivity.correlation, []

    def breaks_once(series, *more):
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError("an unexpected error")
        return original(series, *more)

    monkeypatch.setattr(connectivity, "correlation", breaks_once)
    code = run(
        root / "data",
        tmp_path / "out",
        "participant",
        "-w",
        tmp_path / "work",
        "--nprocs",
        1,
        "--participant-label",
        "01",
        "02",
    )
    assert code == EXIT_PARTIAL
    rows = list(tables.read_table(tmp_path / "out/sub-01/sub-01_runs.tsv").rows())
    assert [row["code"] for row in rows] == ["crash"]
    crash = next((tmp_path / "out/logs").glob("crash-*.txt"))
    assert "an unexpected error" in crash.read_text()
    assert (tmp_path / "out/sub-02.html").exists()
    page = (tmp_path / "out/sub-01.html").read_text()
    assert "Nothing could be measured." in page
    assert "an unexpected error" in page  # the end of the crash file
    assert "--verbose shows more" in page


def one_matrix(folder, label="01"):
    """Write a data set of one participant with a connectivity matrix."""
    matrix = np.corrcoef(np.random.default_rng(1).standard_normal((12, 60)))
    path = folder / f"sub-{label}/ses-pre/func/sub-{label}_ses-pre_task-rest_atlas-A"
    path.parent.mkdir(parents=True)
    tables.write_matrix(
        path.with_name(f"{path.name}_stat-pearsoncorrelation_relmat.tsv"),
        [f"LH_Default_PFC_{k}" for k in range(12)],
        matrix,
    )


@pytest.mark.parametrize(
    ("plugin", "level", "words", "sentence"),
    [
        (
            "SLURM",
            "participant",
            ["-w", "a b"],
            "Nipype's plugin SLURM does not support the characters ' '",
        ),
        (
            "SLURMGraph",
            "participant",
            ["--clean-workdir"],
            "would remove files that the submitted jobs need",
        ),
        ("SLURMGraph", "group", [], "a plugin that waits for its jobs"),
    ],
)
def test_options_that_plugins_do_not_support_are_refused(
    tmp_path, monkeypatch, capsys, plugin, level, words, sentence
):
    monkeypatch.chdir(tmp_path)
    one_matrix(tmp_path / "data")
    (tmp_path / "plugin.json").write_text(json.dumps({"plugin": plugin}))
    if level == "group":  # as after a participant level with images
        runs = tmp_path / "out/sub-01/sub-01_runs.tsv"
        runs.parent.mkdir(parents=True)
        runs.write_text("strategy\n24p\n")
        monkeypatch.setattr(bids_app, "_as_measured", lambda *_: None)
    assert run("data", "out", level, "--nipype-plugin-file", "plugin.json", *words) == 1
    assert sentence in capsys.readouterr().err


def test_settings_that_differ_from_the_participant_level_are_refused(monkeypatch):
    measured = AnalysisSettings(min_minutes=2.0)
    monkeypatch.setattr(group_level, "recorded_settings", lambda _: measured)

    def request(**given):
        settings = replace(AnalysisSettings(), **given)
        return SimpleNamespace(data_sets=(), given=tuple(given.items()), settings=settings)

    with pytest.raises(InputError, match=r"min_minutes = 3\.0 \(measured with 2\.0\)"):
        bids_app._as_measured(request(min_minutes=3.0))
    own = ("own.toml",)  # circuits belong to the group level
    assert bids_app._as_measured(request(min_minutes=2.0, circuits=own)) == replace(
        measured, circuits=own
    )


# ------------------------------------------------------------------ without a simulated study


@pytest.mark.parametrize(
    ("n_images", "sentence"),
    [(1, "1 participant in "), (2, "2 participants in ")],
)
def test_the_last_line_counts_participants(tmp_path, capsys, n_images, sentence):
    for label in ("01", "02")[:n_images]:
        one_matrix(tmp_path / "data", label)
    words = (tmp_path / "data", tmp_path / "out", "participant", "-w", tmp_path / "work")
    assert run(*words, "--nprocs", 1) == EXIT_OK
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(sentence)
    assert last.endswith(f"reports: {tmp_path / 'out' / 'sub-*.html'}")


def test_a_frozen_plan_needs_no_participants(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    words = (tmp_path / "data", tmp_path / "out", "group", "-w", tmp_path / "work")
    assert run(*words, "--freeze-plan") == EXIT_OK
    assert f"frozen: {tmp_path / 'out/group/plan.json'} (hash " in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["group"]
