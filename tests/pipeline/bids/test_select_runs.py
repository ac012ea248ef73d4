"""BIDS reader and writer: every layout met in the wild is read; what is broken costs one person."""

import gzip
import json
import os
import shutil
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.bids.select_runs import Query, find_runs
from circuitshift.pipeline.errors import InputError

# Outside the checkout: pytest, strict as it is here, stops at a .hypothesis folder in its root.
set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis-circuitshift")

DATA = Path(__file__).resolve().parents[3].parent / "shared/data"
SPACE = "space-MNI152NLin2009cAsym_res-2"
T_R_S = 2.5


def need(*parts):
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the shared test data are not here: {path}")
    return path


def touch(path, content="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def write_image(path, shape, t_r_s=T_R_S):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.ones(shape, np.int16), np.diag([3.0, 3, 3, 1]))
    if len(shape) == 4:
        image.header.set_zooms((3, 3, 3, t_r_s))
        image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)


def add_run(root, entities, *, space=SPACE, folder="func", images=False):
    """Write what fMRIPrep writes of a run; returns the path of its image."""
    pairs = dict(part.split("-") for part in entities.split("_"))
    folders = [f"sub-{pairs['sub']}", *([f"ses-{pairs['ses']}"] if "ses" in pairs else []), folder]
    stem = root.joinpath(*folders, entities)
    image = stem.with_name(f"{stem.name}_{space}_desc-preproc_bold.nii.gz")
    mask = stem.with_name(f"{stem.name}_{space}_desc-brain_mask.nii.gz")
    if images:
        write_image(image, (3, 3, 3, 4))
        write_image(mask, (3, 3, 3))
    else:
        touch(image)
        touch(mask)
    touch(image.with_name(image.name.replace(".nii.gz", ".json")), f'{{"RepetitionTime": {T_R_S}}}')
    touch(stem.with_name(f"{stem.name}_desc-confounds_timeseries.tsv"))
    touch(stem.with_name(f"{stem.name}_desc-confounds_timeseries.json"), "{}")
    return image


@pytest.fixture
def tree(tmp_path):
    """Three people with two sessions each, under folder names that mean something else."""
    root = tmp_path / "perf" / "sub-x" / "ses-y" / "fmriprep"
    for person in ("01", "02", "03"):
        for session in ("pre", "post"):
            add_run(root, f"sub-{person}_ses-{session}_task-rest")
    return root


def visits(found):
    return sorted({(run.participant, run.session) for run in found.runs})


ALL = [(person, session) for person in ("01", "02", "03") for session in ("post", "pre")]


# --- names


LABEL = st.from_regex(r"[a-zA-Z0-9+]{1,6}", fullmatch=True)
KEYS = ["ses", "task", "acq", "dir", "run", "echo", "space", "res", "atlas", "stat", "desc", "zz"]


@settings(database=None)
@given(
    st.dictionaries(st.sampled_from(KEYS), LABEL, max_size=8),
    LABEL,
    st.sampled_from(["bold", "timeseries", "relmat", "AROMAnoiseICs"]),
    st.sampled_from([".nii.gz", ".nii", ".tsv", ".dtseries.nii", ".json"]),
    st.randoms(),
)
def test_names_are_taken_apart_as_they_were_put_together(entities, sub, suffix, extension, random):
    pairs = [("sub", sub), *entities.items()]
    random.shuffle(pairs)
    path = bids.build_path(pairs, suffix, extension)
    name = bids.parse_name(path.name)
    assert (dict(name.entities), name.suffix, name.extension) == (dict(pairs), suffix, extension)
    assert path == bids.build_path(name.entities, suffix, extension)
    folders = [f"sub-{sub}", *([f"ses-{entities['ses']}"] if "ses" in entities else []), "func"]
    assert list(path.parts[:-1]) == folders


def test_order_of_entities_is_that_of_fmriprep_and_xcpd():
    pairs = {"desc": "24p", "stat": "mean", "atlas": "AAL", "res": "2", "space": "S", "run": "1"}
    pairs |= {"task": "rest", "ses": "pre", "sub": "01", "acq": "mb"}
    assert str(bids.build_path(pairs.items(), "timeseries", ".tsv")) == (
        "sub-01/ses-pre/func/sub-01_ses-pre_task-rest_acq-mb_run-1_space-S_res-2_atlas-AAL_"
        "stat-mean_desc-24p_timeseries.tsv"
    )


@pytest.mark.parametrize(
    "name",
    [
        "participants.tsv",
        "sub-01_bold",
        "sub_01_bold.nii",
        "sub-01_sub-02_bold.nii",
        "sub-01__bold.nii",
        "._sub-01_bold.nii.gz",
        "sub-0 1_bold.nii",
        "sub-01_task-a-b_bold.nii",
        "",
    ],
)
def test_what_is_no_bids_name(name):
    assert bids.parse_name(name) is None


@pytest.mark.parametrize(
    "pairs", [[("task", "rest")], [("sub", "1"), ("sub", "2")], [("sub", "0_1")], [("sub", "a/b")]]
)
def test_no_path_is_made_of_what_is_no_name(pairs):
    with pytest.raises(InputError, match="no BIDS name can be made"):
        bids.build_path(pairs, "bold", ".nii")


def test_parts_of_a_name():
    name = bids.parse_name("sub-01_task-rest_space-fsLR_den-91k_bold.dtseries.nii")
    assert name.extension == ".dtseries.nii"
    assert (name.get("den"), name.get("run"), name.get("run", "1")) == ("91k", "", "1")


# --- layouts


@pytest.mark.parametrize(
    ("data_set", "n_participants", "n_runs"), [("ds003007", 29, 58), ("ds002748", 72, 72)]
)
def test_every_run_of_a_real_fmriprep_tree(tmp_path, data_set, n_participants, n_runs):
    listed = need("openneuro-fmriprep", f"{data_set}-fmriprep", "FILELIST.txt").read_text().split()
    root = tmp_path / "perf" / "sub-x" / data_set
    for line in listed:
        touch(root / line)
    found = find_runs(root, dataset="main")
    assert found.problems == ()
    wanted = {line for line in listed if line.endswith(f"{SPACE}_desc-preproc_bold.nii.gz")}
    assert {str(run.path.relative_to(root)) for run in found.runs} == wanted
    assert len(found.runs) == n_runs
    assert len({run.participant for run in found.runs}) == n_participants
    raw = need("openneuro", data_set, "FILELIST.txt").read_text().split()
    participants = {tuple(line.split("/")[:-2]) for line in raw if line.endswith("bold.nii.gz")}
    expected = {tuple(run.path.relative_to(root).parts[:-2]) for run in found.runs}
    assert expected == participants
    for run in found.runs:
        assert run.mask.is_file()
        assert run.confounds.is_file()
        assert (run.input_type, run.space, run.res) == ("bold", "MNI152NLin2009cAsym", "2")
        assert run.dataset == "main"


def test_real_sidecars_state_the_repetition_time(tmp_path):
    source = need("openneuro-fmriprep", "ds003007-fmriprep")
    root = tmp_path / "fmriprep"
    shutil.copytree(source, root)
    for path in sorted(root.glob("sub-*/ses-*/func/*res-2_desc-preproc_bold.json")):
        write_image(path.with_suffix(".nii.gz"), (3, 3, 3, 4))
        stem = str(path).replace("_desc-preproc_bold.json", "")
        write_image(Path(f"{stem}_desc-brain_mask.nii.gz"), (3, 3, 3))
        touch(Path(stem.replace(f"_{SPACE}", "") + "_desc-confounds_timeseries.tsv"))
    found = find_runs(root)
    assert len(found.runs) == 6
    for run in found.runs:
        checked, problems, notes = bids.check_run(run)
        assert (checked.t_r_s, problems, notes) == (2.5, (), ())


def test_real_time_series():
    root = need("psilocybin-aal90")
    found = find_runs(root)
    assert (len(found.runs), found.problems, found.notes) == (36, (), ())
    assert {run.atlas for run in found.runs} == {"AAL90"}
    run, problems, notes = bids.check_run(found.runs[0])
    assert (run.input_type, run.t_r_s, problems, notes) == ("timeseries", 3.0, (), ())


def test_raw_data_alone_has_no_run():
    root = need("raw-bids-one-subject")
    found = find_runs(root)
    assert found.runs == ()
    assert [str(problem) for problem in found.problems] == [
        f"{root}: nobody in it has any preprocessed image, time series or matrix; give the folder "
        "with fMRIPrep's output"
    ]


def test_names_of_folders_above_do_not_matter(tree):
    found = find_runs(tree)
    assert visits(found) == ALL
    assert (found.problems, found.notes) == ((), ())
    assert {(r.task, r.run, r.dataset, r.atlas) for r in found.runs} == {("rest", "", "", "")}


def test_relative_root(tree, monkeypatch):
    monkeypatch.chdir(tree.parent)
    assert visits(find_runs(Path("fmriprep"))) == ALL
    monkeypatch.chdir(tree)
    assert visits(find_runs(Path())) == ALL


def test_an_added_file_is_seen_and_nothing_is_written(tree):
    before = sorted(tree.rglob("*"))
    assert len(find_runs(tree).runs) == 6
    assert sorted(tree.rglob("*")) == before
    add_run(tree, "sub-04_ses-pre_task-rest")
    assert len(find_runs(tree).runs) == 7


def test_older_names_without_session_and_plain_nifti(tmp_path):
    image = add_run(tmp_path, "sub-a1_task-rest_run-02", space="space-MNI152NLin6Asym")
    image.rename(image.with_suffix(""))
    table = next(image.parent.glob("*timeseries.tsv"))
    table.rename(str(table).replace("timeseries.tsv", "regressors.tsv"))
    (run,) = find_runs(tmp_path).runs
    assert (run.participant, run.session, run.run, run.res) == ("a1", "", "02", "")
    assert run.path.suffix == ".nii"
    assert run.confounds.name == "sub-a1_task-rest_run-02_desc-confounds_regressors.tsv"


@pytest.mark.parametrize("below", ["derivatives/fmriprep-23.1", "derivatives/mine", "fmriprep"])
def test_derivatives_of_a_raw_data_set(tmp_path, below):
    touch(tmp_path / "sub-01/func/sub-01_task-rest_bold.nii.gz")
    touch(tmp_path / "sub-02/func/sub-02_task-rest_bold.nii.gz")
    add_run(tmp_path / below, "sub-01_task-rest")
    found = find_runs(tmp_path)
    assert visits(found) == [("01", "")]
    assert found.notes == (f"Preprocessed files were found in {below}, below {tmp_path}.",)
    assert found.problems == ()


def test_fmriprep_goes_before_other_derivatives_and_own_output_is_no_input(tmp_path):
    first = add_run(tmp_path / "derivatives/fmriprep", "sub-01_task-rest")
    add_run(tmp_path / "derivatives/another", "sub-01_task-rest")
    own = tmp_path / "derivatives/circuitshift"
    bids.write_dataset_description(own, name="circuitshift")
    touch(own / "sub-01/func/sub-01_task-rest_space-S_atlas-A_stat-mean_timeseries.tsv")
    found = find_runs(tmp_path)
    assert [run.path for run in found.runs] == [first]
    assert any("derivatives/fmriprep is used" in note for note in found.notes)
    assert any("is output of circuitshift" in note for note in found.notes)
    assert found.problems == ()


def test_a_subdataset_that_was_not_installed_is_said(tmp_path):
    (tmp_path / "derivatives/fmriprep").mkdir(parents=True)
    found = find_runs(tmp_path)
    assert found.runs == ()
    assert "is empty; if it is a DataLad subdataset, run `datalad get -n`" in found.notes[0]
    assert "nobody in it has any" in str(found.problems[0])


def test_two_versions_of_fmriprep_must_be_chosen_between(tmp_path):
    for version in ("fmriprep-20", "fmriprep-24"):
        for person in ("01", "02"):
            add_run(tmp_path / "derivatives" / version, f"sub-{person}_task-rest")
    found = find_runs(tmp_path)
    assert found.runs == ()
    (problem,) = found.problems
    assert "they hold the same runs; name the one to use by --derivatives" in str(problem)
    assert problem.participant == ""


def test_series_may_lie_flat_in_one_folder(tmp_path):
    for person in ("01", "02"):
        touch(tmp_path / f"sub-{person}_ses-pre_task-rest_seg-AAL_timeseries.tsv")
    touch(tmp_path / "sub-01.html")
    found = find_runs(tmp_path)
    assert visits(found) == [("01", "pre"), ("02", "pre")]
    assert {run.atlas for run in found.runs} == {"AAL"}
    assert found.problems == ()


def test_output_of_xcpd(tmp_path):
    stem = tmp_path / "sub-01/func/sub-01_task-rest"
    tails = [
        "run-1_space-MNI152NLin2009cAsym_seg-Gordon_stat-mean_timeseries.tsv",
        "run-2_space-MNI152NLin2009cAsym_seg-Gordon_stat-mean_timeseries.tsv",
        "space-MNI152NLin2009cAsym_seg-Gordon_stat-mean_timeseries.tsv",  # both runs joined
        "run-1_space-MNI152NLin2009cAsym_seg-Gordon_stat-pearsoncorrelation_relmat.tsv",
        "run-1_space-MNI152NLin2009cAsym_seg-Gordon_stat-alff_timeseries.tsv",
        "run-1_space-MNI152NLin2009cAsym_seg-Tian_stat-pearsoncorrelation_relmat.tsv",
        "run-1_space-MNI152NLin2009cAsym_seg-Gordon_stat-coverage_bold.tsv",
        "run-1_space-MNI152NLin2009cAsym_desc-denoised_bold.nii.gz",
        "run-1_desc-abcd_qc.tsv",
        "run-1_motion.tsv",
        "run-1_outliers.tsv",
        "run-1_recording-x_timeseries.tsv",
    ]
    for tail in tails:
        touch(stem.with_name(f"{stem.name}_{tail}"))
    found = find_runs(tmp_path)
    assert [(r.input_type, r.atlas, r.run) for r in found.runs] == [
        ("timeseries", "Gordon", "1"),
        ("relmat", "Tian", "1"),
        ("timeseries", "Gordon", "2"),
    ]
    text = "\n".join(found.notes)
    assert "1 file(s) without run- beside files with run- are taken for joined runs" in text
    assert "1 relmat file(s) are passed over for the time series" in text
    assert "1 table(s) without atlas- or seg-" in text
    assert "1 table(s) are passed over that are neither means" in text
    assert found.problems == ()


@pytest.mark.parametrize(
    ("tail", "input_type"),
    [
        ("desc-denoiseSimple_timeseries.tsv", "timeseries"),
        ("meas-PearsonCorrelation_desc-denoiseSimple_relmat.tsv", "relmat"),
    ],
)
def test_names_of_giga_connectome(tmp_path, tail, input_type):
    func = tmp_path / "sub-1/ses-pre/func"
    func.mkdir(parents=True)
    stem = "sub-1_ses-pre_task-rest_run-01_seg-Schaefer2018100Parcels7Networks"
    (func / f"{stem}_{tail}").write_text("A\tB\n1\t.5\n.5\t1\n")
    found = bids.find_runs(tmp_path)
    assert [(r.input_type, r.atlas) for r in found.runs] == [
        (input_type, "Schaefer2018100Parcels7Networks")
    ]
    assert not found.problems


def test_of_a_run_at_several_doors_the_image_is_taken(tree):
    series = tree / "sub-01/ses-pre/func/sub-01_ses-pre_task-rest_space-S_atlas-A_stat-mean"
    touch(series.with_name(f"{series.name}_timeseries.tsv"))
    found = find_runs(tree)
    assert {run.input_type for run in found.runs} == {"bold"}
    assert found.notes == (
        "1 timeseries file(s) are passed over for the preprocessed image of the same run.",
    )
    asked = find_runs(tree, Query(input_types=("timeseries",)))
    assert [(run.input_type, run.participant) for run in asked.runs] == [("timeseries", "01")]
    assert [problem.participant for problem in asked.problems] == ["02", "03"]
    assert all("no run of the kind asked for (timeseries)" in str(f) for f in asked.problems)


def test_people_at_different_doors_are_said(tree):
    series = "sub-04/func/sub-04_task-rest_space-S_atlas-A_stat-mean_timeseries.tsv"
    touch(tree / series)
    found = find_runs(tree)
    assert len(found.runs) == 7
    assert "not denoised alike" in " ".join(found.notes)


def test_one_space_for_all_people(tree):
    for person in ("01", "02", "03"):
        for session in ("pre", "post"):
            stem = f"sub-{person}_ses-{session}_task-rest"
            add_run(tree, stem, space="space-MNI152NLin6Asym")
            add_run(tree, stem, space="space-AAA")
            add_run(tree, stem, space="space-MNI152NLin2009cAsym")
            add_run(tree, stem, space="space-MNI152NLin2009cAsym_res-1")
            add_run(tree, stem, space="space-T1w")
    found = find_runs(tree)
    assert {(run.space, run.res) for run in found.runs} == {("MNI152NLin2009cAsym", "2")}
    assert len(found.runs) == 6
    assert found.problems == ()
    text = "\n".join(found.notes)
    assert "space-MNI152NLin2009cAsym is taken" in text
    assert "res-2 is taken" in text
    assert "6 images in the person's own space" in text
    asked = find_runs(tree, Query(spaces=("MNI152NLin2009cAsym:res-1",)))
    assert {run.res for run in asked.runs} == {"1"}
    six = find_runs(tree, Query(spaces=("MNI152NLin6Asym",)))
    assert {(run.space, run.res) for run in six.runs} == {("MNI152NLin6Asym", "")}


def test_the_space_that_all_have_goes_before_the_preferred_one(tree):
    for person in ("01", "02", "03"):
        for session in ("pre", "post"):
            add_run(tree, f"sub-{person}_ses-{session}_task-rest", space="space-MNI152NLin6Asym")
    for path in tree.glob(f"sub-03/ses-pre/func/*{SPACE}*"):
        path.unlink()
    found = find_runs(tree)
    assert visits(found) == ALL
    assert {run.space for run in found.runs} == {"MNI152NLin6Asym"}
    assert "no res-" not in "\n".join(found.notes)


def test_a_native_image_is_taken_when_it_is_the_only_one(tmp_path):
    image = add_run(tmp_path, "sub-01_task-rest", space="space-T1w")
    for path in image.parent.glob("*space-T1w*"):
        path.rename(str(path).replace("_space-T1w", ""))
    (run,) = find_runs(tmp_path).runs
    assert (run.space, run.mask.name) == ("", "sub-01_task-rest_desc-brain_mask.nii.gz")


def test_leftovers_are_passed_over(tree):
    func = tree / "sub-01/ses-pre/func"
    stem = "sub-01_ses-pre_task-rest"
    touch(func / f"{stem}_echo-1_desc-preproc_bold.nii.gz")
    touch(func / f"._{stem}_{SPACE}_desc-preproc_bold.nii.gz")
    touch(func / ".DS_Store")
    touch(tree / "._sub-01")
    touch(func / f"{stem}_space-fsLR_den-91k_bold.dtseries.nii")
    touch(func / f"{stem}_hemi-L_space-fsaverage5_bold.func.gii")
    touch(func / f"{stem}_space-MNI152NLin6Asym_desc-smoothAROMAnonaggr_bold.nii.gz")
    found = find_runs(tree)
    assert visits(found) == ALL
    assert len(found.runs) == 6
    assert found.problems == ()
    assert found.notes == (
        "3 file(s) left by macOS or Windows (._*, .DS_Store, Thumbs.db) are passed over.",
        "1 image(s) of single echoes are passed over for their optimal combination.",
    )


def test_variants_of_series(tmp_path):
    stem = "sub-01_task-rest_space-S_atlas-A_stat-mean"
    touch(tmp_path / "sub-01/func" / f"{stem}_timeseries.tsv")
    touch(tmp_path / "sub-01/func" / f"{stem}_desc-24pGsr_timeseries.tsv")
    found = find_runs(tmp_path)
    (run,) = found.runs
    assert run.path.name == f"{stem}_timeseries.tsv"
    assert "no desc- is taken" in found.notes[0]
    filters = (("bold", (("description", "24pGsr"),)),)
    (run,) = find_runs(tmp_path, Query(filters=filters)).runs
    assert run.path.name == f"{stem}_desc-24pGsr_timeseries.tsv"


# --- queries


def test_queries_with_and_without_prefixes(tree):
    add_run(tree, "sub-01_ses-pre_task-nback")
    assert visits(find_runs(tree, Query(participants=("sub-01", "03")))) == [
        *((person, session) for person in ("01", "03") for session in ("post", "pre"))
    ]
    assert visits(find_runs(tree, Query(sessions=("ses-pre",)))) == [
        (person, "pre") for person in ("01", "02", "03")
    ]
    (run,) = find_runs(tree, Query(tasks=("nback",))).runs
    assert run.task == "nback"


@pytest.mark.parametrize(
    ("query", "sentence", "person"),
    [
        (
            Query(participants=("01", "sub-99")),
            "sub-99: it is asked for, but {} does not hold it; ask for one that is there "
            "(there: 01, 02, 03)",
            "99",
        ),
        (
            Query(sessions=("prex",)),
            "ses-prex: it is asked for, but no run carries it; correct --session-label "
            "(nearest: pre)",
            "",
        ),
        (
            Query(tasks=("resting",)),
            "task-resting: it is asked for, but no run carries it; correct --task-id "
            "(nearest: rest)",
            "",
        ),
        (
            Query(spaces=("MNI152NLin6Asym",)),
            "space-MNI152NLin6Asym: it is asked for, but no run carries it; correct --space "
            "(nearest: MNI152NLin2009cAsym)",
            "",
        ),
    ],
)
def test_what_is_asked_for_and_not_there_is_named(tree, query, sentence, person):
    problems = {str(problem): problem.participant for problem in find_runs(tree, query).problems}
    assert problems[sentence.format(tree)] == person


def test_unknown_door_and_folder(tree):
    with pytest.raises(InputError, match="no door 'image'; the doors are bold, timeseries, relmat"):
        find_runs(tree, Query(input_types=("image",)))
    with pytest.raises(InputError, match="there is no such folder; give the folder"):
        find_runs(tree / "nowhere")
    with pytest.raises(InputError, match="it is a file, not a folder"):
        find_runs(next(tree.rglob("*.tsv")))


# --- filter files


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"task": "rest"}, 5),
        ({"task": "rest", "run": 1}, 1),
        ({"task": ["rest", "nback"], "run": [1, 2]}, 2),
        ({"run": None}, 4),
        ({"run": "Query.NONE"}, 4),
        ({"run": "*"}, 2),
        ({"run": [None, 2]}, 5),
        ({"run": "Query.OPTIONAL"}, 6),
        ({"subject": "sub-01", "session": ["pre"]}, 2),
        ({"subject": "1"}, 0),
        ({"acquisition": "mb", "datatype": "func", "suffix": "bold"}, 1),
        ({"description": ["preproc", None], "resolution": 2}, 6),
        ({"extension": ["nii.gz", "nii"], "space": "MNI152NLin2009cAsym"}, 6),
    ],
)
def test_filters(tmp_path, content, expected):
    root = tmp_path / "data"
    for entities in (
        "sub-01_ses-pre_task-rest",
        "sub-01_ses-post_task-rest",
        "sub-01_ses-pre_task-rest_run-01",
        "sub-02_ses-pre_task-rest",
        "sub-02_ses-pre_task-nback_run-02",
        "sub-02_ses-post_task-rest_acq-mb",
    ):
        add_run(root, entities)
    path = touch(tmp_path / "f.json", json.dumps({"bold": content, "t1w": {"acquisition": "x"}}))
    filters = bids.load_filters(path)
    assert len(find_runs(root, Query(filters=filters)).runs) == expected
    hash(filters)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"bald": {}}', "there is no query 'bald'; use bold .nearest: bold"),
        ('{"bold": {"taks": "x"}}', "bold has no entity 'taks'; correct it .nearest: task"),
        ('{"bold": {"task": {"a": 1}}}', "task is {'a': 1}; give a label"),
        ('{"bold": {"task": true}}', "task is True; give a label"),
        ('{"bold": {"suffix": "T1w"}}', "suffix is 'T1w', which no run carries; it may be bold"),
        ('{"bold": ["rest"]}', "bold must hold an object"),
        ('{"bold": ', "line 1: it is not JSON"),
        ("[]", "it must hold one JSON object"),
        ("", "it is empty"),
    ],
)
def test_broken_filter_files(tmp_path, content, sentence):
    path = touch(tmp_path / "f.json", content)
    with pytest.raises(InputError, match=sentence) as error:
        bids.load_filters(path)
    assert str(path) in str(error.value)


def test_filter_file_without_bold_asks_for_all(tmp_path):
    assert bids.load_filters(touch(tmp_path / "f.json", '{"t1w": {"session": "pre"}}')) == ()


# --- broken inputs: one person's runs are lost and named, the others' are found

STEM = "sub-02_ses-pre_task-rest"
BOLD = f"sub-02/ses-pre/func/{STEM}_{SPACE}_desc-preproc_bold.nii.gz"
MASK = f"sub-02/ses-pre/func/{STEM}_{SPACE}_desc-brain_mask.nii.gz"
CONFOUNDS = f"sub-02/ses-pre/func/{STEM}_desc-confounds_timeseries.tsv"
SIDECAR = BOLD.replace(".nii.gz", ".json")


def link_nowhere(name):
    def do(root):
        (root / name).unlink()
        (root / name).symlink_to("../../../.git/annex/objects/xx/MD5E-s1.nii.gz")

    return do


def empty(name):
    return lambda root: (root / name).write_bytes(b"")


def lose(name):
    return lambda root: (root / name).unlink()


def rename(name, new):
    return lambda root: (root / name).rename((root / name).with_name(new))


def move(name, folder):
    def do(root):
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / name).rename(root / folder / Path(name).name)

    return do


def folder_for_file(root):
    (root / BOLD).unlink()
    (root / BOLD).mkdir()


def copy_as(new):
    return lambda root: shutil.copy(root / BOLD, (root / BOLD).with_name(new))


def run_twice(root):
    add_run(root, f"{STEM}_run-1")
    add_run(root, f"{STEM}_run-01")


def without_person(do):
    """Remove everything of the person first."""

    def both(root):
        shutil.rmtree(root / "sub-02")
        do(root)

    return both


def only_echoes(root):
    for echo in (1, 2):
        touch(root / f"sub-02/func/sub-02_task-rest_echo-{echo}_desc-preproc_bold.nii.gz")


NOT_FETCHED = "its content was never fetched (the link leads nowhere); run `datalad get`"
BROKEN_TREES = {
    "image is an annex link never fetched": (link_nowhere(BOLD), NOT_FETCHED),
    "mask is an annex link never fetched": (link_nowhere(MASK), NOT_FETCHED),
    "confounds are an annex link never fetched": (link_nowhere(CONFOUNDS), NOT_FETCHED),
    "image of 0 bytes": (empty(BOLD), "bold.nii.gz: it is empty (0 bytes); fetch it again"),
    "mask of 0 bytes": (empty(MASK), "mask.nii.gz: it is empty (0 bytes); fetch it again"),
    "confounds of 0 bytes": (empty(CONFOUNDS), "timeseries.tsv: it is empty (0 bytes)"),
    "mask missing": (lose(MASK), f"its brain mask {Path(MASK).name} is not beside it"),
    "confounds missing": (
        lose(CONFOUNDS),
        f"its confounds table {Path(CONFOUNDS).name} is not beside it",
    ),
    "a folder in place of the image": (folder_for_file, "it is a folder, not a file; replace it"),
    "a name without dashes": (
        rename(BOLD, "sub-02_ses_pre_task-rest_desc-preproc_bold.nii.gz"),
        "its name is not built of key-value pairs as BIDS asks, so it is not read; rename it",
    ),
    "an entity twice": (
        rename(BOLD, "sub-02_ses-pre_task-rest_task-rest_desc-preproc_bold.nii.gz"),
        "its name is not built of key-value pairs",
    ),
    "a file in another session's folder": (
        move(BOLD, "sub-02/ses-post/func"),
        "its name does not carry ses-post of the folder it is in",
    ),
    "a name without the session of its folder": (
        rename(BOLD, f"sub-02_task-rest_{SPACE}_desc-preproc_bold.nii.gz"),
        "its name does not carry ses-pre of the folder it is in",
    ),
    "a name of another person": (
        rename(BOLD, Path(BOLD).name.replace("sub-02", "sub-01")),
        "its name does not carry sub-02 of the folder it is in",
    ),
    "run-1 beside run-01": (run_twice, "claims to be the same run; remove or rename one"),
    "image compressed and plain": (
        copy_as(Path(BOLD).name.removesuffix(".gz")),
        "claims to be the same run; remove or rename one of them",
    ),
    "only in another space": (
        lambda root: [
            path.rename(str(path).replace(SPACE, "space-MNIPediatricAsym_cohort-1"))
            for path in (root / "sub-02").rglob(f"*{SPACE}*")
        ],
        "this run is not there in MNI152NLin2009cAsym, only in MNIPediatricAsym:cohort-1",
    ),
    "only in the person's own space": (
        lambda root: [
            path.rename(str(path).replace(SPACE, "space-T1w"))
            for path in (root / "sub-02/ses-pre").rglob(f"*{SPACE}*")
        ],
        "this run is not there in a standard space, only in T1w",
    ),
    "an empty folder of a person": (
        without_person(lambda root: (root / "sub-02").mkdir()),
        "it is empty; preprocess or fetch this person's runs",
    ),
    "anatomy only": (
        without_person(lambda root: touch(root / "sub-02/anat/sub-02_desc-preproc_T1w.nii.gz")),
        "it holds no preprocessed run",
    ),
    "surfaces only": (
        without_person(
            lambda root: touch(root / "sub-02/func/sub-02_space-fsLR_den-91k_bold.dtseries.nii")
        ),
        "it holds surface or CIFTI images only",
    ),
    "single echoes only": (
        without_person(only_echoes),
        "it holds single echoes only, not their optimal combination",
    ),
    "a person's folder is a link to nowhere": (
        without_person(lambda root: (root / "sub-02").symlink_to("/nowhere/sub-02")),
        "sub-02: the link leads nowhere; fetch or mount its target",
    ),
    "func is a link to nowhere": (
        lambda root: [
            shutil.rmtree(root / "sub-02/ses-pre/func"),
            (root / "sub-02/ses-pre/func").symlink_to("nowhere"),
        ],
        "func: the link leads nowhere",
    ),
}


@pytest.mark.parametrize(("breaks", "sentence"), BROKEN_TREES.values(), ids=BROKEN_TREES)
def test_a_broken_file_costs_one_person(tree, breaks, sentence):
    breaks(tree)
    found = find_runs(tree)
    assert {problem.participant for problem in found.problems} == {"02"}
    assert any(sentence in str(problem) for problem in found.problems), found.problems
    assert not any("\n" in str(problem) for problem in found.problems)
    others = [(run.participant, run.session) for run in found.runs if run.participant != "02"]
    assert others == [visit for visit in ALL if visit[0] != "02"]
    broken = [run for run in found.runs if (run.participant, run.session) == ("02", "pre")]
    assert [run.run for run in broken] == ([""] if breaks is run_twice else [])


def test_a_folder_that_may_not_be_listed(tree, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("sub-02/ses-pre/func"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_runs(tree)
    (problem,) = found.problems
    assert problem.participant == "02"
    assert "the folder cannot be listed (Permission denied)" in str(problem)
    assert visits(found) == [visit for visit in ALL if visit != ("02", "pre")]


# --- one run at processing time


@pytest.fixture(scope="module")
def real_tree(tmp_path_factory):
    """The same three people, with images that can be read."""
    root = tmp_path_factory.mktemp("real")
    for person in ("01", "02", "03"):
        add_run(root, f"sub-{person}_ses-pre_task-rest", images=True)
    return root


@pytest.fixture
def images(real_tree, tmp_path):
    return Path(shutil.copytree(real_tree, tmp_path / "copy"))


def write(name, content):
    return lambda root: (root / name).write_bytes(content)


def cut(name, n_bytes):
    """Keep the first bytes of what is in a compressed file."""

    def do(root):
        path = root / name
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:n_bytes]))

    return do


def no_t_r(root):
    write_image(root / BOLD, (3, 3, 3, 4), t_r_s=0)
    (root / SIDECAR).unlink()


HTML = b"<!DOCTYPE html><html>404</html>"
BROKEN_FILES = {
    "a web page saved as an image": (write(BOLD, HTML), "it is a web page or error message"),
    "a web page saved as a mask": (write(MASK, HTML), "it is a web page or error message"),
    "an annex pointer": (write(BOLD, b"/annex/objects/MD5E-s1--x"), "never fetched"),
    "noise": (write(BOLD, b"noise" * 99), "it is no NIfTI image"),
    "cut within the header": (cut(BOLD, 200), "ends within its header"),
    "cut gzip": (write(BOLD, b"\x1f\x8b\x08\x00"), BOLD),
    "no series": (lambda r: write_image(r / BOLD, (3, 3, 3)), "it holds one volume, not a series"),
    "mask on another grid": (
        lambda r: write_image(r / MASK, (3, 3, 4)),
        "its grid is 3x3x4, that of its image 3x3x3; preprocess the run again",
    ),
    "no repetition time": (no_t_r, "its repetition time is neither in a JSON sidecar nor in"),
    "negative repetition time": (
        write(SIDECAR, b'{"RepetitionTime": -2}'),
        "RepetitionTime is -2; write it as a positive number",
    ),
    "repetition time as text": (
        write(SIDECAR, b'{"RepetitionTime": "2.5"}'),
        "RepetitionTime is '2.5'; write it as a positive number",
    ),
    "repetition time true": (write(SIDECAR, b'{"RepetitionTime": true}'), "RepetitionTime is True"),
    "sidecar is not JSON": (write(SIDECAR, b"{RepetitionTime: 2}"), "it is not JSON"),
    "sidecar is a list": (write(SIDECAR, b"[2.5]"), "it must hold one JSON object"),
    "sidecar is empty": (write(SIDECAR, b""), "it is empty"),
    "sidecar never fetched": (link_nowhere(SIDECAR), "its content was never fetched"),
}


@pytest.mark.parametrize(("breaks", "sentence"), BROKEN_FILES.values(), ids=BROKEN_FILES)
def test_broken_content_costs_one_run(images, breaks, sentence):
    breaks(images)
    found = find_runs(images)
    assert (len(found.runs), found.problems) == (3, ())
    checked = [bids.check_run(run) for run in found.runs]
    assert [problems for _, problems, _ in checked][::2] == [(), ()]
    assert [run.t_r_s for run, _, _ in checked][::2] == [T_R_S, T_R_S]
    (problem,) = checked[1][1]
    assert problem.participant == "02"
    assert sentence in str(problem)
    assert "\n" not in str(problem)


def t_r_of(root):
    run, problems, notes = bids.check_run(find_runs(root, Query(participants=("02",))).runs[0])
    assert problems == ()
    return run.t_r_s, " ".join(notes)


def test_milliseconds(images):
    write_image(images / BOLD, (3, 3, 3, 4), t_r_s=2500)
    t_r_s, notes = t_r_of(images)
    assert t_r_s == 2.5
    assert "header's repetition time is 2500, taken for milliseconds: 2.5 s" in notes
    assert "followed" not in notes
    (images / SIDECAR).write_text('{"RepetitionTime": 2500}')
    t_r_s, notes = t_r_of(images)
    assert t_r_s == 2.5
    assert "RepetitionTime is 2500, taken for milliseconds: 2.5 s" in notes


def test_json_goes_before_header(images):
    (images / SIDECAR).write_text('{"RepetitionTime": 2.2}')
    t_r_s, notes = t_r_of(images)
    assert t_r_s == 2.2
    assert "is 2.2 s in its JSON and 2.5 s in its header; the JSON is followed" in notes


def test_header_alone(images):
    (images / SIDECAR).unlink()
    t_r_s, notes = t_r_of(images)
    assert t_r_s == 2.5
    assert "no JSON states its repetition time; 2.5 s is its header's" in notes


def test_sidecars_are_inherited_nearest_first(images):
    (images / SIDECAR).unlink()
    steps = [
        (images / "bold.json", 2.1),
        (images / "task-rest_bold.json", 2.2),
        (images / "sub-02/sub-02_bold.json", 2.3),
        (images / "sub-02/ses-pre/sub-02_ses-pre_bold.json", 2.4),
        (images / "sub-02/ses-pre/func/sub-02_ses-pre_task-rest_bold.json", 2.6),
    ]
    touch(images / "task-nback_bold.json", '{"RepetitionTime": 9}')  # of another task
    touch(images.parent / "task-rest_bold.json", '{"RepetitionTime": 9}')  # above the data set
    for path, value in steps:
        touch(path, json.dumps({"RepetitionTime": value}))
        assert t_r_of(images)[0] == value
    (images / SIDECAR).write_text('{"EchoTime": 0.03}')  # says nothing of it: the next one does
    assert t_r_of(images)[0] == 2.6


def test_series_take_the_repetition_time_of_their_image_or_rate(tmp_path):
    stem = "sub-02_task-rest"
    series = tmp_path / f"sub-02/func/{stem}_space-S_seg-A_stat-mean_timeseries.tsv"
    touch(series)
    assert t_r_of(tmp_path) == (
        None,
        f"{series.name}: no JSON states its repetition time; its minutes are unknown.",
    )
    image = tmp_path / f"sub-02/func/{stem}_space-S_desc-denoised_bold.json"
    touch(image, '{"RepetitionTime": 2.0}')
    assert t_r_of(tmp_path) == (2.0, "")
    touch(series.with_suffix(".json"), '{"SamplingFrequency": 0.4}')
    assert t_r_of(tmp_path) == (2.5, "")


# --- what an output folder says of itself


def test_dataset_description(tmp_path):
    out = tmp_path / "out"
    raw = tmp_path / "raw set"
    bids.write_dataset_description(
        out,
        name="circuitshift",
        sources=(str(raw), "doi:10.18112/openneuro.ds003007.v1.0.1"),
        links={"fmriprep": str(raw)},
    )
    content = json.loads((out / "dataset_description.json").read_text())
    assert content["DatasetType"] == "derivative"
    assert content["GeneratedBy"][0]["Name"] == "circuitshift"
    assert content["GeneratedBy"][0]["Version"]
    assert content["SourceDatasets"] == [
        {"URL": raw.resolve().as_uri()},
        {"DOI": "doi:10.18112/openneuro.ds003007.v1.0.1"},
    ]
    assert content["DatasetLinks"] == {"fmriprep": raw.resolve().as_uri()}
    ignored = (out / ".bidsignore").read_text().split()
    assert {"*.html", "group/", "logs/"} <= set(ignored)
    bids.write_dataset_description(out, name="again")
    assert json.loads((out / "dataset_description.json").read_text())["Name"] == "again"


def test_a_data_set_of_others_is_not_written_into(tmp_path):
    touch(tmp_path / "dataset_description.json", '{"GeneratedBy": [{"Name": "fMRIPrep"}]}')
    with pytest.raises(InputError, match="it is a data set of fMRIPrep; choose another output"):
        bids.write_dataset_description(tmp_path, name="circuitshift")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset_description.json"]
