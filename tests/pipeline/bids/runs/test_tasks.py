"""One task makes a visit; rest is recognised, and everything else must be stated."""

from dataclasses import dataclass

import pytest

from circuitshift.pipeline.bids.names import Name, parse_name
from circuitshift.pipeline.bids.runs.tasks import (
    choose_tasks,
    compare_tasks,
    is_rest,
    lost_visits,
    states_task,
)
from circuitshift.pipeline.errors import InputError


@dataclass(frozen=True)
class File:
    """A file with a parsed name."""

    name: Name


def files_of(*texts):
    """Make files from parts such as ``01 pre rest run-1``; the task may be ``-``."""
    files = []
    for text in texts:
        label, session, task, *more = text.split()
        entities = [f"sub-{label}", f"ses-{session}", *([f"task-{task}"] if task != "-" else [])]
        name = parse_name("_".join([*entities, *more, "bold.nii.gz"]))
        assert name is not None
        files.append(File(name))
    return files


def tasks_of(files):
    return [file.name.get("task") for file in files]


@pytest.mark.parametrize(
    "task",
    [
        *("rest", "Rest", "REST", "resting", "restingstate", "RestingState", "rest1", "REST2"),
        *("restAP", "restPA", "restEyesOpen", "restEyesClosed", "eyesopenrest", "preRest"),
        *("postrest", "restpost", "mbrest", "rs", "RSFC", "rsfMRI", "rsfMRI1", "rfMRI"),
        *("eyesopen", "EyesClosed", "rsAP"),
    ],
)
def test_labels_of_rest(task):
    assert is_rest(task)


@pytest.mark.parametrize(
    "task",
    [
        *("nback", "faces", "", "movie", "restaurant", "forest", "arrest", "interest", "prestress"),
        *("prestim", "everest", "unrest", "stroop", "response", "restraint", "restrictedchoice"),
        *("viewForest", "crest", "hearts", "fix", "socialInterest"),
    ],
)
def test_labels_of_other_tasks(task):
    assert not is_rest(task)


def test_one_task_is_used_whatever_its_name():
    files = files_of("01 pre nback", "01 post nback")
    assert choose_tasks(files, where="data") == (files, None)
    assert choose_tasks([], where="data") == ([], None)


def test_rest_alone_is_used_and_others_are_counted_by_session():
    files = files_of(
        "01 pre rest", "01 post rest", "01 post nback run-1", "01 post nback run-2", "02 pre faces"
    )
    selected, choice = choose_tasks(files, where="data")
    assert tasks_of(selected) == ["rest", "rest"]
    assert choice.question == "task"
    assert choice.chosen == "task-rest"
    assert choice.ignored == (("task-faces in ses-pre", 1), ("task-nback in ses-post", 2))
    assert "task-nback in ses-post (2 runs)" in choice.sentence


def test_runs_are_counted_not_their_versions():
    files = files_of("01 pre rest", "01 pre nback rec-a", "01 pre nback rec-b", "01 pre nback")
    _, choice = choose_tasks(files, where="data")
    assert choice.ignored == (("task-nback in ses-pre", 1),)


@pytest.mark.parametrize(
    "texts",
    [
        ["01 pre nback", "01 post faces"],
        ["01 pre nback", "01 pre faces", "01 post nback", "01 post faces"],
        ["01 pre forest", "01 post nback"],
        ["01 pre -", "01 post nback"],
    ],
)
def test_several_tasks_without_rest_must_be_stated(texts):
    with pytest.raises(InputError) as caught:
        choose_tasks(files_of(*texts), where="data")
    text = str(caught.value)
    assert text.startswith("data: the runs have several tasks")
    for task in {part.split()[2] for part in texts} - {"-"}:
        assert f"\n  --task-id {task}" in text
        assert f"  task-{task}: 1 runs in ses-" in text


def test_the_case_of_letters_does_not_make_another_task():
    files = files_of("01 pre nback", "01 post nBack")
    selected, choice = choose_tasks(files, where="data")
    assert selected == files
    assert "differ in the case of letters only" in choice.sentence


@pytest.mark.parametrize(
    "tasks", [("restEyesOpen", "restEyesClosed"), ("rest1", "rest2"), ("restAP", "restPA")]
)
def test_labels_of_rest_are_averaged_if_every_visit_has_all(tasks):
    texts = [f"01 {session} {task}" for session in ("pre", "post") for task in tasks]
    selected, choice = choose_tasks(files_of(*texts), where="data")
    assert len(selected) == 4
    assert "their runs are averaged" in choice.sentence
    with pytest.raises(InputError) as caught:
        choose_tasks(files_of(*texts[:-1]), where="data")
    assert f"--task-id {' '.join(sorted(tasks))}" in str(caught.value)
    assert f"--task-id {tasks[0]}\n" in str(caught.value)


def test_stated_labels_of_rest_are_averaged_as_requested():
    files = files_of("01 pre restAP", "01 pre restPA", "01 post restAP")
    selected, choice = choose_tasks(files, where="data", is_stated=True)
    assert selected == files
    assert choice.sentence == (
        "task-restAP and task-restPA is used, whose runs are averaged, as requested."
    )


@pytest.mark.parametrize("tasks", [("rest", "nback"), ("faces", "nback")])
def test_stated_tasks_are_not_averaged_unless_all_are_rest(tasks):
    files = files_of(*(f"01 pre {task}" for task in tasks))
    with pytest.raises(InputError, match="several tasks were requested") as caught:
        choose_tasks(files, where="data", is_stated=True)
    assert f"--task-id {tasks[0]}" in str(caught.value)


def test_filters_may_state_the_task():
    assert states_task((("bold", (("task", "rest"),)),))
    assert not states_task((("bold", (("run", "1"),)), ("t1w", (("task", "rest"),))))


def test_tasks_of_data_sets_are_compared():
    assert compare_tasks([("", ["rest"]), ("healthy", ["rest"])]) is None
    assert compare_tasks([("", ["nback"]), ("healthy", ["nBack"])]) is None
    assert compare_tasks([("", ["rest"]), ("healthy", [""])]) is None
    choice = compare_tasks([("", ["rest"]), ("healthy", ["restingstate"])])
    assert "rest in all data sets" in choice.sentence
    for tasks in (["nback"], ["rest", "nback"]):
        with pytest.raises(InputError, match=r"different tasks \(the main data set: task-rest;"):
            compare_tasks([("", ["rest"]), ("healthy", tasks)])


def test_visits_without_the_task_are_reported_where_others_have_it():
    files = files_of(
        *("01 pre rest", "01 post rest", "02 pre rest", "02 post nback", "03 pre nback"),
        *("01 extra nback", "02 extra nback"),
    )
    selected, choice = choose_tasks(files, where="data")
    problems = lost_visits(files, selected, choice)
    assert [(p.where, p.participant) for p in problems] == [
        ("sub-02/ses-post", "02"),
        ("sub-03", "03"),
    ]
    assert "it has no run of task-rest, which is used for all participants" in str(problems[0])
    assert lost_visits(selected, selected, choice) == []
