"""Field maps and single-band references beside raw runs."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from circuitshift.pipeline.bids.raw import find_raw
from circuitshift.pipeline.bids.raw_companions import (
    FieldMap,
    field_map_notes,
    find_field_maps,
    find_reference,
)
from circuitshift.pipeline.io.nifti import read_header

BOLD = "sub-01_ses-1_task-rest_bold.nii.gz"


def touch(root, name, **content):
    """Write an image without content, and its JSON file if it has any."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    if content:
        path.with_name(f"{path.name.partition('.')[0]}.json").write_text(json.dumps(content))
    return path


def save(path, shape=(6, 5, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-3.0, 3.0, 3.0, 1.0])
    image = nib.Nifti1Image(np.zeros(shape, np.int16), affine)
    if len(shape) > 3:
        image.header.set_zooms((3.0, 3.0, 3.0, 2.0))
        image.header.set_xyzt_units("mm", "sec")
    image.header.set_qform(affine, 1)
    nib.save(image, path)
    return path


@pytest.fixture
def participant(tmp_path):
    folder = tmp_path / "raw/sub-01"
    folder.mkdir(parents=True)
    return folder


def test_images_of_one_acquisition_are_one_field_map(participant):
    fmap = "ses-1/fmap/sub-01_ses-1"
    for name in ("dir-AP_epi", "dir-PA_epi", "magnitude1", "phasediff", "acq-b_phase1",
                 "acq-b_phase2", "acq-dwi_dir-AP_epi", "TB1map"):  # fmt: skip
        touch(participant, f"{fmap}_{name}.nii.gz")
    touch(participant, "fmap/sub-01_run-1_fieldmap.nii")
    touch(participant, "fmap/sub-01_run-2_fieldmap.nii")
    touch(participant, "fmap/._sub-01_run-3_fieldmap.nii")
    touch(participant, "fmap/notes.txt")
    found = sorted((m.kind, len(m.images)) for m in find_field_maps(participant))
    assert found == [
        ("measured field", 1), ("measured field", 1), ("opposite phase encoding", 1),
        ("opposite phase encoding", 2), ("phase difference", 1), ("two phases", 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "target",
    [
        f"ses-1/func/{BOLD}",
        [f"bids::sub-01/ses-1/func/{BOLD}", "bids::sub-01/ses-1/func/other_bold.nii.gz"],
        f"bids:raw:sub-01/ses-1/func/{BOLD}",
        f"ses-1/func/{BOLD.removesuffix('.gz')}",
    ],
)
def test_the_run_of_a_field_map_is_found_by_intended_for(participant, target):
    touch(participant, "fmap/sub-01_phasediff.nii.gz", IntendedFor=target)
    maps = find_field_maps(participant)
    (note,) = field_map_notes(maps, BOLD, {})
    assert note.startswith("1 field map (phase difference) found by IntendedFor, not used.")
    (other,) = field_map_notes(maps, BOLD.replace("rest", "nback"), {})
    assert "none is assigned to this run" in other


def test_the_run_of_a_field_map_is_found_by_its_identifier(participant):
    touch(participant, "fmap/sub-01_dir-AP_epi.nii.gz", B0FieldIdentifier=["pe0", "pe1"])
    touch(participant, "fmap/sub-01_dir-PA_epi.nii.gz", B0FieldIdentifier="pe0")
    touch(participant, "fmap/sub-01_fieldmap.nii.gz", IntendedFor=BOLD)
    maps = find_field_maps(participant)
    (note,) = field_map_notes(maps, BOLD, {"B0FieldSource": "pe1"})
    kinds = "measured field, opposite phase encoding"
    both = f"2 field maps ({kinds}) found by IntendedFor and B0FieldIdentifier, not used."
    assert note.startswith(both)
    (note,) = field_map_notes(maps[:1], BOLD, {"B0FieldSource": ["pe7"]})
    assert "none is assigned" in note
    assert field_map_notes((), BOLD, {}) == ()


def test_metadata_are_inherited_and_damaged_files_are_ignored(participant):
    touch(participant, "fmap/sub-01_acq-a_epi.nii.gz", B0FieldIdentifier="own")
    touch(participant, "fmap/sub-01_acq-b_epi.nii.gz")
    touch(participant, "fmap/sub-01_acq-c_epi.nii.gz")
    (participant / "fmap/sub-01_acq-c_epi.json").write_text("{")
    (participant.parent / "epi.json").write_text('{"B0FieldIdentifier": "shared"}')
    (participant.parent / "acq-z_epi.json").write_text('{"B0FieldIdentifier": "z"}')
    (participant.parent.parent / "epi.json").write_text('{"IntendedFor": "outside"}')
    found = find_field_maps(participant)
    assert [m.identifiers for m in found] == [("own",), ("shared",), ("shared",)]
    assert {m.intended_for for m in found} == {()}


def test_a_folder_that_cannot_be_listed_has_no_field_maps(participant, monkeypatch):
    touch(participant, "fmap/sub-01_phasediff.nii.gz")
    assert len(find_field_maps(participant)) == 1

    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)  # a change of rights does not stop root
    assert find_field_maps(participant) == ()


def test_the_single_band_reference_of_a_run(participant):
    bold = save(participant / "func/sub-01_task-rest_bold.nii.gz", (6, 5, 4, 12))
    header = read_header(bold)
    assert find_reference(bold, header) == ((), ())
    save(participant / "func/sub-01_task-nback_sbref.nii.gz")
    assert find_reference(bold, header) == ((), ())
    own = save(participant / "func/sub-01_task-rest_sbref.nii.gz")
    assert find_reference(bold, header) == ((own,), ())
    for shape, what in (((6, 5, 4, 2), "2 volumes"), ((6, 5, 5), "another grid")):
        save(own, shape)
        found, (note,) = find_reference(bold, header)
        assert found == ()
        assert what in note
    own.write_bytes(b"damaged")
    found, (note,) = find_reference(bold, header)
    assert found == ()
    assert "cannot be read" in note


def test_field_maps_and_references_are_announced_for_the_data_set(participant):
    root = participant.parent
    save(participant / "anat/sub-01_T1w.nii.gz", (16, 16, 16))
    sidecar = {"RepetitionTime": 2.0, "SliceTiming": [0.0] * 4, "PhaseEncodingDirection": "j"}
    for task in ("rest", "resting"):
        bold = save(participant / f"func/sub-01_task-{task}_bold.nii.gz", (6, 5, 4, 12))
        bold.with_name(f"sub-01_task-{task}_bold.json").write_text(json.dumps(sidecar))
    save(participant / "func/sub-01_task-rest_sbref.nii.gz")
    touch(participant, "fmap/sub-01_phasediff.nii.gz")
    touch(participant, "fmap/sub-01_dir-AP_epi.nii.gz")
    found = find_raw(root)
    assert not found.problems
    runs = {bold.task: bold for p in found.participants for bold in p.bolds}
    assert runs["rest"].sbref
    announced = [note for note in found.notes if "2 field maps" in note]
    assert len(announced) == 1
    assert "not used" in announced[0]
    assert any("2 field maps" in note for note in runs["rest"].notes)
    assert any("SBRef" in note for note in found.notes)
    assert not any("SBRef" in note for note in runs["rest"].notes)  # it is no omitted step


def test_a_field_map_is_described_by_its_kind():
    maps = (FieldMap("phase difference", ("a",)), FieldMap("phase difference", ("b",)))
    (note,) = field_map_notes(maps, BOLD, {})
    assert note.startswith("2 field maps (phase difference) found")
