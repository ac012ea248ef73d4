"""The study file: which keys and values it may contain, and the design that they define."""

from pathlib import Path

import pytest

from circuitshift.pipeline.errors import DesignError, InputProblemsError, TableError
from circuitshift.pipeline.study.study_file import STUDY_KEYS, Design, read_study_file


def write(tmp_path, text):
    path = tmp_path / "study.toml"
    path.write_text(text)
    return path


def problems_of(tmp_path, text):
    with pytest.raises(InputProblemsError) as caught:
        read_study_file(write(tmp_path, text))
    return str(caught.value)


def test_tables_become_flat_keys(tmp_path):
    text = (
        '[sessions]\nbaseline = "pre"\nfollowup = "post"\n'
        '[groups]\ncolumn = "arm"\ntreated = ["x", 2]\nlabels = {treated = "escitalopram"}\n'
        '[hypotheses]\ndirections = {dmn = "decrease"}\nsesoi_z = 0.05\n'
        "[tests]\nn_permutations = 999\nseed = 3\n[model]\nglobal_signal_removed = true\n"
    )
    stated = dict(read_study_file(write(tmp_path, text)).stated)
    assert stated == {
        "baseline": "pre",
        "followup": "post",
        "group_column": "arm",
        "treated": ("x", "2"),
        "labels": (("treated", "escitalopram"),),
        "directions": (("dmn", "decrease"),),
        "sesoi_z": 0.05,
        "n_permutations": 999,
        "seed": 3,
        "global_signal_removed": True,
    }


def test_roles_by_other_columns_are_criteria(tmp_path):
    text = '[groups]\ntreated = {arm = 1, diagnosis = ["MDD", "BD"]}\nreference = {dx = "HC"}\n'
    stated = dict(read_study_file(write(tmp_path, text)).stated)
    assert stated == {
        "criteria": (
            ("treated", "arm", ("1",)),
            ("treated", "diagnosis", ("MDD", "BD")),
            ("reference", "dx", ("HC",)),
        )
    }


def test_all_problems_of_a_file_are_reported_at_once(tmp_path):
    message = problems_of(
        tmp_path,
        "[session]\nbaseline = 'pre'\n[tests]\nseed = 'x'\npermutations = 3\n"
        "[groups]\ntreated = [true]\ncontrol = 'x'\nreference = {arm = {}}\nlabels = {all = 'x'}\n"
        "[sessions]\ndays = {pre = 'zero'}\n[model]\nbackground = 'half'\nfactor = 3\n"
        "[hypotheses]\ndirections = {dmn = 'down'}\n",
    )
    for text in (
        "(11 problems)",
        "did you mean 'sessions'",
        "did you mean 'n_permutations'",
        "seed",
        '[groups] treated = [True]; give names in quotes (treated = ["..."])',
        "[groups] control = 'x'",
        "[groups] reference = {'arm': {}}",
        "for treated, control or reference",
        "numbers of days",
        "'matched'",
        "factor = 3",
        "'increase' or 'decrease'",
    ):
        assert text in message


def test_all_numbers_out_of_range_are_reported_at_once(tmp_path):
    message = problems_of(
        tmp_path,
        "[hypotheses]\nsesoi_gain = -1\nsesoi_tau = 0\nsesoi_share = inf\nsesoi_d = 'large'\n"
        "[tests]\nalpha = 1\nseed = -1\nn_permutations = 100_000_000\n",
    )
    for text in (
        "(7 problems)",
        "[hypotheses] sesoi_gain = -1; a smallest effect of interest is above 0; for example 0.15",
        "[hypotheses] sesoi_tau = 0",
        "[hypotheses] sesoi_share = inf",
        "[hypotheses] sesoi_d = 'large'; give a number: smallest effect",
        "[tests] alpha = 1; an error rate is above 0 and below 0.5",
        "[tests] seed = -1",
        "[tests] n_permutations = 100000000",
    ):
        assert text in message


@pytest.mark.parametrize(
    ("hypotheses", "sentence"),
    [
        ("sesoi_z = 0.1\nsesoi_d = 0.3", "sesoi_z and sesoi_d both state"),
        ("primary = []", "[hypotheses] primary is empty; name at least one, or remove the key"),
        ("circuits = []", "[hypotheses] circuits is empty"),
        (
            "circuits = ['tpn']\nprimary = ['dmn', 'tpn']",
            "primary names dmn, which circuits does not name; add it to circuits",
        ),
        (
            "circuits = ['tpn']\ndirections = {dmn = 'increase', salience = 'decrease'}",
            "directions names dmn, salience, which circuits does not name; add them to circuits",
        ),
    ],
)
def test_hypotheses_that_contradict_each_other(tmp_path, hypotheses, sentence):
    assert sentence in problems_of(tmp_path, f"[hypotheses]\n{hypotheses}\n")


def test_a_file_that_is_not_toml(tmp_path):
    with pytest.raises(TableError, match="the file is not TOML"):
        read_study_file(write(tmp_path, "[sessions\n"))


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"followup": "pre"}, "name two sessions"),
        ({"control_baseline": "a1"}, "one of them is missing"),
        (
            {"control_baseline": "a1", "control_followup": "a2", "control": ("placebo",)},
            "a crossover has no control group",
        ),
        ({"control_baseline": "a1", "control_followup": "a1"}, "must be different"),
        ({"visits": ("post", "pre")}, "must start with the baseline 'pre'"),
        ({"treated": ("a",), "control": ("a",)}, "has two roles"),
        ({"harmonise": True}, "requires \\[model\\] site"),
        ({"alpha": 2.0}, "alpha = 2; an error rate is above 0 and below 0.5"),
        ({"sesoi_z": -0.1}, "sesoi_z = -0.1; a smallest effect of interest is above 0"),
        ({"sesoi_z": float("inf")}, "sesoi_z = inf; a smallest effect"),
        ({"sesoi_d": 0.0}, "sesoi_d = 0; a smallest"),
        ({"sesoi_gain": -1.0}, "sesoi_gain = -1; a smallest"),
        ({"sesoi_share": float("nan")}, "sesoi_share = nan; a smallest"),
        ({"sesoi_z": 0.1, "sesoi_d": 0.4}, "remove one of them"),
        ({"seed": -1}, "seed = -1; a seed is not negative"),
        ({"n_permutations": 5}, "cannot reach p = .05"),
        ({"n_permutations": 10**9}, "add no precision"),
    ],
)
def test_designs_that_contradict_themselves(keys, sentence):
    with pytest.raises(DesignError, match=sentence):
        Design(**({"baseline": "pre", "followup": "post"} | keys))


def design(**keys):
    return Design("pre", "post", **keys)


@pytest.mark.parametrize(
    ("keys", "available", "expected"),
    [
        ({}, ("dmn", "salience", "tpn"), ("dmn", "tpn")),
        ({}, ("salience", "mine"), ("salience", "mine")),
        ({"circuits": ("salience", "dmn")}, ("salience", "dmn"), ("salience", "dmn")),
        ({"circuits": ("salience", "dmn"), "primary": ("dmn",)}, ("salience", "dmn"), ("dmn",)),
        ({"primary": ("salience",)}, ("dmn", "salience"), ("salience",)),
    ],
)
def test_primary_circuits(keys, available, expected):
    assert design(**keys).primary_of(available) == expected


def test_roles_by_groups():
    trial = design(treated=("drug",), control=("placebo",), reference=("HC",))
    roles = [trial.role_of({"group": g}, label="x") for g in ("drug", "placebo", "HC", "n/a")]
    assert roles == ["treated", "control", "reference", "none"]
    assert trial.role_of({}, label="x") == "none"
    assert design().role_of({"group": "any"}, label="x") == "treated"


def test_roles_by_criteria_must_all_be_met_and_be_unique():
    criteria = (
        ("treated", "arm", ("1",)),
        ("treated", "dx", ("MDD",)),
        ("reference", "dx", ("HC",)),
        ("control", "arm", ("0",)),
    )
    trial = design(criteria=criteria)
    assert trial.role_of({"arm": "1", "dx": "MDD"}, label="x") == "treated"
    assert trial.role_of({"arm": "1", "dx": "BD"}, label="x") == "none"
    assert trial.group_of({"arm": "1", "dx": "MDD"}) == "arm = 1, dx = MDD"
    with pytest.raises(DesignError, match="sub-07 is both control and reference"):
        trial.role_of({"arm": "0", "dx": "HC"}, label="sub-07")


def test_the_reference_of_another_data_set():
    trial = design(treated=("drug",), reference=("HC",), reference_dataset="norms")
    assert trial.role_of({"group": "HC"}, label="x", data_set="norms") == "reference"
    assert trial.role_of({"group": "MDD"}, label="x", data_set="norms") == "none"
    assert trial.role_of({"group": "HC"}, label="x", data_set="other") == "none"
    assert trial.role_of({"group": "HC"}, label="x") == "none"


def test_names_for_display():
    trial = design(labels=(("treated", "escitalopram"),))
    assert (trial.label_of("treated"), trial.label_of("control")) == ("escitalopram", "control")


def test_every_key_is_documented():
    page = (Path(__file__).parents[3] / "docs/study-file.md").read_text()
    for table, keys in STUDY_KEYS.items():
        for key, (_, meaning) in keys.items():
            assert f"| `[{table}]` | `{key}` | {meaning} |" in page


def test_a_name_that_is_listed_twice_is_refused(tmp_path):
    path = write(tmp_path, '[model]\ncovariates = ["age", "sex", "age"]\n')
    with pytest.raises(InputProblemsError, match=r"\[model\] covariates names age twice"):
        read_study_file(path)
