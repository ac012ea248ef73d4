"""Changes of inputs, settings, code and outputs after which a run is measured again."""

import json
import os
import shutil
import time
from dataclasses import replace
from functools import partial

import nibabel as nib
import numpy as np
import pytest

from circuitshift.pipeline.bids.select_runs import Query, find_runs
from circuitshift.pipeline.io import digests, images, provenance, tables
from circuitshift.pipeline.measure import person as measure
from circuitshift.pipeline.measure import run as measuring
from circuitshift.pipeline.measure import validity
from circuitshift.pipeline.measure.atlas_files import prepare_atlases
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.pipeline.validation.simulate.data_set import (
    PlantedTruth,
    SimulationSpec,
    write_simulated_data_set,
)

STRATEGY = """
[mine]
load.strategy = ["motion", "high_pass", "compcor"]
load.motion = "basic"
load.compcor = "anat_separated"
load.n_compcor = 3
low_pass_hz = 0.15
prose = "As I like it."
reference = "10.1000/1"
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Measure one participant with an additional atlas and strategy."""
    root = tmp_path_factory.mktemp("validity")
    spec = SimulationSpec(
        n_treated=1, n_control=0, n_reference=0, n_volumes=80,
        share_missing=0.0, share_out_of_view=0.0,
    )  # fmt: skip
    rng = np.random.default_rng(4)
    write_simulated_data_set(root / "ds", PlantedTruth("nothing"), spec=spec, rng=rng)
    shutil.move(root / "ds/derivatives/fmriprep", root / "data")
    shutil.rmtree(root / "ds")
    for session in ("ses-post",):
        shutil.rmtree(next(root.glob(f"data/sub-*/{session}")))
    run = the_run(root)
    mask = images.read(run.mask)
    inside = np.asarray(mask.data) > 0
    labels = np.zeros(inside.shape, np.int16)
    labels[inside] = 1 + np.arange(inside.sum()) * 8 // inside.sum()
    nib.save(nib.Nifti1Image(labels, mask.affine), root / "atlas-Slabs_dseg.nii.gz")
    rows = [f"{k}\tslab{k}\tnet{k % 2}" for k in range(1, 9)]
    (root / "atlas-Slabs_dseg.tsv").write_text("\n".join(["index\tlabel\tnetwork", *rows]) + "\n")
    (root / "mine.toml").write_text(STRATEGY)
    folder = root / "data" / f"sub-{run.participant}" / "anat"
    folder.mkdir(exist_ok=True)
    dseg = images.Image(np.where(inside, 2, 0).astype(np.uint8), mask.affine)
    images.write(folder / f"sub-{run.participant}_space-{run.space}_dseg.nii.gz", dseg)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "_SETTLED_NS", -1)
        again(root)
    assert [row["reason"] for row in the_rows(root)] == ["n/a"]
    return root


@pytest.fixture
def study(original, tmp_path, monkeypatch):
    """Return a copy of data and outputs in which digests of new files are recorded at once."""
    shutil.copytree(original, tmp_path / "study")
    monkeypatch.setattr(digests, "_SETTLED_NS", -1)
    return tmp_path / "study"


def the_run(root):
    (run,) = find_runs(root / "data", Query()).runs
    return run


def the_rows(root):
    return list(tables.read_table(next((root / "out").glob("sub-*/sub-*_runs.tsv"))).rows())


def settings_of(root, **more):
    given = {
        "atlases": (str(root / "atlas-Slabs_dseg.nii.gz"),),
        "strategies": ("mine",),
        "strategy_files": (str(root / "mine.toml"),),
        "min_minutes": 0.5,
        "min_coverage": 0.01,  # slabs are mostly air
    }
    return AnalysisSettings(**(given | more))


def again(root, settings=None):
    """Run the measurement again and return the number of measured runs."""
    settings = settings or settings_of(root)
    calls, original = [], measuring.measure_run
    run = the_run(root)
    prepare_atlases([run], settings, root / "out")

    def counted(*args, of=original, **more):
        calls.append(1)
        return of(*args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "measure_run", counted)
        patch.setattr(measure, "measure_visit", partial(counted, of=measuring.measure_visit))
        measure.measure_participant(
            [run], (), participant=run.participant, settings=settings, out_dir=root / "out"
        )
    return len(calls)


def state(folder):
    return {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.rglob("*") if p.is_file()}


def products(root):
    """Return the output files except atlases, which are written each time, and logs."""
    return {
        path: about
        for path, about in state(root / "out").items()
        if not {"sourcedata", "logs"} & set(path.relative_to(root / "out").parts)
    }


def edit_json(path, **more):
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def replace_image(path):
    """Other values, the size of the file and its dates as before."""
    about = path.stat()
    content = bytearray(path.read_bytes())
    content[-40] ^= 1  # damaged even; what counts is that it is read again
    time.sleep(0.02)
    path.write_bytes(content)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (about.st_size, about.st_mtime_ns)


def swap_labels(root):
    """Labels of two regions change places: the size of the table stays."""
    table = root / "atlas-Slabs_dseg.tsv"
    text = table.read_text()
    table.write_text(text.replace("slab1", "?").replace("slab2", "slab1").replace("?", "slab2"))


def swap_values(root):
    path = root / "atlas-Slabs_dseg.nii.gz"
    image = nib.load(path)
    labels = np.asarray(image.dataobj)
    new = np.select([labels == 1, labels == 2], [2, 1], labels).astype(np.int16)
    nib.save(nib.Nifti1Image(new, image.affine), path)


def edit_mask(root):
    path = the_run(root).confounds.with_suffix(".json")
    text = path.read_text()
    assert '"CSF"' in text
    path.write_text(text.replace('"CSF"', '"WM_"'))  # of equal size


def drop_voxel(root):
    path = the_run(root).mask
    mask = images.read(path)
    data = np.array(mask.data)
    data[tuple(np.argwhere(data > 0)[0])] = 0
    images.write(path, mask.like(data))


def edit_confounds(root):
    path = the_run(root).confounds
    lines = path.read_text().split("\n")
    lines[30], lines[31] = lines[31], lines[30]
    path.write_text("\n".join(lines))


def edit_repetition_time(root):
    path = the_run(root).path
    edit_json(path.with_name(path.name.replace(".nii.gz", ".json")), RepetitionTime=2.25)


def edit_segmentation(root):
    path = next((root / "data").glob("sub-*/anat/*_dseg.nii.gz"))
    image = images.read(path)
    images.write(path, image.like(np.where(np.asarray(image.data) > 0, 3, 0).astype(np.uint8)))


def edit_strategy(root):
    (root / "mine.toml").write_text(STRATEGY.replace("0.15", "0.18"))


CHANGES = (
    swap_labels,
    swap_values,
    edit_mask,
    drop_voxel,
    edit_confounds,
    edit_repetition_time,
    edit_segmentation,
    edit_strategy,
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_of_an_input_measures_again_once(study, change):
    assert again(study) == 0
    change(study)
    assert not is_measured(study)
    assert again(study) == 1
    assert again(study) == 0
    assert is_measured(study)


def is_measured(root, settings=None, **more):
    run, settings = the_run(root), settings or settings_of(root)
    prepare_atlases([run], settings, root / "out")
    return measure.is_measured(
        [run],
        (),
        participant=run.participant,
        settings=settings,
        out_dir=root / "out",
        digests=digests.Digests(f"sub-{run.participant}", root / "out", **more),
    )


def test_a_change_of_an_atlas_image_alone_counts(study):
    """The image differs but the centres of its regions do not."""
    path = study / "atlas-Slabs_dseg.nii.gz"
    image = nib.load(path)
    copy = nib.Nifti1Image(np.asarray(image.dataobj), image.affine)
    copy.header["descrip"] = "another image"
    nib.save(copy, path)
    assert again(study) == 1


def test_an_image_of_equal_size_and_date_is_measured_again(study):
    assert again(study) == 0
    replace_image(the_run(study).path)
    assert again(study) == 1


def test_swapped_labels_change_places_in_the_outputs(study):
    before = matrix_of(study)
    swap_labels(study)
    again(study)
    after = matrix_of(study)
    order = [1, 0, *range(2, 8)]
    assert np.isfinite(before[1]).all()
    np.testing.assert_array_equal(after[1], before[1][np.ix_(order, order)])
    assert after[0][:2] == ("slab2", "slab1")


def matrix_of(root):
    labels, matrix = tables.read_matrix(next((root / "out").rglob("*_relmat.tsv")))
    order = np.argsort(labels)
    return labels, matrix[np.ix_(order, order)]


def test_touched_copied_and_moved_inputs_are_not_measured_again(study, tmp_path):
    assert again(study) == 0
    before = products(study)
    for path in study.rglob("*"):
        os.utime(path, ns=(1, 10**15))
    touched = products(study)
    assert again(study) == 0
    assert products(study) == touched  # not one output was written
    assert {path: about[1] for path, about in before.items()} == {
        path: about[1] for path, about in touched.items()
    }
    shutil.copytree(study, tmp_path / "copy")  # new inodes; data, outputs, atlas and strategies
    copied = products(tmp_path / "copy")
    assert not is_measured(tmp_path / "copy", read=False)  # files must be read to decide
    assert again(tmp_path / "copy") == 0
    assert products(tmp_path / "copy") == copied
    assert is_measured(tmp_path / "copy", read=False)
    (tmp_path / "copy").rename(tmp_path / "elsewhere")
    assert again(tmp_path / "elsewhere") == 0
    assert {p.name for p in products(tmp_path / "elsewhere")} == {p.name for p in copied}


def test_a_changed_description_of_a_run_is_written_without_measuring(study):
    assert again(study) == 0
    run = the_run(study)
    sidecar = next((study / "out").rglob("*_relmat.json"))
    matrix = sidecar.with_suffix(".tsv").stat().st_mtime_ns
    assert tables.read_json(sidecar)["PreprocessingReport"] == ""
    (study / "data" / f"sub-{run.participant}.html").write_text("<html></html>")
    assert not is_measured(study)
    assert again(study) == 0
    assert tables.read_json(sidecar)["PreprocessingReport"].endswith(f"sub-{run.participant}.html")
    assert sidecar.with_suffix(".tsv").stat().st_mtime_ns == matrix
    before = products(study)
    assert again(study) == 0
    assert products(study) == before


@pytest.mark.parametrize(
    ("more", "times"),
    [
        ({"circuits": ("mine.toml",)}, 0),
        ({"min_minutes": 0.25}, 1),
        ({"max_mean_fd_mm": 0.3}, 1),
        ({"estimator": "partial"}, 1),
        ({"dummy_scans": 2}, 1),
        ({"visit_minutes": 1.0}, 1),
        ({"combine_runs": "concatenate"}, 1),
    ],
    ids=str,
)
def test_settings_of_measuring_count_and_circuits_do_not(study, more, times):
    assert again(study, settings_of(study, **more)) == times


def test_the_description_of_a_strategy_and_other_strategies_do_not_count(study):
    assert again(study) == 0
    other = STRATEGY.replace("[mine]", "[other]")
    (study / "mine.toml").write_text(STRATEGY.replace("As I like it.", "As you like it.") + other)
    assert again(study) == 0


def test_a_deleted_or_changed_output_is_computed_again(study):
    assert again(study) == 0
    for end in ("*_timeseries.tsv", "*_relmat.tsv", "*_stat-coverage_bold.tsv", "*_carpet.png"):
        path = next((study / "out").rglob(end))
        content = path.read_bytes()
        path.unlink()
        assert again(study) == 1, end
        assert path.read_bytes() == content
    path = next((study / "out").rglob("*_relmat.tsv"))
    content, about = path.read_bytes(), path.stat()
    time.sleep(0.02)
    at = content.index(b"0.") + 2
    path.write_bytes(
        content[:at] + (b"1" if content[at : at + 1] != b"1" else b"2") + content[at + 1 :]
    )
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert again(study) == 1
    assert path.read_bytes() == content


def test_other_code_measures_again_and_is_named_in_the_sidecar(study, monkeypatch):
    assert again(study) == 0
    sidecar = next((study / "out").rglob("*_relmat.json"))
    assert tables.read_json(sidecar)["CodeHash"] == validity.measuring_code()
    copy = study / "source"
    for name, folder in provenance._PACKAGES.items():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(folder, copy / name.rpartition(".")[2], ignore=ignored)
    patched = {name: copy / name.rpartition(".")[2] for name in provenance._PACKAGES}
    monkeypatch.setattr(provenance, "_PACKAGES", patched)

    def edited(*parts):
        with copy.joinpath(*parts).open("a") as file:
            file.write("\n# a comment\n")
        provenance.code_hash.cache_clear()
        provenance._module.cache_clear()

    try:
        edited("pipeline", "reports", "figures", "overview.py")
        edited("pipeline", "model", "global_model.py")
        edited("pipeline", "preproc", "motion.py")
        shutil.copy(copy / "atlases/circuits/dmn.toml", copy / "atlases/circuits/mine.toml")
        assert again(study) == 0
        edited("pipeline", "measure", "denoise.py")
        assert again(study) == 1
        made_by = tables.read_json(sidecar)["CodeHash"]
        assert again(study) == 0
    finally:
        monkeypatch.undo()
        provenance.code_hash.cache_clear()
        provenance._module.cache_clear()
    assert made_by != validity.measuring_code()


def test_series_depend_on_their_file_and_on_the_names_of_regions(tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "_SETTLED_NS", -1)
    labels = [f"region{k}" for k in range(6)]
    folder = tmp_path / "data" / "sub-01" / "func"
    path = folder / "sub-01_task-rest_atlas-Mine_timeseries.tsv"
    values = np.random.default_rng(1).standard_normal((60, 6))
    tables.write_series(path, labels, values, sidecar={"RepetitionTime": 2.0})
    settings = AnalysisSettings()
    assert again(tmp_path, settings) == 1
    assert again(tmp_path, settings) == 0
    edit_json(path.with_suffix(".json"), RepetitionTime=3.0)
    assert again(tmp_path, settings) == 1
    table = tmp_path / "data" / "atlas-Mine_dseg.tsv"
    rows = [f"{k + 1}\t{label}" for k, label in enumerate(labels[::-1])]
    table.write_text("\n".join(["index\tlabel", *rows]) + "\n")
    assert again(tmp_path, settings) == 1
    assert again(tmp_path, settings) == 0


def test_a_participant_is_measured_only_if_the_table_of_runs_is_current(study):
    assert again(study) == 0
    assert is_measured(study)
    run = the_run(study)
    table = study / "out" / f"sub-{run.participant}" / f"sub-{run.participant}_runs.tsv"
    before = table.stat().st_mtime_ns
    assert again(study) == 0
    assert table.stat().st_mtime_ns == before  # a table with the same content is not written
    measure.record_crash(run.participant, "see logs", out_dir=study / "out")
    assert not is_measured(study)
    assert again(study) == 0
    assert is_measured(study)
    settings = replace(settings_of(study), atlases=("seitzman300",))
    assert not is_measured(study, settings)


def test_the_quality_of_the_registration_counts_if_it_is_stated(study):
    assert again(study) == 0
    sidecar = the_run(study).path.with_name(the_run(study).path.name.replace(".nii.gz", ".json"))
    for stated, code in (({"BoundaryCost": 0.2}, "n/a"), ({"BoundaryCost": 0.5}, "registration")):
        edit_json(sidecar, **stated)
        assert not is_measured(study)
        assert again(study) == 1
        assert again(study) == 0
        assert [row["code"] for row in the_rows(study)] == [code]
        assert [row["boundary_cost"] for row in the_rows(study)] == [str(stated["BoundaryCost"])]
    edit_json(sidecar, RegistrationDisagreement=30.0)
    assert again(study) == 1
    (row,) = the_rows(study)
    assert row["code"] == "registration; registration-disagrees"
