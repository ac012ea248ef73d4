"""Requests are complete and frozen, have absolute paths, and replace argparse elsewhere."""

import argparse
import ast
import dataclasses
import json
from pathlib import Path

import pytest

from circuitshift.pipeline.errors import CircuitshiftError, InputError
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.workflows.cli import parsers
from circuitshift.workflows.cli.request import (
    Request,
    SlurmRequest,
    app_request,
    flags_of,
    make_request,
)
from circuitshift.workflows.cli.tool_parsers import tool_parsers

ROOT = Path(__file__).resolve().parents[3]
#: The only modules that may use argparse.
PARSING = {
    "workflows/cli/main.py",
    "workflows/cli/parsers.py",
    "workflows/cli/tool_parsers.py",
    "workflows/cli/request.py",
}


def modules():
    for folder in ("pipeline", "workflows", "atlases"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def slurm_request(*words):
    parser = tool_parsers()["slurm"]
    options = parser.parse_args(["in", "out", *map(str, words)])
    return make_request("slurm", parser, options, command="circuitshift slurm in out")


def app(*words, level="participant"):
    return app_request(["in", "out", level, *map(str, words)])


# --------------------------------------------------------------------- use of argparse


def test_argparse_is_used_by_parsers_and_requests_only():
    users = set()
    for name, tree in modules():
        for node in ast.walk(tree):
            words = [getattr(node, key, None) for key in ("id", "attr", "arg")]
            if isinstance(node, ast.Import | ast.ImportFrom):
                words += [alias.name for alias in node.names]
                words.append(getattr(node, "module", None))
            if {"argparse", "Namespace"} & set(words):
                users.add(name)
    assert users == PARSING


def test_options_are_never_changed():
    for name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setattr":
                pytest.fail(f"{name}:{node.lineno}: setattr")
            targets = getattr(node, "targets", ()) if isinstance(node, ast.Assign) else ()
            for target in targets:
                owner = (
                    getattr(target, "value", None) if isinstance(target, ast.Attribute) else None
                )
                assert getattr(owner, "id", "") not in ("options", "request"), (
                    f"{name}:{node.lineno}"
                )


def test_a_request_and_its_contents_are_immutable():
    request = slurm_request("--atlas", "a", "--participant-label", "01", "--circuits", "c.toml")
    pending = [request]
    while pending:
        item = pending.pop()
        assert not isinstance(item, list | dict | set | argparse.Namespace)
        if dataclasses.is_dataclass(item):
            name = dataclasses.fields(item)[0].name
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(item, name, None)
            pending += [getattr(item, field.name) for field in dataclasses.fields(item)]
        elif isinstance(item, tuple):
            pending += item
    hash(request)


# ----------------------------------------------------------------------------- BIDS App


def test_paths_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.nii").write_text("")
    words = ("-w", "w", "--study", "s.toml", "--ratings", "r", "--circuits", "c.toml")
    words += ("--atlas", "own.nii", "seitzman300", "--nipype-plugin-file", "p.yml")
    words += ("--derivatives", "prep=d", "--reference-dataset", "b=other")
    request = app(*words, level="group")
    assert request.analysis_level == "group"
    assert (request.bids_dir, request.output_dir) == (tmp_path / "in", tmp_path / "out")
    assert request.work_dir == tmp_path / "w"
    assert request.execution.work_dir.parent == tmp_path / "w"
    assert request.execution.plugin_file == tmp_path / "p.yml"
    assert (request.study_file, request.ratings) == (tmp_path / "s.toml", tmp_path / "r")
    assert request.settings.atlases == (str(tmp_path / "own.nii"), "seitzman300")
    assert request.settings.circuits == (str(tmp_path / "c.toml"),)
    main, other = request.folders
    assert (main.participants, main.files, main.name) == (tmp_path / "in", tmp_path / "d", "")
    assert (other.participants, other.files, other.name) == (*[tmp_path / "other"] * 2, "b")
    outputs = [data_set.outputs for data_set in request.data_sets]
    assert outputs == [tmp_path / "out", tmp_path / "out/datasets/b"]
    assert request.command.startswith("circuitshift in out group -w w")


def test_a_reference_data_set_is_named_after_its_folder():
    assert app("--reference-dataset", "x/healthy").folders[1].name == "healthy"


def test_only_settings_of_the_command_line_are_given():
    assert app().given == ()
    assert app().settings == AnalysisSettings()
    assert app().settings.strategies == ("24p+acompcor", "24p+acompcor+gsr")
    request = app("--min-minutes", 3, "--ignore", "slicetiming", "--estimator", "partial")
    assert dict(request.given) == {
        "estimator": "partial",
        "min_minutes": 3.0,
        "slice_timing": False,
    }
    assert request.settings.slice_timing is False
    visits = app("--visit-minutes", 5, "--combine-runs", "concatenate")
    assert dict(visits.given) == {"visit_minutes": 5.0, "combine_runs": "concatenate"}
    assert dict(app("--structure", "volumes").given) == {"structure": "volumes"}
    zero = app("--dummy-scans", 0, "--max-mean-fd", 0)  # 0 is a value
    assert dict(zero.given) == {"dummy_scans": 0, "max_mean_fd_mm": 0.0}


@pytest.mark.parametrize(
    ("requested", "strategies"),
    [
        (["24p"], ("24p", "24p+gsr")),
        (["24p+gsr"], ("24p+gsr",)),
        (["36p"], ("36p",)),
        (["24p", "36p", "24p+gsr"], ("24p", "36p", "24p+gsr")),
    ],
)
def test_the_first_strategy_gets_its_gsr_counterpart(requested, strategies):
    assert app("--denoise", *requested).settings.strategies == strategies


def test_the_selection_is_complete(tmp_path):
    path = tmp_path / "filter.json"
    path.write_text(json.dumps({"bold": {"acquisition": "a"}}))
    words = ("--participant-label", "01", "sub-02", "--session-id", "pre", "-t", "rest")
    words += ("--space", "MNI152NLin6Asym", "--input-type", "bold", "relmat")
    query = app(*words, "--bids-filter-file", path).query
    assert query.participants == ("01", "sub-02")
    assert (query.sessions, query.tasks) == (("pre",), ("rest",))
    assert (query.spaces, query.input_types) == (("MNI152NLin6Asym",), ("bold", "relmat"))
    assert query.filters == (("bold", (("acquisition", "a"),)),)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--denoise", "24q"], "24q"),
        (["--denoise-file", "no.toml", "--denoise", "24p"], "no.toml"),
        (["--bids-filter-file", "no.json"], "no.json"),
    ],
)
def test_files_and_names_in_a_request_are_checked(tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CircuitshiftError, match=sentence):
        app(*words)


@pytest.mark.parametrize(
    "name",
    ["skip_bids_validation", "dry_run", "reports_only", "preproc_only", "clean_workdir",
     "freeze_plan"],
)  # fmt: skip
def test_each_flag_sets_its_field(name):
    assert getattr(app(), name) is False
    assert getattr(app(f"--{name.replace('_', '-')}"), name) is True


def test_execution_flags_change_no_setting():
    words = ("--nprocs", 3, "--omp-nthreads", 2, "--mem-gb", 4, "--stop-on-first-crash", "-vv")
    request = app(*words, "--write-graph", "--resource-monitor", "--notrack")
    execution = request.execution
    assert (execution.n_procs, execution.omp_nthreads, execution.mem_gb, execution.verbosity) == (
        3,
        2,
        4.0,
        2,
    )
    assert execution.stop_on_first_crash
    assert execution.write_graph
    assert execution.resource_monitor
    assert request.given == ()


def test_the_request_of_a_tool_equals_that_of_the_command_line():
    words = ["in", "out", "participant", "--task-id", "a b", "--nprocs", "2"]
    parser = parsers.app_parser()
    command = "circuitshift in out participant --task-id 'a b' --nprocs 2"
    entered = make_request("", parser, parser.parse_args(words), command=command)
    assert isinstance(entered, Request)
    assert app_request(words) == entered


# -------------------------------------------------------------------------------- Slurm


def test_flags_can_be_parsed_again():
    parser = tool_parsers()["slurm"]
    words = ["in", "out", "--participant-label", "01", "02", "--derivatives", "/a=b/c"]
    words += ["--atlas", "x", "y", "--denoise", "24p", "-vv", "--min-coverage", "0.25"]
    words += ["--notrack", "--ignore", "slicetiming", "--reference-dataset", "n=/p"]
    options = parser.parse_args(words)
    flags = flags_of(parser, options)
    again = [word for flag in flags for word in flag.words]
    assert parser.parse_args(["in", "out", *again]) == options
    assert {flag.name for flag in flags} == {
        *("participant_label", "derivatives", "atlas", "denoise", "verbose", "min_coverage"),
        *("notrack", "ignore", "reference_dataset"),
    }
    assert flags_of(parser, parser.parse_args(["in", "out"])) == ()


def test_a_job_request_has_the_options_of_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "image.sif").write_text("")
    words = ("--nprocs", 3, "--mem-gb", 5, "--time", 60, "--group-mem-gb", 7, "--group-time", 9)
    words += ("--array-limit", 4, "--array-size", 50, "--container", "image.sif", "-w", "w")
    request = slurm_request(*words, "--sbatch-args=--account='a b' -p long", "--submit")
    assert isinstance(request, SlurmRequest)
    jobs = request.jobs
    assert (jobs.nprocs, jobs.mem_gb, jobs.minutes) == (3, 5.0, 60)
    assert (jobs.group_mem_gb, jobs.group_minutes) == (7.0, 9)
    assert (jobs.array_limit, jobs.array_size) == (4, 50)
    assert jobs.container == tmp_path / "image.sif"
    assert jobs.work_dir == request.app.work_dir == tmp_path / "w"
    assert jobs.sbatch_args == ("--account=a b", "-p", "long")
    assert jobs.with_group
    assert request.submit
    assert not request.status


@pytest.mark.parametrize("flag", ["--no-group", "--preproc-only"])
def test_flags_that_omit_the_group_level(flag):
    assert slurm_request(flag).jobs.with_group is False


def test_a_container_can_read_all_named_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("in", "prep", "ratings", "atlas", "more"):
        (tmp_path / folder).mkdir()
    for file in ("more/c.toml", "more/d.toml", "atlas/own.nii", "filter.json"):
        (tmp_path / file).write_text("{}")
    words = ("--derivatives", "prep", "--ratings", "ratings", "--atlas", "atlas/own.nii", "tian")
    words += ("--circuits", "more/c.toml", "--bids-filter-file", "filter.json", "--study", "x/s")
    named = set(slurm_request(*words).jobs.named)
    assert named == {
        tmp_path / name for name in ("in", "prep", "ratings", "atlas", "more", "x", "")
    }


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--container", "no.sif"], "no.sif: there is no such file"),
        (["--freeze-plan"], "slurm does not support --freeze-plan"),
        (["--nipype-plugin-file", "x"], "slurm does not support --nipype-plugin-file"),
        (["--status", "--submit"], "--status submits no jobs"),
        (["--sbatch-args='a"], "cannot be split into words"),
    ],
)
def test_options_that_jobs_do_not_support_are_refused(words, sentence):
    with pytest.raises(InputError, match=sentence):
        slurm_request(*words)
