"""Data on preprocessing: records of failures, and labels on the grid of a run."""

import numpy as np

from circuitshift.pipeline.io import images, tables
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc.output_names import (
    anat_path,
    anatomy_record,
    structure_record,
)
from circuitshift.pipeline.preproc.structure.table import (
    WHOLE,
    RegionValues,
    write_structure_table,
)
from circuitshift.pipeline.reports.person.preprocessing_inputs import (
    Overlay,
    _on_grid,
    _registered,
    view_preproc,
    view_structure,
)


def test_without_a_prepared_anatomy_there_is_nothing_to_show(tmp_path):
    assert view_preproc("01", tmp_path) is None
    tables.write_json(tmp_path / anatomy_record("01"), {"fault": "no T1w image"})
    assert view_preproc("01", tmp_path) is None


def test_labels_are_those_of_the_nearest_voxel():
    labels = np.arange(27).reshape(3, 3, 3)
    fine = np.diag([1.0, 1.0, 1.0, 1.0])
    fine[:3, 3] = 0.25
    grid = Image(np.zeros((5, 5, 5), np.float32), fine)
    found = _on_grid(Image(labels.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0])), grid)
    at = np.rint((np.arange(5) + 0.25) / 2).astype(int)
    np.testing.assert_array_equal(found, labels[np.ix_(at, at, at)])


def test_the_reference_of_a_run_is_shown_where_it_was_registered(tmp_path):
    """A cube at 6 mm in the run lies at 10 mm in the T1-weighted image, 4 mm to the right."""
    data = np.zeros((12, 12, 12), np.float32)
    data[3, 5, 5] = 100
    run = Image(data, np.diag([2.0, 2.0, 2.0, 1.0]))
    images.write(tmp_path / "ref.nii.gz", run)
    to_reference = transforms.matrix_of([-4.0, 0, 0, 0, 0, 0])  # from the T1-weighted image
    transforms.write_affines(tmp_path / "xfm.txt", to_reference[None])
    anatomy = Overlay(run.like(np.zeros_like(data)), (("brain mask", run),))
    content = {"registered": "ref.nii.gz", "registration": "xfm.txt"}
    shown = _registered(content, anatomy, tmp_path)
    assert np.argwhere(shown.image.data > 50).tolist() == [[5, 5, 5]]
    assert shown.outlines == anatomy.outlines


def write_structure(root, sessions):
    """Write the structure of sessions, the images of those that have any, and the anatomy."""
    volume = Image(np.ones((4, 4, 4), np.float32), np.diag([3.0, 3.0, 3.0, 1.0]))
    for path in (
        anat_path("01", "T1w", ("desc", "preproc")),
        anat_path("01", "mask", ("desc", "brain")),
        anat_path("01", "probseg", ("label", "WM")),
    ):
        images.write(root / path, volume)
    rows, files = [], []
    for number, session in enumerate(sessions):
        values = {"volume": np.array([4000.0 - number, 9000.0, np.nan])}
        regions = ("Hippocampus_L", "Frontal_L", "Thalamus_L")
        rows.append(RegionValues(session, WHOLE, ("intracranial",), {"volume": np.array([1.5e6])}))
        rows.append(RegionValues(session, "AAL", regions, values))
        if len(sessions) > 1:
            stem = f"sub-01/ses-{session}/anat/sub-01_ses-{session}_space-T1w"
            files += [f"{stem}_desc-preproc_T1w.nii.gz", f"{stem}_jacobian.nii.gz"]
    for number, name in enumerate(files):
        images.write(root / name, volume.like(volume.data * (number + 1)))
    files.append(write_structure_table(root, "01", rows).as_posix())
    content = {
        "files": files,
        "sessions": {session: {"similarity": 0.98} for session in sessions},
        "atlases": ["AAL"],
        "notes": ["a note"],
    }
    tables.write_json(root / structure_record("01"), content)


def test_structure_of_each_session_is_read_with_its_images(tmp_path):
    write_structure(tmp_path, ("post", "pre"))
    view = view_structure("01", tmp_path)
    assert (view.atlases, view.notes, view.fault) == (("AAL",), ("a note",), "")
    assert view.table == "sub-01/sub-01_structure.tsv"
    post, pre = view.sessions
    assert (post.session, pre.session) == ("post", "pre")
    assert post.head == {"intracranial": 1.5e6}
    assert post.deep == {"Hippocampus_L": 4000.0}  # Thalamus_L has no value
    assert pre.deep == {"Hippocampus_L": 3999.0}
    values = [float(o.image.data.max()) for o in (post.aligned, post.volume, pre.aligned)]
    np.testing.assert_allclose(values, [1, 2, 3], rtol=1e-3)
    assert [name for name, _ in pre.volume.outlines] == ["brain mask", "white matter"]


def test_the_only_session_has_no_images_of_its_own(tmp_path):
    write_structure(tmp_path, ("",))
    (one,) = view_structure("01", tmp_path).sessions
    assert (one.session, one.aligned, one.volume) == ("", None, None)
    assert one.deep == {"Hippocampus_L": 4000.0}


def test_structure_that_was_not_measured_is_absent_or_a_fault(tmp_path):
    assert view_structure("01", tmp_path) is None
    tables.write_json(tmp_path / structure_record("01"), {"fault": "no T1w image"})
    assert view_structure("01", tmp_path).fault == "no T1w image"
    assert view_structure("01", tmp_path / "x", tmp_path / structure_record("01")).fault
