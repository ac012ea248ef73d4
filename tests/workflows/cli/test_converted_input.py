"""Files that are not in BIDS: from one command and a study file to a verdict."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from circuitshift.pipeline.io import tables
from circuitshift.pipeline.measure.person import measure_participant
from circuitshift.pipeline.study.group_level import run_group
from circuitshift.pipeline.study.study_file import read_study_file
from circuitshift.workflows.cli import main as cli
from circuitshift.workflows.cli.exit_status import EXIT_FAILED, EXIT_OK, EXIT_PARTIAL
from circuitshift.workflows.cli.preflight import converted_input, prepare_outputs
from circuitshift.workflows.cli.request import app_request
from circuitshift.workflows.plan import make_plan

ROOT = Path(__file__).resolve().parents[3]
TBI = ROOT.parent / "shared/data/tbi-conn"
DBS = ROOT.parent / "shared/data/dbs-fc"

REGIONS = [
    *(f"networks.DefaultMode.R{k} ({k},0,0)" for k in range(5)),
    *(f"networks.Visual.R{k} ({k},9,0)" for k in range(5)),
    *(f"atlas.A{k} l (Region {k} Left)" for k in range(4)),
]
STUDY = """
[input]
format = "stack"
file = "fc.npy"
values = "correlation"
participants = 10
prefix = "P"
visits = ["OFF", "OFF", "ON", "ON"]
regions = "labels.tsv"
repetition_time = 2.0

[sessions]
baseline = "OFF"
followup = "ON"

[tests]
n_permutations = 100
"""


def run(*words):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return ended.value.code


def level(root, *more, name="group"):
    words = (root / "data", root / "out", name, "--study", root / "study.toml", "-w", root / "work")
    return run(*words, "--nprocs", 1, *more)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Ten participants, two runs without and two with stimulation; the default mode rises."""
    root = tmp_path_factory.mktemp("stack")
    (root / "data").mkdir()
    rng = np.random.default_rng(3)
    n = len(REGIONS)
    mixing = rng.normal(size=(n, n)) + 1.5
    series = np.einsum("pvtk,kn->pvtn", rng.normal(size=(10, 4, 200, n)), mixing)
    series[:, 2:, :, :5] += 6 * rng.normal(size=(10, 2, 200, 1))
    matrices = np.array([[np.corrcoef(one.T) for one in visits] for visits in series])
    np.save(root / "data/fc.npy", matrices)
    xyz = rng.uniform(-60, 60, (n, 3))
    tables.write_table(
        root / "data/labels.tsv",
        {"index": range(1, n + 1), "label": REGIONS,
         "network": ["DefaultMode"] * 5 + ["Visual"] * 5 + [None] * 4,
         "x": xyz[:, 0], "y": xyz[:, 1], "z": xyz[:, 2]},
    )  # fmt: skip
    (root / "study.toml").write_text(STUDY)
    return root, matrices, level(root)


def test_one_command_leads_to_the_verdict(study):
    root, matrices, code = study
    assert code == EXIT_OK
    assert json.loads((root / "out/group/verdict.json").read_text())["n"]["treated"] == 10
    rows = list(tables.read_table(root / "out/group/circuits.tsv").rows())
    upper = np.triu_indices(5, 1)
    z = np.arctanh(matrices[:, :, *upper])
    for session, runs in (("OFF", slice(0, 2)), ("ON", slice(2, 4))):
        found = [
            float(row["value_z"])
            for row in rows
            if row["circuit"] == "dmn" and row["session"] == session
        ]
        np.testing.assert_allclose(found, z[:, runs].mean(axis=(1, 2)), atol=1e-6)


def test_the_input_folder_is_left_alone_and_centres_arrive(study):
    root, _, _ = study
    assert sorted(path.name for path in (root / "data").iterdir()) == ["fc.npy", "labels.tsv"]
    edges = tables.read_table(root / "out/group/edges.tsv")
    assert np.isfinite(edges.numbers("distance_mm")).all()


def test_repeated_runs_of_the_baseline_give_its_reliability(study):
    root, matrices, _ = study
    rows = list(tables.read_table(root / "out/group/reliability.tsv").rows())
    (row,) = [row for row in rows if row["circuit"] == "dmn"]
    upper = np.triu_indices(5, 1)
    one, two = np.arctanh(matrices[:, :2, *upper]).mean(axis=-1).T
    pair = np.array([one, two])
    residual = pair - pair.mean(axis=0) - pair.mean(axis=1)[:, None] + pair.mean()
    ms_participants = 2 * np.var(pair.mean(axis=0), ddof=1)
    ms_error = (residual**2).sum() / 9
    icc = (ms_participants - ms_error) / (ms_participants + ms_error)
    assert row["source"] == "halves of the baseline, stepped up"
    assert float(row["icc_consistency"]) == pytest.approx(2 * icc / (1 + icc), abs=1e-6)


def test_a_second_run_converts_nothing(study, capsys):
    root, _, _ = study
    stamps = {path: path.stat().st_mtime_ns for path in (root / "out/converted").rglob("*")}
    assert level(root, name="participant") == EXIT_OK
    assert "unchanged: " in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in (root / "out/converted").rglob("*")} == stamps


def test_a_dry_run_writes_nothing(study, tmp_path, capsys):
    root, _, _ = study
    words = (root / "data", tmp_path / "out", "group", "--study", root / "study.toml", "--dry-run")
    assert run(*words) == EXIT_OK
    assert not (tmp_path / "out").exists()
    said = "".join(capsys.readouterr())
    assert "10 " in said
    assert "read as correlations, as stated" in said


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"correlation"', '"fisher-z"', "these are correlations: values = 'correlation'"),
        ("participants = 10", "participants = 9", "(participant) has length 10, and 9 are stated"),
        ('"fc.npy"', '"no.npy"', "there is no such file; [input] names it relative to"),
        ("prefix", "prefx", "did you mean 'prefix'"),
    ],
)
def test_a_wrong_description_stops_before_anything_is_written(
    study, tmp_path, capsys, old, new, message
):
    root, _, _ = study
    path = tmp_path / "study.toml"
    path.write_text(STUDY.replace(old, new))
    assert run(root / "data", tmp_path / "out", "group", "--study", path) == EXIT_FAILED
    assert message in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*_relmat.tsv"))
    assert not (tmp_path / "out/group").exists()


CONN = """
[[input]]
format = "conn"
folder = "patients"
group = "patient"
prefix = "P"
sessions = {1 = "pre", 2 = "post"}
repetition_time = 2.0

[[input]]
format = "conn"
folder = "controls"
group = "healthy"
prefix = "HC"
conditions = {1 = "pre", 2 = "post"}
repetition_time = 2.0

[groups]
treated = ["patient"]
reference = ["healthy"]

[tests]
n_permutations = 100
"""


def cell(values):
    out = np.empty((1, len(values)), object)
    for k, value in enumerate(values):
        out[0, k] = value
    return out


def write_conn(path, rng, sessions):
    """Write a file of CONN: two networks that are correlated within, and other regions."""
    n = len(sessions)
    shared = rng.normal(size=(n, 3)) @ np.repeat(np.eye(3), [5, 5, 4], axis=1)
    series = rng.normal(size=(n, len(REGIONS))) + 0.7 * shared + 0.5 * rng.normal(size=(n, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(
        path,
        {
            "names": cell(REGIONS),
            "xyz": cell([np.array([[7.0 * k, -3.0 * k, k]]) for k in range(len(REGIONS))]),
            "data": cell([series[:, [k]] for k in range(len(REGIONS))]),
            "data_sessions": np.array(sessions)[:, None],
            "conditionsnames": cell(["rest"]),
            "conditionsweights": cell([cell([np.ones((n, 1))])]),
        },
    )


def test_files_of_conn_lead_to_the_verdict_and_a_damaged_one_is_reported(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for k in range(1, 7):
        name = f"ROI_Subject{k:03d}_Condition{{:03d}}.mat"
        write_conn(tmp_path / "data/patients" / name.format(0), rng, [1] * 80 + [2] * 80)
        if k < 5:
            for condition in (1, 2):
                write_conn(tmp_path / "data/controls" / name.format(condition), rng, [1] * 80)
    (tmp_path / "data/patients/ROI_Subject006_Condition000.mat").write_bytes(b"damaged")
    (tmp_path / "study.toml").write_text(CONN)
    assert level(tmp_path) == EXIT_PARTIAL
    assert "left out: " in (said := capsys.readouterr().out)
    assert "ROI_Subject006_Condition000.mat: it is not a readable MATLAB file" in said
    n = json.loads((tmp_path / "out/group/verdict.json").read_text())["n"]
    assert (n["treated"], n["reference"]) == (5, 4)
    rows = tables.read_table(tmp_path / "out/group/reliability.tsv").rows()
    assert {row["n"] for row in rows if row["source"] == "reference group"} == {"4"}


def toml_of_tutorial(number):
    text = (ROOT / "docs/tutorial-conn.md").read_text()
    return text.split("```toml\n")[number + 1].split("```")[0]


def analysed(root, data, text, *more):
    """Run both levels as the command does, without reports; return the files of the study."""
    path = root / "study.toml"
    path.write_text(text + "\n[tests]\nn_permutations = 200\n")
    request = app_request(map(str, (data, root / "out", "group", "--study", path, *more)))
    with converted_input(request) as (found, _):
        settings = found.settings
        plan = make_plan(found.folders, found.query, settings=settings, out_dir=root / "out")
        prepare_outputs(plan, settings, preproc_only=False)
        for person in plan.participants:
            measure_participant(
                person.runs,
                person.problems,
                participant=person.participant,
                settings=settings,
                out_dir=root / "out",
            )
        return run_group(
            plan.data_sets, read_study_file(path), settings=settings, out_dir=root / "out"
        )


@pytest.fixture(scope="module")
def recovery(tmp_path_factory):
    """Group level of real CONN files, by the study file of the tutorial, without reports."""
    if not TBI.is_dir():
        pytest.skip("shared/data/tbi-conn is not on this machine")
    return analysed(tmp_path_factory.mktemp("recovery"), TBI, toml_of_tutorial(0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("circuit", "expected"),
    [
        ("dmn", (0.4834, 0.4856, 0.4949, 0.5246, 0.5999)),
        ("dlpfc_amygdala", (-0.0690, -0.0678, -0.0669, -0.1123, -0.0650)),
    ],
)
def test_real_conn_files_give_the_independent_group_means(recovery, circuit, expected):
    rows = [row for row in tables.read_table(recovery.circuits).rows() if row["circuit"] == circuit]
    for (arm, session), mean in zip(
        [("treated", "1"), ("treated", "2"), ("treated", "3"), ("reference", "1"),
         ("reference", "2")],
        expected,
        strict=True,
    ):  # fmt: skip
        found = [float(r["value_z"]) for r in rows if (r["arm"], r["session"]) == (arm, session)]
        assert len(found) == 12
        assert np.mean(found) == pytest.approx(mean, abs=1e-3)


@pytest.mark.slow
def test_the_healthy_group_gives_the_retest_reliability(recovery):
    rows = tables.read_table(recovery.verdict.with_name("reliability.tsv")).rows()
    found = {row["circuit"]: row for row in rows if row["source"] == "reference group"}
    assert {"dmn", "dlpfc_amygdala"} <= set(found)
    assert found["dmn"]["n"] == "12"


@pytest.mark.slow
def test_recovery_shows_no_reliable_change(recovery):
    content = json.loads(recovery.verdict.read_text())
    assert content["n"]["treated"] == 12
    assert content["verdict"] in ("undetermined", "neither")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change", "verdict"),
    [("limbic", -0.0141, "global"), ("motor", 0.0003, ""), ("assoc", -0.0005, "")],
)
def test_real_matrices_show_the_effect_of_stimulation_on_the_limbic_set(
    tmp_path, name, change, verdict
):
    if not DBS.is_dir():
        pytest.skip("shared/data/dbs-fc is not on this machine")
    (tmp_path / "shared.toml").write_text(toml_of_tutorial(2))
    text = toml_of_tutorial(1).replace("limbic", name)
    files = analysed(tmp_path, DBS, text, "--circuits", tmp_path / "shared.toml")
    edges = tables.read_table(files.edges).numbers("change_treated_z")
    assert np.mean(edges) == pytest.approx(change, abs=1e-4)
    content = json.loads(files.verdict.read_text())
    global_change = next(
        row
        for row in tables.read_table(files.tests).rows()
        if (row["family"], row["term"]) == ("global", "average_change")
    )
    if verdict:
        assert content["verdict"] == verdict
        assert float(global_change["estimate"]) < 0
        assert float(global_change["p_corrected"]) < 0.05
    else:
        assert content["verdict"] in ("neither", "undetermined")
        assert float(global_change["p_corrected"]) > 0.2
    rows = list(tables.read_table(files.verdict.with_name("reliability.tsv")).rows())
    assert [row["source"] for row in rows] == ["halves of the baseline, stepped up"]
