"""The simulated study: what is planted is there, and the files are what fMRIPrep's users expect."""

import gzip
import json
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from circuitshift.atlases.load import load_atlas
from circuitshift.atlases.records import Atlas, Region
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.validation.simulate.bold_run import (
    SIGNAL_UNITS,
    Grid,
    confounds_table,
    draw_nuisance,
    draw_series,
    make_grid,
    paint,
)
from circuitshift.pipeline.validation.simulate.data_set import (
    PlantedTruth,
    SimulationSpec,
    write_layout,
    write_painted,
    write_simulated_data_set,
)
from circuitshift.pipeline.validation.simulate.truth import (
    EXPECTED,
    Population,
    draw_population,
    draw_variation,
    nearest_correlation,
    participant_correlation,
    plant,
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
def atlas() -> Atlas:
    return load_atlas("seitzman300")


@pytest.fixture(scope="module")
def grid(atlas: Atlas) -> Grid:
    return make_grid(atlas, 5.0)


@pytest.fixture(scope="module")
def population(atlas: Atlas) -> Population:
    return draw_population(atlas, ("dmn", "dmn_tpn"), np.random.default_rng(1))


@pytest.fixture(scope="module")
def baseline(population: Population) -> np.ndarray:
    rng = np.random.default_rng(2)
    spec = SimulationSpec()
    own = draw_variation(population.loadings.shape, population, spec.trait_sd, rng)
    state = draw_variation(population.loadings.shape, population, spec.state_sd, rng)
    return participant_correlation(population, own, state, patient=True)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantom") / "study"
    write_simulated_data_set(
        root, PlantedTruth("specific"), spec=TINY, rng=np.random.default_rng(5)
    )
    return root


def edges_z(series: np.ndarray) -> np.ndarray:
    return np.arctanh(np.corrcoef(series.T)[np.triu_indices(series.shape[1], 1)])


def split(population: Population) -> tuple[np.ndarray, np.ndarray]:
    """Edges in a circuit of the truth, and background edges, as masks."""
    hit = np.zeros(population.edges[0].size, bool)
    for edges in population.circuits.values():
        hit[edges] = True
    return hit, ~hit


# ------------------------------------------------------------------------------ what is planted


def test_unknown_truth_and_bad_numbers_are_refused_at_once() -> None:
    with pytest.raises(InputError, match="unknown planted truth 'strange'; choose one of no"):
        PlantedTruth("strange")
    with pytest.raises(InputError, match=r"n_treated = 0 .*n_volumes = 3 .*spikes = 2"):
        SimulationSpec(n_treated=0, n_volumes=3, spikes=2)


def test_patients_deviate_over_the_whole_brain(population: Population) -> None:
    hit, background = split(population)
    deviation, typical = population.deviation_z(), population.typical_z()
    assert deviation[background].std() > 0.05
    assert deviation[population.circuits["dmn"]].mean() > 0.05
    assert typical[population.circuits["dmn"]].mean() > typical[background].mean() + 0.1
    assert typical[population.circuits["dmn_tpn"]].mean() < typical[background].mean()
    # what the slope on deviation measures must not be the slope on strength
    assert abs(np.corrcoef(typical[background], deviation[background])[0, 1]) < 0.6
    assert 0 < hit.mean() < 0.3


def test_a_session_is_a_valid_correlation_matrix(baseline: np.ndarray) -> None:
    assert np.array_equal(np.diag(baseline), np.ones(len(baseline)))
    assert np.allclose(baseline, baseline.T)
    assert np.linalg.eigvalsh(baseline)[0] > 0.15


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_what_is_planted_is_realised(
    name: str, population: Population, baseline: np.ndarray
) -> None:
    truth = PlantedTruth(name)
    after = plant(baseline, truth, population)
    assert np.linalg.eigvalsh(after)[0] > 0
    change = np.arctanh(after[population.edges]) - np.arctanh(baseline[population.edges])
    hit, background = split(population)
    planted = {
        "nothing": (0, 0),
        "shift": (truth.shift_z, truth.shift_z),
        "specific": (0, truth.specific_z),
        "both": (truth.shift_z, truth.shift_z + truth.specific_z),
    }
    if name in planted:
        outside, inside = planted[name]
        assert change[background].mean() == pytest.approx(outside, abs=0.004)
        assert change[hit].mean() == pytest.approx(inside, abs=0.004)
        assert change[background].std() < 0.01
    elif name == "gain":
        r, before = after[population.edges], baseline[population.edges]
        assert (r @ before) / (before @ before) == pytest.approx(truth.gain, abs=0.01)
    else:
        toward = -population.deviation_z()
        share = (change @ toward) / (toward @ toward)
        assert share == pytest.approx(truth.normalisation, abs=0.02)
        assert np.corrcoef(change, toward)[0, 1] > 0.99


def test_a_response_scales_what_is_planted(population: Population, baseline: np.ndarray) -> None:
    after = plant(baseline, PlantedTruth("shift"), population, response=0.5)
    change = np.arctanh(after[population.edges]) - np.arctanh(baseline[population.edges])
    assert change == pytest.approx(0.04)


def test_nearest_correlation_repairs_only_what_is_broken() -> None:
    fine = np.array([[1, 0.5], [0.5, 1]])
    assert nearest_correlation(fine) is fine
    broken = np.array([[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1]])
    fixed = nearest_correlation(broken)
    assert np.linalg.eigvalsh(fixed)[0] > 0
    assert np.allclose(np.diag(fixed), 1)
    assert np.abs(fixed).max() == 1
    assert fixed[0, 1] == pytest.approx(fixed[1, 2])
    assert 0 < fixed[0, 1] < 0.9


def test_effects_show_in_a_group_test_and_nothing_does_not(population: Population) -> None:
    """14 treated and 14 control people, series of 150 volumes at 2 s."""
    spec, rng = SimulationSpec(), np.random.default_rng(3)
    hit, background = split(population)
    shape = population.loadings.shape
    change: dict[str, list[tuple[float, float]]] = {"control": [], "nothing": [], "both": []}
    for kind, found in change.items():
        truth = PlantedTruth("nothing" if kind == "control" else kind)
        for _ in range(14):
            own = draw_variation(shape, population, spec.trait_sd, rng)
            z = []
            for session in range(2):
                state = draw_variation(shape, population, spec.state_sd, rng)
                r = participant_correlation(population, own, state, patient=True)
                if session:
                    r = plant(r, truth, population)
                z.append(edges_z(draw_series(r, spec.n_volumes, spec.t_r_s, rng)))
            d = z[1] - z[0]
            found.append((d[background].mean(), d[hit].mean() - d[background].mean()))

    def t_of(kind: str) -> np.ndarray:
        a, b = np.array(change[kind]), np.array(change["control"])
        return (a.mean(0) - b.mean(0)) / np.sqrt((a.var(0, ddof=1) + b.var(0, ddof=1)) / 14)

    assert (t_of("both") > 4).all()
    assert (np.abs(t_of("nothing")) < 3).all()
    assert np.mean(change["both"], axis=0) == pytest.approx([0.08, 0.15], abs=0.03)


# ------------------------------------------------------------------------------ one run


def test_series_have_the_correlation_and_spectrum_asked_for(baseline: np.ndarray) -> None:
    few = baseline[:40, :40]
    series = draw_series(few, 6000, 2.0, np.random.default_rng(0))
    assert series.shape == (6000, 40)
    assert np.abs(np.corrcoef(series.T) - few).max() < 0.12  # 780 edges, about 2500 samples
    assert edges_z(series).mean() == pytest.approx(
        np.arctanh(few[np.triu_indices(40, 1)]).mean(), abs=0.02
    )
    assert series.var(0).mean() == pytest.approx(1, abs=0.05)
    neighbours = (series[1:] * series[:-1]).mean() / series.var()
    assert 0.3 < neighbours < 0.8  # slow, as BOLD is


@pytest.mark.parametrize("voxel_mm", [5.0, 4.0])
def test_every_region_has_a_voxel_of_its_own(atlas: Atlas, voxel_mm: float) -> None:
    grid = make_grid(atlas, voxel_mm)
    count = np.bincount(grid.region, minlength=len(atlas.regions))
    assert count.min() >= 1
    assert len(set(grid.voxels.tolist())) == grid.voxels.size
    away = np.linalg.norm(grid.centres_mm - atlas.centres_mm(), axis=1)
    assert away.max() <= 5
    assert grid.brain.ravel()[grid.voxels].all()


def test_too_coarse_a_grid_is_refused(atlas: Atlas) -> None:
    with pytest.raises(InputError, match=r"regions have no voxel at 12 mm \(.*smaller voxels"):
        make_grid(atlas, 12.0)


def test_a_label_image_is_painted_by_its_values(tmp_path: Path) -> None:
    values = np.zeros((40, 48, 42), np.int16)
    affine = np.diag([-4.0, 4.0, 4.0, 1.0])  # left is first: not the grid's own order
    affine[:3, 3] = [78, -110, -74]
    values[10:13, 20:23, 20:23], values[25:28, 20:23, 20:23] = 900, 7
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "dseg.nii.gz")
    regions = (
        Region(900, "right", xyz_mm=(34.0, -26.0, 10.0)),
        Region(7, "left", xyz_mm=(-26.0, -26.0, 10.0)),
    )
    atlas = Atlas("Two", regions, "labels", image=tmp_path / "dseg.nii.gz")
    grid = make_grid(atlas, 4.0)
    assert grid.centres_mm == pytest.approx(atlas.centres_mm(), abs=4)


def test_an_atlas_without_places_is_refused() -> None:
    atlas = Atlas("Names", (Region(1, "a"),), "table")
    with pytest.raises(InputError, match="a table atlas cannot be painted"):
        make_grid(atlas, 5.0)


def region_means(image: np.ndarray, grid: Grid) -> np.ndarray:
    values = image.reshape(len(image), -1)[:, grid.voxels].astype(float)
    count = np.bincount(grid.region)
    return np.stack([np.bincount(grid.region, row) / count for row in values])


def test_painted_voxels_average_to_the_series(grid: Grid, baseline: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    series = draw_series(baseline, 60, 2.0, rng)
    image = paint(grid, series, n_dummy=0, rng=rng)
    got = region_means(image, grid)
    got = (got - got.mean(0)) / SIGNAL_UNITS
    assert image.dtype == np.int16
    assert np.abs(got - (series - series.mean(0))).max() < 0.06  # half a unit of rounding
    assert edges_z(got) == pytest.approx(edges_z(series), abs=0.06)
    assert abs((edges_z(got) - edges_z(series)).mean()) < 0.001
    noise = (
        image.reshape(60, -1)[:, grid.voxels].astype(float)
        - region_means(image, grid)[:, grid.region]
    )
    assert noise.std() > 2  # voxels of a region do differ


def test_out_of_view_is_zero_and_dummies_are_bright(grid: Grid, baseline: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    seen = np.ones(grid.brain.shape, bool)
    seen[grid.z_mm < -36] = False
    series = draw_series(baseline, 20, 2.0, rng)
    image = paint(grid, series, n_dummy=2, seen=seen, rng=rng)
    assert not image[:, grid.z_mm < -36].any()
    level = image[:, grid.brain & seen].mean(1)
    assert level[0] > level[1] > 1.05 * level[2:].mean()


def test_motion_raises_raw_edges_and_denoising_takes_it_out(
    grid: Grid, population: Population
) -> None:
    still = (0.0, np.zeros_like(population.loadings))
    truth = participant_correlation(population, still, still, patient=True)
    found: dict[float, list[tuple[float, float]]] = {0.1: [], 0.4: []}
    for fd_mm, means in found.items():
        for seed in range(8):
            rng = np.random.default_rng(seed)
            nuisance = draw_nuisance(grid, 150, 2.0, fd_mm=fd_mm, spikes=0.01, rng=rng)
            neural = draw_series(truth, 150, 2.0, np.random.default_rng(100 + seed))
            image = paint(grid, neural + nuisance.leak, n_dummy=0, rng=rng)
            columns, _ = confounds_table(nuisance, image, grid, 2.0)
            wanted = ("trans", "rot", "a_comp_cor", "cosine")
            picked = [np.nan_to_num(v) for k, v in columns.items() if k.startswith(wanted)]
            design = np.column_stack([np.ones(150), *picked])
            raw = region_means(image, grid)
            clean = raw - design @ np.linalg.lstsq(design, raw, rcond=None)[0]
            means.append((edges_z(raw).mean(), edges_z(clean).mean()))
    little, much = np.mean(found[0.1], axis=0), np.mean(found[0.4], axis=0)
    assert much[0] > little[0] + 0.03
    assert abs(much[1] - little[1]) < 0.005
    assert much[1] == pytest.approx(np.arctanh(truth[population.edges]).mean(), abs=0.02)


# ------------------------------------------------------------------------------ the study


def test_the_tree_is_fmripreps(tiny: Path) -> None:
    made = tiny / "derivatives/fmriprep"
    assert json.loads((made / "dataset_description.json").read_text())["GeneratedBy"][0][
        "Name"
    ] == ("circuitshift simulate")
    lines = (tiny / "participants.tsv").read_text().splitlines()
    assert lines[0].split("\t")[:2] == ["participant_id", "group"]
    assert len(lines) == 1 + 5
    truth = json.loads((tiny / "truth.json").read_text())
    groups = {line.split("\t")[0]: line.split("\t")[1] for line in lines[1:]}
    assert sorted(groups.values()) == ["control"] * 2 + ["reference"] + ["treated"] * 2
    for sub, group in groups.items():
        sessions = {p.name for p in (made / sub).iterdir()}
        came = truth["people"][sub]["returns"]
        assert sessions == ({"ses-pre", "ses-post"} if came else {"ses-pre"})
        assert not (came and group == "reference")
        func = made / sub / "ses-pre/func"
        stem = f"{sub}_ses-pre_task-rest"
        assert {p.name for p in func.iterdir()} == {
            f"{stem}_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz",
            f"{stem}_space-MNI152NLin2009cAsym_desc-preproc_bold.json",
            f"{stem}_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz",
            f"{stem}_space-MNI152NLin2009cAsym_desc-brain_mask.json",
            f"{stem}_desc-confounds_timeseries.tsv",
            f"{stem}_desc-confounds_timeseries.json",
        }
    assert sum(not person["returns"] for person in truth["people"].values()) == 3


def test_images_and_masks_open_and_agree(tiny: Path) -> None:
    cut = 0
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
        cut += image.affine[2, 2] * lowest + image.affine[2, 3] >= -36
    assert 0 < cut < 7  # share_out_of_view is one half of seven runs


def test_truth_json_says_what_was_realised(tiny: Path) -> None:
    truth = json.loads((tiny / "truth.json").read_text())
    assert truth["expected_verdict"] == ["circuit-specific"]
    assert truth["seed"] == 5
    treated = [p for p in truth["people"].values() if p["group"] == "treated" and p["returns"]]
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


def test_a_folder_with_something_in_it_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match="is not empty; name a new folder"):
        write_simulated_data_set(
            tmp_path, PlantedTruth("shift"), spec=TINY, rng=np.random.default_rng(0)
        )
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("n_dummy", [0, 2])
def test_nilearn_loads_the_confounds(tmp_path: Path, n_dummy: int) -> None:
    from nilearn.interfaces.fmriprep import load_confounds, load_confounds_strategy

    spec = SimulationSpec(
        n_treated=1, n_control=0, n_reference=0, n_volumes=80, voxel_mm=5, n_dummy=n_dummy
    )
    root = tmp_path / "study"
    write_simulated_data_set(root, PlantedTruth("nothing"), spec=spec, rng=np.random.default_rng(4))
    image = str(next(root.rglob("*ses-pre*_desc-preproc_bold.nii.gz")))
    for strategy, least in (("simple", 26), ("scrubbing", 32), ("compcor", 30)):
        confounds, kept = load_confounds_strategy(image, denoise_strategy=strategy)
        assert len(confounds) == 80
        assert confounds.shape[1] >= least
        assert np.isfinite(confounds.to_numpy()).all()
        if n_dummy:
            assert kept[0] >= n_dummy
    confounds, _ = load_confounds(
        image, strategy=("high_pass", "compcor"), compcor="anat_separated", n_compcor=5
    )
    assert sum("c_comp_cor" in name for name in confounds) == 5
    assert sum("w_comp_cor" in name for name in confounds) == 5


def test_compcor_sidecar_is_in_fmripreps_form(tiny: Path) -> None:
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


def test_a_small_layout_is_rebuilt(tmp_path: Path) -> None:
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
    assert (out / names[6]).stat().st_size == 0  # T1w space: only its name
    assert "a_comp_cor_00" in json.loads((out / names[8]).read_text())
    assert json.loads((out / names[1]).read_text()) == {}


def test_a_list_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("../elsewhere.txt\n")
    with pytest.raises(InputError, match=r"outside the folder \(\.\./elsewhere"):
        write_layout(
            tmp_path / "out", tmp_path / "list.txt", spec=TINY, rng=np.random.default_rng(0)
        )
    assert not (tmp_path / "elsewhere.txt").exists()


@pytest.mark.parametrize(
    ("name", "n_participants", "n_runs"), [("ds003007", 29, 58), ("ds002748", 72, 72)]
)
def test_real_layouts_are_rebuilt(
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
    there = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert there - listed == {"participants.tsv", "participants.json"}
    assert not listed - there
    images = sorted(tmp_path.rglob("*_space-MNI152NLin2009cAsym_res-2_desc-preproc_bold.nii.gz"))
    assert len(images) == n_runs
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in images[:3]:
            assert gzip.decompress(path.read_bytes())[344:348] == b"n+1\0"
            assert nib.load(path).shape[3] == 20


# ------------------------------------------------------------------------------ given series


def test_given_series_are_in_the_images_beside_noise_and_what_leaks(
    tmp_path: Path, atlas: Atlas, grid: Grid
) -> None:
    spec = SimulationSpec(spikes=0.0, share_out_of_view=0.0)
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
    available = np.column_stack([np.ones(60), *(columns[n] for n in names)])
    left = [y - available @ np.linalg.lstsq(available, y, rcond=None)[0] for y in (found, series)]
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(left[0].T, left[1].T, strict=True)]
    plain = [np.corrcoef(a, b)[0, 1] for a, b in zip(found.T, series.T, strict=True)]
    assert np.median(r) > 0.95
    assert np.median(plain) < np.median(r) - 0.05


def test_series_that_do_not_fit_are_named_all_at_once(tmp_path: Path) -> None:
    series = {("a", "pre"): np.ones((20, 300)), ("b", "pre"): np.eye(30, 299)}
    with pytest.raises(InputError, match=r"sub-a ses-pre.*sub-b ses-pre.*300 regions") as raised:
        write_painted(tmp_path / "x", series, spec=SimulationSpec(), rng=np.random.default_rng(1))
    assert "none constant" in str(raised.value)
    assert not (tmp_path / "x").exists()
