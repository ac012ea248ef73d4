"""Content of ``verdict.json``: warnings, counts of participants, and halves of runs."""

from types import SimpleNamespace

import numpy as np
import pytest

from circuitshift.pipeline import edges
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.model.analyse import Analysis
from circuitshift.pipeline.model.heterogeneity.summary import Heterogeneity
from circuitshift.pipeline.model.verdict import Verdict
from circuitshift.pipeline.records import AS_GIVEN, AnalysisSettings
from circuitshift.pipeline.study.pairing import Measured, Member, assemble
from circuitshift.pipeline.study.study_file import Design
from circuitshift.pipeline.study.verdict_file import (
    Context,
    _exclusion_by_arm,
    _flow,
    _gsr_warning,
    _other_data_warning,
    baseline_halves,
    edge_motion,
    global_signal_of,
    is_gsr,
    with_titles,
)


def analysis(name):
    """Return an analysis that contains only a verdict."""
    return Analysis((), Verdict(name, "", "", (), Heterogeneity.unknown("")), None, None, None)


def test_all_sentences_name_circuits_and_terms_by_words():
    """Keys and tables keep the names."""
    texts = {
        "sentence": "dmn_tpn increased.",
        "reason": "global: average_change -0.1",
        "warnings": ["A warning on dmn_tpn."],
        "notes": ["A note on dmn_tpn."],
        "sensitivity": [{"strategy": "36p", "reason": "dmn_tpn -0.1"}],
        "secondary": {"findings": ["A finding on dmn_tpn."], "best": "dmn_tpn"},
        "not_claimed": ["dmn_tpn"],
        "circuits": {"dmn_tpn": {"estimate": -0.1}},
    }
    found = with_titles(texts, {"dmn_tpn": "antagonism of networks"})
    assert found == {
        "sentence": "Antagonism of networks increased.",
        "reason": "global: average change \N{MINUS SIGN}0.1",
        "warnings": ["A warning on antagonism of networks."],
        "notes": ["A note on antagonism of networks."],
        "sensitivity": [{"strategy": "36p", "reason": "Antagonism of networks \N{MINUS SIGN}0.1"}],
        "secondary": {"findings": ["A finding on antagonism of networks."], "best": "dmn_tpn"},
        "not_claimed": ["dmn_tpn"],
        "circuits": {"dmn_tpn": {"estimate": -0.1}},
    }


def test_strategies_with_global_signal_regression_are_recognised():
    settings = AnalysisSettings()
    assert not is_gsr("24p+acompcor", settings)
    assert is_gsr("24p+acompcor+gsr", settings)
    assert is_gsr("36p", settings)
    assert not is_gsr(AS_GIVEN, settings)


@pytest.mark.parametrize(
    ("ours", "theirs", "strategy", "is_warned"),
    [
        ("undetermined", "circuit-specific", "24p+gsr", True),
        ("circuit-specific", "undetermined", "24p+gsr", True),
        ("circuit-specific", "circuit-specific", "24p+gsr", False),
        ("global", "undetermined", "24p+gsr", False),  # global terms are not tested there
        ("undetermined", "circuit-specific", "24p", False),
    ],
)
def test_a_verdict_that_depends_on_global_signal_regression_causes_a_warning(
    ours, theirs, strategy, is_warned
):
    found = _gsr_warning(
        analysis(ours), [(strategy, analysis(theirs), ""), ("36p", None, "it failed")],
        AnalysisSettings(),
    )  # fmt: skip
    assert len(found) == is_warned
    assert all(ours in text and theirs in text and strategy in text for text in found)


MEMBERS = (
    Member("01", "drug", "treated"),
    Member("02", "sham", "control"),
    Member("03", "drug", "treated"),
    Member("ds2:04", "hc", "reference"),
)


def cohort_of(sites=("", "", "", "")):
    members = [
        Member(m.participant, m.group, m.role, site=site)
        for m, site in zip(MEMBERS, sites, strict=True)
    ]
    keys = [("01", "pre"), ("01", "post"), ("02", "pre"), ("02", "post"), ("ds2:04", "pre")]
    sessions = {key: Measured(*key, np.ones(3), 30.0, 5.0, 0.1, "run") for key in keys}
    return assemble(sessions, members, Design("pre", "post"))


def test_excluded_participants_are_counted_by_arm():
    found = _exclusion_by_arm(MEMBERS, cohort_of())
    assert found["analysed_and_excluded"] == {"treated": (1, 1), "control": (1, 0)}
    assert found["p"] == pytest.approx(1.0)  # all tables with these margins are equally likely


def test_the_flow_counts_listed_measured_and_analysed_participants():
    statuses = {"01": "included", "02": "excluded", "03": "failed", "ds2:04": "included"}
    rows = [{"person": label, "status": status} for label, status in statuses.items()]
    context = SimpleNamespace(measurements=SimpleNamespace(rows=rows), members=MEMBERS)
    assert _flow(context, cohort_of()) == {
        "treated": {"listed": 2, "measured": 1, "analysed": 1},
        "control": {"listed": 1, "measured": 1, "analysed": 1},
        "reference": {"listed": 1, "measured": 1, "analysed": 1},
    }


def test_a_reference_group_of_another_data_set_causes_a_warning():
    context = SimpleNamespace(design=SimpleNamespace(reference_dataset="ds2"))
    (warning,) = _other_data_warning(context, cohort_of(("A", "A", "A", "B")))
    assert "data set ds2" in warning
    assert "No site scanned both (A for the patients; B for the reference group)" in warning
    (warning,) = _other_data_warning(context, cohort_of(("A", "A", "A", "A")))
    assert "No site" not in warning
    context.design.reference_dataset = ""
    assert _other_data_warning(context, cohort_of()) == []


def test_edges_are_correlated_with_motion_at_baseline_and_as_change():
    rng = np.random.default_rng(2)
    labels = [f"{k:02d}" for k in range(8)]
    sessions = {
        (label, session): Measured(
            label, session, rng.normal(size=3), 30.0, 5.0, float(rng.random()), "run"
        )
        for label in labels
        for session in ("pre", "post")
    }
    design = Design("pre", "post")
    cohort = assemble(sessions, [Member(label, "t", "treated") for label in labels], design)
    change = cohort.followup - cohort.baseline
    fitted = SimpleNamespace(
        cohort=cohort, sessions=sessions, visits=SimpleNamespace(change=change)
    )
    found = edge_motion(SimpleNamespace(design=design), fitted)
    before, after = (
        np.array([sessions[label, session].mean_fd_mm for label in labels])
        for session in ("pre", "post")
    )
    for k in range(3):
        expected = np.corrcoef(cohort.baseline[:, k], before)[0, 1]
        assert found["qcfc_r"][k] == pytest.approx(expected)
        expected = np.corrcoef(change[:, k], after - before)[0, 1]
        assert found["qcfc_change_r"][k] == pytest.approx(expected)


def test_halves_of_the_baseline_are_averaged_over_runs(tmp_path):
    rng = np.random.default_rng(3)
    series = {run: rng.normal(size=(21, 3)) for run in (1, 2)}
    rows = []
    for run, values in series.items():
        stem = f"sub-01_ses-pre_run-{run}_atlas-Tiny"
        tables.write_series(
            tmp_path / f"{stem}_stat-mean_timeseries.tsv", ("a", "b", "c"), values, sidecar={}
        )
        rows.append(
            {
                "status": "included", "strategy": "24p", "atlas": "Tiny", "session": "pre",
                "person": "01", "root": str(tmp_path),
                "relmat": f"{stem}_stat-pearsoncorrelation_relmat.tsv",
            }
        )  # fmt: skip
    rows.append(rows[0] | {"strategy": "36p"})
    rows.append(rows[0] | {"status": "excluded"})
    context = SimpleNamespace(
        design=Design("pre", "post"),
        atlas=SimpleNamespace(name="Tiny"),
        measurements=SimpleNamespace(rows=rows),
    )
    pair = SimpleNamespace(pairs=(Member("01", "t", "treated"),))
    fitted = SimpleNamespace(cohort=pair, strategy="24p")
    first, second = baseline_halves(context, fitted)
    halves = (slice(None, 10), slice(10, None))
    for found, half in zip((first, second), halves, strict=True):
        expected = np.mean([edges.edges(values[half]) for values in series.values()], axis=0)
        np.testing.assert_allclose(found, [expected], atol=1e-6)
    (tmp_path / "sub-01_ses-pre_run-1_atlas-Tiny_stat-mean_timeseries.tsv").unlink()
    (tmp_path / "sub-01_ses-pre_run-2_atlas-Tiny_stat-mean_timeseries.tsv").unlink()
    assert baseline_halves(context, fitted) is None
    matrices = [np.corrcoef(values.T) for values in series.values()]
    for row, matrix in zip(rows, matrices, strict=False):  # two runs are two halves
        tables.write_matrix(tmp_path / row["relmat"], ("a", "b", "c"), matrix)
    for found, matrix in zip(baseline_halves(context, fitted), matrices, strict=True):
        expected = edges.fisher_z(edges.from_matrix(matrix))
        np.testing.assert_allclose(found, [expected], atol=1e-6)


def context_of(declared=(), stated=None, estimator="pearson"):
    rows = [
        {"status": "included", "strategy": AS_GIVEN, "global_signal_removed": text}
        for text in declared
    ]
    return SimpleNamespace(
        settings=AnalysisSettings(estimator=estimator),
        design=Design("pre", "post", global_signal_removed=stated),
        measurements=SimpleNamespace(rows=rows),
    )


def edges_of(mean, spread, n=12):
    rng = np.random.default_rng(3)
    means = mean + spread * np.linspace(-1, 1, n)
    return means[:, None] + 0.3 * rng.standard_normal((n, 500))


@pytest.mark.parametrize(
    ("keys", "edges", "expected"),
    [
        ({}, edges_of(0.0, 0.0), (True, "detected")),
        ({}, edges_of(0.2, 0.1), (False, "detected")),
        ({}, edges_of(0.05, 0.0), (None, "unknown")),
        ({"declared": ["true", "n/a"]}, edges_of(0.05, 0.0), (True, "declared")),
        ({"declared": ["true", "false"]}, edges_of(0.05, 0.0), (None, "differs")),
        ({"stated": False, "declared": ["true"]}, edges_of(0.05, 0.0), (False, "stated")),
        ({"estimator": "partial"}, edges_of(0.0, 0.0), (None, "unknown")),
    ],
)
def test_global_signal_regression_elsewhere_is_stated_declared_or_detected(keys, edges, expected):
    status = global_signal_of(AS_GIVEN, context_of(**keys), (edges, edges))
    assert (status.removed, status.source) == expected


def test_a_statement_that_the_edges_contradict_is_a_warning():
    status = global_signal_of(AS_GIVEN, context_of(stated=False), (edges_of(0.0, 0.0),))
    assert (status.removed, status.source) == (False, "stated")
    assert status.warnings[0].startswith(
        "The study file states that the global signal was not regressed out, and the analysis "
        "relies on it, but the edges contradict it. The edges look as if the global signal was "
        "regressed out: the mean edge is"
    )


def test_strategies_need_no_detection():
    status = global_signal_of("24p+acompcor+gsr", context_of(), (edges_of(0.2, 0.1),))
    assert (status.removed, status.source) == (True, "strategy")


def test_a_mean_that_changes_is_no_sign_of_global_signal_regression():
    status = global_signal_of(AS_GIVEN, context_of(), (edges_of(0.0, 0.0), edges_of(0.15, 0.0)))
    assert (status.removed, status.source) == (False, "detected")


@pytest.mark.parametrize(
    ("keys", "files", "expected"),
    [
        ({}, (), ("dmn", "tpn")),
        ({}, ("own.toml",), ("dmn", "mine", "tpn")),
        ({"circuits": ("dmn", "salience")}, (), ("dmn", "mine", "salience", "tpn")),
        ({"primary": ("salience",)}, ("own.toml",), ("salience",)),
    ],
)
def test_circuits_of_own_files_are_primary(keys, files, expected):
    names = ("dmn", "mine", "salience", "tpn")
    context = Context(
        measurements=None,
        members=(),
        design=Design("pre", "post", **keys),
        atlas=None,
        circuits=tuple(SimpleNamespace(name=name) for name in names),
        settings=AnalysisSettings(circuits=files),
        features=None,
    )
    assert context.primary() == expected
