"""The NIfTI reader: agreement with nibabel, and errors for invalid files."""

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from circuitshift.pipeline.errors import ImageError
from circuitshift.pipeline.io.nifti import open_image, read_header, read_image

AFFINE = np.array([[-2.0, 0.1, 0, 90], [0.1, 2.5, 0, -126], [0, 0, 3, -72], [0, 0, 0, 1]])
SHAPE = (4, 5, 3, 6)


def write(path, values, *, slope=None, order="<", affine=AFFINE, kind=nib.Nifti1Image):
    """Write `values` as stored numbers, with a given scaling and byte order."""
    header = kind.header_class(endianness=order)
    header.set_data_dtype(values.dtype)
    header.set_data_shape(values.shape)
    if values.ndim > 3:
        header.set_zooms((*header.get_zooms()[:3], 2.5))
    header.set_xyzt_units("mm", "sec")
    header.set_sform(affine, 4)
    header.set_slope_inter(*(slope or (1, 0)))
    header.structarr["vox_offset"] = 352 if kind is nib.Nifti1Image else 544
    body = values.astype(values.dtype.newbyteorder(order)).tobytes(order="F")
    raw = header.binaryblock + b"\0" * 4 + body
    path.write_bytes(gzip.compress(raw, 1) if path.suffix == ".gz" else raw)
    return path


def numbers(dtype, seed=1):
    """Make random values over the range of the type."""
    return (np.random.default_rng(seed).random(SHAPE) * 250).astype(dtype)


@pytest.fixture
def run(tmp_path):
    return write(tmp_path / "run.nii.gz", numbers("i2"))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize(
    ("dtype", "slope"),
    [("u1", None), ("i2", (0.25, -3)), ("u2", None), ("i4", None), ("f4", None), ("f8", (2, 1))],
)
def test_values_and_header_equal_nibabel(tmp_path, name, order, kind, dtype, slope):
    path = write(tmp_path / name, numbers(dtype), slope=slope, order=order, kind=kind)
    values, header = read_image(path)
    reference = nib.load(path)
    np.testing.assert_allclose(values, reference.get_fdata(), rtol=1e-12)
    np.testing.assert_array_equal(header.affine, reference.affine)
    assert header.shape == reference.shape
    assert (header.grid, header.n_volumes, header.t_r_s) == (SHAPE[:3], 6, 2.5)
    assert header.is_scaled == (slope is not None)


def test_volumes_are_streamed_as_stored(run):
    with open_image(run) as image:
        volumes = [volume.copy() for volume in image]
    np.testing.assert_array_equal(np.stack(volumes, -1), numbers("i2").reshape(-1, 6, order="F"))


@pytest.mark.parametrize("handedness", [1, -1])
def test_the_affine_of_a_qform_equals_nibabel(tmp_path, handedness):
    image = nib.Nifti1Image(numbers("i2"), None)
    rotated = nib.eulerangles.euler2mat(0.3, -0.2, 1.1) @ np.diag([2, 2.5, 3.0 * handedness])
    image.header.set_qform(nib.affines.from_matvec(rotated, [-9, 4, 7]), 1)
    nib.save(image, tmp_path / "q.nii.gz")
    reference = nib.load(tmp_path / "q.nii.gz")
    assert reference.header["sform_code"] == 0
    np.testing.assert_allclose(
        read_header(tmp_path / "q.nii.gz").affine, reference.affine, atol=1e-6
    )


def test_the_affine_without_qform_and_sform_equals_nibabel(tmp_path):
    image = nib.Nifti1Image(numbers("i2"), None)
    image.header.set_zooms((2, 3, 4, 1))
    nib.save(image, tmp_path / "n.nii")
    np.testing.assert_allclose(
        read_header(tmp_path / "n.nii").affine, nib.load(tmp_path / "n.nii").affine
    )


@pytest.mark.parametrize(("unit", "seconds"), [("sec", 2.5), ("msec", 0.0025), ("usec", 2.5e-6)])
def test_the_repetition_time_is_converted_to_seconds(tmp_path, unit, seconds):
    image = nib.Nifti1Image(numbers("i2"), AFFINE)
    image.header.set_zooms((2, 2, 3, 2.5))
    image.header.set_xyzt_units("mm", unit)
    nib.save(image, tmp_path / "t.nii")
    assert read_header(tmp_path / "t.nii").t_r_s == pytest.approx(seconds)


def test_a_3d_image_with_a_repetition_time_of_zero(tmp_path):
    path = write(tmp_path / "m.nii", numbers("u1")[..., 0])
    path.write_bytes(patch(92, "f", 0.0)(path.read_bytes()))
    values, header = read_image(path)
    assert (values.shape, header.n_volumes, header.t_r_s) == (SHAPE[:3], 1, None)


def test_the_extension_does_not_determine_the_format(tmp_path):
    plain = write(tmp_path / "a.nii", numbers("i2")).rename(tmp_path / "plain.nii.gz")
    np.testing.assert_array_equal(read_image(plain)[0], numbers("i2"))


def patch(offset, form, *values):
    """Make a function that changes header fields at `offset`."""
    size = struct.calcsize("<" + form)

    def change(raw):
        return raw[:offset] + struct.pack("<" + form, *values) + raw[offset + size :]

    return change


BROKEN = {
    "empty": (lambda _: b"", "it is empty"),
    "annex pointer": (
        lambda _: b"/annex/objects/MD5E-s123--d41d8cd98f00b204e9800998ecf8427e.nii.gz\n",
        "never fetched .* `datalad get`",
    ),
    "web page": (lambda _: b"<!DOCTYPE html><html>404</html>", "web page"),
    "error message": (lambda _: b'{"error": "denied"}', "web page or error message"),
    "text": (lambda _: b"participant_id\tage\nsub-01\t33\n", "not a NIfTI image"),
    "gzip of text": (lambda _: gzip.compress(b"hello"), "not a NIfTI image"),
    "gzip cut in its header": (lambda raw: gzip.compress(raw)[:30], "truncated|damaged"),
    "gzip cut in a volume": (lambda raw: gzip.compress(raw, 1)[:-200], "truncated"),
    "gzip without its end": (lambda raw: gzip.compress(raw)[:-6], "truncated"),
    "flipped bytes": (lambda raw: flip(gzip.compress(raw, 1)), "damaged|truncated"),
    "wrong checksum": (
        lambda raw: gzip.compress(raw)[:-8] + b"\1\2\3\4" + gzip.compress(raw)[-4:],
        "damaged",
    ),
    "plain, cut": (lambda raw: raw[:-5], "more than the file can contain"),
    "inside cut, then packed": (lambda raw: gzip.compress(raw[:-5]), "ends in volume 6 of 6"),
    "too long": (lambda raw: gzip.compress(raw + b"\0\0"), "contains more data than the 4x5x3x6"),
    "header only": (lambda raw: raw[:200], "ends within the header"),
    "pair's header": (patch(344, "4s", b"ni1\0"), "not a single-file NIfTI"),
    "colour": (patch(70, "h", 128), "code 128"),
    "complex": (patch(70, "h", 32), "code 32"),
    "no axes": (patch(40, "h", 0), "invalid sizes"),
    "negative size": (patch(44, "h", -5), "invalid sizes"),
    "five axes": (patch(40, "6h", 5, 4, 5, 3, 2, 3), "more than four axes"),
    "false size": (patch(42, "3h", 30000, 30000, 30000), "states 30000x30000x30000x6"),
    "data within the header": (patch(108, "f", 100), "invalid data position, 100"),
    "no number as intercept": (patch(112, "2f", 2.0, float("nan")), "intercept of nan"),
}


def flip(raw):
    """Damage the middle of a stream."""
    middle = len(raw) // 2
    return (
        raw[:middle] + bytes(255 - byte for byte in raw[middle : middle + 40]) + raw[middle + 40 :]
    )


@pytest.mark.parametrize("case", BROKEN)
def test_an_invalid_file_is_reported_in_one_line(tmp_path, case):
    damage, message = BROKEN[case]
    raw = write(tmp_path / "good.nii", numbers("i2")).read_bytes()
    path = tmp_path / "sub-01_bold.nii.gz"
    path.write_bytes(damage(raw))
    with pytest.raises(ImageError, match=message) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_missing_files_broken_links_and_folders_are_reported(tmp_path):
    link = tmp_path / "bold.nii.gz"
    link.symlink_to(Path("../.git/annex/objects/xx.nii.gz"))
    with pytest.raises(ImageError, match="never fetched"):
        read_header(link)
    with pytest.raises(ImageError, match="no such file"):
        read_header(tmp_path / "none.nii.gz")
    with pytest.raises(ImageError, match="it is not a file"):
        read_header(tmp_path)


def test_a_slope_of_zero_means_no_scaling(tmp_path):
    path = write(tmp_path / "a.nii", numbers("i2"))
    path.write_bytes(patch(112, "2f", 0.0, 7.0)(path.read_bytes()))
    np.testing.assert_array_equal(read_image(path)[0], numbers("i2"))


@pytest.mark.parametrize("slope", [-1.0, -0.5, -1e-6])
def test_a_negative_slope_is_refused(tmp_path, slope):
    path = write(tmp_path / "x.nii", numbers("int16"), slope=(1.5, 0))
    content = bytearray(path.read_bytes())
    content[112:116] = np.float32(slope).tobytes()
    path.write_bytes(bytes(content))
    with pytest.raises(ImageError, match=r"x\.nii: its header states a negative scaling slope"):
        read_header(path)
