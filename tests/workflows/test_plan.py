"""Plan of an analysis: runs and problems of each participant, and the text of a dry run."""

import shutil

import nibabel as nib
import numpy as np
import pytest

from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.workflows.plan import (
    InputFolder,
    count_participants,
    describe,
    make_plan,
)

LABELS = [f"Region_{k}" for k in range(5)]


def write(root, participants, atlas="A"):
    for label in participants:
        for session in ("pre", "post"):
            path = root / f"sub-{label}/ses-{session}/func"
            path /= f"sub-{label}_ses-{session}_task-rest_atlas-{atlas}_timeseries.tsv"
            tables.write_series(path, LABELS, np.ones((5, 5)), sidecar={"RepetitionTime": 2.0})
    return root


def plan_of(data, out, query=None, **settings):
    return make_plan(
        [InputFolder(data, data)], query or bids.Query(), settings=AnalysisSettings(**settings),
        out_dir=out,
    )  # fmt: skip


def test_participants_have_their_own_runs_and_problems(tmp_path):
    data = write(tmp_path / "data", ("01", "02", "03"))
    empty = next(data.glob("sub-02/ses-post/func/*.tsv"))
    empty.write_bytes(b"")
    plan = plan_of(data, tmp_path / "out")
    summary = {
        p.participant: ([(r.participant, r.session) for r in p.runs], len(p.problems))
        for p in plan.participants
    }
    assert summary == {
        "01": ([("01", "post"), ("01", "pre")], 0),
        "02": ([("02", "pre")], 1),
        "03": ([("03", "post"), ("03", "pre")], 0),
    }


def test_participants_of_two_data_sets_can_have_the_same_label(tmp_path):
    main, other = (write(tmp_path / name, ("01",)) for name in ("main", "other"))
    plan = make_plan(
        [InputFolder(main, main), InputFolder(other, other, "healthy")], bids.Query(),
        settings=AnalysisSettings(), out_dir=tmp_path / "out",
    )  # fmt: skip
    first, second = plan.participants
    assert (first.data_set, second.data_set) == ("", "healthy")
    assert first.out_dir != second.out_dir
    assert first.node_name != second.node_name
    assert all(run.path.is_relative_to(main) for run in first.runs)
    assert all(run.path.is_relative_to(other) for run in second.runs)


def test_participants_without_files_are_listed(tmp_path):
    data = write(tmp_path / "data", ("01",))
    (data / "participants.tsv").write_text("participant_id\nsub-01\nsub-02\nsub-03\n")
    assert plan_of(data, tmp_path).without_data == ("sub-02", "sub-03")
    # a participant who was selected by label is listed with a problem instead
    plan = plan_of(data, tmp_path, bids.Query(participants=("01", "sub-03")))
    assert plan.without_data == ()
    assert [(p.participant, len(p.problems)) for p in plan.participants] == [("01", 0), ("03", 1)]


@pytest.mark.parametrize(
    ("atlases", "selected"),
    [(("b",), "B"), (("seitzman300",), "A"), (("/x/atlas-B_dseg.nii",), "B")],
)
def test_one_atlas_of_several_is_used(tmp_path, atlases, selected):
    data = write(write(tmp_path / "data", ("01",)), ("01",), atlas="B")
    plan = plan_of(data, tmp_path / "out", atlases=atlases)
    assert {run.atlas for run in plan.participants[0].runs} == {selected}
    assert len(plan.participants[0].runs) == 2
    other = "B" if selected == "A" else "A"
    note = f"Series or matrices of atlas {selected} are used; --atlas can select {other} instead."
    assert note in plan.notes


@pytest.mark.parametrize(
    ("available", "selected"),
    [
        (("Seitzman300", "Seitzman300Circuits"), "Seitzman300Circuits"),
        (("A", "Seitzman300"), "Seitzman300"),  # computed with the former default
    ],
)
def test_of_several_atlases_the_default_comes_first(tmp_path, available, selected):
    for name in available:
        data = write(tmp_path / "data", ("01",), atlas=name)
    plan = plan_of(data, tmp_path / "out")
    assert {run.atlas for run in plan.participants[0].runs} == {selected}


def test_the_first_requested_atlas_is_used(tmp_path):
    for name in ("A", "B"):
        data = write(tmp_path / "data", ("01",), atlas=name)
    plan = plan_of(data, tmp_path / "out", atlases=("b", "a"))
    assert {run.atlas for run in plan.participants[0].runs} == {"B"}


def test_without_usable_runs_all_problems_are_reported(tmp_path):
    data = write(tmp_path / "data", [f"{k:02d}" for k in range(1, 13)])
    for path in data.rglob("*.tsv"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="has no usable run") as caught:
        plan_of(data, tmp_path / "out")
    lines = str(caught.value).splitlines()
    assert sum("_timeseries.tsv" in line for line in lines[1:-1]) == 20
    assert "  - and 4 more problems" in lines
    assert "check --participant-label" in lines[-1]


@pytest.fixture
def raw(tmp_path):
    """Write a raw data set of one participant with one run."""
    folder = tmp_path / "raw" / "sub-01"
    for name, shape in (
        ("func/sub-01_task-rest_bold", (6, 5, 4, 60)),
        ("anat/sub-01_T1w", (64, 64, 64)),
    ):
        path = folder / f"{name}.nii.gz"
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(np.zeros(shape, np.int16), np.diag([3, 3, 3, 1])), path)
    (folder / "func/sub-01_task-rest_bold.json").write_text('{"RepetitionTime": 2.0}')
    return tmp_path / "raw"


def test_raw_images_are_used_without_preprocessed_runs(raw, tmp_path):
    plan = plan_of(raw, tmp_path / "out")
    (participant,) = plan.participants
    assert participant.runs == ()
    assert [bold.path.name for bold in participant.bolds] == ["sub-01_task-rest_bold.nii.gz"]
    assert participant.preproc_dir == tmp_path / "out/preproc"
    assert any("contains no preprocessed run" in note for note in plan.notes)
    text = describe(plan, AnalysisSettings(), level="participant")
    assert text.startswith("1 participant, 1 run, 0 participants with two or more sessions\n")
    assert "\nsub-01  no session: 1 run(s) [raw]\n" in text
    assert "_desc-preproc_bold.nii.gz" in text
    assert "structure" not in text
    with_structure = describe(plan, AnalysisSettings(structure="volumes"), level="participant")
    (line,) = [one for one in with_structure.splitlines() if "_structure.tsv" in one]
    assert "sub-01/sub-01_structure.tsv: volumes and grey matter of each" in line


def test_a_description_lists_participants_problems_and_outputs(tmp_path):
    data = write(tmp_path / "data", ("01", "02"))
    next(data.glob("sub-02/ses-post/func/*.tsv")).write_bytes(b"")
    (data / "participants.tsv").write_text("participant_id\nsub-01\nsub-02\nsub-03\n")
    plan = plan_of(data, tmp_path / "out")
    lines = describe(plan, AnalysisSettings(), level="group").splitlines()
    assert lines[0] == "2 participants, 3 runs, 1 participant with two or more sessions"
    assert "sub-01  ses-post: 1 run(s) [timeseries], ses-pre: 1 run(s) [timeseries]" in lines
    assert "sub-02  ses-pre: 1 run(s) [timeseries]" in lines
    assert any(line.startswith("    not usable: ") and "ses-post" in line for line in lines)
    assert "no usable file: sub-03" in lines
    assert any(line.endswith("_relmat.tsv") for line in lines)
    assert "group/verdict.json" in lines[-1]
    participant_level = describe(plan, AnalysisSettings(), level="participant")
    assert participant_level.splitlines() == lines[:-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0 participants"), (1, "1 participant"), (2, "2 participants")]
)
def test_numbers_of_participants_have_the_right_plural(n, text):
    assert count_participants(n) == text


def test_choices_of_runs_are_recorded_and_noted(tmp_path):
    data = write(tmp_path / "data", ("01", "02"))
    for path in sorted(data.rglob("*ses-post*_timeseries.*")):
        shutil.copy(path, path.with_name(path.name.replace("task-rest", "task-nback")))
    plan = plan_of(data, tmp_path / "out")
    (choice,) = plan.choices
    assert (choice.chosen, choice.ignored) == ("task-rest", (("task-nback in ses-post", 2),))
    assert choice.sentence in plan.notes
    text = describe(plan, AnalysisSettings(), level="participant")
    assert f"note: {choice.sentence}" in text
    assert "4 runs" in text


def retask(data, task):
    for path in sorted(data.rglob("*task-rest*")):
        path.rename(path.with_name(path.name.replace("task-rest", f"task-{task}")))
    return data


def two_plans(main, other, out):
    return make_plan(
        [InputFolder(main, main), InputFolder(other, other, "healthy")], bids.Query(),
        settings=AnalysisSettings(), out_dir=out,
    )  # fmt: skip


def test_data_sets_with_different_tasks_are_refused(tmp_path):
    main = write(tmp_path / "main", ("01",))
    other = retask(write(tmp_path / "other", ("01",)), "nback")
    with pytest.raises(InputError, match=r"different tasks .*healthy: task-nback"):
        two_plans(main, other, tmp_path / "out")
    retask(main, "nback")
    assert two_plans(main, other, tmp_path / "out").choices == ()


def test_labels_of_rest_may_differ_between_data_sets(tmp_path):
    main = write(tmp_path / "main", ("01",))
    other = retask(write(tmp_path / "other", ("01",)), "restingstate")
    plan = two_plans(main, other, tmp_path / "out")
    assert "rest in all data sets" in plan.choices[0].sentence
    assert plan.choices[0].sentence in plan.notes


def test_a_raw_data_set_states_where_preprocessed_files_were_searched(tmp_path, monkeypatch):
    monkeypatch.setattr("circuitshift.workflows.plan.is_raw", lambda _: False)
    (tmp_path / "data/derivatives/mriqc/sub-01").mkdir(parents=True)
    with pytest.raises(InputError, match=r"No preprocessed file was found in .*derivatives/mriqc"):
        plan_of(tmp_path / "data", tmp_path / "out")


def test_a_job_for_one_participant_uses_the_atlas_of_all(tmp_path):
    data = write(tmp_path / "data", ("01", "02"), atlas="A")
    write(data, ("01", "02", "03"), atlas="B")
    for query in (bids.Query(), bids.Query(participants=("03",))):
        plan = plan_of(data, tmp_path / "out", query) if not query.participants else None
        if plan is None:
            with pytest.raises(InputError, match="sub-03: it has no series or matrix of atlas A"):
                plan_of(data, tmp_path / "out", query)
            continue
        assert {run.atlas for p in plan.participants for run in p.runs} == {"A"}
        (third,) = [p for p in plan.participants if p.participant == "03"]
        assert (third.runs, len(third.problems)) == ((), 1)
