"""Filter files in the format of fMRIPrep: selection of runs, and errors."""

import json

import pytest

from circuitshift.pipeline.bids.filters import load_filters, nearest, passes_all, plain_label
from circuitshift.pipeline.bids.names import parse_name
from circuitshift.pipeline.errors import InputError

RUNS = (
    "sub-01_ses-pre_task-rest",
    "sub-01_ses-post_task-rest",
    "sub-01_ses-pre_task-rest_run-01",
    "sub-02_ses-pre_task-rest",
    "sub-02_ses-pre_task-nback_run-02",
    "sub-02_ses-post_task-rest_acq-mb",
)


@pytest.mark.parametrize(
    ("content", "selected"),
    [
        ({"task": "rest"}, (0, 1, 2, 3, 5)),
        ({"task": "rest", "run": 1}, (2,)),
        ({"task": ["rest", "nback"], "run": [1, 2]}, (2, 4)),
        ({"run": None}, (0, 1, 3, 5)),
        ({"run": "Query.NONE"}, (0, 1, 3, 5)),
        ({"run": "*"}, (2, 4)),
        ({"run": "Query.ANY"}, (2, 4)),
        ({"run": [None, 2]}, (0, 1, 3, 4, 5)),
        ({"run": "Query.OPTIONAL"}, (0, 1, 2, 3, 4, 5)),
        ({"subject": "sub-01", "session": ["pre"]}, (0, 2)),
        ({"subject": "1"}, ()),  # labels of participants are not numbers
        ({"acquisition": "mb", "datatype": "func", "suffix": "bold"}, (5,)),
        ({"description": ["preproc", None], "resolution": 2}, (0, 1, 2, 3, 4, 5)),
        ({"extension": ["nii.gz", "nii"], "space": "MNI152NLin2009cAsym"}, (0, 1, 2, 3, 4, 5)),
        ({"space": "T1w"}, ()),
    ],
)
def test_filters_select_runs(tmp_path, files, content, selected):
    path = files.touch(
        tmp_path / "f.json", json.dumps({"bold": content, "t1w": {"acquisition": "x"}})
    )
    filters = load_filters(path)
    hash(filters)  # filters are part of a frozen query
    names = [parse_name(f"{run}_{files.space}_desc-preproc_bold.nii.gz") for run in RUNS]
    assert tuple(k for k, name in enumerate(names) if passes_all(name, filters)) == selected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"bald": {}}', "unknown query 'bald'; use bold .nearest: bold"),
        ('{"bold": {"taks": "x"}}', "unknown entity 'taks' of bold; correct it .nearest: task"),
        ('{"bold": {"task": {"a": 1}}}', "task is {'a': 1}; give a label"),
        ('{"bold": {"task": true}}', "task is True; give a label"),
        ('{"bold": {"suffix": "T1w"}}', "suffix is 'T1w', which no run has; use one of bold"),
        ('{"bold": ["rest"]}', "bold is not an object"),
        ('{"bold": ', "line 1: it is not JSON"),
        ("[]", "it is not a JSON object"),
        ("", "it is empty"),
    ],
)
def test_invalid_filter_files_are_refused(tmp_path, files, content, message):
    path = files.touch(tmp_path / "f.json", content)
    with pytest.raises(InputError, match=message) as error:
        load_filters(path)
    assert str(path) in str(error.value)


def test_a_filter_file_without_bold_selects_all(tmp_path, files):
    assert load_filters(files.touch(tmp_path / "f.json", '{"t1w": {"session": "pre"}}')) == ()


def test_labels_may_have_the_prefix_of_their_key():
    assert (plain_label("sub-01", "sub"), plain_label("01", "sub")) == ("01", "01")
    assert plain_label("ses-sub-1", "sub") == "ses-sub-1"


@pytest.mark.parametrize(
    ("word", "available", "text"),
    [
        ("tsak", {"task", "run"}, " (nearest: task)"),
        ("xyz", {"task", "run"}, " (available: run, task)"),
        ("task", set(), ""),
    ],
)
def test_similar_words_are_suggested(word, available, text):
    assert nearest(word, available) == text
