"""Confounds against the libraries whose columns they stand for."""

import json
import warnings
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from circuitshift.pipeline.confounds import (
    MOTION,
    Voxels,
    compcor,
    confounds_of,
    cosines,
    dvars,
    framewise_displacement,
    non_steady_state,
    relative_rms,
    write_confounds,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from nipype.algorithms import confounds as theirs

T_R = 2.0


def series(n: int = 160, v: int = 300, seed: int = 0) -> np.ndarray:
    """Voxels with a mean, drift, common signals and first-order noise."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n, v))
    for t in range(1, n):
        noise[t] += 0.4 * noise[t - 1]
    common = rng.normal(size=(n, 8)) @ rng.normal(size=(8, v))
    drift = np.linspace(-1, 1, n)[:, None] * rng.normal(0, 5, v)
    return 800 + rng.uniform(-200, 200, v) + 6 * noise + 4 * common + drift


def as_image(path: Path, values: np.ndarray) -> tuple[str, str]:
    """Write series, and a mask of them, for nipype."""
    n, v = values.shape
    bold = nib.Nifti1Image(np.asarray(values.T.reshape(v, 1, 1, n), np.float32), np.eye(4))
    bold.to_filename(path / "bold.nii.gz")
    nib.Nifti1Image(np.ones((v, 1, 1), np.uint8), np.eye(4)).to_filename(path / "mask.nii.gz")
    return str(path / "bold.nii.gz"), str(path / "mask.nii.gz")


def motion_of(n: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.normal(size=(n, 6)), axis=0) * ([0.05] * 3 + [0.001] * 3)


def test_framewise_displacement_is_powers(tmp_path: Path) -> None:
    motion = np.zeros((3, 6))
    motion[1] = [0.1, -0.2, 0, 0.002, 0, -0.001]
    motion[2] = motion[1]
    fd = framewise_displacement(motion)
    assert np.isnan(fd[0])
    assert fd[1:] == pytest.approx([0.3 + 50 * 0.003, 0])
    motion = motion_of(100)
    np.savetxt(tmp_path / "motion.txt", motion)
    node = theirs.FramewiseDisplacement(
        in_file=str(tmp_path / "motion.txt"),
        parameter_source="SPM",
        out_file=str(tmp_path / "fd.txt"),
    )
    node.run(cwd=str(tmp_path))
    reference = np.loadtxt(tmp_path / "fd.txt", skiprows=1)
    assert framewise_displacement(motion)[1:] == pytest.approx(reference, abs=1e-9)


def test_rmsd_is_the_displacement_of_a_sphere() -> None:
    motion = motion_of(6)
    rng = np.random.default_rng(0)
    inside = rng.normal(size=(200_000, 3))
    inside *= (
        80 * rng.uniform(size=(200_000, 1)) ** (1 / 3) / np.linalg.norm(inside, axis=1)[:, None]
    )
    from circuitshift.pipeline.preproc import rigid

    there = [rigid.apply(rigid.matrix_of(row), inside) for row in motion]
    # displacement of the points that a volume holds, which rotations move about the centre
    slow = [np.sqrt(((b - a) ** 2).sum(axis=1).mean()) for a, b in pairwise(there)]
    assert relative_rms(motion)[1:] == pytest.approx(slow, rel=0.01)


@pytest.mark.parametrize("n", [20, 75, 150, 240])
def test_cosines_are_nipypes(n: int) -> None:
    reference = theirs._cosine_drift(128, np.arange(n) * T_R)[:, :-1]
    assert cosines(n, T_R) == pytest.approx(reference, abs=1e-12)


def test_dvars_is_nipypes(tmp_path: Path) -> None:
    values = series()
    values[60:] += 15  # a jump
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scaled, plain, _ = theirs.compute_dvars(*as_image(tmp_path, values))
    found, standard = dvars(values)
    assert found[1:] == pytest.approx(plain, rel=1e-4)
    assert standard[1:] == pytest.approx(scaled, rel=1e-4)
    assert np.isnan(found[0])
    still = np.column_stack([values, np.full((len(values), 5), 700.0)])
    assert np.isfinite(dvars(still)[1][1:]).all()


@pytest.mark.parametrize(("n", "v"), [(160, 300), (160, 40)])
def test_components_are_nipypes(tmp_path: Path, n: int, v: int) -> None:
    values = series(n, v)
    bold, mask = as_image(tmp_path, values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference, _, notes = theirs.compute_noise_components(
            np.asarray(nib.load(bold).dataobj, np.float64),
            [nib.load(mask)],
            components_criterion=0.5,
            filter_type="cosine",
            repetition_time=T_R,
            period_cut=128,
        )
    columns, meta = compcor(values, cosines(n, T_R), prefix="a", mask="WM")
    shared = min(len(columns), reference.shape[1])
    assert shared >= 3
    for k in range(shared):
        ours = columns[f"a_comp_cor_{k:02d}"]
        assert abs(np.corrcoef(ours, reference[:, k])[0, 1]) > 0.999
        share = meta[f"a_comp_cor_{k:02d}"]["VarianceExplained"]
        assert share == pytest.approx(notes["variance_explained"][k], rel=1e-3)


def test_a_voxel_that_does_not_vary_adds_nothing() -> None:
    values = series(80, 50)
    alone, _ = compcor(values, cosines(80, T_R), prefix="w", mask="WM")
    beside, _ = compcor(
        np.column_stack([values, np.full((80, 3), 5.0)]), cosines(80, T_R), prefix="w", mask="WM"
    )
    assert all(np.isfinite(v).all() for v in beside.values())
    for name, column in alone.items():
        assert abs(np.corrcoef(column, beside[name])[0, 1]) > 0.999


@pytest.mark.parametrize("dummies", [0, 1, 4])
def test_the_start_of_a_run_is_nipypes(dummies: int) -> None:
    signal = 1000 + np.random.default_rng(3).normal(0, 2, 100)
    signal[:dummies] *= 1 + 0.3 * 0.5 ** np.arange(dummies)
    assert non_steady_state(signal) == theirs.is_outlier(signal[:50]) == dummies
    assert non_steady_state(np.ones(30)) == 0


def table(n: int = 160, *, csf: int = 40, n_dummy: int = 2) -> tuple[dict, dict]:
    values = series(n, 400)
    voxels = Voxels(values, values[:, :csf], values[:, 100:200])
    return confounds_of(voxels, motion_of(n), T_R, n_dummy=n_dummy)


def test_a_run_has_the_columns_of_fmriprep() -> None:
    columns, meta = table()
    assert {len(v) for v in columns.values()} == {160}
    for name in ("csf", "white_matter", "global_signal", *MOTION):
        for end in ("", "_derivative1", "_power2", "_derivative1_power2"):
            assert f"{name}{end}" in columns
    assert {"std_dvars", "dvars", "framewise_displacement", "rmsd", "cosine00"} <= set(columns)
    assert {f"{p}_comp_cor_00" for p in "tacw"} <= set(columns)
    assert {"non_steady_state_outlier00", "non_steady_state_outlier01"} <= set(columns)
    assert (columns["a_comp_cor_00"][:2] == 0).all()
    assert meta["c_comp_cor_00"]["Mask"] == "CSF"


def test_a_short_run_and_an_empty_mask_are_no_failure() -> None:
    columns, meta = table(20, csf=0)
    assert np.isnan(columns["csf"]).all()
    assert meta["csf"]["Note"]
    assert "w_comp_cor_00" in columns
    assert not [name for name in columns if name.startswith(("c_comp", "cosine"))]
    columns, _ = table(6)
    assert not [name for name in columns if "comp_cor" in name]


@pytest.mark.parametrize("strategy", ["simple", "scrubbing", "compcor"])
def test_nilearn_takes_what_is_written(tmp_path: Path, strategy: str) -> None:
    from nilearn.interfaces.fmriprep import load_confounds_strategy

    columns, meta = table()
    write_confounds(tmp_path / "sub-01_task-rest_desc-confounds_timeseries.tsv", columns, meta)
    bold = tmp_path / "sub-01_task-rest_space-MNI152NLin2009aSym_desc-preproc_bold.nii.gz"
    nib.Nifti1Image(np.zeros((2, 2, 2, 160), np.int16), np.eye(4)).to_filename(bold)
    found, mask = load_confounds_strategy(str(bold), denoise_strategy=strategy)
    assert len(found) == 160
    assert not found.isna().to_numpy().any()
    assert mask is None or mask.max() < 160
    written = json.loads((tmp_path / "sub-01_task-rest_desc-confounds_timeseries.json").read_text())
    assert written["a_comp_cor_00"]["Retained"] is True
