"""Tables of the group level: values, columns and their descriptions."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import t as student

from circuitshift.atlases.records import Circuit
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.model.verdict import Estimate
from circuitshift.pipeline.study import tables as group_tables
from circuitshift.pipeline.study.pairing import Exclusion, Measured, Member, assemble
from circuitshift.pipeline.study.study_file import Design

FEATURES = FeatureSpace.of_edges(("a", "b", "c"), length_mm=np.array([10.0, 20.004, 30.0]))
CIRCUIT = Circuit("first", "First circuit", seeds=(0,), targets=(1, 2), direction="", why="")
MEMBERS = (
    Member("01", "drug", "treated"),
    Member("02", "sham", "control"),
    Member("03", "drug", "treated"),
    Member("ds2:01", "hc", "reference"),
)
EDGES = {
    ("01", "pre"): [0.1, 0.2, 0.3],
    ("01", "post"): [0.4, 0.2, np.nan],
    ("02", "pre"): [0.3, 0.4, 0.5],
    ("02", "post"): [0.2, 0.4, 0.6],
    ("03", "pre"): [0.6, np.nan, 0.9],
    ("ds2:01", "pre"): [0.7, 0.8, 0.9],
}
SESSIONS = {
    key: Measured(*key, np.array(z, float), 30.0, 5.0, np.nan, "run") for key, z in EDGES.items()
}


@pytest.fixture
def cohort():
    return assemble(SESSIONS, MEMBERS, Design("pre", "post"))


def described(path):
    """Return a table after checking that its JSON file describes each column."""
    table = tables.read_table(path)
    about = tables.read_json(path.with_suffix(".json"))
    assert all(about[name]["Description"] for name in table.columns)
    return table


@pytest.mark.parametrize(
    ("key", "label"), [("01", "sub-01"), ("ds2:01", "ds2:sub-01"), ("a:b:01", "a:b:sub-01")]
)
def test_labels_of_participants_contain_the_data_set(key, label):
    assert group_tables.participant_id_of(key) == label


def test_a_table_without_rows_has_a_header(tmp_path):
    group_tables.write_rows(tmp_path / "x.tsv", [], {"a": "First", "b": "Second"})
    assert (tmp_path / "x.tsv").read_text() == "a\tb\n"
    group_tables.write_rows(tmp_path / "y.tsv", [{"b": 2, "a": 1}], {"a": "First", "b": "Second"})
    assert described(tmp_path / "y.tsv").column("b") == ["2"]


def test_circuits_are_means_of_available_edges(tmp_path):
    group_tables.write_circuits(
        tmp_path / "circuits.tsv", SESSIONS, MEMBERS, circuits=[CIRCUIT], features=FEATURES
    )
    table = described(tmp_path / "circuits.tsv")
    rows = {(row["participant_id"], row["session"]): row for row in table.rows()}
    assert len(rows) == len(EDGES)
    assert float(rows["sub-01", "pre"]["value_z"]) == pytest.approx(0.15)  # edges a-b and a-c
    assert rows["sub-01", "pre"]["n_edges"] == "2"
    assert float(rows["sub-03", "pre"]["value_z"]) == pytest.approx(0.6)
    assert rows["sub-03", "pre"]["n_edges"] == "1"
    assert rows["ds2:sub-01", "pre"]["arm"] == "reference"
    assert rows["sub-02", "post"]["group"] == "sham"


def test_edges_contain_means_of_each_arm(tmp_path, cohort):
    p = np.array([0.5, 0.25, 1.0])
    group_tables.write_edges(
        tmp_path / "edges.tsv",
        cohort,
        FEATURES,
        circuits=[CIRCUIT],
        tested={"p": p},
        motion={"qcfc_r": np.array([0.12345, np.nan, -1.0])},
    )
    table = described(tmp_path / "edges.tsv")
    assert table.column("node_a") == ["a", "a", "b"]
    assert table.column("node_b") == ["b", "c", "c"]
    assert table.column("circuits") == ["first", "first", "n/a"]
    baselines = np.array([EDGES[label, "pre"] for label in ("01", "02", "03")])
    np.testing.assert_allclose(table.numbers("typical_z"), np.nanmean(baselines, axis=0), atol=1e-5)
    np.testing.assert_allclose(table.numbers("change_treated_z"), [0.3, 0, np.nan], atol=1e-5)
    np.testing.assert_allclose(table.numbers("change_control_z"), [-0.1, 0, 0.1], atol=1e-5)
    np.testing.assert_allclose(table.numbers("reference_z"), EDGES["ds2:01", "pre"])
    np.testing.assert_array_equal(table.numbers("p"), p)
    assert np.isnan(table.numbers("statistic")).all()
    np.testing.assert_allclose(table.numbers("distance_mm"), [10, 20, 30])
    np.testing.assert_allclose(table.numbers("qcfc_r"), [0.1234, np.nan, -1], atol=1e-4)


def test_change_contains_coefficients_of_each_participant(tmp_path, cohort):
    response = SimpleNamespace(
        terms=("shift", "gain"),
        circuits=("first",),
        coefficients=np.array([[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]]),  # last row: baseline only
        specific=np.array([[5.0], [6.0], [9.0]]),
    )
    analysis = SimpleNamespace(response=response)
    group_tables.write_change(tmp_path / "change.tsv", cohort, analysis)
    table = described(tmp_path / "change.tsv")
    assert table.column("participant_id") == ["sub-01", "sub-02"]
    assert table.column("arm") == ["treated", "control"]
    np.testing.assert_array_equal(table.numbers("global_gain"), [2, 4])
    np.testing.assert_array_equal(table.numbers("specific_first"), [5, 6])
    assert "symptom_change" not in table.columns


def test_exclusions_name_participant_session_and_reason(tmp_path):
    exclusions = [
        Exclusion("03", "post", "pairing", "missing-visit", "no usable follow-up"),
        Exclusion("ds2:01", "", "design", "no-role", "group has no role"),
    ]
    group_tables.write_exclusions(tmp_path / "exclusions.tsv", exclusions, MEMBERS)
    first, second = described(tmp_path / "exclusions.tsv").rows()
    assert (first["participant_id"], first["arm"], first["session"]) == (
        "sub-03",
        "treated",
        "post",
    )
    assert (second["participant_id"], second["session"]) == ("ds2:sub-01", "n/a")
    assert second["reason"] == "group has no role"


def estimate(family, term, se=0.1, df=20.0):
    fields = dict.fromkeys(Estimate.__dataclass_fields__, np.nan)
    words = {"test": "change", "family": family, "term": term, "unit": "Fisher z"}
    return Estimate(**fields | words | {"se": se, "df": df, "method": "", "note": ""})


def test_tests_contain_all_analyses_and_detectable_effects(tmp_path):
    primary = SimpleNamespace(estimates=(estimate("specific", "a"), estimate("specific", "b")))
    other = SimpleNamespace(estimates=(estimate("specific", "a", se=0.2),))
    group_tables.write_tests(
        tmp_path / "tests.tsv",
        primary,
        [("36p", other, ""), ("24p", None, "too little data")],
        [estimate("trajectory", "slope", se=np.nan)],
        alpha=0.05,
    )
    table = described(tmp_path / "tests.tsv")
    assert table.column("family") == [
        "specific",
        "specific",
        "trajectory",
        "sensitivity: 36p: specific",
    ]
    quantile = student(20).ppf
    expected = quantile(0.975) + quantile(0.8)
    np.testing.assert_allclose(
        table.numbers("detectable"), [0.1 * expected, 0.1 * expected, np.nan, 0.2 * expected],
        rtol=1e-6,
    )  # fmt: skip
    two_tests = 0.1 * (quantile(1 - 0.025 / 2) + quantile(0.8))
    np.testing.assert_allclose(
        table.numbers("detectable_family"), [two_tests, two_tests, np.nan, 0.2 * expected],
        rtol=1e-6,
    )  # fmt: skip
