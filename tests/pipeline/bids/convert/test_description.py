"""The tables [input] of a study file, and what is wrong with them."""

import pytest

from circuitshift.pipeline.bids.convert.description import ConnInput, StackInput, read_inputs
from circuitshift.pipeline.errors import InputProblemsError, TableError
from circuitshift.pipeline.study.study_file import read_study_file

CONN = """
[[input]]
format = "conn"
folder = "patients"
group = "patient"
prefix = "TBI"
sessions = {1 = "pre", 2 = "post"}
repetition_time = 2
regions = ["atlas.*", "networks.*"]

[[input]]
format = "conn"
folder = "controls"
group = "healthy"
visit = "pre"
regions = "atlas.*"
"""
STACK = """
[input]
format = "stack"
file = "fc.mat"
key = "results.fc"
axes = ["region", "region", "participant", "visit"]
values = "fisher-z"
participants = 12
prefix = "PD"
visits = ["off", "on"]
regions = 48
group = "patient"
"""


@pytest.fixture
def inputs(tmp_path):
    """Read a study file of the given text."""

    def read(text):
        path = tmp_path / "study.toml"
        path.write_text(text)
        return read_inputs(path)

    return read


def test_folders_of_conn_are_read(inputs):
    patients, controls = inputs(CONN)
    assert patients == ConnInput(
        folder="patients",
        group="patient",
        by="session",
        visits=((1, "pre"), (2, "post")),
        regions=("atlas.*", "networks.*"),
        prefix="TBI",
        t_r_s=2,
    )
    assert (controls.by, controls.visits) == ("folder", ((0, "pre"),))
    assert controls.regions == ("atlas.*",)


def test_an_array_is_read(inputs):
    (found,) = inputs(STACK)
    assert isinstance(found, StackInput)
    assert found.participants[0] == "PD01"
    assert found.participants[-1] == "PD12"
    assert found.axes == ("region", "region", "participant", "visit")
    assert found.groups == ("patient",) * 12


def test_the_keys_of_regions_are_read(inputs):
    (found,) = inputs(STACK.replace("regions = 48", 'regions = {names = "rois"}'))
    assert found.region_keys == (("names", "rois"),)


def test_files_without_the_table_have_no_input_and_the_rest_is_read_as_before(inputs, tmp_path):
    assert inputs('[sessions]\nbaseline = "pre"\n') == ()
    path = tmp_path / "study.toml"
    path.write_text(STACK + '\n[sessions]\nbaseline = "off"\n')
    assert read_study_file(path).stated == (("baseline", "off"),)


@pytest.mark.parametrize(
    ("text", "old", "new", "message"),
    [
        (CONN, 'format = "conn"', 'format = "con"', r"give format = 'conn' or format = 'stack'"),
        (CONN, "prefix", "prefx", r"unknown key 'prefx'; did you mean 'prefix'"),
        (CONN, 'visit = "pre"', "", r"no visits stated; state the visits once"),
        (CONN, 'visit = "pre"', 'visit = "pre"\ncondition = "a"', r"condition = 'a'; give number"),
        (CONN, 'prefix = "TBI"', 'visit = "x"', r"visit and sessions stated"),
        (CONN, '2 = "post"', 'b = "post"', r"sessions: b = 'post'; give numbers"),
        (CONN, '2 = "post"', '2 = "post 1"', r"letters and digits"),
        (CONN, 'group = "healthy"', "", r"\[input\] 2: group is missing"),
        (CONN, "repetition_time = 2", "repetition_time = 2000", r"in seconds"),
        (CONN, '"atlas.*", ', '"atlas(", ', r"'atlas\(' is not a pattern"),
        (CONN, 'visit = "pre"', 'visit = "pre"\natlas = "other"', r"differ in format, content or"),
        (STACK, 'values = "fisher-z"', "", r"values is missing; give values = 'correlation'"),
        (STACK, '"fisher-z"', '"z"', r"values = 'z'; give values"),
        (STACK, '"region", "region"', '"region"', r"name the axes of the array"),
        (STACK, '"visit"]', '"time"]', r"name the axes of the array"),
        (STACK, ', "visit"]', "]", r"the axes have no 'visit'; state exactly one visit"),
        (STACK, "participants = 12", 'participants = ["a", "a"]', r"different labels"),
        (STACK, "participants = 12", "participants = 0", r"give a number, or different labels"),
        (STACK, "participants = 12", "participants = true", r"participants = True"),
        (STACK, 'group = "patient"', 'group = ["a", "b"]', r"group has 2 entries; give one for"),
        (STACK, "regions = 48", "", r"regions is missing; give the number of regions"),
        (STACK, "regions = 48", 'regions = {centres = "xyz"}', r'give \{names = "key"\}'),
        (STACK, "regions = 48", 'regions = ["a", "a"]', r"empty or repeated names"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(inputs, text, old, new, message):
    assert old in text
    with pytest.raises(InputProblemsError, match=message):
        inputs(text.replace(old, new, 1))


def test_text_that_is_not_toml_is_refused(inputs):
    with pytest.raises(TableError, match="not valid TOML"):
        inputs("[input")
