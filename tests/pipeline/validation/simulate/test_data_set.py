"""Simulated data sets: files have fMRIPrep's names and forms, and record what was planted."""

import gzip
import json
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from circuitshift.atlases.records import Atlas
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.validation.simulate.bold_run import Grid
from circuitshift.pipeline.validation.simulate.data_set import (
    PlantedTruth,
    SimulationSpec,
    write_layout,
    write_painted,
    write_simulated_data_set,
)

DATA = Path(__file__).resolve().parents[4].parent / "shared/data"
TINY = SimulationSpec(
    n_treated=2,
    n_control=2,
    n_reference=1,
    n_volumes=40,
    voxel_mm=5,
    share_missing=0.5,
    share_out_of_view=0.5,
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("simulated") / "study"
    write_simulated_data_set(
        root, PlantedTruth("specific"), spec=TINY, rng=np.random.default_rng(5)
    )
    return root


# ------------------------------------------------------------------------------ complete study


def test_files_have_the_names_of_fmriprep(tiny: Path) -> None:
    derivative = tiny / "derivatives/fmriprep"
    description = json.loads((derivative / "dataset_description.json").read_text())
    assert description["GeneratedBy"][0]["Name"] == "circuitshift simulate"
    lines = (tiny / "participants.tsv").read_text().splitlines()
    assert lines[0].split("\t")[:2] == ["participant_id", "group"]
    assert len(lines) == 1 + 5
    truth = json.loads((tiny / "truth.json").read_text())
    groups = {line.split("\t")[0]: line.split("\t")[1] for line in lines[1:]}
    assert sorted(groups.values()) == ["control"] * 2 + ["reference"] + ["treated"] * 2
    for sub, group in groups.items():
        sessions = {p.name for p in (derivative / sub).iterdir()}
        returns = truth["participants"][sub]["returns"]
        assert sessions == ({"ses-pre", "ses-post"} if returns else {"ses-pre"})
        assert not (returns and group == "reference")
        func = derivative / sub / "ses-pre/func"
        stem = f"{sub}_ses-pre_task-rest"
        assert {p.name for p in func.iterdir()} == {
            f"{stem}_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz",
            f"{stem}_space-MNI152NLin2009cAsym_desc-preproc_bold.json",
            f"{stem}_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz",
            f"{stem}_space-MNI152NLin2009cAsym_desc-brain_mask.json",
            f"{stem}_desc-confounds_timeseries.tsv",
            f"{stem}_desc-confounds_timeseries.json",
        }
    assert sum(not p["returns"] for p in truth["participants"].values()) == 3


def test_images_and_masks_are_valid_and_consistent(tiny: Path) -> None:
    n_cut = 0
    for path in sorted(tiny.rglob("*_desc-preproc_bold.nii.gz")):
        image = nib.load(path)
        mask = nib.load(str(path).replace("preproc_bold", "brain_mask"))
        assert image.get_data_dtype() == np.int16
        assert image.shape == (*mask.shape, 40)
        assert np.allclose(image.affine, mask.affine)
        assert image.header.get_zooms() == pytest.approx((5, 5, 5, 2))
        assert image.header["sform_code"] == 4
        inside = np.asarray(mask.dataobj) > 0
        assert not np.asarray(image.dataobj)[~inside].any()
        lowest = np.flatnonzero(inside.any((0, 1)))[0]
        n_cut += image.affine[2, 2] * lowest + image.affine[2, 3] >= -36
    assert 0 < n_cut < 7  # share_out_of_view is one half, and there are seven runs


def test_the_realised_change_is_recorded(tiny: Path) -> None:
    truth = json.loads((tiny / "truth.json").read_text())
    assert truth["expected_verdict"] == ["circuit-specific"]
    assert truth["seed"] == 5
    treated = [
        p for p in truth["participants"].values() if p["group"] == "treated" and p["returns"]
    ]
    assert truth["realised"]["n_treated"] == len(treated) == 1
    change = truth["realised"]["mean_change_z"]
    assert change["background"] == pytest.approx(0, abs=0.004)
    assert change["dmn_tpn"] == pytest.approx(0.15 * treated[0]["response"], abs=0.01)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    spec = SimulationSpec(n_treated=1, n_control=0, n_reference=1, n_volumes=20, voxel_mm=5)
    for name in ("a", "b"):
        write_simulated_data_set(
            tmp_path / name, PlantedTruth("gain"), spec=spec, rng=np.random.default_rng(9)
        )
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*"))
    assert files == sorted(p.relative_to(tmp_path / "b") for p in (tmp_path / "b").rglob("*"))
    for path in files:
        if (tmp_path / "a" / path).is_file():
            assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


def test_existing_files_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match="is not empty; choose a new or empty folder"):
        write_simulated_data_set(
            tmp_path, PlantedTruth("shift"), spec=TINY, rng=np.random.default_rng(0)
        )
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("n_dummy", [0, 2])
def test_nilearn_reads_the_confounds(tmp_path: Path, n_dummy: int) -> None:
    from nilearn.interfaces.fmriprep import load_confounds, load_confounds_strategy

    spec = SimulationSpec(
        n_treated=1, n_control=0, n_reference=0, n_volumes=80, voxel_mm=5, n_dummy=n_dummy
    )
    root = tmp_path / "study"
    write_simulated_data_set(root, PlantedTruth("nothing"), spec=spec, rng=np.random.default_rng(4))
    image = str(next(root.rglob("*ses-pre*_desc-preproc_bold.nii.gz")))
    for strategy, n_columns in (("simple", 26), ("scrubbing", 32), ("compcor", 30)):
        confounds, kept = load_confounds_strategy(image, denoise_strategy=strategy)
        assert len(confounds) == 80
        assert confounds.shape[1] >= n_columns
        assert np.isfinite(confounds.to_numpy()).all()
        if n_dummy:
            assert kept[0] >= n_dummy
    confounds, _ = load_confounds(
        image, strategy=("high_pass", "compcor"), compcor="anat_separated", n_compcor=5
    )
    assert sum("c_comp_cor" in name for name in confounds) == 5
    assert sum("w_comp_cor" in name for name in confounds) == 5


def test_the_compcor_sidecar_has_fmripreps_form(tiny: Path) -> None:
    path = next(tiny.rglob("*_desc-confounds_timeseries.json"))
    meta = json.loads(path.read_text())
    header, first = path.with_suffix(".tsv").read_text().splitlines()[:2]
    columns = header.split("\t")
    at = columns.index("framewise_displacement")
    assert first.split("\t")[at] == "n/a"
    parts = {name: m for name, m in meta.items() if m["Method"] == "aCompCor"}
    assert {m["Mask"] for m in parts.values()} == {"CSF", "WM", "combined"}
    for name, part in parts.items():
        assert (name in columns) == part["Retained"] == (not name.startswith("dropped"))
    share = [parts[f"a_comp_cor_{k:02d}"]["CumulativeVarianceExplained"] for k in range(6)]
    assert share == sorted(share)
    assert not any(name.startswith("non_steady") for name in columns)


# ------------------------------------------------------------------------------ real layouts


def test_a_small_layout_is_reproduced(tmp_path: Path) -> None:
    stem = "sub-07_ses-{}_task-rest_run-1"
    names = ["README.md", "sub-07/anat/sub-07_T1w.json", "sub-07.html"]
    for session in ("pre", "post"):
        base = f"sub-07/ses-{session}/func/{stem.format(session)}"
        names += [
            f"{base}_space-MNI152NLin2009cAsym_res-2_desc-preproc_bold.nii.gz",
            f"{base}_space-MNI152NLin2009cAsym_res-2_desc-preproc_bold.json",
            f"{base}_space-MNI152NLin2009cAsym_res-2_desc-brain_mask.nii.gz",
            f"{base}_space-T1w_desc-preproc_bold.nii.gz",
            f"{base}_desc-confounds_timeseries.tsv",
            f"{base}_desc-confounds_timeseries.json",
        ]
    (tmp_path / "list.txt").write_text("\n".join(names) + "\n")
    real = tmp_path / "real" / names[4]
    real.parent.mkdir(parents=True)
    real.write_text('{"RepetitionTime": 2.5}')
    out = tmp_path / "out"
    spec = SimulationSpec(n_volumes=20, voxel_mm=5, t_r_s=2.5)
    made = write_layout(
        out,
        tmp_path / "list.txt",
        spec=spec,
        rng=np.random.default_rng(0),
        truth=PlantedTruth("shift"),
        roles={"07": "treated"},
        sidecars=tmp_path / "real",
    )
    assert (made.n_participants, made.n_runs, made.expected) == (1, 2, ("global",))
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()) == sorted(names)
    assert json.loads((out / names[4]).read_text()) == {"RepetitionTime": 2.5}
    assert json.loads((out / names[10]).read_text())["RepetitionTime"] == 2.5
    assert nib.load(out / names[3]).shape[3] == 20
    assert (out / names[6]).stat().st_size == 0  # images in other spaces are empty files
    assert "a_comp_cor_00" in json.loads((out / names[8]).read_text())
    assert json.loads((out / names[1]).read_text()) == {}


def test_paths_outside_the_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("../elsewhere.txt\n")
    with pytest.raises(InputError, match=r"outside the folder \(\.\./elsewhere"):
        write_layout(
            tmp_path / "out", tmp_path / "list.txt", spec=TINY, rng=np.random.default_rng(0)
        )
    assert not (tmp_path / "elsewhere.txt").exists()


@pytest.mark.parametrize(
    ("name", "n_participants", "n_runs"), [("ds003007", 29, 58), ("ds002748", 72, 72)]
)
def test_real_layouts_are_reproduced(
    tmp_path: Path, name: str, n_participants: int, n_runs: int
) -> None:
    real = DATA / f"openneuro-fmriprep/{name}-fmriprep"
    if not real.is_dir():
        pytest.skip(f"{real} is absent")
    made = write_layout(
        tmp_path,
        real / "FILELIST.txt",
        spec=SimulationSpec(n_volumes=20, t_r_s=2.5, voxel_mm=5),
        rng=np.random.default_rng(0),
        participants=DATA / f"openneuro/{name}/participants.tsv",
        sidecars=real,
    )
    assert (made.n_participants, made.n_runs) == (n_participants, n_runs)
    listed = set((real / "FILELIST.txt").read_text().split())
    present = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert present - listed == {"participants.tsv", "participants.json"}
    assert not listed - present
    images = sorted(tmp_path.rglob("*_space-MNI152NLin2009cAsym_res-2_desc-preproc_bold.nii.gz"))
    assert len(images) == n_runs
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in images[:3]:
            assert gzip.decompress(path.read_bytes())[344:348] == b"n+1\0"
            assert nib.load(path).shape[3] == 20


# ------------------------------------------------------------------------------ existing series


def test_existing_series_are_recovered_by_denoising(
    tmp_path: Path, atlas: Atlas, grid: Grid
) -> None:
    spec = SimulationSpec(spikes=0.0, share_out_of_view=0.0, atlas="seitzman300")
    series = np.random.default_rng(3).normal(700, 5, (60, len(atlas.regions)))
    for name in ("one", "two"):
        made = write_painted(
            tmp_path / name, {("x", "pre"): series}, spec=spec, rng=np.random.default_rng(4)
        )
    assert (made.n_participants, made.n_runs, made.expected) == (1, 1, ())
    files = sorted(p.relative_to(made.root) for p in made.root.rglob("*") if p.is_file())
    for path in files:
        assert (made.root / path).read_bytes() == (tmp_path / "one" / path).read_bytes()
    (image,) = made.derivatives.glob("sub-x/ses-pre/func/*_desc-preproc_bold.nii.gz")
    values = np.asarray(nib.load(image).dataobj).T.reshape(60, -1)[:, grid.voxels]
    found = np.stack([values[:, grid.region == k].mean(1) for k in range(300)], axis=1)
    table = image.parent / "sub-x_ses-pre_task-rest_desc-confounds_timeseries.tsv"
    columns = np.genfromtxt(
        table, names=True, delimiter="\t", missing_values="n/a", filling_values=0
    )
    names = [n for n in columns.dtype.names if n.startswith(("trans", "rot", "a_comp", "cosine"))]
    design = np.column_stack([np.ones(60), *(columns[n] for n in names)])
    residuals = [y - design @ np.linalg.lstsq(design, y, rcond=None)[0] for y in (found, series)]
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(residuals[0].T, residuals[1].T, strict=True)]
    raw_r = [np.corrcoef(a, b)[0, 1] for a, b in zip(found.T, series.T, strict=True)]
    assert np.median(r) > 0.95
    assert np.median(raw_r) < np.median(r) - 0.05


def test_all_series_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    series = {("a", "pre"): np.ones((20, 307)), ("b", "pre"): np.eye(30, 306)}
    with pytest.raises(
        InputError, match=r"sub-a ses-pre.*sub-b ses-pre.*\(volumes, 307\)"
    ) as raised:
        write_painted(tmp_path / "x", series, spec=SimulationSpec(), rng=np.random.default_rng(1))
    assert "none constant" in str(raised.value)
    assert not (tmp_path / "x").exists()
