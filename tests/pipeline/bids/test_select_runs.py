"""Runs of a data set: selection among versions, queries, and files that cannot be used."""

import os
import shutil
import socket
from pathlib import Path

import pytest

from circuitshift.pipeline.bids.description import write_dataset_description
from circuitshift.pipeline.bids.select_runs import Query, find_runs
from circuitshift.pipeline.errors import InputError

PARTICIPANTS = ("01", "02", "03")
VISITS = [(label, session) for label in PARTICIPANTS for session in ("post", "pre")]


def visits(found):
    return sorted({(run.participant, run.session) for run in found.runs})


# --- data sets


@pytest.mark.parametrize(
    ("data_set", "n_participants", "n_runs"), [("ds003007", 29, 58), ("ds002748", 72, 72)]
)
def test_all_runs_of_a_real_fmriprep_data_set(
    tmp_path, files, shared_data, data_set, n_participants, n_runs
):
    file_list = shared_data("openneuro-fmriprep", f"{data_set}-fmriprep", "FILELIST.txt")
    paths = file_list.read_text().split()
    root = tmp_path / "perf" / "sub-x" / data_set
    for path in paths:
        files.touch(root / path)
    found = find_runs(root, dataset="main")
    assert found.problems == ()
    expected = {path for path in paths if path.endswith(f"{files.space}_desc-preproc_bold.nii.gz")}
    assert {str(run.path.relative_to(root)) for run in found.runs} == expected
    assert len(found.runs) == n_runs
    assert len({run.participant for run in found.runs}) == n_participants
    raw = shared_data("openneuro", data_set, "FILELIST.txt").read_text().split()
    acquired = {tuple(path.split("/")[:-2]) for path in raw if path.endswith("bold.nii.gz")}
    assert {tuple(run.path.relative_to(root).parts[:-2]) for run in found.runs} == acquired
    for run in found.runs:
        assert run.mask.is_file()
        assert run.confounds.is_file()
        assert (run.input_type, run.space, run.res) == ("bold", "MNI152NLin2009cAsym", "2")
        assert run.dataset == "main"


def test_all_runs_of_real_time_series(shared_data):
    found = find_runs(shared_data("psilocybin-aal90"))
    assert (len(found.runs), found.problems, found.notes) == (36, (), ())
    assert {run.atlas for run in found.runs} == {"AAL90"}


def test_a_raw_data_set_contains_no_runs(shared_data):
    root = shared_data("raw-bids-one-subject")
    found = find_runs(root)
    assert found.runs == ()
    assert [str(problem) for problem in found.problems] == [
        f"{root}: no participant has a preprocessed image, time series or matrix; give the folder "
        "with the output of fMRIPrep"
    ]


def test_a_folder_of_conn_needs_a_description(tmp_path):
    (tmp_path / "healthy").mkdir()
    (tmp_path / "healthy" / "ROI_Subject001_Condition001.mat").write_bytes(b"")
    (problem,) = find_runs(tmp_path).problems
    assert "it contains files of CONN, which a table [input]" in str(problem)


def test_the_root_may_be_relative(tree, monkeypatch):
    monkeypatch.chdir(tree.parent)
    assert visits(find_runs(Path("fmriprep"))) == VISITS
    monkeypatch.chdir(tree)
    assert visits(find_runs(Path())) == VISITS


def test_runs_are_complete_records(tree, names):
    run = next(r for r in find_runs(tree).runs if (r.participant, r.session) == ("02", "pre"))
    assert (run.task, run.run, run.dataset, run.atlas, run.t_r_s) == ("rest", "", "", "", None)
    assert run.path == tree / names.bold
    assert run.mask == tree / names.mask
    assert run.confounds == tree / names.confounds


def test_names_of_older_versions_without_session_and_compression(tmp_path, files):
    image = files.run(tmp_path, "sub-a1_task-rest_run-02", space="space-MNI152NLin6Asym")
    image.rename(image.with_suffix(""))
    table = next(image.parent.glob("*timeseries.tsv"))
    table.rename(str(table).replace("timeseries.tsv", "regressors.tsv"))
    (run,) = find_runs(tmp_path).runs
    assert (run.participant, run.session, run.run, run.res) == ("a1", "", "02", "")
    assert run.path.suffix == ".nii"
    assert run.confounds.name == "sub-a1_task-rest_run-02_desc-confounds_regressors.tsv"


def test_output_of_xcpd(tmp_path, files):
    for tail in (
        "run-1_space-MNI152NLin2009cAsym_seg-Gordon_stat-mean_timeseries.tsv",
        "run-2_space-MNI152NLin2009cAsym_seg-Gordon_stat-mean_timeseries.tsv",
        "space-MNI152NLin2009cAsym_seg-Gordon_stat-mean_timeseries.tsv",  # both concatenated
        "run-1_space-MNI152NLin2009cAsym_seg-Gordon_stat-pearsoncorrelation_relmat.tsv",
        "run-1_space-MNI152NLin2009cAsym_seg-Gordon_stat-alff_timeseries.tsv",
        "run-1_space-MNI152NLin2009cAsym_seg-Tian_stat-pearsoncorrelation_relmat.tsv",
        "run-1_recording-x_timeseries.tsv",
    ):
        files.touch(tmp_path / f"sub-01/func/sub-01_task-rest_{tail}")
    found = find_runs(tmp_path)
    assert [(r.input_type, r.atlas, r.run) for r in found.runs] == [
        ("timeseries", "Gordon", "1"),
        ("relmat", "Tian", "1"),
        ("timeseries", "Gordon", "2"),
    ]
    text = "\n".join(found.notes)
    assert "1 file(s) without run- are ignored as concatenated runs" in text
    assert "1 relmat file(s) are ignored in favour of the time series" in text
    assert "1 table(s) without atlas- or seg-" in text
    assert "1 table(s) are ignored, because they are neither regional means" in text
    assert found.problems == ()


# --- selection among versions of a run


def test_output_of_fmriprep_precedes_other_derivatives(tmp_path, files):
    first = files.run(tmp_path / "derivatives/fmriprep", "sub-01_task-rest")
    files.run(tmp_path / "derivatives/another", "sub-01_task-rest")
    own = tmp_path / "derivatives/circuitshift"
    write_dataset_description(own, name="circuitshift")
    files.touch(own / "sub-01/func/sub-01_task-rest_space-S_atlas-A_stat-mean_timeseries.tsv")
    found = find_runs(tmp_path)
    assert [run.path for run in found.runs] == [first]
    assert any("derivatives/fmriprep is used" in note for note in found.notes)
    assert any("is output of circuitshift" in note for note in found.notes)
    assert found.problems == ()


def test_two_versions_of_fmriprep_are_not_chosen_between(tmp_path, files):
    for version in ("fmriprep-20", "fmriprep-24"):
        for label in ("01", "02"):
            files.run(tmp_path / "derivatives" / version, f"sub-{label}_task-rest")
    found = find_runs(tmp_path)
    assert found.runs == ()
    (problem,) = found.problems
    assert "they contain the same runs; select one by --derivatives" in str(problem)
    assert problem.participant == ""


def test_the_image_precedes_time_series_of_the_same_run(tree, files):
    stem = "sub-01_ses-pre_task-rest_space-S_atlas-A_stat-mean"
    files.touch(tree / f"sub-01/ses-pre/func/{stem}_timeseries.tsv")
    found = find_runs(tree)
    assert {run.input_type for run in found.runs} == {"bold"}
    assert found.notes == (
        "1 timeseries file(s) are ignored in favour of the preprocessed image of the same run.",
    )
    series = find_runs(tree, Query(input_types=("timeseries",)))
    assert [(run.input_type, run.participant) for run in series.runs] == [("timeseries", "01")]
    assert [problem.participant for problem in series.problems] == ["02", "03"]
    for problem in series.problems:
        assert "it contains no run of the requested input type (timeseries)" in str(problem)


def test_different_input_types_of_participants_are_noted(tree, files):
    files.touch(tree / "sub-04/func/sub-04_task-rest_space-S_atlas-A_stat-mean_timeseries.tsv")
    found = find_runs(tree)
    assert len(found.runs) == 7
    assert "their denoising differs" in " ".join(found.notes)


def test_one_space_is_used_for_all_participants(tree, files):
    for label, session in VISITS:
        stem = f"sub-{label}_ses-{session}_task-rest"
        files.run(tree, stem, space="space-MNI152NLin6Asym")
        files.run(tree, stem, space="space-AAA")
        files.run(tree, stem, space="space-MNI152NLin2009cAsym")
        files.run(tree, stem, space="space-MNI152NLin2009cAsym_res-1")
        files.run(tree, stem, space="space-T1w")
    found = find_runs(tree)
    assert {(run.space, run.res) for run in found.runs} == {("MNI152NLin2009cAsym", "2")}
    assert len(found.runs) == 6
    assert found.problems == ()
    text = "\n".join(found.notes)
    assert "space-MNI152NLin2009cAsym is used" in text
    assert "res-2 is used" in text
    assert "6 images in native space" in text
    requested = find_runs(tree, Query(spaces=("MNI152NLin2009cAsym:res-1",)))
    assert {run.res for run in requested.runs} == {"1"}
    requested = find_runs(tree, Query(spaces=("MNI152NLin6Asym",)))
    assert {(run.space, run.res) for run in requested.runs} == {("MNI152NLin6Asym", "")}


def test_a_space_that_all_runs_have_precedes_the_preferred_one(tree, files):
    for label, session in VISITS:
        files.run(tree, f"sub-{label}_ses-{session}_task-rest", space="space-MNI152NLin6Asym")
    for path in tree.glob(f"sub-03/ses-pre/func/*{files.space}*"):
        path.unlink()
    found = find_runs(tree)
    assert visits(found) == VISITS
    assert {run.space for run in found.runs} == {"MNI152NLin6Asym"}
    assert "no res-" not in "\n".join(found.notes)


def test_an_image_in_native_space_is_used_if_there_is_no_other(tmp_path, files):
    image = files.run(tmp_path, "sub-01_task-rest", space="space-T1w")
    for path in image.parent.glob("*space-T1w*"):
        path.rename(str(path).replace("_space-T1w", ""))
    (run,) = find_runs(tmp_path).runs
    assert (run.space, run.mask.name) == ("", "sub-01_task-rest_desc-brain_mask.nii.gz")


def test_ignored_files_are_counted_in_notes(tree, files):
    func = tree / "sub-01/ses-pre/func"
    stem = "sub-01_ses-pre_task-rest"
    files.touch(func / f"{stem}_echo-1_desc-preproc_bold.nii.gz")
    files.touch(func / ".DS_Store")
    found = find_runs(tree)
    assert visits(found) == VISITS
    assert found.notes == (
        "1 file(s) of macOS or Windows (._*, .DS_Store, Thumbs.db) are ignored.",
        "1 image(s) of single echoes are ignored in favour of their combination.",
    )


def test_time_series_without_a_description_precede_others(tmp_path, files):
    stem = "sub-01_task-rest_space-S_atlas-A_stat-mean"
    files.touch(tmp_path / "sub-01/func" / f"{stem}_timeseries.tsv")
    files.touch(tmp_path / "sub-01/func" / f"{stem}_desc-24pGsr_timeseries.tsv")
    found = find_runs(tmp_path)
    (run,) = found.runs
    assert run.path.name == f"{stem}_timeseries.tsv"
    assert "no desc- is used" in found.notes[0]
    filters = (("bold", (("description", "24pGsr"),)),)
    (run,) = find_runs(tmp_path, Query(filters=filters)).runs
    assert run.path.name == f"{stem}_desc-24pGsr_timeseries.tsv"


# --- queries


def test_labels_of_a_query_may_have_prefixes(tree, files):
    files.run(tree, "sub-01_ses-pre_task-nback")
    assert visits(find_runs(tree, Query(participants=("sub-01", "03")))) == [
        *((label, session) for label in ("01", "03") for session in ("post", "pre"))
    ]
    assert visits(find_runs(tree, Query(sessions=("ses-pre",)))) == [
        (label, "pre") for label in PARTICIPANTS
    ]
    (run,) = find_runs(tree, Query(tasks=("nback",))).runs
    assert run.task == "nback"


@pytest.mark.parametrize(
    ("query", "message", "participant"),
    [
        (
            Query(participants=("01", "sub-99")),
            "sub-99: it was requested, but it is not in {}; request an available participant "
            "(available: 01, 02, 03)",
            "99",
        ),
        (
            Query(sessions=("prex",)),
            "ses-prex: it was requested, but no run has this label; correct --session-label "
            "(nearest: pre)",
            "",
        ),
        (
            Query(tasks=("resting",)),
            "task-resting: it was requested, but no run has this label; correct --task-id "
            "(nearest: rest)",
            "",
        ),
        (
            Query(spaces=("MNI152NLin6Asym",)),
            "space-MNI152NLin6Asym: it was requested, but no run has this label; correct --space "
            "(nearest: MNI152NLin2009cAsym)",
            "",
        ),
    ],
)
def test_labels_that_no_run_has_are_reported(tree, query, message, participant):
    problems = {str(problem): problem.participant for problem in find_runs(tree, query).problems}
    assert problems[message.format(tree)] == participant


def test_an_unknown_input_type_is_refused(tree):
    message = "unknown input type 'image'; choose from bold, timeseries, relmat"
    with pytest.raises(InputError, match=message):
        find_runs(tree, Query(input_types=("image",)))


# --- files that cannot be used: the runs of other participants are found


def broken_link(name):
    def change(root, names, _):
        (root / getattr(names, name)).unlink()
        (root / getattr(names, name)).symlink_to("../../../.git/annex/objects/xx/MD5E-s1.nii.gz")

    return change


def empty(name):
    return lambda root, names, _: (root / getattr(names, name)).write_bytes(b"")


def remove(name):
    return lambda root, names, _: (root / getattr(names, name)).unlink()


def folder_instead_of_image(root, names, _):
    (root / names.bold).unlink()
    (root / names.bold).mkdir()


def uncompressed_copy(root, names, _):
    shutil.copy(root / names.bold, root / names.bold.removesuffix(".gz"))


def run_1_and_01(root, names, files):
    files.run(root, f"{names.stem}_run-1")
    files.run(root, f"{names.stem}_run-01")


def other_space(space, folder):
    def change(root, _, files):
        for path in (root / folder).rglob(f"*{files.space}*"):
            path.rename(str(path).replace(files.space, space))

    return change


def empty_folder(root, _names, _files):
    shutil.rmtree(root / "sub-02")
    (root / "sub-02").mkdir()


def invalid_name(root, names, _):
    (root / names.bold).rename(
        (root / names.bold).with_name("sub-02_ses_pre_desc-preproc_bold.nii")
    )


NOT_FETCHED = "its content was never fetched (broken link); run `datalad get`"
UNUSABLE = {
    "image never fetched": (broken_link("bold"), NOT_FETCHED),
    "mask never fetched": (broken_link("mask"), NOT_FETCHED),
    "confounds never fetched": (broken_link("confounds"), NOT_FETCHED),
    "image of 0 bytes": (empty("bold"), "bold.nii.gz: it is empty (0 bytes); fetch it again"),
    "mask of 0 bytes": (empty("mask"), "mask.nii.gz: it is empty (0 bytes); fetch it again"),
    "confounds of 0 bytes": (empty("confounds"), "timeseries.tsv: it is empty (0 bytes)"),
    "mask missing": (remove("mask"), "desc-brain_mask.nii.gz is missing in its folder; fetch it"),
    "confounds missing": (
        remove("confounds"),
        "its confounds table sub-02_ses-pre_task-rest_desc-confounds_timeseries.tsv is missing",
    ),
    "a folder instead of the image": (
        folder_instead_of_image,
        "it is a folder, not a file; replace it",
    ),
    "an invalid name": (invalid_name, "its name does not consist of key-value pairs"),
    "run-1 and run-01": (run_1_and_01, "has the same entities; remove or rename one"),
    "compressed and uncompressed": (
        uncompressed_copy,
        "has the same entities; remove or rename one of them",
    ),
    "another standard space": (
        other_space("space-MNIPediatricAsym_cohort-1", "sub-02"),
        "this run is not available in MNI152NLin2009cAsym, only in MNIPediatricAsym:cohort-1",
    ),
    "native space": (
        other_space("space-T1w", "sub-02/ses-pre"),
        "this run is not available in a standard space, only in T1w",
    ),
    "an empty folder": (empty_folder, "it is empty; preprocess or fetch its runs"),
}


@pytest.mark.parametrize(("change", "message"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_file_concerns_one_participant_only(tree, files, names, change, message):
    change(tree, names, files)
    found = find_runs(tree)
    assert {problem.participant for problem in found.problems} == {"02"}
    assert any(message in str(problem) for problem in found.problems), found.problems
    assert not any("\n" in str(problem) for problem in found.problems)
    others = [(run.participant, run.session) for run in found.runs if run.participant != "02"]
    assert others == [visit for visit in VISITS if visit[0] != "02"]
    remaining = [run for run in found.runs if (run.participant, run.session) == ("02", "pre")]
    assert [run.run for run in remaining] == ([""] if change is run_1_and_01 else [])


# --- tasks, versions and companions, from files to runs


def rename(root, before, after):
    for path in sorted(root.rglob(f"*{before}*")):
        path.rename(path.with_name(path.name.replace(before, after)))


def test_one_acquired_run_in_four_versions_is_one_run(tmp_path, files):
    for session in ("pre", "post"):
        for proc in ("optcom", "meica", "poptcom", "pmeica"):
            files.run(tmp_path, f"sub-01_ses-{session}_task-rest_run-01_proc-{proc}")
        files.run(tmp_path, f"sub-02_ses-{session}_task-rest_run-01_proc-optcom")
    found = find_runs(tmp_path)
    assert visits(found) == [(s, e) for s in ("01", "02") for e in ("post", "pre")]
    assert len(found.runs) == 4
    assert {dict(run.entities)["proc"] for run in found.runs} == {"optcom"}
    assert found.problems == ()
    (choice,) = found.choices
    assert choice.ignored == (("proc-meica", 2), ("proc-pmeica", 2), ("proc-poptcom", 2))
    assert choice.sentence in found.notes
    filters = (("bold", (("proc", ("meica",)),)),)
    other = find_runs(tmp_path, Query(filters=filters))
    assert [dict(run.entities)["proc"] for run in other.runs] == ["meica", "meica"]


def test_rest_alone_is_used_by_every_job(tree, files):
    for label in PARTICIPANTS:
        files.run(tree, f"sub-{label}_ses-post_task-nback")
    files.run(tree, "sub-04_ses-post_task-nback")
    found = find_runs(tree)
    assert visits(found) == VISITS
    assert {run.task for run in found.runs} == {"rest"}
    assert [c.ignored for c in found.choices] == [(("task-nback in ses-post", 4),)]
    (problem,) = found.problems
    assert problem.participant == "04"
    assert "it has no run of task-rest" in str(problem)
    # a job for one participant makes the same choice
    alone = find_runs(tree, Query(participants=("04",)))
    assert (alone.runs, alone.problems, alone.choices) == ((), found.problems, found.choices)
    stated = find_runs(tree, Query(tasks=("nback",)))
    assert visits(stated) == [(label, "post") for label in (*PARTICIPANTS, "04")]


def test_a_job_for_one_participant_uses_the_version_of_all(tmp_path, files):
    for label in ("01", "02", "03"):
        files.run(tmp_path, f"sub-{label}_task-rest_rec-b")
    files.run(tmp_path, "sub-01_task-rest_rec-a")
    for query in (Query(), Query(participants=("01",))):
        assert {dict(r.entities)["rec"] for r in find_runs(tmp_path, query).runs} == {"b"}


def test_tasks_without_rest_are_refused(tree, files):
    rename(tree, "task-rest", "task-faces")
    files.run(tree, "sub-01_ses-pre_task-nback")
    with pytest.raises(InputError, match="--task-id faces\n  --task-id nback"):
        find_runs(tree)
    assert len(find_runs(tree, Query(tasks=("faces",))).runs) == 6


def test_part_mag_in_the_old_order(tmp_path, files):
    """The mask and confounds of fMRIPrep 20 with part-mag after desc-."""
    for session in ("pre", "post"):
        image = files.run(tmp_path, f"sub-01_ses-{session}_task-rest_part-mag")
        files.touch(image.with_name(image.name.replace("part-mag", "part-phase")))
        if session == "pre":
            for path in sorted(image.parent.glob("*part-mag*")):
                *entities, suffix = path.name.replace("_part-mag", "").split("_")
                path.rename(path.with_name("_".join([*entities, "part-mag", suffix])))
    found = find_runs(tmp_path)
    assert found.problems == ()
    assert visits(found) == [("01", "post"), ("01", "pre")]
    for run in found.runs:
        assert run.mask.name.endswith("_mask.nii.gz")
        assert "confounds" in run.confounds.name
    assert "2 image(s) of phase, real or imaginary parts are ignored" in " ".join(found.notes)


def test_a_phase_image_alone_is_not_a_run(tree, files):
    shutil.rmtree(tree / "sub-02")
    files.run(tree, "sub-02_ses-pre_task-rest_part-phase")
    (problem,) = find_runs(tree).problems
    assert problem.participant == "02"
    assert "it contains phase, real or imaginary images only" in str(problem)


@pytest.mark.parametrize(
    "twin",
    [
        "sub-02_task-rest_ses-pre_{}_desc-preproc_bold.nii.gz",
        "sub-02_ses-pre_task-rest_desc-preproc_{}_bold.nii.gz",
        "sub-02_{}_ses-pre_desc-preproc_task-rest_bold.nii.gz",
    ],
)
def test_two_files_with_equal_entities_are_one_run_twice(tree, files, names, twin):
    files.touch((tree / names.bold).parent / twin.format(files.space))
    found = find_runs(tree)
    (problem,) = found.problems
    assert problem.participant == "02"
    assert "has the same entities; remove or rename one of them" in str(problem)
    assert visits(found) == [visit for visit in VISITS if visit != ("02", "pre")]


def test_two_masks_of_a_run_are_not_chosen_between(tree, files, names):
    twin = f"sub-02_task-rest_ses-pre_{files.space}_desc-brain_mask.nii.gz"
    files.touch((tree / names.mask).parent / twin)
    found = find_runs(tree)
    (problem,) = found.problems
    assert problem.participant == "02"
    assert f"its brain mask may be any of {names.mask.rpartition('/')[2]}, {twin}" in str(problem)
    assert visits(found) == [visit for visit in VISITS if visit != ("02", "pre")]


@pytest.mark.parametrize(
    "below", ["derivatives/fmriprep-20.2.7/fmriprep", "derivatives/fmriprep/v23", "X/out/fmriprep"]
)
def test_nested_derivatives_are_found(tmp_path, files, below):
    (tmp_path / "sub-01/anat").mkdir(parents=True)
    files.run(tmp_path / below, "sub-01_task-rest")
    found = find_runs(tmp_path)
    assert visits(found) == [("01", "")]
    assert found.problems == ()
    assert f"Preprocessed files were found in {below}, below {tmp_path}." in found.notes


def test_two_nested_versions_are_refused_with_the_options_to_paste(tmp_path, files):
    for version in ("v23", "v24 (new)"):
        files.run(tmp_path / "derivatives/fmriprep" / version, "sub-01_task-rest")
    found = find_runs(tmp_path)
    assert found.runs == ()
    base = tmp_path / "derivatives/fmriprep"
    assert f"--derivatives {base}/v23 or --derivatives '{base}/v24 (new)'" in str(found.problems[0])


def test_the_folders_that_were_searched_are_listed(tmp_path, files):
    files.touch(tmp_path / "derivatives/mriqc/sub-01/func/sub-01_task-rest_timeseries.tsv")
    found = find_runs(tmp_path)
    assert found.runs == ()
    assert f"was found in {tmp_path}, {tmp_path}/derivatives/mriqc; folders" in found.notes[0]


# --- folders and files that are not what they seem


def pipe_as(name):
    def change(root, names, _):
        (root / getattr(names, name)).unlink()
        os.mkfifo(root / getattr(names, name))

    return change


def open_socket(root, names, _):
    path = root / names.confounds
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.open(path.parent, os.O_RDONLY)  # the complete path is too long for a socket
        server.bind(f"/proc/self/fd/{folder}/{path.name}")
        os.close(folder)


def circle(root, names, _):
    (root / names.bold).unlink()
    (root / names.bold).symlink_to(Path(names.bold).name)


ODD_FILES = {
    "a pipe instead of the image": (pipe_as("bold"), "it is a pipe, socket or device, not a file"),
    "a pipe instead of the mask": (pipe_as("mask"), "it is a pipe, socket or device"),
    "a pipe instead of confounds": (pipe_as("confounds"), "it is a pipe, socket or device"),
    "a socket instead of confounds": (open_socket, "it is a pipe, socket or device"),
    "a link to itself": (circle, "it is a link that leads to itself; replace it"),
}


@pytest.mark.parametrize(("change", "message"), ODD_FILES.values(), ids=ODD_FILES)
def test_files_that_cannot_be_opened_are_not_opened(tree, files, names, change, message):
    change(tree, names, files)
    found = find_runs(tree)
    (problem,) = found.problems
    assert problem.participant == "02"
    assert message in str(problem)
    assert visits(found) == [visit for visit in VISITS if visit != ("02", "pre")]
