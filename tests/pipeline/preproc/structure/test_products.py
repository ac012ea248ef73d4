"""Files of the structure of each session, from a prepared anatomy."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.bids.raw_records import RawAnat
from circuitshift.pipeline.errors import ImageError
from circuitshift.pipeline.io import images, tables
from circuitshift.pipeline.io.images import Image, grid_over
from circuitshift.pipeline.preproc import registration as register
from circuitshift.pipeline.preproc import transforms
from circuitshift.pipeline.preproc.output_names import anat_path, warp_path, xfm_path
from circuitshift.pipeline.preproc.structure import products
from circuitshift.pipeline.preproc.structure.deformation import no_displacement
from circuitshift.pipeline.preproc.structure.products import (
    Parcels,
    measure_session,
    session_image,
    write_structure,
)
from circuitshift.pipeline.preproc.structure.table import WHOLE, read_structure

TEMPLATE = "MNI152NLin2009aSym"


def anats_of(root: Path, sessions, labels) -> list[RawAnat]:
    out = []
    for image, session in zip(sessions.images, labels, strict=True):
        path = root / "raw" / f"sub-01_ses-{session}_T1w.nii.gz"
        images.write(path, image)
        out.append(RawAnat("01", session, path, (("sub", "01"), ("ses", session))))
    return out


def prepare(root: Path, sessions, anats) -> None:
    """Write the anatomy as `write_anatomy` does, in a template that equals the participant."""
    brain = sessions.brain
    images.write(root / anat_path("01", "T1w", ("desc", "preproc")), brain.t1w)
    images.write(root / anat_path("01", "mask", ("desc", "brain")), brain.t1w.like(brain.mask))
    for label, tissue in zip(("CSF", "GM", "WM"), brain.tissues, strict=True):
        images.write(root / anat_path("01", "probseg", ("label", label)), tissue)
    still = transforms.sampled_field(lambda points: points, grid_over(brain.t1w, 8.0))
    transforms.write_field(root / warp_path("01", TEMPLATE, "T1w"), still)
    for anat in anats:
        transforms.write_affines(root / xfm_path(anat), np.eye(4)[None])


def atlas_file(folder: Path, sessions, atlas) -> str:
    path = folder / "nuclei_dseg.nii.gz"
    images.write(path, sessions.brain.t1w.like((sessions.regions + 1).astype(np.int16)))
    rows = [f"{region.index}\t{region.label}" for region in atlas.regions]
    tables.write_text(folder / "nuclei_dseg.tsv", "\n".join(["index\tname", *rows]) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def sessions(draw):
    return draw({"Hippocampus_R": 0.9}, mm=4.0)


@pytest.fixture(autouse=True)
def masks(monkeypatch):
    """Masks with which bias was corrected; the images have none, and N4 takes seconds."""
    used = []

    def corrected(image, mask):
        used.append(mask)
        return image

    monkeypatch.setattr(register, "bias_corrected", corrected)
    return used


def made(root: Path, sessions, atlas, labels=("pre", "post"), **more):
    anats = anats_of(root, sessions, labels)
    prepare(root, sessions, anats)
    how = {
        "template": TEMPLATE,
        "atlases": [atlas_file(root, sessions, atlas)],
        "out_dir": root,
    }
    return write_structure(anats, **(how | more))


def test_images_of_a_session_are_averaged_where_the_participant_is(sessions, masks):
    grid, mask = sessions.brain.t1w, sessions.brain.mask
    shift = transforms.matrix_of([4.0, -8.0, 0.0, 0, 0, 0])
    away = Image(sessions.images[0].data, shift @ grid.affine)
    found = session_image([away, away], [shift, shift], grid, mask)
    assert found.data[mask] == pytest.approx(sessions.images[0].data[mask], rel=1e-3)
    assert all(used is mask for used in masks)
    assert len(masks) == 2


def test_volumes_of_the_only_session_are_those_of_the_labels(sessions, atlas):
    brain = sessions.brain
    still = no_displacement(brain.t1w, brain.mask)
    ones = still.like(np.ones(still.grid, np.float32))
    head, nuclei = measure_session(brain, [Parcels(atlas, sessions.regions)], "pre", ones)
    assert (head.session, head.atlas, head.regions[0]) == ("pre", WHOLE, "intracranial")
    assert head.values["volume"][0] == pytest.approx(brain.mask.sum() * 4.0**3)
    tissues = [np.asarray(t.data)[brain.mask].sum() * 4.0**3 for t in brain.tissues]
    assert head.values["volume"][1:] == pytest.approx(tissues, rel=1e-5)
    expected = [
        ((sessions.regions == k) & brain.mask).sum() * 4.0**3 for k in range(len(atlas.regions))
    ]
    assert nuclei.values["volume"] == pytest.approx(expected, rel=1e-6)
    assert np.isnan(nuclei.values["grey_matter"]).all()  # deep grey matter


def test_files_and_records_of_two_sessions(sessions, atlas, tmp_path):
    content = made(tmp_path, sessions, atlas)
    assert content["files"] == [
        "sub-01/ses-post/anat/sub-01_ses-post_space-T1w_desc-preproc_T1w.nii.gz",
        "sub-01/ses-post/anat/sub-01_ses-post_space-T1w_jacobian.nii.gz",
        "sub-01/ses-pre/anat/sub-01_ses-pre_space-T1w_desc-preproc_T1w.nii.gz",
        "sub-01/ses-pre/anat/sub-01_ses-pre_space-T1w_jacobian.nii.gz",
        "sub-01/sub-01_structure.tsv",
    ]
    assert all((tmp_path / name).exists() for name in content["files"])
    assert content["atlases"] == ["nuclei"]
    for quality in content["sessions"].values():
        assert quality["similarity"] > 0.9
        assert 0 < quality["rms_mm"] < 1
        assert quality["smallest"] < 1 < quality["largest"]
    path = tmp_path / content["files"][-1]
    found = read_structure([path], atlas="nuclei", measure="volume")
    assert found.rows == (("01", "post"), ("01", "pre"))
    shrunk = found.features.regions.index("Hippocampus_R")
    # voxels of 4 mm show the sign only; see test_deformation.py for the size
    assert found.values[0, shrunk] < 0.99 * found.values[1, shrunk]


def test_exchanged_sessions_give_exchanged_files(sessions, atlas, tmp_path):
    names = [
        made(tmp_path / order[0], sessions, atlas, order)["files"]
        for order in (("a", "b"), ("b", "a"))
    ]
    swap = str.maketrans("ab", "ba")
    for name in names[0][:-1]:
        folder, _, rest = name.partition("ses-")
        other = folder + "ses-" + rest[0].translate(swap) + rest[1:]
        other = other.replace(f"_ses-{rest[0]}", f"_ses-{rest[0].translate(swap)}")
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / other).read_bytes()
    first, second = (
        read_structure([tmp_path / order / names[0][-1]], atlas="nuclei", measure="volume")
        for order in "ab"
    )
    assert np.array_equal(first.values, second.values[::-1])


def test_one_session_is_the_template_itself(sessions, atlas, tmp_path):
    anats = anats_of(tmp_path, sessions, ("pre", "post"))[:1]
    prepare(tmp_path, sessions, anats)
    content = write_structure(
        anats,
        template=TEMPLATE,
        atlases=[atlas_file(tmp_path, sessions, atlas)],
        out_dir=tmp_path,
    )
    assert content["files"] == ["sub-01/sub-01_structure.tsv"]
    assert content["sessions"] == {"pre": {}}


def test_an_atlas_of_another_space_is_noted(sessions, atlas, tmp_path):
    source = Path(atlas_file(tmp_path, sessions, atlas))
    for path in (source, source.with_name("nuclei_dseg.tsv")):
        shutil.copy(path, path.with_name(f"space-MNI152NLin6Asym_{path.name}"))
    other = source.with_name(f"space-MNI152NLin6Asym_{source.name}")
    content = made(tmp_path, sessions, atlas, atlases=[str(other)])
    (note,) = content["notes"]
    assert f"is in MNI152NLin6Asym and the template is {TEMPLATE}" in note


def test_a_deformation_that_folds_is_a_fault(sessions, atlas, tmp_path, monkeypatch):
    def folded(template, _, mask):
        still = no_displacement(template, mask)
        points = still.points().reshape(*still.grid, 3)
        return still.like((-2 * points).astype(np.float32))

    monkeypatch.setattr(products, "session_displacement", folded)
    with pytest.raises(ImageError, match="the session cannot be aligned"):
        made(tmp_path, sessions, atlas)
