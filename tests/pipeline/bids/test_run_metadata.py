"""Metadata of one run: repetition time, inheritance of sidecars, and invalid files."""

import gzip
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from circuitshift.pipeline.bids.run_metadata import as_problem, check_run, form_notes, metadata_of
from circuitshift.pipeline.bids.select_runs import Query, find_runs
from circuitshift.pipeline.errors import CircuitshiftError
from circuitshift.pipeline.io.nifti import read_header


def run_of_02(root):
    (run,) = find_runs(root, Query(participants=("02",))).runs
    return run


def t_r_and_notes(root):
    run, problems, notes = check_run(run_of_02(root))
    assert problems == ()
    return run.t_r_s, " ".join(notes)


# --- shared data


def test_sidecars_of_a_real_data_set_state_the_repetition_time(tmp_path, files, shared_data):
    root = tmp_path / "fmriprep"
    shutil.copytree(shared_data("openneuro-fmriprep", "ds003007-fmriprep"), root)
    for path in sorted(root.glob("sub-*/ses-*/func/*res-2_desc-preproc_bold.json")):
        files.image(path.with_suffix(".nii.gz"), (3, 3, 3, 4))
        stem = str(path).replace("_desc-preproc_bold.json", "")
        files.image(Path(f"{stem}_desc-brain_mask.nii.gz"), (3, 3, 3))
        files.touch(Path(stem.replace(f"_{files.space}", "") + "_desc-confounds_timeseries.tsv"))
    found = find_runs(root)
    assert len(found.runs) == 6
    for run in found.runs:
        checked, problems, notes = check_run(run)
        assert (checked.t_r_s, problems, notes) == (2.5, (), ())


def test_time_series_of_a_real_data_set(shared_data):
    found = find_runs(shared_data("psilocybin-aal90"))
    run, problems, notes = check_run(found.runs[0])
    assert (run.input_type, run.t_r_s, problems, notes) == ("timeseries", 3.0, (), ())


# --- repetition time


def test_milliseconds_are_converted(images, files, names):
    files.image(images / names.bold, (3, 3, 3, 4), t_r_s=2500)
    t_r_s, notes = t_r_and_notes(images)
    assert t_r_s == 2.5
    assert "header's repetition time is 2500; it is interpreted as milliseconds, 2.5 s" in notes
    assert "is used" not in notes
    (images / names.sidecar).write_text('{"RepetitionTime": 2500}')
    t_r_s, notes = t_r_and_notes(images)
    assert t_r_s == 2.5
    assert "RepetitionTime is 2500; it is interpreted as milliseconds, 2.5 s" in notes


@pytest.mark.parametrize(("stated", "seconds"), [(99.9, 99.9), (100, 0.1)])
def test_the_limit_between_seconds_and_milliseconds(images, names, stated, seconds):
    (images / names.sidecar).write_text(json.dumps({"RepetitionTime": stated}))
    run, problems, _ = check_run(run_of_02(images))
    assert run.t_r_s == seconds
    assert f"its repetition time is {seconds:g} s, which is not between" in str(problems[0])


@pytest.mark.parametrize("stated", [0.2, 0.72, 6.0, 200, 800])
def test_plausible_repetition_times(images, names, stated):
    (images / names.sidecar).write_text(json.dumps({"RepetitionTime": stated}))
    assert t_r_and_notes(images)[0] == (stated if stated < 100 else stated / 1000)


@pytest.mark.parametrize("stated", [0.0025, 0.19, 6.1, 25, 8000])
def test_an_implausible_repetition_time_is_a_problem_of_its_run(images, names, stated):
    (images / names.sidecar).write_text(json.dumps({"RepetitionTime": stated}))
    (problem,) = check_run(run_of_02(images))[1]
    assert problem.participant == "02"
    assert str(problem).endswith(
        "s, which is not between 0.2 and 6 s; write the correct RepetitionTime, in seconds, in "
        "its JSON"
    )


def test_an_implausible_header_does_not_matter_if_the_sidecar_is_plausible(images, files, names):
    files.image(images / names.bold, (3, 3, 3, 4), t_r_s=25)
    assert t_r_and_notes(images)[0] == files.t_r_s


def test_an_implausible_rate_of_time_series_is_a_problem(tmp_path, files):
    series = tmp_path / "sub-02/func/sub-02_task-rest_atlas-A_stat-mean_timeseries.tsv"
    files.touch(series)
    files.touch(series.with_suffix(".json"), '{"SamplingFrequency": 50}')
    (problem,) = check_run(run_of_02(tmp_path))[1]
    assert "its repetition time is 0.02 s" in str(problem)


def test_the_sidecar_precedes_the_header(images, names):
    (images / names.sidecar).write_text('{"RepetitionTime": 2.2}')
    t_r_s, notes = t_r_and_notes(images)
    assert t_r_s == 2.2
    assert "is 2.2 s in its JSON and 2.5 s in its header; the JSON is used" in notes


def test_differences_below_a_millisecond_are_ignored(images, names):
    (images / names.sidecar).write_text('{"RepetitionTime": 2.5009}')
    assert t_r_and_notes(images) == (2.5009, "")


def test_the_header_is_used_without_a_sidecar(images, names):
    (images / names.sidecar).unlink()
    t_r_s, notes = t_r_and_notes(images)
    assert t_r_s == 2.5
    assert "no JSON states its repetition time; 2.5 s is taken from its header" in notes


def test_time_series_use_the_repetition_time_of_their_image_or_their_rate(tmp_path, files):
    stem = "sub-02_task-rest"
    series = tmp_path / f"sub-02/func/{stem}_space-S_seg-A_stat-mean_timeseries.tsv"
    files.touch(series)
    assert t_r_and_notes(tmp_path) == (
        None,
        f"{series.name}: no JSON states its repetition time; its duration is unknown.",
    )
    image = tmp_path / f"sub-02/func/{stem}_space-S_desc-denoised_bold.json"
    files.touch(image, '{"RepetitionTime": 2.0}')
    assert t_r_and_notes(tmp_path) == (2.0, "")
    files.touch(series.with_suffix(".json"), '{"SamplingFrequency": 0.4}')
    assert t_r_and_notes(tmp_path) == (2.5, "")


# --- inheritance


def test_the_nearest_sidecar_is_used(images, files, names):
    (images / names.sidecar).unlink()
    steps = [
        (images / "bold.json", 2.1),
        (images / "task-rest_bold.json", 2.2),
        (images / "sub-02/sub-02_bold.json", 2.3),
        (images / "sub-02/ses-pre/sub-02_ses-pre_bold.json", 2.4),
        (images / "sub-02/ses-pre/func/sub-02_ses-pre_task-rest_bold.json", 2.6),
    ]
    files.touch(images / "task-nback_bold.json", '{"RepetitionTime": 9}')  # another task
    files.touch(images.parent / "task-rest_bold.json", '{"RepetitionTime": 9}')  # another data set
    for path, value in steps:
        files.touch(path, json.dumps({"RepetitionTime": value}))
        assert t_r_and_notes(images)[0] == value
    # a sidecar without the repetition time is skipped
    (images / names.sidecar).write_text('{"EchoTime": 0.03}')
    assert t_r_and_notes(images)[0] == 2.6


def test_values_of_nearer_sidecars_replace_others(images, files):
    files.touch(images / "bold.json", '{"RepetitionTime": 9, "FlipAngle": 70}')
    assert metadata_of(run_of_02(images)) == {"RepetitionTime": files.t_r_s, "FlipAngle": 70}


# --- invalid files


def write(name, content):
    return lambda root, names, _: (root / getattr(names, name)).write_bytes(content)


def cut(name, n_bytes):
    """Keep only the first bytes of the content of a compressed file."""

    def do(root, names, _):
        path = root / getattr(names, name)
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:n_bytes]))

    return do


def broken_link(name):
    def do(root, names, _):
        (root / getattr(names, name)).unlink()
        (root / getattr(names, name)).symlink_to("../../../.git/annex/objects/xx/MD5E-s1.nii.gz")

    return do


def no_t_r(root, names, files):
    files.image(root / names.bold, (3, 3, 3, 4), t_r_s=0)
    (root / names.sidecar).unlink()


HTML = b"<!DOCTYPE html><html>404</html>"
INVALID = {
    "a web page saved as an image": (write("bold", HTML), "it is a web page or error message"),
    "a web page saved as a mask": (write("mask", HTML), "it is a web page or error message"),
    "an annex pointer": (write("bold", b"/annex/objects/MD5E-s1--x"), "never fetched"),
    "noise": (write("bold", b"noise" * 99), "it is not a NIfTI image"),
    "cut within the header": (cut("bold", 200), "ends within the header"),
    "cut gzip": (write("bold", b"\x1f\x8b\x08\x00"), "desc-preproc_bold.nii.gz"),
    "one volume": (
        lambda root, names, files: files.image(root / names.bold, (3, 3, 3)),
        "it has only one volume; preprocess the run again",
    ),
    "mask on another grid": (
        lambda root, names, files: files.image(root / names.mask, (3, 3, 4)),
        "its grid is 3x3x4, but the grid of its image is 3x3x3; preprocess the run again",
    ),
    "no repetition time": (no_t_r, "its repetition time is neither in a JSON sidecar nor in"),
    "negative repetition time": (
        write("sidecar", b'{"RepetitionTime": -2}'),
        "RepetitionTime is -2; write it as a positive number",
    ),
    "repetition time as text": (
        write("sidecar", b'{"RepetitionTime": "2.5"}'),
        "RepetitionTime is '2.5'; write it as a positive number",
    ),
    "repetition time true": (
        write("sidecar", b'{"RepetitionTime": true}'),
        "RepetitionTime is True",
    ),
    "sidecar is not JSON": (write("sidecar", b"{RepetitionTime: 2}"), "it is not JSON"),
    "sidecar is a list": (write("sidecar", b"[2.5]"), "it is not a JSON object"),
    "sidecar is empty": (write("sidecar", b""), "it is empty"),
    "sidecar never fetched": (broken_link("sidecar"), "its content was never fetched"),
}


@pytest.mark.parametrize(("damage", "message"), INVALID.values(), ids=INVALID)
def test_an_invalid_file_concerns_one_run_only(images, files, names, damage, message):
    damage(images, names, files)
    found = find_runs(images)
    assert (len(found.runs), found.problems) == (3, ())
    checked = [check_run(run) for run in found.runs]
    assert [problems for _, problems, _ in checked][::2] == [(), ()]
    assert [run.t_r_s for run, _, _ in checked][::2] == [files.t_r_s, files.t_r_s]
    (problem,) = checked[1][1]
    assert problem.participant == "02"
    assert message in str(problem)
    assert "\n" not in str(problem)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a.tsv: it is empty; fetch it again", ("a.tsv", "it is empty", "fetch it again")),
        ("a.tsv: it is empty", ("a.tsv", "it is empty", "fetch or write it again")),
        ("a.tsv: one; two; three", ("a.tsv", "one; two", "three")),
        ("it is empty; fetch it", ("b.tsv", "it is empty", "fetch it")),
    ],
)
def test_errors_become_problems(text, parts):
    problem = as_problem(CircuitshiftError(text), Path("b.tsv"), "01")
    assert (problem.where, problem.what, problem.fix) == parts
    assert problem.participant == "01"


@pytest.mark.parametrize(
    ("codes", "shift", "text"),
    [((1, 1), 7.0, "up to 7.0 mm apart"), ((1, 1), 0.2, ""), ((0, 1), 7.0, ""), ((1, 0), 7.0, "")],
)
def test_a_conflict_of_qform_and_sform_is_stated(tmp_path, codes, shift, text):
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    image = nib.Nifti1Image(np.zeros((6, 5, 4), np.int16), None)
    moved = affine.copy()
    moved[1, 3] += shift
    image.header.set_qform(affine, codes[0])
    image.header.set_sform(moved, codes[1])
    nib.save(image, tmp_path / "image.nii")
    found = form_notes(read_header(tmp_path / "image.nii"))
    assert bool(found) == bool(text)
    assert text in "".join(found)
