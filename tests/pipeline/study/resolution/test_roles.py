"""The arms of a study, stated or recognised, and what is refused."""

import pytest

from circuitshift.pipeline.study.resolution.records import Observed
from circuitshift.pipeline.study.resolution.roles import resolve_roles

HALF = ["drug", "drug", "placebo", "placebo"]


def only_refusal(roles):
    assert len(roles.refusals) == 1
    return roles.refusals[0]


def test_recognised_words_are_roles(observed):
    roles = resolve_roles({}, observed({"arm": ["Active", "placebo", "HC", "active"]}))
    assert roles.groups == {
        "treated": ("Active", "active"),
        "control": ("placebo",),
        "reference": ("HC",),
    }
    assert [d.source for d in roles.decisions] == ["recognised"] * 3
    assert "spellings of one group" in roles.notes[0]


@pytest.mark.parametrize(
    "cells",
    [
        ["0", "0", "1", "1"],
        ["A", "B", "A", "B"],
        ["escitalopram", "placebo", "placebo", "escitalopram"],
        ["drug", "placebo", "cbt", "drug"],
        ["MDD", "control", "MDD", "control"],
        ["placebo", "HC", "placebo", "HC"],
    ],
)
def test_names_that_do_not_decide_are_refused_with_lines_to_paste(observed, cells):
    refusal = only_refusal(resolve_roles({}, observed({"arm": cells})))
    assert '[groups]\ncolumn = "arm"\ntreated = [' in refusal.fix
    for name in set(cells):
        assert f'"{name}" ({cells.count(name)} participant' in refusal.what


def test_a_diagnosis_with_healthy_participants_is_not_one_arm(observed):
    refusal = only_refusal(resolve_roles({}, observed({"diagnosis": ["MDD", "HC", "MDD", "HC"]})))
    assert '"MDD" (2 participants)' in refusal.what
    assert 'reference = ["HC"]' in refusal.fix


def test_a_column_without_words_of_arms_is_no_arm(observed):
    columns = {"sex": ["F", "M", "F", "M"], "age": ["20", "31", "42", "53"]}
    roles = resolve_roles({}, observed(columns))
    assert not roles.refusals
    assert roles.decisions[0].answer == "all 4 participants"
    assert roles.decisions[0].source == "counted"
    assert roles.decisions[0].reason.endswith("that are not taken for arms: sex, age.")


def test_an_arm_column_without_values_is_refused(observed):
    refusal = only_refusal(resolve_roles({}, observed({"arm": ["n/a"] * 4})))
    assert "n/a for every participant" in refusal.what


def test_an_arm_column_that_cannot_be_used_is_refused(observed):
    doubtful = {"arm": "the column occurs twice; rename one"}
    seen = observed({"age": ["20", "30", "40", "50"]}, doubtful=doubtful)
    assert "(the column occurs twice)" in only_refusal(resolve_roles({}, seen)).what


def test_one_group_is_one_arm_unless_it_is_untreated(observed):
    roles = resolve_roles({}, observed({"group": ["MDD"] * 4}))
    assert roles.decisions[0].answer == '"MDD" (4 participants)'
    assert only_refusal(resolve_roles({}, observed({"group": ["placebo"] * 4})))


def test_levels_of_participants_json_are_recognised(observed):
    levels = {"arm": {"0": "Placebo", "1": "Active drug"}}
    roles = resolve_roles({}, observed({"arm": ["0", "1", "1", "0"]}, levels=levels))
    assert (roles.groups["treated"], roles.groups["control"]) == (("1",), ("0",))
    other = {"arm": {"0": "arm of site Bonn", "1": "x"}}
    assert only_refusal(resolve_roles({}, observed({"arm": ["0", "1", "1", "0"]}, levels=other)))


def test_two_columns_that_may_name_arms_are_refused(observed):
    columns = {"group": ["patient", "control", "patient", "control"], "arm": HALF}
    refusal = only_refusal(resolve_roles({}, observed(columns)))
    assert "2 columns may name the arms" in refusal.what
    assert 'treated = {arm = "drug"}' in refusal.fix
    assert 'control = {arm = "placebo"}' in refusal.fix


def test_columns_with_the_same_division_do_not_conflict(observed):
    columns = {"arm_code": ["1", "1", "0", "0"], "arm": HALF}
    roles = resolve_roles({}, observed(columns))
    assert (roles.column, roles.groups["treated"]) == ("arm", ("drug",))


def test_a_constant_group_column_does_not_hide_the_arm(observed):
    roles = resolve_roles({}, observed({"group": ["MDD"] * 4, "arm": HALF}))
    assert roles.column == "arm"


@pytest.mark.parametrize(
    "cells", [["drug", "Drug", "placebo", "DRUG "], ["drug", "dRUg", "b", "b"]]
)
def test_stated_groups_are_found_in_any_spelling(observed, cells):
    roles = resolve_roles(
        {"treated": ("drug",), "control": (cells[2],)}, observed({"group": cells})
    )
    spelled = {cell for cell in cells if cell.strip().lower() == "drug"}
    assert set(roles.groups["treated"]) == spelled
    assert "are spellings of one group" in roles.notes[0]


def test_stated_numbers_are_found(observed):
    columns = {"arm": ["1.0", "0", "1", "0"]}
    roles = resolve_roles(
        {"group_column": "arm", "treated": ("1",), "control": ("0",)}, observed(columns)
    )
    assert set(roles.groups["treated"]) == {"1", "1.0"}


def test_criteria_name_other_columns(observed):
    columns = {"arm": ["1", "0", "n/a", "n/a"], "diagnosis": ["MDD", "MDD", "HC", "hc"]}
    criteria = (
        ("treated", "arm", ("1",)),
        ("control", "arm", ("0",)),
        ("reference", "diagnosis", ("HC",)),
    )
    roles = resolve_roles({"criteria": criteria}, observed(columns))
    assert not roles.refusals
    assert roles.criteria[2] == ("reference", "diagnosis", ("HC", "hc"))
    assert roles.decisions[2].answer == "diagnosis = HC or hc (2 participants)"
    wrong = (("treated", "arm", ("7",)), ("control", "dose", ("0",)))
    assert len(resolve_roles({"criteria": wrong}, observed(columns)).refusals) == 2


def test_the_only_group_left_is_treated_and_several_are_refused(observed):
    roles = resolve_roles(
        {"control": ("placebo",)}, observed({"group": ["placebo", "x", "x", "x"]})
    )
    assert (roles.groups["treated"], roles.decisions[-1].source) == (("x",), "counted")
    roles = resolve_roles({"control": ("a",)}, observed({"group": ["a", "x", "y", "x"]}))
    assert "groups without a role are" in only_refusal(roles).what


def test_groups_that_the_study_file_omits(observed):
    cells = ["drug", "placebo", "healthy", "other"]
    roles = resolve_roles({"treated": ("drug",)}, observed({"group": cells}))
    assert (roles.groups["control"], roles.groups["reference"]) == (("placebo",), ("healthy",))
    assert roles.notes[-1].startswith('Groups without a role, which are not analysed: "other"')


@pytest.mark.parametrize(
    ("keys", "columns", "sentence"),
    [
        ({"group_column": "arm"}, {"group": HALF}, "no column 'arm'"),
        ({"treated": ("zz",)}, {"group": HALF}, "treated group 'zz' is not in column 'group'"),
        ({"treated": ("a",)}, {"x": ["a"] * 4, "y": ["a"] * 4}, "occur in several columns"),
        ({"reference_dataset": "x"}, {"group": HALF}, "is not among the data sets"),
    ],
)
def test_stated_names_that_are_absent(observed, keys, columns, sentence):
    assert sentence in resolve_roles(keys, observed(columns)).refusals[0].what


@pytest.mark.parametrize("column", ["drug", "group"])
def test_one_group_and_missing_values_are_not_one_arm(observed, column):
    cells = ["escitalopram", "escitalopram", "n/a", "n/a"]
    refusal = only_refusal(resolve_roles({}, observed({column: cells})))
    assert "2 of 4 participants with data have no value, who may be untreated" in refusal.what
    assert 'treated = ["escitalopram"]' in refusal.fix


@pytest.mark.parametrize("other", ["waitlist", "control", "sham"])
def test_an_untreated_group_is_never_the_treated_group_that_is_left(observed, other):
    cells = ["placebo", "placebo", other, other]
    roles = resolve_roles({"control": ("placebo",)}, observed({"group": cells}))
    assert "the treated group is not stated" in only_refusal(roles).what


def test_criteria_without_a_treated_group_are_completed_by_counting_only(observed):
    healthy = (("reference", "diagnosis", ("HC",)),)
    seen = observed({"diagnosis": ["HC", "MDD", "MDD", "hc"]})
    roles = resolve_roles({"criteria": healthy}, seen)
    assert roles.criteria[-1] == ("treated", "diagnosis", ("MDD",))
    assert roles.decisions[-1].source == "counted"
    for cells in (["HC", "MDD", "BD", "HC"], ["HC", "MDD", "n/a", "HC"]):
        refusal = only_refusal(resolve_roles({"criteria": healthy}, observed({"diagnosis": cells})))
        assert "the treated group is not stated" in refusal.what
        assert 'treated = {diagnosis = ["..."]}' in refusal.fix


def test_an_order_of_treatments_is_no_column_of_arms(observed):
    refusal = only_refusal(resolve_roles({}, observed({"treatment_order": HALF})))
    assert "an order of treatments, as in a crossover" in refusal.what
    assert "control_baseline" in refusal.fix
    crossover = {"control_baseline": "a", "control_followup": "b"}
    assert not resolve_roles(crossover, observed({"treatment_order": HALF})).refusals
    named = resolve_roles({"group_column": "order"}, observed({"order": HALF}))
    assert named.groups["treated"] == ("drug",)


def test_a_control_group_in_a_crossover_is_refused_with_all_groups_treated(observed):
    crossover = {"control_baseline": "a", "control_followup": "b"}
    refusal = only_refusal(resolve_roles(crossover, observed({"arm": HALF})))
    assert "each participant has both conditions" in refusal.what
    assert 'treated = ["drug", "placebo"]\ncontrol = []' in refusal.fix


@pytest.mark.parametrize("column", ["cohort", "medication", "stimulation"])
def test_a_column_that_may_hide_arms_is_refused_unless_it_is_modelled(observed, column):
    seen = observed({column: ["ketamine", "midazolam", "ketamine", "midazolam"]})
    refusal = only_refusal(resolve_roles({}, seen))
    assert f"column {column!r} may name the arms or something else" in refusal.what
    assert not resolve_roles({"covariates": (column,)}, seen).refusals
    both = observed({"arm": HALF, column: ["x", "y", "y", "x"]})
    assert resolve_roles({}, both).column == "arm"


def test_an_arm_column_with_very_many_names_is_refused_and_doses_are_not(observed):
    names = observed({"group": [f"drug {k}" for k in range(13)]})
    assert "and more" in only_refusal(resolve_roles({}, names)).what
    doses = observed({"dose_mg": [f"{k * 5}" for k in range(13)]})
    assert not resolve_roles({}, doses).refusals


def test_a_covariate_that_names_the_arms_is_refused(observed):
    seen = observed({"group": HALF, "age": ["20", "30", "40", "50"]})
    refusal = only_refusal(resolve_roles({"covariates": ("age", "group")}, seen))
    assert "covariate 'group' may name the arms" in refusal.what
    assert 'treated = ["drug"]\ncontrol = ["placebo"]' in refusal.fix
    stated = {"covariates": ("group",), "treated": ("drug",), "control": ("placebo",)}
    assert not resolve_roles(stated, seen).refusals


def test_arms_that_differ_between_visits_are_refused(observed):
    columns = {"group_ses-pre": ["drug"] * 4, "group_ses-post": HALF}
    refusal = only_refusal(resolve_roles({}, observed(columns)))
    assert "group_ses-pre, group_ses-post may name the arms and differ" in refusal.what
    columns["group_ses-pre"] = HALF
    assert not resolve_roles({}, observed(columns)).refusals


def test_labels_of_participants_that_name_groups_are_not_one_arm():
    labels = ("HC01", "HC02", "PT01", "PT02")
    seen = Observed(sessions=dict.fromkeys(labels, ("pre", "post")))
    refusal = only_refusal(resolve_roles({}, seen))
    assert "the labels of participants name groups (sub-HC..., sub-PT...)" in refusal.what
    sites = Observed(sessions=dict.fromkeys(("BN01", "KL01"), ("pre", "post")))
    assert not resolve_roles({}, sites).refusals


def test_an_absent_stated_group_is_named_without_a_data_set(observed):
    roles = resolve_roles({"treated": ("x",), "control": ("placebo",)}, observed({"group": HALF}))
    assert roles.decisions[0].answer == "x"


def test_arms_in_another_table_are_not_one_arm(observed):
    seen = observed({"age": ["20"] * 4}, arms_elsewhere=("treatment",))
    assert "'treatment' of sessions.tsv" in only_refusal(resolve_roles({}, seen)).what
    assert not resolve_roles({"control_baseline": "a"}, seen).refusals
    named = observed({"arm": HALF}, arms_elsewhere=("treatment",))
    assert resolve_roles({}, named).column == "arm"
