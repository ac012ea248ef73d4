"""Analysis of images that are simulated from real regional series, up to the verdict.

The series are those of `test_psilocybin`: nine participants before and after psilocybin and
placebo, in 90 regions of AAL. The label image of AAL is not available, so that simulated parcels
replace the regions. They have the names but not the locations of the regions of AAL, and distances
between them are not meaningful. Head motion, physiology and voxel noise are simulated. With `-s`,
the tests print the numbers of docs/validation.md.
"""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nilearn.interfaces.fmriprep import load_confounds
from nilearn.signal import clean
from scipy.spatial import cKDTree

from circuitshift.atlases.load import load_atlas
from circuitshift.atlases.resolve import load_circuits
from circuitshift.pipeline import edges as connectivity
from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.model.analyse import Rules, Visits
from circuitshift.pipeline.model.analyse import analyse as analyse_edges
from circuitshift.pipeline.validation.simulate.bold_run import make_grid
from circuitshift.pipeline.validation.simulate.data_set import SimulationSpec, write_painted
from circuitshift.workflows.cli import main as cli
from circuitshift.workflows.cli.exit_status import EXIT_OK

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "psilocybin-aal90"
pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason="the published series are not available"),
    pytest.mark.slow,
    pytest.mark.usefixtures("few_figures_of_module"),
]
N_REGIONS = 90
EDGES = np.triu_indices(N_REGIONS, 1)
SPEC = SimulationSpec(
    t_r_s=3.0, voxel_mm=6.0, sessions=("psilocybinpre", "psilocybinpost"), share_out_of_view=0.0
)
PAIRS = {
    "psilocybin": ("psilocybinpre", "psilocybinpost"),
    "placebo": ("placebopre", "placebopost"),
}
CROSSOVER = (
    '[sessions]\nbaseline = "psilocybinpre"\nfollowup = "psilocybinpost"\n'
    'control_baseline = "placebopre"\ncontrol_followup = "placebopost"\n'
)
#: Options of nilearn for the regressors of the default strategy.
LOAD = {
    "strategy": ("motion", "high_pass", "compcor"),
    "motion": "full",
    "compcor": "anat_separated",
    "n_compcor": 5,
}


def write_atlas(folder):
    """Write 90 parcels in mirrored pairs (AAL alternates sides) in an ellipsoid of brain size."""
    affine = np.diag([3.0, 3, 3, 1])
    affine[:3, 3] = [-75, -111, -72]
    shape = (51, 64, 53)
    xyz = np.indices(shape).reshape(3, -1).T * 3.0 + affine[:3, 3]
    left = (((xyz - [0, -17, 6]) / [70, 89, 75]) ** 2).sum(1) <= 1
    left &= xyz[:, 0] <= -3
    rng = np.random.default_rng(90)
    points = xyz[left]
    seeds = [points[rng.integers(len(points))]]
    for _ in range(1, N_REGIONS // 2):  # the voxel that is farthest from all previous seeds
        seeds.append(points[cKDTree(seeds).query(points)[0].argmax()])
    nearest = cKDTree(seeds).query(points)[1]
    labels = np.zeros(len(xyz), np.int16)
    labels[left] = 2 * nearest + 1
    labels = labels.reshape(shape)
    mirrored = labels[::-1]
    labels = np.where(mirrored > 0, mirrored + 1, labels).astype(np.int16)
    image = folder / "tpl-MNI152NLin2009cAsym_atlas-Parcels90_dseg.nii.gz"
    nib.save(nib.Nifti1Image(labels, affine), image)
    table = (DATA / "atlas-AAL90_dseg.tsv").read_text()
    image.with_name(image.name.replace(".nii.gz", ".tsv")).write_text(table)
    return image


@pytest.fixture(scope="module")
def published():
    """Published series by participant and session."""
    found = bids.find_runs(DATA, bids.Query())
    return {(run.participant, run.session): tables.read_series(run.path)[1] for run in found.runs}


def run(*words):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return ended.value.code


def from_images(root, series, spec, study, *flags):
    """Simulate images, run both levels, and return the output folder."""
    atlas = write_atlas(root)
    spec = replace(spec, atlas=str(atlas))
    write_painted(root / "bids", series, spec=spec, rng=np.random.default_rng(20260101))
    (root / "study.toml").write_text(study)
    out = root / "out"
    common = ("-w", root / "work", "--atlas", atlas, "--nprocs", 1, *flags)
    assert run(root / "bids", out, "participant", *common) == EXIT_OK
    words = ("group", "--study", root / "study.toml")
    assert run(root / "bids", out, *words, *common) == EXIT_OK
    return out


def measured(out, person, session):
    """Read the Fisher z of the edges of a run."""
    folder = out / f"sub-{person}" / f"ses-{session}" / "func"
    (path,) = folder.glob("*_stat-pearsoncorrelation_relmat.tsv")
    return np.arctanh(tables.read_matrix(path)[1][EDGES])


def denoised_edges(series, image):
    """Compute Fisher z of the published series, denoised by nilearn with the confounds of a run."""
    confounds, kept = load_confounds(str(image), **LOAD)
    cleaned = clean(series, confounds=confounds, sample_mask=kept, standardize="zscore_sample")
    return np.arctanh(np.corrcoef(cleaned.T)[EDGES])


def means(image, grid):
    """Compute the mean over the voxels of each region, without denoising."""
    values = np.asarray(nib.load(image).dataobj).T.reshape(-1, grid.brain.size)[:, grid.voxels]
    start = np.flatnonzero(np.diff(grid.region, prepend=-1))
    return np.add.reduceat(values, start, axis=1, dtype=float) / np.bincount(grid.region)


def agreement(found, expected):
    """Return the correlation, the slope on the expected values, and the bias."""
    slope = np.polyfit(expected, found, 1)[0]
    return np.corrcoef(found, expected)[0, 1], slope, (found - expected).mean()


def report(title, rows):
    r, slope, bias = np.array(rows).T
    print(
        f"{title}: r {r.min():.3f} (median {np.median(r):.3f}), slope {slope.min():.3f} to "
        f"{slope.max():.3f}, bias {bias.min():+.3f} to {bias.max():+.3f}"
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory, published):
    root = tmp_path_factory.mktemp("semireal")
    return root, from_images(root, published, SPEC, CROSSOVER)


@pytest.fixture(scope="module")
def edges(study, published):
    """Fisher z of all runs: measured from images, and directly from the series."""
    root, out = study
    grid = make_grid(load_atlas(next(root.glob("*_dseg.nii.gz"))), SPEC.voxel_mm)
    found = {}
    for (person, session), series in published.items():
        (image,) = root.glob(f"bids/**/sub-{person}_ses-{session}_*_bold.nii.gz")
        found[person, session] = {
            "images": measured(out, person, session),
            "not denoised": connectivity.edges(means(image, grid)),
            "series": denoised_edges(series, image),
            "published": connectivity.edges(series),
        }
    return found


def test_edges_are_recovered_from_images(edges):
    rows = {
        name: [
            agreement(run["images" if name != "not denoised" else name], run[other])
            for run in edges.values()
        ]
        for name, other in (
            ("series", "series"),
            ("published", "published"),
            ("not denoised", "published"),
        )
    }
    report("edges of a run, images against series with the same regressors removed", rows["series"])
    report("edges of a run, images against series as published", rows["published"])
    report("edges of a run, images not denoised against series as published", rows["not denoised"])
    cost = [agreement(run["series"], run["published"]) for run in edges.values()]
    report("no image: series with regressors removed against series as published", cost)
    r, slope, bias = np.array(rows["series"]).T
    assert len(r) == 36
    assert r.min() >= 0.98
    assert np.abs(slope - 1).max() <= 0.03
    assert np.abs(bias).max() <= 0.02
    # without denoising, the simulated noise has a clear effect
    r, slope, _ = np.array(rows["not denoised"]).T
    assert r.min() < 0.8
    assert np.median(slope) < 0.9


def test_changes_of_each_participant_are_recovered(edges):
    participants = sorted({person for person, _ in edges})
    assert len(participants) == 9
    for condition, (before, after) in PAIRS.items():
        change = {
            kind: np.array([edges[p, after][kind] - edges[p, before][kind] for p in participants])
            for kind in ("images", "series", "published")
        }
        pairs = list(zip(change["images"], change["series"], strict=True))
        rows = [agreement(found, available) for found, available in pairs]
        report(f"{condition}: changes of edges, images against series", rows)
        means = [change[kind].mean() for kind in change]
        print(f"{condition}: mean change from images, directly, as published", np.round(means, 4))
        r, slope, bias = np.array(rows).T
        assert r.min() >= 0.98
        assert np.abs(slope - 1).max() <= 0.03
        assert np.abs(bias).max() <= 0.03
        assert abs(means[0] - means[1]) <= 0.01


def test_the_verdict_equals_that_of_the_series(study, edges):
    root, out = study
    content = tables.read_json(out / "group/verdict.json")
    atlas = load_atlas(next(root.glob("*_dseg.nii.gz")))
    circuits = {c.name: c.edges(N_REGIONS) for c in load_circuits(atlas).circuits}
    participants = sorted({person for person, _ in edges})
    fd = {
        (person, row["session"]): float(row["mean_fd_mm"])
        for person in participants
        for row in tables.read_table(out / f"sub-{person}/sub-{person}_runs.tsv").rows()
        if row["strategy"] == "24p+acompcor"
    }
    z = {
        session: np.array([edges[person, session]["series"] for person in participants])
        for pair in PAIRS.values()
        for session in pair
    }
    motion = [
        fd[p, "psilocybinpost"]
        - fd[p, "psilocybinpre"]
        - fd[p, "placebopost"]
        + fd[p, "placebopre"]
        for p in participants
    ]
    visits = Visits(
        z["psilocybinpre"],
        z["psilocybinpost"],
        FeatureSpace.of_edges(atlas.labels, centres_mm=atlas.centres_mm()),
        control_baseline=z["placebopre"],
        control_followup=z["placebopost"],
        motion_mm=np.array(motion),
    )
    rules = Rules(primary=tuple(content["circuits"]))
    direct = analyse_edges(visits, circuits, rng=np.random.default_rng(1), rules=rules)
    assert content["verdict"] == direct.verdict.verdict
    available = {(row.family, row.term): row.estimate for row in direct.estimates}
    rows = tables.read_table(out / "group/tests.tsv").rows()
    found = {(row["family"], row["term"]): float(row["estimate"]) for row in rows}
    assert set(available) <= set(found)
    for term in ("shift", "gain"):
        pair = found["global", term], available["global", term]
        print(f"{term}: from images {pair[0]:.3f}, from the series {pair[1]:.3f}")
        assert pair[0] == pytest.approx(pair[1], abs=0.02)
    largest = max(abs(found[key] - available[key]) for key in available)
    print(f"largest difference of {len(available)} estimates: {largest:.3f}")
    assert largest <= 0.03


def test_halves_of_baseline_runs_give_no_change(tmp_path, published):
    """Test a crossover without an effect: the halves of both baselines, in random order."""
    rng = np.random.default_rng(7)
    halves = {}
    for (person, session), series in published.items():
        if session.endswith("pre"):
            parts = np.array_split(series, 2)
            first = int(rng.integers(2))
            halves[person, f"{session}1"] = parts[first]
            halves[person, f"{session}2"] = parts[1 - first]
    assert len(halves) == 36
    study = CROSSOVER
    for before, after in PAIRS.values():
        study = study.replace(f'"{before}"', f'"{before}1"').replace(f'"{after}"', f'"{before}2"')
    spec = replace(SPEC, sessions=("psilocybinpre1", "psilocybinpre2"))
    # with 50 volumes, the 37 regressors of the default would leave too few degrees of freedom
    out = from_images(tmp_path, halves, spec, study, "--denoise", "24p")
    content = tables.read_json(out / "group/verdict.json")
    assert content["n"]["treated"] == 9
    assert content["verdict"] in ("neither", "undetermined")
    rows = list(tables.read_table(out / "group/tests.tsv").rows())
    p = [float(r["p_corrected"]) for r in rows if r["family"] in ("global", "specific")]
    print(f"halves: {content['verdict']}, smallest corrected p {min(p):.2f}")
    assert min(p) > 0.05
