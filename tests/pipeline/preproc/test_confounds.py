"""Confounds equal those of nipype, and nilearn reads the tables."""

import json
import tracemalloc
import warnings
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from circuitshift.pipeline.preproc.confounds import (
    MOTION,
    Voxels,
    compcor,
    confounds,
    cosines,
    dvars,
    expand,
    framewise_displacement,
    non_steady_state,
    one_hot,
    outliers,
    relative_rms,
    write_confounds,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from nipype.algorithms import confounds as nipype_confounds

T_R = 2.0


def series(n: int = 160, v: int = 300, seed: int = 0) -> np.ndarray:
    """Return voxels with a mean, drift, common signals and autoregressive noise."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n, v))
    for t in range(1, n):
        noise[t] += 0.4 * noise[t - 1]
    common = rng.normal(size=(n, 8)) @ rng.normal(size=(8, v))
    drift = np.linspace(-1, 1, n)[:, None] * rng.normal(0, 5, v)
    return 800 + rng.uniform(-200, 200, v) + 6 * noise + 4 * common + drift


def as_image(path: Path, values: np.ndarray) -> tuple[str, str]:
    """Write series and their mask as images for nipype; return both paths."""
    n, v = values.shape
    bold = nib.Nifti1Image(np.asarray(values.T.reshape(v, 1, 1, n), np.float32), np.eye(4))
    bold.to_filename(path / "bold.nii.gz")
    nib.Nifti1Image(np.ones((v, 1, 1), np.uint8), np.eye(4)).to_filename(path / "mask.nii.gz")
    return str(path / "bold.nii.gz"), str(path / "mask.nii.gz")


def motion_of(n: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.normal(size=(n, 6)), axis=0) * ([0.05] * 3 + [0.001] * 3)


def test_framewise_displacement_equals_that_of_nipype(tmp_path: Path) -> None:
    motion = np.zeros((3, 6))
    motion[1] = [0.1, -0.2, 0, 0.002, 0, -0.001]
    motion[2] = motion[1]
    fd = framewise_displacement(motion)
    assert np.isnan(fd[0])
    assert fd[1:] == pytest.approx([0.3 + 50 * 0.003, 0])
    motion = motion_of(100)
    np.savetxt(tmp_path / "motion.txt", motion)
    node = nipype_confounds.FramewiseDisplacement(
        in_file=str(tmp_path / "motion.txt"),
        parameter_source="SPM",
        out_file=str(tmp_path / "fd.txt"),
    )
    node.run(cwd=str(tmp_path))
    reference = np.loadtxt(tmp_path / "fd.txt", skiprows=1)
    assert framewise_displacement(motion)[1:] == pytest.approx(reference, abs=1e-9)


def test_rmsd_is_the_mean_displacement_of_points_in_a_sphere() -> None:
    motion = motion_of(6)
    rng = np.random.default_rng(0)
    inside = rng.normal(size=(200_000, 3))
    inside *= (
        80 * rng.uniform(size=(200_000, 1)) ** (1 / 3) / np.linalg.norm(inside, axis=1)[:, None]
    )
    from circuitshift.pipeline.preproc import transforms

    there = [transforms.apply(transforms.matrix_of(row), inside) for row in motion]
    # displacement of points in the volume, which rotations move about the centre
    slow = [np.sqrt(((b - a) ** 2).sum(axis=1).mean()) for a, b in pairwise(there)]
    assert relative_rms(motion)[1:] == pytest.approx(slow, rel=0.01)
    # the displacement does not depend on the distance of the head from its initial position
    motion[:, :3] += [20, -10, 15]
    assert relative_rms(motion)[1:] == pytest.approx(slow, rel=0.01)


def test_rmsd_equals_that_of_fsl_for_any_centre() -> None:
    from circuitshift.pipeline.preproc import transforms

    motion, centre = motion_of(30) * 5, np.array([3.0, -20.0, 12.0])
    # FSL's matrices map the volume to the reference, and rms_deviation multiplies the first with
    # the inverse of the second
    mats = [np.linalg.inv(transforms.matrix_of(row)) for row in motion]
    slow = []
    for first, second in pairwise(mats):
        change = first @ np.linalg.inv(second) - np.eye(4)
        shift = change[:3, 3] + change[:3, :3] @ centre
        turn = change[:3, :3]
        slow.append(np.sqrt(80**2 / 5 * np.trace(turn.T @ turn) + shift @ shift))
    found = relative_rms(motion, tuple(centre))
    assert np.isnan(found[0])
    assert found[1:] == pytest.approx(slow, rel=1e-9)
    about = [transforms.parameters_of(np.linalg.inv(m), centre) for m in mats]
    assert relative_rms(np.array(about))[1:] == pytest.approx(slow, rel=1e-9)


@pytest.mark.parametrize("n", [20, 75, 150, 240])
def test_cosines_equal_those_of_nipype(n: int) -> None:
    reference = nipype_confounds._cosine_drift(128, np.arange(n) * T_R)[:, :-1]
    found = cosines(n, T_R)
    assert found.shape == (n, max(int(2 * n * T_R / 128), 1) - 1)
    assert found == pytest.approx(reference, abs=1e-12)
    assert found.T @ found == pytest.approx(np.eye(found.shape[1]), abs=1e-12)


def test_mean_and_drift_are_removed_as_by_nipype() -> None:
    from circuitshift.pipeline.preproc.confounds import _detrended

    values = series(150, 20)
    reference, _ = nipype_confounds.cosine_filter(values.T, T_R, 128)
    assert _detrended(values, cosines(150, T_R))[0] == pytest.approx(reference.T, abs=1e-8)


def test_expansions_and_indicator_columns() -> None:
    found = expand("csf", np.array([1.0, 3.0, 2.0]))
    assert list(found) == ["csf", "csf_derivative1", "csf_derivative1_power2", "csf_power2"]
    assert np.isnan(found["csf_derivative1"][0])
    assert np.isnan(found["csf_derivative1_power2"][0])
    assert found["csf_derivative1"][1:].tolist() == [2, -1]
    assert found["csf_derivative1_power2"][1:].tolist() == [4, 1]
    assert found["csf_power2"].tolist() == [1, 9, 4]
    columns = one_hot("motion_outlier", np.array([0, 3]), 4)
    assert {k: v.tolist() for k, v in columns.items()} == {
        "motion_outlier00": [1, 0, 0, 0],
        "motion_outlier01": [0, 0, 0, 1],
    }


def test_outliers_exceed_either_threshold() -> None:
    fd = np.array([np.nan, 0.5, 0.51, 0.1, 0.1])
    std = np.array([np.nan, 1.5, 1.0, 1.6, 1.0])
    assert outliers(fd, std).tolist() == [False, False, True, True, False]
    assert outliers(fd, std, fd_mm=0.2, std_dvars_above=2).tolist() == [0, 1, 1, 0, 0]


@pytest.mark.parametrize(("n", "v"), [(160, 300), (43, 5000), (20, 7)])
def test_dvars_equals_that_of_nipype(tmp_path: Path, n: int, v: int) -> None:
    values = series(n, v)
    values[n // 2 :] += 15  # a jump
    values[:, :3] = 700  # constant voxels contribute to the scale, but not to the mean
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scaled, plain, _ = nipype_confounds.compute_dvars(
            *as_image(tmp_path, values), remove_zerovariance=True
        )
    found, standard = dvars(values)
    assert found[1:] == pytest.approx(plain, rel=1e-4)
    assert standard[1:] == pytest.approx(scaled, rel=1e-4)
    assert np.isnan([found[0], standard[0]]).all()
    assert found.dtype == standard.dtype == float


def test_dvars_is_missing_without_variation() -> None:
    for values in (np.full((20, 5), 700.0), np.zeros((20, 0)), np.zeros((1, 4))):
        assert np.isnan(dvars(values)).all()
    # without a positive median, only the standardised version is defined
    plain, standard = dvars(series(40, 30) - 5000)
    assert np.isnan(plain).all()
    assert np.isfinite(standard[1:]).all()


def test_a_complete_brain_is_processed_without_copies() -> None:
    values = np.random.default_rng(0).standard_normal((240, 20_000), dtype=np.float32)
    values += 100
    original = values.copy()
    drift = cosines(240, T_R)
    for step, limit in (
        (lambda: dvars(values), 1.6),  # the median needs one copy
        (lambda: compcor(values, drift, prefix="w", mask="WM"), 1.2),
    ):
        tracemalloc.start()
        step()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < limit * values.nbytes
    assert np.array_equal(values, original)


@pytest.mark.parametrize(("n", "v"), [(160, 300), (160, 40)])
def test_components_equal_those_of_nipype(tmp_path: Path, n: int, v: int) -> None:
    values = series(n, v)
    bold, mask = as_image(tmp_path, values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference, _, notes = nipype_confounds.compute_noise_components(
            np.asarray(nib.load(bold).dataobj, np.float64),
            [nib.load(mask)],
            components_criterion=0.5,
            filter_type="cosine",
            repetition_time=T_R,
            period_cut=128,
        )
    columns, meta = compcor(values, cosines(n, T_R), prefix="w", mask="WM")
    assert list(columns) == [f"w_comp_cor_{k:02d}" for k in range(reference.shape[1])]
    assert len(columns) >= 3
    for k, (name, ours) in enumerate(columns.items()):
        assert abs(np.corrcoef(ours, reference[:, k])[0, 1]) > 0.9999
        assert np.linalg.norm(ours) == pytest.approx(1)
        assert ours[np.argmax(np.abs(ours))] > 0
        for key in ("SingularValue", "VarianceExplained", "CumulativeVarianceExplained"):
            slow = {
                "SingularValue": "singular_value",
                "VarianceExplained": "variance_explained",
                "CumulativeVarianceExplained": "cumulative_variance_explained",
            }[key]
            assert meta[name][key] == pytest.approx(notes[slow][k], rel=1e-4)
    dropped = [m for name, m in meta.items() if name.startswith("dropped_")]
    assert len(dropped) == len(meta) - len(columns) == 3
    assert not any(m["Retained"] for m in dropped)
    assert all(meta[name]["Retained"] for name in columns)
    more, _ = compcor(
        values, cosines(n, T_R), prefix="w", mask="WM", min_components=len(columns) + 2
    )
    assert len(more) == len(columns) + 2


def test_blocks_of_voxels_give_the_singular_vectors_of_all_voxels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from circuitshift.pipeline.preproc import confounds as module

    values, drift = series(120, 500), cosines(120, T_R)
    monkeypatch.setattr(module, "_BLOCK_VOXELS", 64)
    columns, meta = compcor(values, drift, prefix="w", mask="WM")
    left, singular, _ = np.linalg.svd(module._standardised(values, drift), full_matrices=False)
    for k, (name, column) in enumerate(columns.items()):
        assert abs(column @ left[:, k]) == pytest.approx(1, abs=1e-9)
        assert meta[name]["SingularValue"] == pytest.approx(singular[k])
    again, _ = compcor(values[:, ::-1], drift, prefix="w", mask="WM")
    for name, column in columns.items():  # signs do not depend on the order of voxels
        assert again[name] == pytest.approx(column, abs=1e-9)


def test_voxels_without_variation_contribute_nothing() -> None:
    values = series(80, 50)
    alone, _ = compcor(values, cosines(80, T_R), prefix="w", mask="WM")
    with_constant, _ = compcor(
        np.column_stack([values, np.full((80, 3), 5.0)]), cosines(80, T_R), prefix="w", mask="WM"
    )
    assert all(np.isfinite(v).all() for v in with_constant.values())
    for name, column in alone.items():
        assert with_constant[name] == pytest.approx(column, abs=1e-9)
    broken = np.column_stack([values, np.where(np.arange(80) == 7, np.nan, values[:, 0])])
    with_missing, _ = compcor(broken, cosines(80, T_R), prefix="w", mask="WM")
    for name, column in alone.items():
        assert with_missing[name] == pytest.approx(column, abs=1e-9)


@pytest.mark.parametrize("v", [1, 30, 200])
def test_a_mask_without_variation_has_no_components(v: int) -> None:
    drift = cosines(80, T_R)
    still = np.full((80, v), 5.1) + drift[:, :1]  # drift alone is not variation
    assert compcor(still, drift, prefix="w", mask="WM", min_components=6) == ({}, {})
    # one signal in all voxels gives one component
    signal = series(80, 1)
    columns, meta = compcor(
        np.repeat(signal, v, axis=1), drift, prefix="w", mask="WM", min_components=6
    )
    assert list(columns) == list(meta) == ["w_comp_cor_00"]


@pytest.mark.parametrize("dummies", [0, 1, 4])
def test_the_number_of_initial_outliers_equals_that_of_nipype(dummies: int) -> None:
    signal = 1000 + np.random.default_rng(3).normal(0, 2, 100)
    signal[:dummies] *= 1 + 0.3 * 0.5 ** np.arange(dummies)
    assert non_steady_state(signal) == nipype_confounds.is_outlier(signal[:50]) == dummies
    assert non_steady_state(np.ones(30)) == 0
    still = np.ones(30)
    still[0] = 2
    assert non_steady_state(still) == 0


def table(n: int = 160, *, csf: int = 40, n_dummy: int = 2) -> tuple[dict, dict]:
    values = series(n, 400)
    voxels = Voxels(values, values[:, :csf], values[:, 100:200])
    return confounds(voxels, motion_of(n), T_R, n_dummy=n_dummy)


def test_a_run_has_the_columns_of_fmriprep_in_order() -> None:
    columns, meta = table()
    assert {len(v) for v in columns.values()} == {160}
    assert {v.dtype for v in columns.values()} == {np.dtype(float)}
    ends = ("", "_derivative1", "_derivative1_power2", "_power2")
    names = list(columns)
    tissue = ("csf", "white_matter", "global_signal")
    assert names[:12] == [f"{name}{end}" for name in tissue for end in ends]
    assert names[12:16] == ["std_dvars", "dvars", "framewise_displacement", "rmsd"]
    rest = [name.rstrip("0123456789") for name in names[16:]]
    assert list(dict.fromkeys(rest)) == [
        *(f"{p}_comp_cor_" for p in "tacw"),
        "cosine",
        "non_steady_state_outlier",
        # trailing digits of all names were removed
        *(f"{name}{end}".rstrip("12") for name in MOTION for end in ends),
        "motion_outlier",
    ]
    assert sum(name.startswith("cosine") for name in names) == 3  # for 158 volumes
    assert columns["non_steady_state_outlier01"].tolist() == [0, 1, *[0] * 158]
    for name in names:
        if "comp_cor" in name or name.startswith("cosine"):
            assert (columns[name][:2] == 0).all()
            assert columns[name][2:] @ columns[name][2:] == pytest.approx(1)
    assert {p: meta[f"{p}_comp_cor_00"]["Mask"] for p in "tacw"} == {
        "t": "temporal",
        "a": "combined",
        "c": "CSF",
        "w": "WM",
    }
    assert meta["t_comp_cor_00"]["Method"] == "tCompCor"


def test_temporal_components_use_the_most_variable_voxels() -> None:
    values = series(160, 400)
    values[:, 5:10] += np.random.default_rng(5).normal(0, 80, (160, 5))
    drift = cosines(160, T_R)
    values[:, 20:60] = 800 + 4000 * drift[:, :1]  # drift does not count as variation
    voxels = Voxels(values, values[:, :40], values[:, 100:200])
    columns, _ = confounds(voxels, motion_of(160), T_R)
    sd = values - values.mean(axis=0)
    sd = (sd - drift @ (drift.T @ sd)).std(axis=0)
    most_variable = np.sort(np.argsort(-sd)[:8])
    assert set(range(5, 10)) <= set(most_variable)
    expected, _ = compcor(
        values[:, most_variable], drift, prefix="t", mask="temporal", method="tCompCor"
    )
    found = {k: v for k, v in columns.items() if k.startswith("t_comp")}
    assert list(found) == list(expected)
    for name, column in expected.items():
        assert found[name] == pytest.approx(column, abs=1e-9)


def test_short_runs_and_empty_masks_have_fewer_columns() -> None:
    columns, meta = table(20, csf=0)
    assert np.isnan(columns["csf"]).all()
    assert meta["csf"]["Note"]
    assert "Note" not in meta["white_matter"]
    assert "w_comp_cor_00" in columns
    assert "a_comp_cor_00" in columns
    assert not [name for name in columns if name.startswith(("c_comp", "cosine"))]
    for n in (6, 2, 1):
        columns, _ = table(n, n_dummy=min(2, n))
        assert not [name for name in columns if "comp_cor" in name]
        assert {len(v) for v in columns.values()} == {n}
    none = np.zeros((20, 0), np.float32)
    columns, meta = confounds(Voxels(none, none, none), motion_of(20), T_R)
    assert np.isnan(columns["global_signal"]).all()
    assert np.isfinite(columns["framewise_displacement"][1:]).all()
    assert all("Note" in meta[name] for name in ("csf", "white_matter", "global_signal"))


def written(folder: Path, columns: dict, meta: dict) -> str:
    write_confounds(folder / "sub-01_task-rest_desc-confounds_timeseries.tsv", columns, meta)
    bold = folder / "sub-01_task-rest_space-MNI152NLin2009aSym_desc-preproc_bold.nii.gz"
    n = len(columns["csf"])
    nib.Nifti1Image(np.zeros((2, 2, 2, n), np.int16), np.eye(4)).to_filename(bold)
    return str(bold)


@pytest.mark.parametrize("n_dummy", [0, 2])
@pytest.mark.parametrize("strategy", ["simple", "scrubbing", "compcor"])
def test_nilearn_reads_every_strategy(tmp_path: Path, strategy: str, n_dummy: int) -> None:
    from nilearn.interfaces.fmriprep import load_confounds_strategy

    bold = written(tmp_path, *table(n_dummy=n_dummy))
    found, mask = load_confounds_strategy(bold, denoise_strategy=strategy)
    assert len(found) == 160
    assert not found.isna().to_numpy().any()
    assert mask is None or (mask.max() < 160 and mask.min() >= n_dummy)
    notes = json.loads((tmp_path / "sub-01_task-rest_desc-confounds_timeseries.json").read_text())
    assert notes["a_comp_cor_00"]["Retained"] is True


@pytest.mark.parametrize("how_many", [5, "all"])
@pytest.mark.parametrize(
    ("kind", "prefixes"), [("anat_separated", "cw"), ("anat_combined", "a"), ("temporal", "t")]
)
def test_nilearn_reads_every_kind_of_component(
    tmp_path: Path, kind: str, prefixes: str, how_many: "int | str"
) -> None:
    from nilearn.interfaces.fmriprep import load_confounds

    columns, meta = table()
    bold = written(tmp_path, columns, meta)
    found, _ = load_confounds(
        bold, strategy=("high_pass", "compcor"), compcor=kind, n_compcor=how_many
    )
    for prefix in prefixes:
        n_columns = sum(name.startswith(f"{prefix}_comp_cor") for name in columns)
        assert n_columns > 0
        expected = n_columns if how_many == "all" else min(n_columns, 5)
        assert sum(name.startswith(f"{prefix}_comp_cor") for name in found) == expected
    assert not found.isna().to_numpy().any()


def test_nilearn_reads_a_short_run_without_csf(tmp_path: Path) -> None:
    from nilearn.interfaces.fmriprep import load_confounds

    bold = written(tmp_path, *table(20, csf=0))
    found, _ = load_confounds(
        bold, strategy=("motion", "high_pass", "compcor"), compcor="anat_separated", n_compcor=5
    )
    assert len(found) == 20
    assert any(name.startswith("w_comp_cor") for name in found)
    assert not any(name.startswith(("c_comp_cor", "cosine")) for name in found)
    text = (tmp_path / "sub-01_task-rest_desc-confounds_timeseries.tsv").read_text()
    assert text.splitlines()[1].startswith("n/a\t")
    assert "nan" not in text
