"""Requests of the tools, which contain the values of all options."""

import dataclasses
from pathlib import Path

import pytest

from circuitshift.workflows.cli import tool_requests
from circuitshift.workflows.cli.request import make_request
from circuitshift.workflows.cli.tool_parsers import tool_parsers


def request_of(tool, *words):
    parser = tool_parsers()[tool]
    return make_request(tool, parser, parser.parse_args(list(map(str, words))), command="")


def test_requests_are_frozen():
    for name in tool_requests.__all__:
        cls = getattr(tool_requests, name)
        assert dataclasses.is_dataclass(cls)
        assert cls.__dataclass_params__.frozen, name


def test_simulate():
    request = request_of(
        "simulate", "out", "--truth", "gain", "--seed", 7, "--raw", "--n-treated", 3
    )
    assert request == tool_requests.SimulateRequest(Path("out"), "gain", 7, True, 3, None, None)
    listed = request_of("simulate", "out", "--layout", "files", "--participants", "p.tsv")
    assert (listed.layout, listed.participants) == (Path("files"), Path("p.tsv"))


def test_demo():
    request = request_of("demo", "out", "--truth", "shift", "--n-control", 0, "--nprocs", 2)
    assert request.nprocs == 2
    assert request.simulation == tool_requests.SimulateRequest(
        Path("out"), "shift", 1, False, None, 0, None
    )


def test_calibrate():
    simulated = request_of("calibrate", "--table", "hard", "--studies", 5, "--n-permutations", 50)
    assert (simulated.bids_dir, simulated.output_dir, simulated.study) == (None, None, None)
    assert (simulated.table, simulated.studies, simulated.n_permutations) == ("hard", 5, 50)
    own = request_of("calibrate", "in", "out", "--study", "s.toml", "--seed", 3)
    assert (own.bids_dir, own.output_dir, own.study) == (Path("in"), Path("out"), Path("s.toml"))
    assert own.seed == 3
    outside = request_of("calibrate", "--table", "outside", "--rows", "hubs", "gain", "--arms", 2)
    assert (list(outside.rows), outside.arms, list(outside.series)) == (["hubs", "gain"], 2, [])
    measured = request_of("calibrate", "--table", "outside", "--series", "a", "b")
    assert list(measured.series) == [Path("a"), Path("b")]


def test_power():
    words = ("--n", 10, 20, "--gain", 0.2, "--arms", 1, "--reliability", 0.5, "--minutes", 8)
    request = request_of("power", "out", *words, "--studies", 4, "--seed", 2)
    assert (request.sizes, request.studies, request.seed) == ((10, 20), 4, 2)
    question = request.question
    assert (question.specific, question.shift, question.gain) == (0.1, 0.0, 0.2)
    assert (question.arms, question.reliability, question.minutes) == (1, 0.5, 8.0)


def test_fetch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("--participant-label", "01", "--session-label", "pre", "--task-id", "rest")
    words += ("--space", "S", "--include", "sub-01/*", "--tag", "1.0", "--dry-run")
    request = request_of("fetch", "ds1", "to", *words, "--derivatives", "fmriprep=x")
    assert (request.dataset, request.folder) == ("ds1", tmp_path / "to")
    selection = request.selection
    assert (selection.participants, selection.sessions) == (("01",), ("pre",))
    assert (selection.tasks, selection.spaces, selection.include) == (
        ("rest",),
        ("S",),
        ("sub-01/*",),
    )
    assert (request.derivatives, request.tag, request.dry_run) == (("fmriprep", "x"), "1.0", True)


@pytest.mark.parametrize("replica", [False, True])
def test_validate(replica):
    words = ["--data", "d", "-w", "w", "--nprocs", "2", *["--replica"] * replica]
    request = request_of("validate", "ds003007", "out", *words)
    paths = (request.output_dir, request.data, request.work_dir)
    assert paths == (Path("out"), Path("d"), Path("w"))
    assert (request.recipe, request.replica, request.nprocs) == ("ds003007", replica, 2)


def test_every_option_of_a_tool_reaches_its_request():
    """Each option is a field of the request or of one of its parts."""
    for tool, parser in tool_parsers().items():
        if tool == "slurm":
            continue
        needed = ["x"] * sum(not action.option_strings for action in parser._actions)
        request = make_request(tool, parser, parser.parse_args(needed), command="")
        fields = set()
        pending = [request]
        while pending:
            item = pending.pop()
            for field in dataclasses.fields(item):
                fields.add(field.name)
                value = getattr(item, field.name)
                pending += [value] if dataclasses.is_dataclass(value) else []
        renamed = {"participant_label": "participants", "session_label": "sessions",
                   "task_id": "tasks", "space": "spaces", "n": "sizes"}  # fmt: skip
        if tool == "init":  # its data sets are folders, and its selection is a query
            continue
        options = {action.dest for action in parser._actions} - {"help"}
        missing = {renamed.get(name, name) if tool != "simulate" else name for name in options}
        assert missing <= fields, tool


def test_init(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("--study", "s.toml", "-o", "out.toml", "--participants", "p.tsv", "--task-id", "rest")
    words += ("--derivatives", "prep", "--reference-dataset", "norms=other", "--space", "S")
    request = request_of("init", "ds", *words, "--input-type", "bold")
    main, other = request.folders
    assert (main.participants, main.files) == (tmp_path / "ds", tmp_path / "prep")
    assert main.table == tmp_path / "p.tsv"
    assert (other.name, other.files) == ("norms", tmp_path / "other")
    assert (request.query.tasks, request.query.spaces) == (("rest",), ("S",))
    assert request.query.input_types == ("bold",)
    assert (request.output, request.study) == (tmp_path / "out.toml", tmp_path / "s.toml")


def test_pool():
    request = request_of("pool", "a", "two=b", "-o", "to")
    studies = (("", Path("a")), ("two", Path("b")))
    assert request == tool_requests.PoolRequest(studies, Path("to"))
