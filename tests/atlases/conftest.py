"""Fixtures of the atlas tests: empty caches, no network, and writers of small atlas files."""

from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest

AFFINE = np.array([[2.0, 0, 0, -10], [0, 2, 0, -20], [0, 0, 2, -30], [0, 0, 0, 1]])


@pytest.fixture(autouse=True)
def empty_caches_and_no_network(tmp_path, monkeypatch):
    """Give each test its own caches, and refuse network access even where there is a network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "tf"))
    monkeypatch.setenv("NILEARN_DATA", str(tmp_path / "ni"))
    monkeypatch.delenv("NILEARN_SHARED_DATA", raising=False)

    def refuse(*_args, **_options):
        raise ConnectionError("no network in tests")

    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)


def write_image(path: Path, values, affine=AFFINE, dtype=np.int16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(np.asarray(values).astype(dtype), affine).to_filename(path)
    return path


def label_cube(values, size: int = 6) -> np.ndarray:
    """Make a label image whose first planes along x carry the values."""
    out = np.zeros((size, size, size), int)
    for k, value in enumerate(values):
        out[k] = value
    return out


def write_table(path: Path, rows, header: str = "index\tlabel") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join([header, *("\t".join(map(str, row)) for row in rows)])
    path.write_text(text + "\n", encoding="utf-8")
    return path


def write_pair(folder: Path, stem: str, labels: dict[int, str]) -> Path:
    """Write a label image with its table; return the path of the image."""
    write_table(folder / f"{stem}.tsv", labels.items())
    return write_image(folder / f"{stem}.nii.gz", label_cube(labels))


@pytest.fixture
def files():
    """Provide writers of atlas files."""
    return SimpleNamespace(
        affine=AFFINE, image=write_image, cube=label_cube, table=write_table, pair=write_pair
    )
