"""Raw data sets: images that are found, problems, and notes that are combined."""

import json
import pickle
import shutil
from dataclasses import fields
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from circuitshift.pipeline.bids.raw import find_raw, is_raw
from circuitshift.pipeline.bids.raw_records import RawBold
from circuitshift.pipeline.bids.select_runs import Query
from circuitshift.pipeline.errors import InputError

GRID = (6, 5, 4)
TIMES = [0.0, 1.0, 0.5, 1.5]
SIDECAR = {"RepetitionTime": 2.0, "SliceTiming": TIMES, "PhaseEncodingDirection": "j-"}


def write(path, shape, *, voxel=3.0, t_r_s=2.0, code=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-voxel, voxel, voxel, 1.0])
    # nibabel sets the codes if an affine is given
    image = nib.Nifti1Image(np.zeros(shape, np.int16), affine if code else None)
    image.header["pixdim"][1:4] = voxel
    if len(shape) > 3:
        image.header["pixdim"][4] = t_r_s
    image.header.set_xyzt_units("mm", "sec")
    if code:
        image.header.set_sform(affine, code)
        image.header.set_qform(affine, code)
    nib.save(image, path)
    return path


def add_anat(root, name="sub-01_T1w", *, shape=(16, 16, 16), end=".nii.gz", **kwargs):
    return write(folder(root, name) / "anat" / f"{name}{end}", shape, **kwargs)


def add_bold(root, name="sub-01_task-rest_bold", *, n=12, end=".nii.gz", sidecar=None, **kwargs):
    path = folder(root, name) / "func" / f"{name}{end}"
    kwargs.setdefault("shape", (*GRID, n) if n else GRID)
    write(path, **kwargs)
    if sidecar is not None:
        path.with_name(f"{name}.json").write_text(json.dumps(sidecar))
    return path


def folder(root, name):
    return root.joinpath(*[p for p in name.split("_") if p.startswith(("sub-", "ses-"))])


@pytest.fixture
def root(tmp_path):
    """Make a valid data set of one participant."""
    add_anat(tmp_path)
    add_bold(tmp_path, sidecar=SIDECAR)
    return tmp_path


def only_run(root):
    found = find_raw(root)
    assert not found.problems
    return found.participants[0].bolds[0]


def only_problem(root, *, participant="01"):
    found = find_raw(root)
    assert not found.participants
    (problem,) = found.problems
    assert problem.participant == participant
    return problem


def change_sidecar(root, **changes):
    content = {k: v for k, v in {**SIDECAR, **changes}.items() if v is not None}
    (root / "sub-01/func/sub-01_task-rest_bold.json").write_text(json.dumps(content))


# ---------------------------------------------------------------------------------- finding


def test_a_valid_data_set_has_no_problems_and_no_notes(root):
    found = find_raw(root)
    assert (found.problems, found.notes) == ((), ())
    (participant,) = found.participants
    assert [anat.path.name for anat in participant.anats] == ["sub-01_T1w.nii.gz"]
    (bold,) = participant.bolds
    assert bold == RawBold(
        "01",
        "",
        "rest",
        "",
        root / "sub-01/func/sub-01_task-rest_bold.nii.gz",
        (("sub", "01"), ("task", "rest")),
        t_r_s=2.0,
        grid=GRID,
        zooms_mm=(3.0, 3.0, 3.0),
        n_volumes=12,
        slice_times_s=tuple(TIMES),
        phase_encoding="j-",
    )


def test_records_can_be_passed_between_nodes(root):
    participant = find_raw(root).participants[0]
    assert pickle.loads(pickle.dumps(participant)) == participant  # noqa: S301
    assert hash(participant) == hash(pickle.loads(pickle.dumps(participant)))  # noqa: S301
    for field in fields(RawBold):
        value = getattr(participant.bolds[0], field.name)
        assert isinstance(value, str | int | float | tuple | Path), field.name


@pytest.mark.parametrize("session", ["", "ses-1_"])
@pytest.mark.parametrize("end", [".nii", ".nii.gz"])
def test_raw_data_are_distinguished_from_derivatives(tmp_path, session, end):
    assert not is_raw(tmp_path)
    assert not is_raw(tmp_path / "absent")
    add_anat(tmp_path, f"sub-01_{session}T1w")
    add_bold(tmp_path, f"sub-01_{session}task-rest_space-MNI_desc-preproc_bold", end=end)
    add_bold(tmp_path, f"sub-01_{session}task-rest_desc-preproc_bold", end=end)
    add_bold(tmp_path, f"sub-01_{session}task-rest_space-T1w_boldref", n=0, end=end)
    assert not is_raw(tmp_path)
    add_bold(tmp_path, f"sub-01_{session}task-rest_bold", end=end)
    assert is_raw(tmp_path)


def test_participants_and_images_are_sorted(tmp_path):
    for label in ("02", "01"):
        for session in ("post", "pre"):
            add_anat(tmp_path, f"sub-{label}_ses-{session}_T1w")
            for run in ("task-rest_run-2", "task-eyesopen", "task-rest_run-1"):
                name = f"sub-{label}_ses-{session}_{run}_bold"
                add_bold(tmp_path, name, sidecar=SIDECAR)
    found = find_raw(tmp_path)
    assert [p.participant for p in found.participants] == ["01", "02"]
    for participant in found.participants:
        assert [anat.session for anat in participant.anats] == ["post", "pre"]
        assert [(b.session, b.task, b.run) for b in participant.bolds] == [
            (session, *run)
            for session in ("post", "pre")
            for run in (("eyesopen", ""), ("rest", "1"), ("rest", "2"))
        ]


def test_the_query_selects_runs_but_not_t1w_images(tmp_path):
    for session in ("pre", "post"):
        add_anat(tmp_path, f"sub-01_ses-{session}_T1w")
        for rest in ("task-rest_run-01", "task-rest_run-02", "task-film"):
            add_bold(tmp_path, f"sub-01_ses-{session}_{rest}_bold", sidecar=SIDECAR)
    filters = (("bold", (("run", "1"),)),)
    query = Query(("sub-01",), ("ses-post",), ("rest",), filters=filters)
    found = find_raw(tmp_path, query)
    (participant,) = found.participants
    assert [(b.session, b.task, b.run) for b in participant.bolds] == [("post", "rest", "01")]
    assert [anat.session for anat in participant.anats] == ["post", "pre"]
    assert not found.problems


def test_labels_that_no_run_has_are_reported(root):
    found = find_raw(root, Query(("01", "03"), tasks=("rset",)))
    assert not found.participants
    assert [problem.where for problem in found.problems] == [
        str(root / "sub-01"),
        "sub-03",
        "task-rset",
    ]
    assert "requested" in found.problems[0].what
    assert "nearest: rest" in found.problems[2].fix
    assert not find_raw(root, Query(("01",))).problems


def test_participants_that_were_not_requested_are_not_read(root):
    write(root / "sub-02/func/sub-02_task-rest_bold.nii.gz", GRID).write_bytes(b"")
    (root / "sub-03").symlink_to(root / "nowhere")
    found = find_raw(root, Query(("01",)))
    assert [p.participant for p in found.participants] == ["01"]
    assert not found.problems
    assert {problem.participant for problem in find_raw(root).problems} == {"02", "03"}


def test_a_missing_folder_and_one_without_participants(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        find_raw(tmp_path / "absent")
    (problem,) = find_raw(tmp_path).problems
    assert "no participants" in problem.what


def test_other_images_are_ignored(root):
    for name in ("sbref", "part-phase_bold", "desc-preproc_bold", "space-MNI_bold"):
        add_bold(root, f"sub-01_task-rest_{name}", n=0)
    add_anat(root, "sub-01_inv-1_MP2RAGE")
    add_anat(root, "sub-01_T2w")
    (root / "sub-01/func/._sub-01_task-rest_bold.nii.gz").write_text("macOS")
    found = find_raw(root)
    assert not found.problems
    assert len(found.participants[0].anats) == len(found.participants[0].bolds) == 1


def test_invalid_names_are_reported(root):
    add_bold(root, "sub-01_task-re_st_bold")
    write(root / "sub-01/func/sub-02_task-rest_bold.nii.gz", (*GRID, 12))
    found = find_raw(root)
    assert len(found.participants[0].bolds) == 1
    assert [problem.participant for problem in found.problems] == ["01", "01"]
    assert "key-value" in found.problems[0].what
    assert "lacks sub-01 of the folder" in found.problems[1].what


# ---------------------------------------------------------------------------------- T1w


def test_all_t1w_images_of_one_kind_are_used(root):
    for run in (1, 2):
        add_anat(root, f"sub-01_run-{run}_T1w")
    found = find_raw(root)
    assert len(found.participants[0].anats) == 3
    assert not found.notes


def test_one_kind_of_t1w_image_is_used_in_each_session(tmp_path):
    for name in ("ses-1_acq-a", "ses-1_rec-norm_run-1", "ses-1_rec-norm_run-2", "ses-2_acq-a"):
        add_anat(tmp_path, f"sub-01_{name}_T1w")
    add_bold(tmp_path, "sub-01_ses-1_task-rest_bold", sidecar=SIDECAR)
    found = find_raw(tmp_path)
    assert [anat.path.name for anat in found.participants[0].anats] == [
        "sub-01_ses-1_rec-norm_run-1_T1w.nii.gz",
        "sub-01_ses-1_rec-norm_run-2_T1w.nii.gz",
        "sub-01_ses-2_acq-a_T1w.nii.gz",
    ]
    (note,) = found.notes
    assert "rec-norm is used, and acq-a is not" in note


def test_participants_without_t1w_or_functional_images_are_reported(tmp_path):
    add_anat(tmp_path, "sub-01_T1w")
    add_bold(tmp_path, "sub-02_task-rest_bold", sidecar=SIDECAR)
    (tmp_path / "sub-03").mkdir()
    add_anat(tmp_path, "sub-04_T1w")
    add_bold(tmp_path, "sub-04_task-rest_part-phase_bold")
    found = find_raw(tmp_path)
    assert not found.participants
    assert [(f.participant, f.what.split()[-2]) for f in found.problems] == [
        ("01", "functional"),
        ("02", "T1w"),
        ("03", "T1w"),
        ("03", "functional"),
        ("04", "functional"),
    ]


@pytest.mark.parametrize(
    ("shape", "what"), [((16, 16, 16, 2), "2 volumes"), ((16, 16, 4), "less than a complete head")]
)
def test_a_t1w_image_must_be_one_volume_of_the_complete_head(root, shape, what):
    add_anat(root, shape=shape)
    assert what in only_problem(root).what


def test_a_t1w_image_may_have_a_fourth_axis_of_size_one_and_coarse_voxels(root):
    add_anat(root, shape=(16, 16, 16, 1), voxel=4.0)
    found = find_raw(root)
    assert len(found.participants) == 1
    (note,) = found.notes
    assert "above 3 mm" in note


# ---------------------------------------------------------------------------------- headers


@pytest.mark.parametrize("add", [add_anat, add_bold])
@pytest.mark.parametrize(
    ("kwargs", "what"),
    [
        ({"code": 0}, "does not state the orientation (qform and sform codes are 0)"),
        ({"voxel": 0.1}, "unit is probably wrong"),
        ({"voxel": 30.0}, "unit is probably wrong"),
    ],
)
def test_the_header_must_state_the_geometry(root, add, kwargs, what):
    path = add(root, **kwargs)
    problem = only_problem(root)
    assert problem.where == str(path)
    assert what in problem.what


@pytest.mark.parametrize("kind", ["anat/sub-01_T1w", "func/sub-01_task-rest_bold"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "never fetched (broken link)"),
        (b"/annex/objects/MD5E-s1--1.nii.gz", "git-annex pointer"),
        (b"", "0 bytes"),
        (b"\x1f\x8bbroken", "gzip stream is truncated"),
        (b"\x1f\x8b\x08" + bytes(7) + b"\xff" * 400, "damaged"),
    ],
)
def test_images_that_cannot_be_read_are_reported(root, kind, content, what):
    path = root / f"sub-01/{kind}.nii.gz"
    path.unlink()
    if content is None:
        path.symlink_to(".git/annex/objects/nothing")
    else:
        path.write_bytes(content)
    problem = only_problem(root)
    assert problem.where == str(path)
    assert what in f"{problem.what}; {problem.fix}"


@pytest.mark.parametrize(
    ("n", "what"), [(0, "only one volume"), (1, "only one volume"), (9, "9 volumes")]
)
def test_functional_runs_must_have_several_volumes(root, n, what):
    add_bold(root, n=n)
    assert what in only_problem(root).what


def test_all_problems_of_a_run_are_reported(root):
    add_bold(root, n=5, code=0, voxel=0.1, sidecar={"RepetitionTime": -1})
    messages = " ".join(problem.what for problem in find_raw(root).problems)
    assert len(find_raw(root).problems) == 4
    for word in ("orientation", "unit is", "5 volumes", "RepetitionTime is -1"):
        assert word in messages


def test_a_problem_of_one_run_does_not_affect_others(root):
    add_bold(root, "sub-01_task-rest_run-2_bold", n=3)
    found = find_raw(root)
    assert len(found.participants[0].bolds) == 1
    assert len(found.problems) == 1


@pytest.mark.parametrize("second", ["sub-01_task-rest_run-1_bold", "sub-01_task-rest_run-01_bold"])
def test_a_second_copy_of_a_run_is_a_problem(root, second):
    add_bold(root, "sub-01_task-rest_run-01_bold", sidecar=SIDECAR, end=".nii")
    add_bold(root, second, sidecar=SIDECAR)
    found = find_raw(root)
    (problem,) = found.problems
    assert len(found.participants[0].bolds) == 2
    (used,) = [bold.path for bold in found.participants[0].bolds if bold.run]
    assert used.name in problem.what
    assert "run-" in problem.where
    assert problem.where != str(used)


def test_a_second_copy_of_a_t1w_image_is_a_problem(root):
    add_anat(root, end=".nii")
    found = find_raw(root)
    assert len(found.participants[0].anats) == 1
    assert "same entities" in found.problems[0].what


def test_multi_echo_data_are_one_problem_per_run(root):
    for run in (1, 2):
        for echo in (1, 2, 3):
            add_bold(root, f"sub-01_task-rest_run-{run}_echo-{echo}_bold")
    found = find_raw(root)
    assert len(found.problems) == 2
    assert all("multi-echo data (3 echoes)" in problem.what for problem in found.problems)
    assert all("fMRIPrep" in problem.fix for problem in found.problems)
    assert len(found.participants[0].bolds) == 1


# ---------------------------------------------------------------------------------- sidecars


def test_sidecars_are_inherited_and_the_nearest_one_is_used(tmp_path):
    for label in ("01", "02"):
        add_anat(tmp_path, f"sub-{label}_ses-1_T1w")
        add_bold(tmp_path, f"sub-{label}_ses-1_task-rest_bold", t_r_s=1.5)
    (tmp_path / "task-rest_bold.json").write_text(json.dumps(SIDECAR))
    nearer = {"RepetitionTime": 1.5}
    (tmp_path / "sub-02/sub-02_task-rest_bold.json").write_text(json.dumps(nearer))
    first, second = (participant.bolds[0] for participant in find_raw(tmp_path).participants)
    assert (first.t_r_s, second.t_r_s) == (2.0, 1.5)
    assert first.slice_times_s == second.slice_times_s == tuple(TIMES)
    assert "the JSON is used" in first.notes[0]
    assert not second.notes


def test_slice_times_are_those_of_the_nearest_sidecar(tmp_path):
    add_anat(tmp_path, "sub-01_ses-1_T1w")
    add_bold(tmp_path, "sub-01_ses-1_task-rest_bold")
    (tmp_path / "task-rest_bold.json").write_text(json.dumps(SIDECAR))
    other = [time / 2 for time in reversed(TIMES)]
    nearer = tmp_path / "sub-01/sub-01_task-rest_bold.json"
    nearer.write_text(json.dumps({"SliceTiming": other}))
    run = only_run(tmp_path)
    assert run.slice_times_s == tuple(other)
    assert run.t_r_s == 2.0


def test_the_repetition_time_may_be_in_the_header_only(root):
    change_sidecar(root, RepetitionTime=None)
    run = only_run(root)
    assert run.t_r_s == 2.0
    assert run.notes == ("No JSON states its repetition time; 2 s is taken from its header.",)


def test_milliseconds_are_converted(root):
    change_sidecar(root, RepetitionTime=2000, SliceTiming=[1000 * time for time in TIMES])
    run = only_run(root)
    assert run.t_r_s == 2.0
    assert run.slice_times_s == tuple(TIMES)
    assert "interpreted as milliseconds" in run.notes[0]
    assert "interpreted as milliseconds" in run.notes[1]


def test_a_missing_repetition_time_is_a_problem(root):
    add_bold(root, t_r_s=0.0, sidecar={})
    assert "neither in a JSON sidecar nor in its header" in only_problem(root).what


@pytest.mark.parametrize("t_r_s", [0.1, 7.5, 30])
def test_an_implausible_repetition_time_is_a_problem(root, t_r_s):
    change_sidecar(root, RepetitionTime=t_r_s, SliceTiming=None)
    assert f"its repetition time is {t_r_s:g} s, which is not" in only_problem(root).what


@pytest.mark.parametrize(
    "content", [{"VolumeTiming": [0, 10, 20], "RepetitionTime": None}, {"DelayTime": 8}]
)
def test_sparse_acquisition_is_a_problem(root, content):
    change_sidecar(root, **content)
    assert "sparse" in only_problem(root).what


def test_a_delay_of_zero_is_not_sparse(root):
    change_sidecar(root, DelayTime=0)
    assert only_run(root).notes == ()


def test_invalid_sidecars_are_problems(root):
    path = root / "sub-01/func/sub-01_task-rest_bold.json"
    path.write_text("{,}")
    problem = only_problem(root)
    assert problem.where.startswith(str(path))
    assert "not JSON" in problem.what + problem.fix


@pytest.mark.parametrize(
    ("direction", "axis", "times"),
    [
        ("k", 2, TIMES),
        ("k-", 2, TIMES[::-1]),
        (None, 2, TIMES),
        ("j", 1, [*TIMES, 0.25]),
        ("i-", 0, [0.1, 0.2, *TIMES][::-1]),
    ],
)
def test_slice_times_are_in_the_order_of_the_voxel_axis(root, direction, axis, times):
    stated = times[::-1] if direction and direction.endswith("-") else times
    change_sidecar(root, SliceEncodingDirection=direction, SliceTiming=stated)
    run = only_run(root)
    assert run.slice_axis == axis
    assert run.slice_times_s == tuple(times)
    assert run.notes == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"SliceTiming": None}, "unknown"),
        ({"SliceTiming": [0.0, 1.0]}, "2 times for 4 slices"),
        ({"SliceTiming": [0.0, 1.0, 0.5, 2.5]}, "exceeds the repetition time of 2 s"),
        ({"SliceTiming": [0.0, 1.0, 0.5, 2500.0]}, "exceeds the repetition time of 2 s"),
        ({"SliceTiming": [0.0, -1.0, 0.5, 1.5]}, "negative"),
        ({"SliceTiming": [0.0, "1", 0.5, 1.5]}, "not a list of numbers"),
        ({"SliceTiming": 0.5}, "not a list of numbers"),
        ({"SliceEncodingDirection": "ij"}, "SliceEncodingDirection is 'ij'"),
        ({"SliceEncodingDirection": 2}, "SliceEncodingDirection is 2"),
    ],
)
def test_unusable_slice_times_are_noted(root, changes, reason):
    change_sidecar(root, **changes)
    run = only_run(root)
    assert run.slice_times_s == ()
    assert reason in run.notes[-1]
    assert "not corrected" in run.notes[-1]


def test_invalid_and_missing_phase_encoding_is_noted(root):
    change_sidecar(root, PhaseEncodingDirection="y")
    run = only_run(root)
    assert run.phase_encoding == ""
    assert "PhaseEncodingDirection is 'y'" in run.notes[0]
    change_sidecar(root, PhaseEncodingDirection=None)
    found = find_raw(root)
    assert found.participants[0].bolds[0].notes == ()
    assert len(found.notes) == 1
    assert "PhaseEncodingDirection is not stated" in found.notes[0]


# ---------------------------------------------------------------------------------- combined notes


def test_a_problem_of_many_participants_is_also_reported_once(tmp_path):
    for label in range(1, 6):
        add_anat(tmp_path, f"sub-{label}_T1w")
        for run in (1, 2):
            add_bold(tmp_path, f"sub-{label}_task-rest_run-{run}_bold", t_r_s=0.0)
    found = find_raw(tmp_path)
    assert not found.participants
    assert {problem.participant for problem in found.problems} == set("12345")
    assert len(found.problems) == 10
    (note,) = found.notes
    assert note.startswith("10 times in 5 participants, first ")
    assert "sub-1_task-rest_run-1_bold" in note
    assert "repetition time" in note


def test_equal_notes_are_combined(tmp_path):
    for label in range(1, 6):
        add_anat(tmp_path, f"sub-{label}_T1w")
        add_bold(tmp_path, f"sub-{label}_task-rest_bold")
    (tmp_path / "task-rest_bold.json").write_text('{"RepetitionTime": 2000}')
    found = find_raw(tmp_path)
    assert not found.problems
    assert len(found.notes) == 3  # milliseconds, slice timing, phase encoding
    for note in found.notes:
        assert note.startswith("5 images (first sub-1_task-rest_bold.nii.gz): ")
        assert note.endswith(".")


def test_problems_of_three_participants_are_not_combined(tmp_path):
    for label in range(1, 4):
        add_anat(tmp_path, f"sub-{label}_T1w")
    found = find_raw(tmp_path)
    assert len(found.problems) == 3
    assert not found.notes


def test_a_real_data_set(shared_data):
    root = shared_data("raw-bids-one-subject")
    assert is_raw(root)
    found = find_raw(root)
    assert (found.problems, found.notes) == ((), ())
    (participant,) = found.participants
    assert participant.participant == "001"
    assert len(participant.anats) == 1
    (bold,) = participant.bolds
    assert (bold.task, bold.t_r_s, bold.n_volumes) == ("rest", 2.52, 20)
    assert bold.grid == (46, 46, 26)
    assert (bold.slice_axis, bold.phase_encoding) == (2, "j-")
    assert len(bold.slice_times_s) == 26
    assert bold.slice_times_s[:3] == (1.25, 0.0, 1.315)


# --- tasks, versions and odd folders


def add_visits(root, *runs):
    for label in ("01", "02"):
        add_anat(root, f"sub-{label}_T1w")
        for session in ("pre", "post"):
            for run in runs:
                add_bold(root, f"sub-{label}_ses-{session}_{run}_bold", sidecar=SIDECAR)


def test_rest_alone_is_preprocessed(tmp_path):
    add_visits(tmp_path, "task-rest", "task-nback")
    add_anat(tmp_path, "sub-03_T1w")
    add_bold(tmp_path, "sub-03_task-nback_bold", sidecar=SIDECAR)
    found = find_raw(tmp_path)
    assert {b.task for p in found.participants for b in p.bolds} == {"rest"}
    assert [p.participant for p in found.problems] == ["03"]
    assert [c.chosen for c in found.choices] == ["task-rest"]
    assert found.choices[0].sentence in found.notes
    alone = find_raw(tmp_path, Query(participants=("03",)))
    assert (alone.participants, alone.problems) == ((), found.problems)
    for path in tmp_path.glob("sub-02/ses-post/func/*task-rest*"):
        path.unlink()
    lost = find_raw(tmp_path).problems
    assert [p.where.rpartition("sub-")[2] for p in lost] == ["03", "02/ses-post"]


def test_several_raw_tasks_without_rest_are_refused(tmp_path):
    add_visits(tmp_path, "task-faces", "task-nback")
    with pytest.raises(InputError, match="--task-id faces\n  --task-id nback"):
        find_raw(tmp_path)
    found = find_raw(tmp_path, Query(tasks=("nback",)))
    assert [len(p.bolds) for p in found.participants] == [2, 2]


def test_reconstructions_of_a_raw_run_are_one_run(tmp_path):
    add_visits(tmp_path, "task-rest_rec-a", "rec-b_task-rest", "task-rest_acq-x")
    found = find_raw(tmp_path)
    assert [len(p.bolds) for p in found.participants] == [4, 4]
    assert {dict(b.entities).get("rec") for p in found.participants for b in p.bolds} == {None, "a"}
    assert "rec-b (4 runs)" in found.notes[0]


@pytest.mark.parametrize("name", ["sub-01 copy", "sub-01.bak", "sub-$(x)", "sub-"])
def test_odd_raw_folders_do_not_become_participants(tmp_path, name):
    add_visits(tmp_path, "task-rest")
    shutil.copytree(tmp_path / "sub-01", tmp_path / name)
    (tmp_path / "sub-03").touch()
    (tmp_path / "sub-04").symlink_to("sub-04")
    found = find_raw(tmp_path)
    assert [p.participant for p in found.participants] == ["01", "02"]
    assert [(Path(p.where).name, p.participant) for p in found.problems] == sorted(
        [(name, ""), ("sub-03", "03"), ("sub-04", "04")]
    )
