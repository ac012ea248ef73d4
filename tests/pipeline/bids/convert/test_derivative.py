"""The derivative that a conversion writes: found again, not written twice, and cleaned up."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy.io import savemat

from circuitshift.atlases.load import load_atlas
from circuitshift.pipeline.bids.convert.derivative import convert_inputs
from circuitshift.pipeline.bids.convert.description import StackInput
from circuitshift.pipeline.bids.input_types import read_table
from circuitshift.pipeline.bids.participants import read_participants
from circuitshift.pipeline.bids.run_metadata import check_run
from circuitshift.pipeline.bids.select_runs import find_runs
from circuitshift.pipeline.errors import InputError

NAME = "ROI_Subject{:03d}_Condition000.mat"
NAMES = (
    "Grey Matter", "White Matter", "CSF", "networks.DefaultMode.MPFC (1,55,-3)",
    "networks.DefaultMode.PCC (1,-61,38)", "networks.Salience.ACC (0,22,35)",
    "atlas.MidFG l (Middle Frontal Gyrus Left)", "atlas.Amygdala l",
)  # fmt: skip


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def study(tmp_path, write_conn, source, series):
    """Three patients with two sessions in a file, and two controls with a folder for each visit."""
    root = tmp_path / "data"
    for k in (1, 2, 3):
        path = root / "patients" / NAME.format(k)
        write_conn(path, series(k), sessions=np.repeat([1, 2], 20))
    for seed, visit in ((10, "pre"), (20, "post")):
        for k in (1, 2):
            write_conn(root / f"controls_{visit}" / NAME.format(k), series(seed + k, 30))
    patients = source(by="session", visits=((1, "pre"), (2, "post")), prefix="P")
    controls = [
        source(f"controls_{visit}", group="healthy", prefix="HC", visits=((0, visit),))
        for visit in ("pre", "post")
    ]
    return root, [patients, *controls], tmp_path / "out/converted"


def test_what_is_written_is_found_again(study, series):
    root, inputs, folder = study
    convert_inputs(root, inputs, folder)
    found = find_runs(folder)
    assert not found.problems
    assert len(found.runs) == 10
    run = next(r for r in found.runs if (r.participant, r.session) == ("P002", "post"))
    assert run.path.name == "sub-P002_ses-post_task-rest_atlas-conn_stat-mean_timeseries.tsv"
    table = read_table(run)
    labels, values = table.labels, table.values
    np.testing.assert_allclose(values, series(2)[20:, 3:], rtol=1e-8)
    checked, problems, _ = check_run(run)
    assert (checked.t_r_s, problems) == (2.0, ())
    about = json.loads(run.path.with_suffix(".json").read_text())
    assert about["Source"] == {
        "File": "patients/ROI_Subject002_Condition000.mat",
        "Key": "data",
        "Session": 2,
        "Condition": "rest",
        "Volumes": [21, 40],
    }
    atlas = load_atlas(folder / "atlas-conn_dseg.tsv")
    assert atlas.labels == labels
    assert atlas.regions[0].network == "DefaultMode"
    assert atlas.centres_mm()[0].tolist() == [9, 10, 11]
    participants = read_participants(folder)
    assert not participants.problems
    groups = dict(zip(participants.labels, participants.columns["group"], strict=True))
    assert groups == dict.fromkeys(("HC001", "HC002"), "healthy") | dict.fromkeys(
        ("P001", "P002", "P003"), "patient"
    )


def test_equal_input_gives_equal_bytes_and_is_converted_once(study, tmp_path):
    root, inputs, folder = study
    assert convert_inputs(root, inputs, folder).is_new
    first = content(folder)
    stamps = {name: (folder / name).stat().st_mtime_ns for name in first}
    again = convert_inputs(root, inputs, folder)
    assert not again.is_new
    assert {name: (folder / name).stat().st_mtime_ns for name in first} == stamps
    shutil.copytree(root, tmp_path / "copy/data")
    convert_inputs(tmp_path / "copy/data", inputs, tmp_path / "copy/converted")
    other = content(tmp_path / "copy/converted")
    first.pop("dataset_description.json")  # names the folder of the source
    other.pop("dataset_description.json")
    assert first == other


def test_a_changed_file_a_changed_description_or_a_damaged_output_is_converted_again(
    study, write_conn, series
):
    root, inputs, folder = study
    convert_inputs(root, inputs, folder)
    write_conn(root / "controls_pre" / NAME.format(1), series(99, 30))
    assert convert_inputs(root, inputs, folder).is_new
    damaged = next(folder.glob("sub-P001/**/*_timeseries.tsv"))
    damaged.write_text("damaged")
    assert convert_inputs(root, inputs, folder).is_new
    assert damaged.read_text() != "damaged"
    assert convert_inputs(root, [replace(i, task="sleep") for i in inputs], folder).is_new
    assert not convert_inputs(root, [replace(i, task="sleep") for i in inputs], folder).is_new


def test_files_of_a_former_description_do_not_stay(study):
    root, inputs, folder = study
    convert_inputs(root, inputs, folder)
    convert_inputs(root, [replace(i, atlas="other") for i in inputs[:1]], folder)
    assert {run.participant for run in find_runs(folder).runs} == {"P001", "P002", "P003"}
    assert {run.atlas for run in find_runs(folder).runs} == {"other"}
    assert not list(folder.glob("atlas-conn*"))


def test_a_failed_conversion_is_never_taken_for_a_complete_one(study, write_conn, series):
    root, inputs, folder = study
    convert_inputs(root, inputs, folder)
    path = root / "controls_post" / NAME.format(2)
    good = path.read_bytes()
    write_conn(path, series(12, 30))  # the same data as at the first visit
    with pytest.raises(InputError, match="sub-HC002 ses-post equal those of sub-HC002 ses-pre"):
        convert_inputs(root, inputs, folder)
    path.write_bytes(good)
    assert convert_inputs(root, inputs, folder).is_new


@pytest.mark.parametrize("damage", [b"damaged", b""])
def test_a_damaged_file_is_left_out_by_name_and_the_others_are_unchanged(study, damage):
    root, inputs, folder = study
    convert_inputs(root, inputs, folder)
    before = content(folder)
    assert convert_inputs(root, inputs, folder).is_complete
    (root / "patients" / NAME.format(3)).write_bytes(damage)
    made = convert_inputs(root, inputs, folder)
    assert not made.is_complete
    notes = made.notes
    assert [note.startswith("left out: ") and "Subject003" in note for note in notes] == [True]
    after = content(folder)
    assert "sub-P003\tpatient" in after["participants.tsv"].decode()
    assert {name for name in before if name not in after} == {
        name for name in before if name.startswith("sub-P003/")
    }
    assert all(before[name] == after[name] for name in after if name.startswith("sub-"))


def test_only_damaged_files_are_an_error(study):
    root, inputs, folder = study
    for path in root.rglob("*.mat"):
        path.write_bytes(b"damaged")
    with pytest.raises(
        InputError, match=r"no file of \[input\] can be read\nleft out: .*Subject001"
    ):
        convert_inputs(root, inputs, folder)


def test_regions_that_one_participant_lacks_are_lost_for_them_alone(study, write_conn, series):
    root, inputs, folder = study
    convert_inputs(root, inputs, folder)
    before = content(folder)
    path = root / "patients" / NAME.format(2)
    write_conn(path, series(2)[:, :8], names=NAMES[:8], sessions=np.repeat([1, 2], 20))
    notes = convert_inputs(root, inputs, folder).notes
    assert (
        "patients/ROI_Subject002_Condition000.mat: it lacks 2 of 7 regions; they are n/a." in notes
    )
    run = next(r for r in find_runs(folder).runs if (r.participant, r.session) == ("P002", "post"))
    values = read_table(run).values
    assert np.isnan(values[:, 5:]).all()
    np.testing.assert_allclose(values[:, :5], series(2)[20:, 3:8], rtol=1e-8)
    after = content(folder)
    assert all(before[n] == after[n] for n in after if n.startswith("sub-") and "P002" not in n)


def test_patterns_select_regions(study):
    root, inputs, folder = study
    convert_inputs(root, [replace(i, regions=("networks.*",)) for i in inputs], folder)
    assert read_table(find_runs(folder).runs[0]).labels == (
        "networks.DefaultMode.MPFC (1,55,-3)",
        "networks.DefaultMode.PCC (1,-61,38)",
        "networks.Salience.ACC (0,22,35)",
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([{}, {}, {"visits": ((0, "pre"),)}], "sub-HC001 ses-pre: it is in"),
        ([{}, {"prefix": "P", "visits": ((0, "x"),)}, {}], "has the groups 'patient' and 'healthy"),
        (
            [{"visits": ((1, "pre"), (4, "post"))}, {}, {}],
            "no file has the session of visit post",
        ),
        ([{"folder": "patient"}, {}, {}], "folder cannot be read"),
    ],
)
def test_descriptions_that_contradict_the_files_are_refused(study, changes, message):
    root, inputs, folder = study
    with pytest.raises(InputError, match=message):
        convert_inputs(
            root, [replace(i, **c) for i, c in zip(inputs, changes, strict=True)], folder
        )


def test_a_folder_of_another_program_is_left_alone(study):
    root, inputs, folder = study
    folder.mkdir(parents=True)
    (folder / "dataset_description.json").write_text('{"GeneratedBy": [{"Name": "fMRIPrep"}]}')
    with pytest.raises(InputError, match="data set of fMRIPrep"):
        convert_inputs(root, inputs, folder)


def test_arrays_are_written_as_matrices_and_found_again(tmp_path):
    rng = np.random.default_rng(0)
    values = np.array([[np.corrcoef(rng.normal(size=(4, 30))) for _ in range(4)] for _ in "abc"])
    np.savez(tmp_path / "fc.npz", z=np.arctanh(values - np.eye(4)))
    stack = StackInput(
        file="fc.npz",
        key="z",
        content="matrices",
        axes=("participant", "visit", "region", "region"),
        values="fisher-z",
        participants=("01", "02", "03"),
        visits=("off", "off", "on", "on"),
        groups=(),
        regions=("a", "b", "c", "d"),
    )
    convert_inputs(tmp_path, [stack], tmp_path / "converted")
    runs = find_runs(tmp_path / "converted").runs
    assert len(runs) == 12
    run = next(r for r in runs if (r.participant, r.session, r.run) == ("02", "on", "2"))
    np.testing.assert_allclose(read_table(run).values, values[1, 3], atol=1e-8)
    assert "group" not in (tmp_path / "converted/participants.tsv").read_text()


def test_arrays_of_other_regions_are_refused(tmp_path):
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", np.eye(3)[None, None] * 0.5 + 0.5)
    axes = ("participant", "visit", "region", "region")
    one = StackInput(
        "a.npy", "", "matrices", axes, "correlation", ("1",), ("pre",), (), ("x", "y", "z")
    )
    other = replace(one, file="b.npy", visits=("post",), regions=("x", "z", "y"))
    with pytest.raises(InputError, match=r"b\.npy: its regions are not those of the first"):
        convert_inputs(tmp_path, [one, other], tmp_path / "converted")


def test_second_level_files_of_conn_are_arrays_with_names_and_centres(tmp_path):
    """CONN's resultsROI_Condition*.mat: Fisher z of all participants, one file for each visit."""
    rng = np.random.default_rng(0)
    r = np.array([[np.corrcoef(rng.normal(size=(6, 40))) for _ in "abc"] for _ in range(2)])
    names = ["networks.DefaultMode.MPFC (1,55,-3)", "networks.DefaultMode.PCC (1,-61,38)",
             "atlas.A", "atlas.B", "atlas.C", "CSF"]  # fmt: skip
    inputs = []
    for k, visit in enumerate(("pre", "post")):
        z = np.arctanh(r[k] - np.eye(6)).transpose(1, 2, 0)
        z[np.arange(6), np.arange(6)] = np.nan
        path = tmp_path / f"resultsROI_Condition{k + 1:03d}.mat"
        xyz = cell([np.array([[7.0 * j, 8, 9]]) for j in range(6)])
        savemat(path, {"Z": z, "names": cell(names), "xyz": xyz})
        inputs.append(
            StackInput(
                file=path.name,
                key="Z",
                content="matrices",
                axes=("region", "region", "participant"),
                values="fisher-z",
                participants=("01", "02", "03"),
                visits=(visit,),
                groups=("patient",) * 3,
                regions=0,
                region_keys=(("centres", "xyz"), ("names", "names")),
            )
        )
    made = convert_inputs(tmp_path, inputs, tmp_path / "converted")
    assert "resultsROI_Condition001.mat: CSF are no regions and are left out." in made.notes
    run = next(
        r
        for r in find_runs(tmp_path / "converted").runs
        if (r.participant, r.session) == ("02", "post")
    )
    table = read_table(run)
    labels, values = table.labels, table.values
    assert labels == tuple(names[:5])  # CSF is no region
    np.testing.assert_allclose(values, r[1, 1, :5, :5], atol=1e-8)
    atlas = load_atlas(tmp_path / "converted/atlas-stack_dseg.tsv")
    assert atlas.centres_mm()[4].tolist() == [28, 8, 9]
    assert atlas.regions[0].network == "DefaultMode"
    selected = [replace(i, select=("atlas.*",)) for i in inputs]
    convert_inputs(tmp_path, selected, tmp_path / "converted")
    table = read_table(run)
    labels, values = table.labels, table.values
    assert labels == tuple(names[2:5])
    np.testing.assert_allclose(values, r[1, 1, 2:5, 2:5], atol=1e-8)
    with pytest.raises(InputError, match="leaves 0 of 6 regions"):
        convert_inputs(tmp_path, [replace(inputs[0], select=("x",))], tmp_path / "converted")


def cell(values):
    out = np.empty((1, len(values)), object)
    for k, value in enumerate(values):
        out[0, k] = value
    return out
