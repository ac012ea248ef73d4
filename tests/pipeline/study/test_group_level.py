"""The group level from files: included runs, settings, notes, and results of failed runs."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.errors import DesignError, InputError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.measure.atlas_files import prepare_atlases
from circuitshift.pipeline.measure.person import RUNS_COLUMNS, measure_participant
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.pipeline.study.group_level import (
    DataSet,
    fit_study,
    read_input,
    recorded_settings,
    resolve_study,
    run_group,
)
from circuitshift.pipeline.study.ratings import Rating
from circuitshift.pipeline.study.resolution.resolve import require
from circuitshift.pipeline.study.study_file import StudyFile
from circuitshift.pipeline.study.verdict_file import SCHEMA_VERSION

REGIONS = tuple(
    f"7Networks_{side}H_{network}_{k}"
    for network in ("Default", "DorsAttn", "Cont", "Vis", "SomMot")
    for side in "LR"
    for k in (1, 2, 3)
)
PARTICIPANTS = tuple(f"{k:02d}" for k in range(1, 11))  # the odd ones are treated
TWICE = "01"  # has two runs at baseline
SETTINGS = AnalysisSettings()


def stated(**more):
    keys = {"baseline": "pre", "followup": "post", "treated": ("active",), "control": ("sham",)}
    # the simulated series have no global signal, which would be taken for its regression
    keys |= {"n_permutations": 99, "global_signal_removed": False}
    return StudyFile(None, tuple((keys | more).items()))


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Measure ten participants with two visits each."""
    root = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(4)
    rows = ["participant_id\tgroup"]
    for k, label in enumerate(PARTICIPANTS):
        rows.append(f"sub-{label}\t{'sham' if k % 2 else 'active'}")
        for session in ("pre", "post"):
            folder = root / "data" / f"sub-{label}" / f"ses-{session}" / "func"
            runs = (1, 2) if (label, session) == (TWICE, "pre") else (1,)
            for run in runs:
                series = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 30))
                series += rng.normal(size=(50, 30))
                name = f"sub-{label}_ses-{session}_task-rest_run-{run}_atlas-Tiny_timeseries.tsv"
                tables.write_series(folder / name, REGIONS, series, sidecar={"RepetitionTime": 5.0})
    (root / "data/participants.tsv").write_text("\n".join(rows) + "\n")
    found = bids.find_runs(root / "data", bids.Query())
    prepare_atlases(found.runs, SETTINGS, root / "out")
    for label in PARTICIPANTS:
        runs = [run for run in found.runs if run.participant == label]
        measure_participant(runs, (), participant=label, settings=SETTINGS, out_dir=root / "out")
    return root


@pytest.fixture
def study(measured, tmp_path):
    """Return a copy of the measured data that a test can change."""
    shutil.copytree(measured, tmp_path / "study")
    return DataSet(tmp_path / "study/out", tmp_path / "study/data")


def fit(data_set, **more):
    return fit_study([data_set], stated(**more), SETTINGS)[1]


def matrix_of(data_set, label, session, run=1):
    name = f"sub-{label}_ses-{session}_task-rest_run-{run}_*_relmat.tsv"
    (path,) = data_set.outputs.glob(f"sub-{label}/ses-{session}/func/{name}")
    return path


def fisher_z(data_set, *key):
    matrix = tables.read_matrix(matrix_of(data_set, *key))[1]
    return np.arctanh(matrix[np.triu_indices(30, 1)])


def change_rows(data_set, label, change):
    """Apply a function to each row of the table of runs of a participant."""
    path = data_set.outputs / f"sub-{label}/sub-{label}_runs.tsv"
    rows = [row for old in tables.read_table(path).rows() for row in change(old)]
    tables.write_table(path, {name: [row[name] for row in rows] for name in rows[0]})


def test_edges_are_fisher_z_of_each_session(study):
    cohort = fit(study).cohort
    assert [m.participant for m in cohort.pairs] == list(PARTICIPANTS)
    for row, label in enumerate(PARTICIPANTS[1:], start=1):
        np.testing.assert_allclose(cohort.baseline[row], fisher_z(study, label, "pre"), atol=1e-7)
        np.testing.assert_allclose(cohort.followup[row], fisher_z(study, label, "post"), atol=1e-7)
    both = (fisher_z(study, TWICE, "pre", 1) + fisher_z(study, TWICE, "pre", 2)) / 2
    np.testing.assert_allclose(cohort.baseline[0], both, atol=1e-7)


def test_arms_follow_the_groups(study):
    found = fit(study)
    np.testing.assert_array_equal(found.cohort.treated, [True, False] * 5)
    (row,) = [e for e in found.analysis.estimates if (e.family, e.term) == ("global", "shift")]
    assert (row.n, row.n_control) == (5, 5)


def test_an_arm_of_one_participant_is_named_with_the_participant(study):
    others = ("04", "06", "08", "10")  # of the control arm
    for label in others:
        change_rows(study, label, lambda row: [] if row["session"] == "post" else [row])
    with pytest.raises(DesignError) as caught:
        fit(study, labels=(("control", "placebo"),))
    assert (
        "only 1 participant of the control arm (placebo) has both visits, sub-02 (without both "
        "visits: sub-04, sub-06, sub-08, sub-10); each arm needs at least two"
    ) in str(caught.value)


def test_excluded_runs_do_not_enter_the_group(study):
    def exclude(row):
        if "run-2" in row["run"]:
            row = row | {"status": "excluded", "code": "motion", "reason": "it moved"}
        return [row]

    change_rows(study, TWICE, exclude)
    change_rows(study, "04", lambda row: [row | {"status": "excluded", "code": "motion"}])
    cohort = fit(study).cohort
    np.testing.assert_allclose(cohort.baseline[0], fisher_z(study, TWICE, "pre", 1), atol=1e-7)
    assert "04" not in [m.participant for m in (*cohort.pairs, *cohort.lone)]


def test_strategies_are_not_mixed(study):
    """The table of runs also contains matrices of the strategies of sensitivity analyses."""
    victim = matrix_of(study, TWICE, "pre", 2)
    other = victim.with_name(victim.name.replace("_relmat", "_desc-other_relmat"))
    labels, _ = tables.read_matrix(victim)
    tables.write_matrix(other, labels, np.eye(30))
    name = other.relative_to(study.outputs).as_posix()

    def twice(row):
        return [row, row | {"strategy": "36p", "relmat": name}] if "run-2" in row["run"] else [row]

    before = fit(study).cohort.baseline
    change_rows(study, TWICE, twice)
    np.testing.assert_array_equal(fit(study).cohort.baseline, before)


def test_a_matrix_of_other_regions_is_refused(study):
    path = matrix_of(study, "03", "post")
    labels, matrix = tables.read_matrix(path)
    order = np.r_[1, 0, 2:30]
    tables.write_matrix(path, [labels[k] for k in order], matrix[np.ix_(order, order)])
    with pytest.raises(InputError, match="regions are not those of atlas Tiny"):
        fit(study)


def test_equal_labels_of_two_data_sets_are_two_participants(study):
    found = read_input([study, DataSet(study.outputs, study.participants, "ds2")])
    found_in = {row["person"] for row in found.rows}
    assert found_in == {*PARTICIPANTS, *(f"ds2:{label}" for label in PARTICIPANTS)}


def test_the_seed_decides_the_permutations(study):
    def p_values(seed):
        return [e.p for e in fit(study, seed=seed).analysis.estimates if e.family == "specific"]

    first = p_values(7)
    assert len(first) > 1
    assert p_values(7) == first
    assert p_values(8) != first


def test_partial_correlations_have_no_term_of_the_global_signal(study):
    settings = replace(SETTINGS, estimator="partial")
    sample = fit_study([study], stated(), settings)[1].analysis.sample
    assert "partial correlations" in sample.without["global_signal"]
    assert sample.signal is None
    assert fit(study).analysis.sample.without == {}


def test_a_saved_rating_excludes_a_participant(study):
    folder = study.outputs / "ratings"
    folder.mkdir()
    content = {"participant_id": "sub-06", "session_id": "n/a", "rating": "exclude"}
    (folder / "a.json").write_text(json.dumps(content))
    assert "06" not in [m.participant for m in fit(study).cohort.pairs]


def test_a_group_level_that_fails_leaves_no_old_verdict(study):
    group = study.outputs / "group"
    group.mkdir()
    for name in ("verdict.json", "report.html"):
        (group / name).write_text("{}")
    with pytest.raises(DesignError):
        run_group(
            [study], stated(circuits=("dmn",), directions=(("tpn", "increase"),)),
            settings=SETTINGS, out_dir=study.outputs,
        )  # fmt: skip
    assert [path.name for path in group.glob("*.json")] == ["design.json"]
    assert not list(group.glob("*.html"))


def test_edges_tsv_holds_the_means_of_each_arm(study):
    made = run_group([study], stated(), settings=SETTINGS, out_dir=study.outputs)
    table = tables.read_table(made.edges)
    pairs = [(REGIONS[i], REGIONS[j]) for i, j in zip(*np.triu_indices(30, 1), strict=True)]
    assert list(zip(table.column("node_a"), table.column("node_b"), strict=True)) == pairs
    cohort = fit(study).cohort
    assert not cohort.covariate_names
    assert cohort.motion_mm is None
    change = cohort.followup - cohort.baseline
    for name, expected in (
        ("typical_z", cohort.baseline.mean(axis=0)),
        ("change_treated_z", change[::2].mean(axis=0)),
        ("change_control_z", change[1::2].mean(axis=0)),
    ):
        np.testing.assert_allclose(table.numbers(name), expected, atol=1e-5)
    assert np.isnan(table.numbers("reference_z")).all()
    difference = change[::2].mean(axis=0) - change[1::2].mean(axis=0)
    np.testing.assert_allclose(table.numbers("estimate_z"), difference, atol=1e-5)


def add_run(out, label, session, *, status="included"):
    """Add a row to the table of runs of a participant."""
    path = out / f"sub-{label}" / f"sub-{label}_runs.tsv"
    rows = list(tables.read_table(path).rows()) if path.exists() else []
    rows.append(
        {"run": f"sub-{label}_ses-{session}", "session": session, "status": status}
        | ({"code": "motion", "reason": "it moved"} if status != "included" else {})
    )
    tables.write_table(path, {name: [row.get(name) for row in rows] for name in RUNS_COLUMNS})


def test_ratings_exclude_sessions_cause_warnings_or_are_noted(tmp_path):
    out, data = tmp_path / "out", tmp_path / "data"
    data.mkdir()
    for session in ("pre", "post"):
        add_run(out, "01", session)
    add_run(out, "02", "pre", status="excluded")
    ratings = (
        Rating("01", "post", "exclude", "AB", "stripes"),
        Rating("01", "pre", "doubt", "AB", "dim"),
        Rating("02", "", "exclude", "AB"),
        Rating("02", "", "doubt", "CD"),
        Rating("02", "post", "keep", "AB"),
        Rating("99", "", "exclude", "AB", "wrong label"),
    )
    found = read_input([DataSet(out, data)], ratings)
    rows = {(row["person"], row["session"]): row for row in found.rows}
    assert rows["01", "pre"]["status"] == "included"
    assert rows["01", "post"]["status"] == "excluded"
    assert rows["01", "post"]["code"] == "rated"
    assert rows["01", "post"]["reason"] == "rated exclude by AB: stripes"
    assert rows["02", "pre"]["code"] == "motion"  # the threshold remains the reason
    doubt, misplaced = found.doubts
    assert doubt == "sub-01, ses-pre is included in the analysis but was rated doubt by AB: dim."
    assert misplaced.startswith("sub-99 was rated exclude by AB: wrong label; ")
    assert misplaced.endswith("this rating has no effect.")
    assert "sub-02, ses-post was rated keep by AB" in " ".join(found.notes)
    assert read_input([DataSet(out, data)]).rows[0]["status"] == "included"


def test_a_data_set_without_measurements_raises_an_error(tmp_path):
    with pytest.raises(InputError, match="contains no measured participants"):
        read_input([DataSet(tmp_path, tmp_path)])


def test_settings_are_read_from_the_measurements_and_must_agree(study):
    assert recorded_settings([study]) == SETTINGS.measuring()
    for session in ("pre", "post"):
        path = matrix_of(study, "07", session).with_suffix(".json")
        content = tables.read_json(path)
        settings = content["Settings"] | {"min_minutes": 3.0}
        tables.write_json(path, content | {"Settings": settings})
    with pytest.raises(InputError, match=r"measured with different settings \(07 unlike 01, 02"):
        recorded_settings([study])


def test_the_design_is_inferred_from_measured_sessions_and_groups(study):
    stated = StudyFile(None, (("treated", ("active",)),))
    design = require(resolve_study(read_input([study]), stated)[0])
    assert (design.baseline, design.followup) == ("pre", "post")
    assert (design.treated, design.control) == (("active",), ("sham",))


def sentences(content):
    """Return the texts of verdict.json that consist of several words."""
    if isinstance(content, dict):
        skipped = ("circuits_not_resolved", "made_from", "files")  # definitions and files by name
        content = [part for key, part in content.items() if key not in skipped]
    if isinstance(content, list):
        return [text for part in content for text in sentences(part)]
    return [content] if isinstance(content, str) and " " in content else []


def test_sentences_of_the_verdict_contain_words_and_minus_signs(study):
    found = run_group([study], stated(), settings=SETTINGS, out_dir=study.outputs)
    content = tables.read_json(found.verdict)
    texts = sentences(content)
    assert any("global-signal amplitude" in text for text in texts)
    assert "antagonism of default-mode and task-positive networks" in content["reason"]
    keys = {"global_signal_removed", "acq_time"}  # to be written into files by the reader
    for text in texts:
        assert set(re.findall(r"\b\w+_\w+\b(?!\.)", text)) <= keys, text
        assert not re.search(r"(^|[ (+])-\.?\d", text), text


def test_every_key_of_the_verdict_is_documented(study):
    written = tables.read_json(
        run_group([study], stated(), settings=SETTINGS, out_dir=study.outputs).verdict
    )
    text = (Path(__file__).parents[3] / "docs/verdict-json.md").read_text()
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert documented == set(written)
    assert written["schema_version"] == SCHEMA_VERSION
    assert f"`schema_version` is `{SCHEMA_VERSION}`" in text
    assert written["heterogeneity"]["source"] == "pairs of networks of the atlas"
    assert written["heterogeneity"]["n_blocks"] == len(written["blocks"]) > 5


def test_dropout_at_one_visit_removes_the_region_at_both_and_is_said(study, tmp_path):
    path = matrix_of(study, "03", "post")
    labels, matrix = tables.read_matrix(path)
    matrix = matrix.copy()
    matrix[4] = matrix[:, 4] = np.nan
    tables.write_matrix(path, labels, matrix)
    fitted = fit(study)
    row = PARTICIPANTS.index("03")
    first, second = np.triu_indices(30, 1)
    lost = (first == 4) | (second == 4)
    for edges in (fitted.cohort.baseline, fitted.cohort.followup):
        np.testing.assert_array_equal(np.isnan(edges[row]), lost)
        assert np.isfinite(np.delete(edges, row, axis=0)).all()
    run_group([study], stated(), settings=SETTINGS, out_dir=tmp_path / "out")
    (said,) = tables.read_table(tmp_path / "out/group/missing_regions.tsv").rows()
    expected = ("sub-03", "post", REGIONS[4], "pre")
    assert tuple(said.values()) == expected
    notes = json.loads((tmp_path / "out/group/verdict.json").read_text())["notes"]
    assert [note for note in notes if f"sub-03 ses-post: {REGIONS[4]}" in note]
