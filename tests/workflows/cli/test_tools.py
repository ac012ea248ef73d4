"""Tools for simulation and planning: what they write and print, and their exit statuses."""

import json
from pathlib import Path

import pytest

from circuitshift.pipeline.errors import InputError, InputProblemsError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.validation import calibration, calibration_own_data, power
from circuitshift.pipeline.validation.outside import table
from circuitshift.pipeline.validation.outside.rows import rows_of
from circuitshift.pipeline.validation.simulate.scenarios import TABLES
from circuitshift.workflows.cli import tools
from circuitshift.workflows.cli.exit_status import EXIT_FAILED, EXIT_OK, EXIT_PARTIAL
from circuitshift.workflows.cli.tool_requests import (
    CalibrateRequest,
    DemoRequest,
    PoolRequest,
    PowerRequest,
    SimulateRequest,
)


def simulation(folder, **more):
    """Request a simulated study of one participant in each group."""
    fields = {"truth": "shift", "seed": 7, "raw": False}
    fields |= {"n_treated": 1, "n_control": 1, "n_reference": 1}
    return SimulateRequest(folder, **fields | more)


def test_a_simulated_study_has_the_requested_groups(tmp_path, capsys):
    assert tools.run_tool(simulation(tmp_path / "data")) == EXIT_OK
    groups = tables.read_table(tmp_path / "data/participants.tsv").column("group")
    assert len(groups) == len(set(groups)) == 3
    output = capsys.readouterr().out
    assert "3 participants, " in output
    assert "planted effect: shift; correct verdict: global\n" in output
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_folder_with_files_is_not_simulated_into(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/own.txt").write_text("keep")
    with pytest.raises(InputError, match="data"):
        tools.simulate(simulation(tmp_path / "data"))
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["own.txt"]


def test_a_layout_is_written_under_its_file_names(tmp_path, capsys):
    name = "sub-07/ses-pre/func/sub-07_ses-pre_task-rest_space-MNI152NLin2009cAsym"
    names = [f"{name}_desc-preproc_bold.nii.gz", f"{name}_desc-brain_mask.nii.gz", "CHANGES"]
    (tmp_path / "list.txt").write_text("\n".join(names) + "\n")
    request = simulation(tmp_path / "data", layout=tmp_path / "list.txt")
    assert tools.simulate(request) == EXIT_OK
    assert "1 participant, 1 runs: " in capsys.readouterr().out
    data = tmp_path / "data"
    written = {path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file()}
    assert set(names) <= written
    with pytest.raises(InputError, match="omit --raw"):
        tools.simulate(simulation(data, raw=True, layout=tmp_path / "list.txt"))


@pytest.fixture
def demo_of(tmp_path, monkeypatch):
    """Run a demo whose levels are replaced; return exit status and commands."""

    def run(verdict, statuses=(EXIT_OK, EXIT_OK), **more):
        requests = []

        def app(request):
            requests.append(request)
            group = tmp_path / "results/group"
            group.mkdir(parents=True, exist_ok=True)
            (group / "verdict.json").write_text(json.dumps({"verdict": verdict}))
            return statuses[len(requests) - 1]

        monkeypatch.setattr(tools, "app", app)
        request = DemoRequest(simulation(tmp_path, **more), nprocs=2)
        return tools.run_tool(request), requests

    return run


@pytest.mark.parametrize(
    ("verdict", "statuses", "status"),
    [
        ("global", (EXIT_OK, EXIT_OK), EXIT_OK),
        ("global", (EXIT_PARTIAL, EXIT_OK), EXIT_PARTIAL),
        ("circuit-specific", (EXIT_OK, EXIT_OK), EXIT_FAILED),
        ("undetermined", (EXIT_OK, EXIT_OK), EXIT_FAILED),
    ],
)
def test_a_demo_succeeds_with_the_correct_verdict(
    demo_of, tmp_path, capsys, verdict, statuses, status
):
    code, requests = demo_of(verdict, statuses)
    assert code == status
    assert [request.analysis_level for request in requests] == ["participant", "group"]
    assert {request.bids_dir for request in requests} == {tmp_path / "data"}
    assert {request.execution.n_procs for request in requests} == {2}
    outcome = "correct" if verdict == "global" else "NOT correct"
    line = f"planted effect: shift; correct verdict: global; verdict: {verdict} -> {outcome} ("
    printed = capsys.readouterr().out
    assert line in printed
    # a wrong verdict is not excused by the size of the study
    assert ("Larger groups" in printed) == (verdict == "undetermined")


def test_a_demo_reuses_its_study_and_refuses_other_options(demo_of, tmp_path, capsys):
    demo_of("global")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "data").rglob("*")}
    assert demo_of("global")[0] == EXIT_OK
    assert "using the study that was already simulated" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "data").rglob("*")} == before
    with pytest.raises(InputError, match="contains a demo with other options"):
        demo_of("global", seed=8)


def calibrate_request(bids_dir=None, output_dir=None, study=None):
    return CalibrateRequest(bids_dir, output_dir, study, "hard", 3, n_permutations=50, seed=9)


@pytest.mark.parametrize("own", [False, True])
def test_a_calibration_uses_the_requested_scenarios_or_study(tmp_path, monkeypatch, capsys, own):
    calls = []

    def table(*words, **options):
        calls.append((words, options))
        return iter(())

    monkeypatch.setattr(calibration, "calibration_table", table)
    monkeypatch.setattr(calibration_own_data, "own_table", table)
    folders = (tmp_path / "in", tmp_path / "out", tmp_path / "study.toml")
    assert tools.run_tool(calibrate_request(*(folders if own else ()))) == EXIT_OK
    ((words, options),) = calls
    assert words == (folders if own else (TABLES["hard"],))
    assert (options["n_studies"], options["seed"]) == (3, 9)
    assert options["rules"].n_permutations == 50
    assert capsys.readouterr().out.startswith("|")


def test_a_calibration_needs_the_output_folder(tmp_path):
    with pytest.raises(InputError, match="OUTPUT_DIR is missing"):
        tools.calibrate(calibrate_request(tmp_path))


def outside_request(**options):
    fields = {"bids_dir": None, "output_dir": None, "study": None, "table": "outside"}
    numbers = {"studies": 3, "n_permutations": 50, "seed": 9}
    return CalibrateRequest(**fields | numbers | options)


@pytest.mark.parametrize("measured", [False, True])
def test_rows_outside_the_model_are_printed_one_by_one(monkeypatch, capsys, measured):
    calls = []

    def rows(names, **options):
        calls.append((names, options))
        return iter(())

    class Source:
        of = staticmethod(lambda pool: ("source", pool))

    monkeypatch.setattr(table, "outside_table", rows)
    monkeypatch.setattr("circuitshift.pipeline.validation.outside.measured.read_pool", list)
    monkeypatch.setattr("circuitshift.pipeline.validation.outside.plasmode.Plasmode", Source)
    series = (Path("in"),) if measured else ()
    assert tools.run_tool(outside_request(rows=("hubs",), series=series)) == EXIT_OK
    ((names, options),) = calls
    assert names == ("hubs",)
    assert options["source"] == (("source", [Path("in")]) if measured else table.simulated)
    assert (options["n_studies"], options["seed"]) == (3, 9)
    assert capsys.readouterr().out == table.HEAD


def test_all_rows_of_one_design_can_be_chosen(monkeypatch):
    calls = []
    monkeypatch.setattr(table, "outside_table", lambda names, **_: calls.append(names) or iter(()))
    assert tools.calibrate(outside_request(arms=2)) == EXIT_OK
    assert calls == [tuple(rows_of(2))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"table": "hard", "arms": 1}, "--arms can only be used with --table outside"),
        (
            {"table": "hard", "rows": ("x",), "series": (Path("in"),)},
            "--rows and --series can only",
        ),
        ({"bids_dir": Path("in")}, "cannot be combined with BIDS_DIR"),
        ({"rows": ("hub",)}, "there is no row 'hub'"),
    ],
)
def test_options_without_effect_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        tools.calibrate(outside_request(**options))


def test_a_power_table_is_printed_and_written(tmp_path, monkeypatch, capsys):
    def table(question, sizes, **options):
        assert (question.specific, options["n_studies"], options["seed"]) == (0.2, 4, 5)
        yield from (power.PowerRow(n, 4, 0.0, 0.5, 0.25) for n in sizes)

    monkeypatch.setattr(power, "power_table", table)
    question = power.PowerQuestion(specific=0.2)
    assert tools.run_tool(PowerRequest(tmp_path, question, (10, 20), 4, 5)) == EXIT_OK
    output = capsys.readouterr()
    rows = [line.split("\t") for line in (tmp_path / "power.tsv").read_text().splitlines()]
    assert [line.split() for line in output.out.splitlines()[: len(rows)]] == rows
    assert tables.read_table(tmp_path / "power.tsv").column("n") == ["10", "20"]
    assert (tmp_path / "power.svg").stat().st_size > 1000
    assert output.err == "n = 10: done\nn = 20: done\n"


def test_a_meta_analysis_writes_page_and_tables_and_prints_the_result(
    finished_study, tmp_path, capsys
):
    rows = [("specific", "dmn", -0.2, 0.02), ("global", "shift", 0.001, 0.004)]
    studies = tuple((name, finished_study(name, rows)) for name in ("one", "two", "three"))
    assert tools.run_tool(PoolRequest(studies, tmp_path / "to")) == EXIT_OK
    names = {path.name for path in (tmp_path / "to").iterdir()}
    assert {"pool.html", "pool.json", "pooled.tsv", "studies.tsv", "leave_one_out.tsv"} <= names
    output = capsys.readouterr().out
    assert "warning: Only 3 studies are pooled." in output
    assert "Default mode: residual change \N{MINUS SIGN}0.200 Fisher z over 3 studies" in output
    assert str(tmp_path / "to/pool.html") in output


def test_nothing_is_written_if_studies_cannot_be_pooled(finished_study, tmp_path):
    rows = [("specific", "dmn", -0.2, 0.02)]
    studies = (
        ("", finished_study("a", rows)),
        ("", finished_study("b", rows, n={"treated": 20})),
    )
    with pytest.raises(InputProblemsError, match="control condition differs"):
        tools.run_tool(PoolRequest(studies, tmp_path / "to"))
    assert not (tmp_path / "to").exists()
