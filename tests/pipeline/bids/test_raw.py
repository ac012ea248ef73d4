"""Raw data sets: what is found, what is refused and why, what is said once for all."""

import json
import pickle
from dataclasses import fields
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from circuitshift.pipeline.bids.raw import find_raw, is_raw
from circuitshift.pipeline.bids.raw_records import RawBold
from circuitshift.pipeline.bids.select_runs import Query
from circuitshift.pipeline.errors import InputError

REAL = Path(__file__).resolve().parents[3].parent / "shared/data/raw-bids-one-subject"
GRID = (6, 5, 4)
TIMES = [0.0, 1.0, 0.5, 1.5]
SIDECAR = {"RepetitionTime": 2.0, "SliceTiming": TIMES, "PhaseEncodingDirection": "j-"}


def write(path, shape, *, voxel=3.0, t_r_s=2.0, code=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-voxel, voxel, voxel, 1.0])
    # nibabel would set the codes again if it were given an affine
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
    """A data set of one person whom nothing is wrong with."""
    add_anat(tmp_path)
    add_bold(tmp_path, sidecar=SIDECAR)
    return tmp_path


def only_run(root):
    found = find_raw(root)
    assert not found.problems
    return found.participants[0].bolds[0]


def only_fault(root, *, person="01"):
    found = find_raw(root)
    assert not found.participants
    (problem,) = found.problems
    assert problem.person == person
    return problem


def restate(root, **changes):
    content = {k: v for k, v in {**SIDECAR, **changes}.items() if v is not None}
    (root / "sub-01/func/sub-01_task-rest_bold.json").write_text(json.dumps(content))


# ---------------------------------------------------------------------------------- finding


def test_a_sound_data_set_has_no_faults_and_no_notes(root):
    found = find_raw(root)
    assert (found.problems, found.notes) == ((), ())
    (person,) = found.participants
    assert [anat.path.name for anat in person.anats] == ["sub-01_T1w.nii.gz"]
    (bold,) = person.bolds
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


def test_records_cross_node_boundaries(root):
    person = find_raw(root).participants[0]
    assert pickle.loads(pickle.dumps(person)) == person  # noqa: S301
    assert hash(person) == hash(pickle.loads(pickle.dumps(person)))  # noqa: S301
    for field in fields(RawBold):
        value = getattr(person.bolds[0], field.name)
        assert isinstance(value, str | int | float | tuple | Path), field.name


@pytest.mark.parametrize("session", ["", "ses-1_"])
@pytest.mark.parametrize("end", [".nii", ".nii.gz"])
def test_raw_is_told_from_derivatives(tmp_path, session, end):
    assert not is_raw(tmp_path)
    assert not is_raw(tmp_path / "absent")
    add_anat(tmp_path, f"sub-01_{session}T1w")
    add_bold(tmp_path, f"sub-01_{session}task-rest_space-MNI_desc-preproc_bold", end=end)
    add_bold(tmp_path, f"sub-01_{session}task-rest_desc-preproc_bold", end=end)
    add_bold(tmp_path, f"sub-01_{session}task-rest_space-T1w_boldref", n=0, end=end)
    assert not is_raw(tmp_path)
    add_bold(tmp_path, f"sub-01_{session}task-rest_bold", end=end)
    assert is_raw(tmp_path)


def test_all_is_sorted(tmp_path):
    for person in ("02", "01"):
        for session in ("post", "pre"):
            add_anat(tmp_path, f"sub-{person}_ses-{session}_T1w")
            for run in ("task-rest_run-2", "task-film", "task-rest_run-1"):
                name = f"sub-{person}_ses-{session}_{run}_bold"
                add_bold(tmp_path, name, sidecar=SIDECAR)
    found = find_raw(tmp_path)
    assert [person.participant for person in found.participants] == ["01", "02"]
    for person in found.participants:
        assert [anat.session for anat in person.anats] == ["post", "pre"]
        assert [(b.session, b.task, b.run) for b in person.bolds] == [
            (session, *run)
            for session in ("post", "pre")
            for run in (("film", ""), ("rest", "1"), ("rest", "2"))
        ]


def test_the_query_chooses_runs_but_not_t1w_images(tmp_path):
    for session in ("pre", "post"):
        add_anat(tmp_path, f"sub-01_ses-{session}_T1w")
        for rest in ("task-rest_run-01", "task-rest_run-02", "task-film"):
            add_bold(tmp_path, f"sub-01_ses-{session}_{rest}_bold", sidecar=SIDECAR)
    filters = (("bold", (("run", "1"),)),)
    query = Query(("sub-01",), ("ses-post",), ("rest",), filters=filters)
    found = find_raw(tmp_path, query)
    (person,) = found.participants
    assert [(b.session, b.task, b.run) for b in person.bolds] == [("post", "rest", "01")]
    assert [anat.session for anat in person.anats] == ["post", "pre"]
    assert not found.problems


def test_labels_that_nothing_carries_are_named(root):
    found = find_raw(root, Query(("01", "03"), tasks=("rset",)))
    assert not found.participants
    assert [problem.where for problem in found.problems] == [
        str(root / "sub-01"),
        "sub-03",
        "task-rset",
    ]
    assert "asked for" in found.problems[0].what
    assert "nearest: rest" in found.problems[2].fix
    assert not find_raw(root, Query(("01",))).problems


def test_people_who_are_not_asked_for_are_not_read(root):
    write(root / "sub-02/func/sub-02_task-rest_bold.nii.gz", GRID).write_bytes(b"")
    (root / "sub-03").symlink_to(root / "nowhere")
    found = find_raw(root, Query(("01",)))
    assert [person.participant for person in found.participants] == ["01"]
    assert not found.problems
    assert {problem.person for problem in find_raw(root).problems} == {"02", "03"}


def test_a_folder_that_is_none_and_one_without_people(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        find_raw(tmp_path / "absent")
    (problem,) = find_raw(tmp_path).problems
    assert "nobody" in problem.what


def test_other_images_are_passed_over(root):
    for name in ("sbref", "part-phase_bold", "desc-preproc_bold", "space-MNI_bold"):
        add_bold(root, f"sub-01_task-rest_{name}", n=0)
    add_anat(root, "sub-01_inv-1_MP2RAGE")
    add_anat(root, "sub-01_T2w")
    (root / "sub-01/func/._sub-01_task-rest_bold.nii.gz").write_text("macOS")
    found = find_raw(root)
    assert not found.problems
    assert len(found.participants[0].anats) == len(found.participants[0].bolds) == 1


def test_names_that_do_not_fit_are_not_lost(root):
    add_bold(root, "sub-01_task-re_st_bold")
    write(root / "sub-01/func/sub-02_task-rest_bold.nii.gz", (*GRID, 12))
    found = find_raw(root)
    assert len(found.participants[0].bolds) == 1
    assert [problem.person for problem in found.problems] == ["01", "01"]
    assert "key-value" in found.problems[0].what
    assert "sub-01 of the folder" in found.problems[1].what


# ---------------------------------------------------------------------------------- T1w


def test_runs_of_one_kind_are_all_taken(root):
    for run in (1, 2):
        add_anat(root, f"sub-01_run-{run}_T1w")
    found = find_raw(root)
    assert len(found.participants[0].anats) == 3
    assert not found.notes


def test_of_several_kinds_one_is_taken_in_each_session(tmp_path):
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
    assert "rec-norm is taken, acq-a passed over" in note


def test_without_t1w_or_without_bold_nobody_is_lost(tmp_path):
    add_anat(tmp_path, "sub-01_T1w")
    add_bold(tmp_path, "sub-02_task-rest_bold", sidecar=SIDECAR)
    (tmp_path / "sub-03").mkdir()
    add_anat(tmp_path, "sub-04_T1w")
    add_bold(tmp_path, "sub-04_task-rest_part-phase_bold")
    found = find_raw(tmp_path)
    assert not found.participants
    assert [(f.person, f.what.split()[-2]) for f in found.problems] == [
        ("01", "functional"),
        ("02", "T1w"),
        ("03", "T1w"),
        ("03", "functional"),
        ("04", "functional"),
    ]


@pytest.mark.parametrize(
    ("shape", "what"), [((16, 16, 16, 2), "2 volumes"), ((16, 16, 4), "not a whole head")]
)
def test_t1w_must_be_one_whole_head(root, shape, what):
    add_anat(root, shape=shape)
    assert what in only_fault(root).what


def test_t1w_may_have_a_fourth_axis_of_one_and_coarse_voxels(root):
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
        ({"code": 0}, "how it is oriented (qform and sform codes are 0)"),
        ({"voxel": 0.1}, "units"),
        ({"voxel": 30.0}, "units"),
    ],
)
def test_geometry_must_be_stated(root, add, kwargs, what):
    path = add(root, **kwargs)
    problem = only_fault(root)
    assert problem.where == str(path)
    assert what in problem.what


@pytest.mark.parametrize("kind", ["anat/sub-01_T1w", "func/sub-01_task-rest_bold"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "never fetched (the link leads nowhere)"),
        (b"/annex/objects/MD5E-s1--1.nii.gz", "git-annex pointer"),
        (b"", "0 bytes"),
        (b"\x1f\x8bbroken", "gzip stream is truncated"),
        (b"\x1f\x8b\x08" + bytes(7) + b"\xff" * 400, "damaged"),
    ],
)
def test_what_cannot_be_read(root, kind, content, what):
    path = root / f"sub-01/{kind}.nii.gz"
    path.unlink()
    if content is None:
        path.symlink_to(".git/annex/objects/nothing")
    else:
        path.write_bytes(content)
    problem = only_fault(root)
    assert problem.where == str(path)
    assert what in f"{problem.what}; {problem.fix}"


@pytest.mark.parametrize(("n", "what"), [(0, "one volume"), (1, "one volume"), (9, "9 volumes")])
def test_runs_must_be_series(root, n, what):
    add_bold(root, n=n)
    assert what in only_fault(root).what


def test_all_that_is_wrong_with_a_run_is_said_at_once(root):
    add_bold(root, n=5, code=0, voxel=0.1, sidecar={"RepetitionTime": -1})
    whats = " ".join(problem.what for problem in find_raw(root).problems)
    assert len(find_raw(root).problems) == 4
    for word in ("oriented", "units", "5 volumes", "RepetitionTime is -1"):
        assert word in whats


def test_a_bad_run_leaves_the_others(root):
    add_bold(root, "sub-01_task-rest_run-2_bold", n=3)
    found = find_raw(root)
    assert len(found.participants[0].bolds) == 1
    assert len(found.problems) == 1


@pytest.mark.parametrize("second", ["sub-01_task-rest_run-1_bold", "sub-01_task-rest_run-01_bold"])
def test_the_same_run_twice(root, second):
    add_bold(root, "sub-01_task-rest_run-01_bold", sidecar=SIDECAR, end=".nii")
    add_bold(root, second, sidecar=SIDECAR)
    found = find_raw(root)
    (problem,) = found.problems
    assert len(found.participants[0].bolds) == 2
    (taken,) = [bold.path for bold in found.participants[0].bolds if bold.run]
    assert taken.name in problem.what
    assert "run-" in problem.where
    assert problem.where != str(taken)


def test_the_same_t1w_twice(root):
    add_anat(root, end=".nii")
    found = find_raw(root)
    assert len(found.participants[0].anats) == 1
    assert "same entities" in found.problems[0].what


def test_multi_echo_is_one_fault_a_run(root):
    for run in (1, 2):
        for echo in (1, 2, 3):
            add_bold(root, f"sub-01_task-rest_run-{run}_echo-{echo}_bold")
    found = find_raw(root)
    assert len(found.problems) == 2
    assert all("multi-echo data (3 echoes)" in problem.what for problem in found.problems)
    assert all("fMRIPrep" in problem.fix for problem in found.problems)
    assert len(found.participants[0].bolds) == 1


# ---------------------------------------------------------------------------------- sidecars


def test_sidecars_are_inherited_and_the_nearest_holds(tmp_path):
    for person in ("01", "02"):
        add_anat(tmp_path, f"sub-{person}_ses-1_T1w")
        add_bold(tmp_path, f"sub-{person}_ses-1_task-rest_bold", t_r_s=1.5)
    (tmp_path / "task-rest_bold.json").write_text(json.dumps(SIDECAR))
    nearer = {"RepetitionTime": 1.5}
    (tmp_path / "sub-02/sub-02_task-rest_bold.json").write_text(json.dumps(nearer))
    first, second = (person.bolds[0] for person in find_raw(tmp_path).participants)
    assert (first.t_r_s, second.t_r_s) == (2.0, 1.5)
    assert first.slice_times_s == second.slice_times_s == tuple(TIMES)
    assert "the JSON is followed" in first.notes[0]
    assert not second.notes


def test_the_repetition_time_may_be_the_headers(root):
    restate(root, RepetitionTime=None)
    run = only_run(root)
    assert run.t_r_s == 2.0
    assert run.notes == ("No JSON states its repetition time; 2 s is its header's.",)


def test_milliseconds_are_converted(root):
    restate(root, RepetitionTime=2000, SliceTiming=[1000 * time for time in TIMES])
    run = only_run(root)
    assert run.t_r_s == 2.0
    assert run.slice_times_s == tuple(TIMES)
    assert "taken for milliseconds" in run.notes[0]
    assert "taken for milliseconds" in run.notes[1]


def test_no_repetition_time_is_a_fault(root):
    add_bold(root, t_r_s=0.0, sidecar={})
    assert "neither in a JSON sidecar nor in its header" in only_fault(root).what


@pytest.mark.parametrize(
    "content", [{"VolumeTiming": [0, 10, 20], "RepetitionTime": None}, {"DelayTime": 8}]
)
def test_sparse_acquisition_is_a_fault(root, content):
    restate(root, **content)
    assert "sparse" in only_fault(root).what


def test_no_delay_is_not_sparse(root):
    restate(root, DelayTime=0)
    assert only_run(root).notes == ()


def test_broken_sidecars_are_faults(root):
    path = root / "sub-01/func/sub-01_task-rest_bold.json"
    path.write_text("{,}")
    problem = only_fault(root)
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
def test_slice_times_run_along_the_voxel_axis(root, direction, axis, times):
    given = times[::-1] if direction and direction.endswith("-") else times
    restate(root, SliceEncodingDirection=direction, SliceTiming=given)
    run = only_run(root)
    assert run.slice_axis == axis
    assert run.slice_times_s == tuple(times)
    assert run.notes == ()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"SliceTiming": None}, "unknown"),
        ({"SliceTiming": [0.0, 1.0]}, "2 times for 4 slices"),
        ({"SliceTiming": [0.0, 1.0, 0.5, 2.5]}, "beyond the repetition time of 2 s"),
        ({"SliceTiming": [0.0, 1.0, 0.5, 2500.0]}, "beyond the repetition time of 2 s"),
        ({"SliceTiming": [0.0, -1.0, 0.5, 1.5]}, "negative"),
        ({"SliceTiming": [0.0, "1", 0.5, 1.5]}, "no list of numbers"),
        ({"SliceTiming": 0.5}, "no list of numbers"),
        ({"SliceEncodingDirection": "ij"}, "SliceEncodingDirection is 'ij'"),
        ({"SliceEncodingDirection": 2}, "SliceEncodingDirection is 2"),
    ],
)
def test_slice_times_that_cannot_be_used(root, changes, why):
    restate(root, **changes)
    run = only_run(root)
    assert run.slice_times_s == ()
    assert why in run.notes[-1]
    assert "not corrected" in run.notes[-1]


def test_phase_encoding(root):
    restate(root, PhaseEncodingDirection="y")
    run = only_run(root)
    assert run.phase_encoding == ""
    assert "PhaseEncodingDirection is 'y'" in run.notes[0]
    restate(root, PhaseEncodingDirection=None)
    found = find_raw(root)
    assert found.participants[0].bolds[0].notes == ()
    assert len(found.notes) == 1
    assert "PhaseEncodingDirection is not stated" in found.notes[0]


# ---------------------------------------------------------------------------------- once for all


def test_what_concerns_many_is_said_once_and_nobody_is_lost(tmp_path):
    for person in range(1, 6):
        add_anat(tmp_path, f"sub-{person}_T1w")
        for run in (1, 2):
            add_bold(tmp_path, f"sub-{person}_task-rest_run-{run}_bold", t_r_s=0.0)
    found = find_raw(tmp_path)
    assert not found.participants
    assert {problem.person for problem in found.problems} == set("12345")
    assert len(found.problems) == 10
    (note,) = found.notes
    assert note.startswith("10 times in 5 people, first ")
    assert "sub-1_task-rest_run-1_bold" in note
    assert "repetition time" in note


def test_notes_are_counted(tmp_path):
    for person in range(1, 6):
        add_anat(tmp_path, f"sub-{person}_T1w")
        add_bold(tmp_path, f"sub-{person}_task-rest_bold")
    (tmp_path / "task-rest_bold.json").write_text('{"RepetitionTime": 2000}')
    found = find_raw(tmp_path)
    assert not found.problems
    assert len(found.notes) == 3  # milliseconds, slice timing, phase encoding
    for note in found.notes:
        assert note.startswith("5 images (first sub-1_task-rest_bold.nii.gz): ")
        assert note.endswith(".")


def test_three_people_are_not_many(tmp_path):
    for person in range(1, 4):
        add_anat(tmp_path, f"sub-{person}_T1w")
    found = find_raw(tmp_path)
    assert len(found.problems) == 3
    assert not found.notes


def test_a_real_data_set():
    if not REAL.exists():
        pytest.skip(f"the shared test data are not here: {REAL}")
    assert is_raw(REAL)
    found = find_raw(REAL)
    assert (found.problems, found.notes) == ((), ())
    (person,) = found.participants
    assert person.participant == "001"
    assert len(person.anats) == 1
    (bold,) = person.bolds
    assert (bold.task, bold.t_r_s, bold.n_volumes) == ("rest", 2.52, 20)
    assert bold.grid == (46, 46, 26)
    assert (bold.slice_axis, bold.phase_encoding) == (2, "j-")
    assert len(bold.slice_times_s) == 26
    assert bold.slice_times_s[:3] == (1.25, 0.0, 1.315)
