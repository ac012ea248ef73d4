"""Equal minutes of each visit and concatenated runs, against independent computations."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import digests, tables
from circuitshift.pipeline.measure import outputs
from circuitshift.pipeline.measure import person as measure
from circuitshift.pipeline.measure import run as measuring
from circuitshift.pipeline.measure.atlas_files import prepare_atlases, read_atlas
from circuitshift.pipeline.measure.visits.combine import in_order
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.pipeline.study import group_level
from circuitshift.pipeline.study.members import GroupInput
from circuitshift.pipeline.study.pairing import session_means

LABELS = ("Precuneus_L", "Precuneus_R", "Angular_L", "Angular_R", "Insula_L", "Insula_R")
T_R_S = 2.0
STRATEGY = """
[mine]
load.strategy = ["motion"]
load.motion = "basic"
fd_threshold_mm = 0.5
prose = "Six motion parameters and censoring."
reference = "10.1000/1"
"""
MOTION = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]


def random_series(seed, n_volumes):
    return np.random.default_rng(seed).standard_normal((n_volumes, 6)).cumsum(axis=0)


def write_series(root, run, values, *, session="pre", t_r_s=T_R_S, suffix="timeseries"):
    """Write the series (or matrix) of one run; `run` contains further entities."""
    stat = "mean" if suffix == "timeseries" else "pearsoncorrelation"
    folder = root / "sub-01" / f"ses-{session}" / "func"
    stem = f"sub-01_ses-{session}_task-rest{run}_atlas-Mine_stat-{stat}_{suffix}"
    writer = tables.write_series if suffix == "timeseries" else tables.write_matrix
    writer(folder / f"{stem}.tsv", LABELS, values, sidecar={"RepetitionTime": t_r_s})
    return folder / f"{stem}.json"


def write_bold(root, run, seed, n_volumes, *, session="pre"):
    """Write an image with six regions and its confounds; return the means and the confounds."""
    rng = np.random.default_rng(seed)
    func = root / "sub-01" / f"ses-{session}" / "func"
    func.mkdir(parents=True, exist_ok=True)
    common = rng.standard_normal((6, 1, n_volumes)).cumsum(axis=2)
    data = (100 + common + rng.standard_normal((6, 10, n_volumes)))[:, :, None].astype(np.float32)
    stem = f"sub-01_ses-{session}_task-rest_run-{run}"
    space = "space-MNI152NLin2009cAsym"
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    image = nib.Nifti1Image(data, affine)
    image.header.set_zooms((4, 4, 4, T_R_S))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, func / f"{stem}_{space}_desc-preproc_bold.nii.gz")
    mask = nib.Nifti1Image(np.ones(data.shape[:3], np.uint8), affine)
    nib.save(mask, func / f"{stem}_{space}_desc-brain_mask.nii.gz")
    motion = rng.standard_normal((n_volumes, 6)).cumsum(axis=0).round(3)  # exact in the table
    fd = rng.uniform(0.05, 0.55, n_volumes).round(3)
    dummy = np.zeros(n_volumes)
    dummy[1] = 1  # the first two volumes are before the steady state
    columns = {name: list(column) for name, column in zip(MOTION, motion.T, strict=True)}
    columns |= {"framewise_displacement": [None, *fd[1:]], "non_steady_state_outlier00": dummy}
    tables.write_table(func / f"{stem}_desc-confounds_timeseries.tsv", columns)
    labels = np.broadcast_to(np.arange(1, 7)[:, None, None], data.shape[:3]).astype(np.int16)
    nib.save(nib.Nifti1Image(labels, affine), root / "Mine_dseg.nii.gz")
    rows = [f"{k}\t{name}" for k, name in enumerate(LABELS, start=1)]
    (root / "Mine_dseg.tsv").write_text("\n".join(["index\tlabel", *rows]) + "\n")
    (root / "mine.toml").write_text(STRATEGY)
    return data[:, :, 0].astype(float).mean(axis=1).T, motion, fd


def residuals(means, motion, fd):
    """Regress the motion parameters out of all retained volumes of a run."""
    keep = (fd <= 0.5) & (np.arange(len(fd)) >= 2)
    design = np.column_stack([np.ones(keep.sum()), np.flatnonzero(keep) * 0.0, motion[keep]])
    design[:, 1] = np.arange(keep.sum())
    fitted = design @ np.linalg.lstsq(design, means[keep], rcond=None)[0]
    return means[keep] - fitted, keep


def scaled(part):
    return (part - part.mean(axis=0)) / part.std(axis=0, ddof=1)


class Measured:
    """Rows of the table of runs, and the matrices before they are rounded in their files."""

    def __init__(self, root, out, **settings):
        self.settings = AnalysisSettings(**({"min_minutes": 0.5} | settings))
        found = bids.find_runs(root, bids.Query())
        prepare_atlases(found.runs, self.settings, out)
        self.matrices, write = {}, outputs.write_product

        def kept(output, run, *args, **more):
            row = write(output, run, *args, **more)
            self.matrices[row["relmat"]] = output.matrix
            return row

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(measuring, "write_product", kept)
            made = measure.measure_participant(
                found.runs, (), participant="01", settings=self.settings, out_dir=out
            )
        self.out = out
        self.rows = list(tables.read_table(made.runs).rows())

    def column(self, name):
        return [row[name] for row in self.rows]

    def edges(self, k):
        return self.matrices[self.rows[k]["relmat"]]

    def visit_z(self):
        """Return the Fisher z of the visit, as the group level reads it."""
        (row, *_) = self.rows
        atlas = read_atlas(self.out, row["atlas"])
        rows = [r | {"person": "01", "root": str(self.out)} for r in self.rows]
        read = group_level._measured(rows, row["strategy"], atlas)
        return session_means(read)["01", "pre"].z


def settings_of_images(root):
    return {
        "atlases": (str(root / "Mine_dseg.nii.gz"),),
        "strategies": ("mine",),
        "strategy_files": (str(root / "mine.toml"),),
    }


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Write two runs of one visit; return the folder and the residuals of each run."""
    root = tmp_path_factory.mktemp("images") / "in"
    runs = [write_bold(root, k, seed=k, n_volumes=n) for k, n in ((1, 70), (2, 90))]
    return root, [residuals(*run) for run in runs], [run[2] for run in runs]


def test_a_run_of_images_is_cut_after_denoising_of_the_complete_run(images, tmp_path):
    root, ((first, _), (second, keep)), (_, fd) = images
    wanted = (len(first) + 40) * T_R_S / 60
    found = Measured(root, tmp_path, visit_minutes=wanted, **settings_of_images(root))
    complete = Measured(root, tmp_path / "complete", **settings_of_images(root))
    assert found.column("status") == ["included", "included"]
    assert found.column("n_retained") == [str(len(first)), "40"]
    minutes = np.array(found.column("minutes"), float)
    np.testing.assert_allclose(minutes.sum(), wanted, rtol=1e-6)
    np.testing.assert_allclose(found.edges(0), np.corrcoef(first.T), rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.edges(1), np.corrcoef(second[:40].T), rtol=0, atol=1e-10)
    dof = [np.array(m.column("residual_dof"), float) for m in (found, complete)]
    np.testing.assert_allclose(dof[0], dof[1] * [1, 40 / len(second)], rtol=1e-6)
    used = np.flatnonzero(keep)[:40]
    assert float(found.rows[1]["mean_fd_mm"]) == pytest.approx(fd[used].mean(), abs=1e-6)
    outliers = tables.read_table(next(tmp_path.glob("sub-01/**/*_run-2*_outliers.tsv")))
    kept = np.flatnonzero(outliers.numbers("framewise_displacement") == 0)
    np.testing.assert_array_equal(kept, used)
    has_amplitude = {
        path.name.split("_")[3]: "StandardDeviationPercent" in tables.read_json(path)
        for path in tmp_path.glob("sub-01/**/*_timeseries.json")
    }
    assert has_amplitude == {"run-1": True, "run-2": False}  # known for complete runs only
    weighted = np.average([np.arctanh(m[0, 1]) for m in map(found.edges, (0, 1))], weights=dof[0])
    assert found.visit_z()[0] == pytest.approx(weighted, abs=1e-6)


def test_runs_of_images_are_concatenated(images, tmp_path):
    root, ((first, _), (second, _)), _ = images
    given = settings_of_images(root)
    found = Measured(root, tmp_path, combine_runs="concatenate", **given)
    assert found.column("status") == ["combined", "combined", "included"]
    assert found.rows[2]["run"] == "sub-01_ses-pre_task-rest"
    expected = np.corrcoef(np.vstack([scaled(first), scaled(second)]).T)
    np.testing.assert_allclose(found.edges(2), expected, rtol=0, atol=1e-10)
    upper = np.triu_indices(6, 1)
    np.testing.assert_allclose(found.visit_z(), np.arctanh(expected[upper]), atol=1e-7)
    for name in ("n_volumes", "n_retained", "minutes", "residual_dof"):
        a, b, both = np.array(found.column(name), float)
        assert a + b == pytest.approx(both, rel=1e-6)
    cut = Measured(
        root, tmp_path / "cut", combine_runs="concatenate",
        visit_minutes=(len(first) + 3) * T_R_S / 60, **given,
    )  # fmt: skip
    expected = np.corrcoef(np.vstack([scaled(first), scaled(second[:3])]).T)
    np.testing.assert_allclose(cut.edges(2), expected, rtol=0, atol=1e-10)
    assert cut.rows[2]["n_retained"] == str(len(first) + 3)


def write_runs(root, *lengths, names=None, session="pre"):
    """Write runs of series and return their values."""
    names = names or [f"_run-{k}" for k in range(1, len(lengths) + 1)]
    first = 10 * (session != "pre")
    series = [random_series(k, n) for k, n in enumerate(lengths, start=first)]
    for name, values in zip(names, series, strict=True):
        write_series(root, name, values, session=session)
    return [np.float64(values) for values in series]


def test_series_are_used_in_the_order_of_run_numbers(tmp_path):
    """Runs 2, 9 and 10 have two, one and three minutes; the first 2.5 minutes end in run 9."""
    names = ["_run-10", "_run-2", "_run-9"]
    _, two, nine = write_runs(tmp_path / "in", 90, 60, 30, names=names)
    found = Measured(tmp_path / "in", tmp_path / "out", visit_minutes=2.5)
    by_run = {row["run"].partition("run-")[2]: (k, row) for k, row in enumerate(found.rows)}
    assert {run: row["status"] for run, (_, row) in by_run.items()} == {
        "2": "included", "9": "included", "10": "excluded",
    }  # fmt: skip
    assert by_run["10"][1]["code"] == "beyond-minutes"
    assert [by_run[run][1]["n_retained"] for run in ("2", "9", "10")] == ["60", "15", "90"]
    for run, part in (("2", two), ("9", nine[:15])):
        expected = np.corrcoef(part.T)
        np.testing.assert_allclose(found.edges(by_run[run][0]), expected, atol=1e-8)


def test_a_visit_with_too_few_minutes_is_excluded_and_others_are_not(tmp_path):
    write_runs(tmp_path / "in", 60, 60)
    write_runs(tmp_path / "in", 60, 45, session="post")
    found = Measured(tmp_path / "in", tmp_path / "out", visit_minutes=4.0)
    status = {(r["session"], r["status"], r["code"]) for r in found.rows}
    assert status == {("pre", "included", "n/a"), ("post", "excluded", "visit-too-short")}
    (reason,) = {r["reason"] for r in found.rows if r["session"] == "post"}
    assert reason == "3.50 minutes were retained in this visit, fewer than the 4 of --visit-minutes"


def test_an_excluded_run_does_not_contribute_minutes(tmp_path):
    write_runs(tmp_path / "in", 20, 60, 60)  # the first run is shorter than --min-minutes
    found = Measured(tmp_path / "in", tmp_path / "out", visit_minutes=2.0, min_minutes=1.0)
    assert found.column("code") == ["too-short", "n/a", "beyond-minutes"]


def test_a_part_that_is_too_short_for_a_correlation_needs_concatenation(tmp_path):
    first, second = write_runs(tmp_path / "in", 60, 60)
    wanted = 65 * T_R_S / 60
    found = Measured(tmp_path / "in", tmp_path / "out", visit_minutes=wanted)
    assert set(found.column("code")) == {"part-too-short"}
    for n in (1, 5):  # a single volume has no variance but counts
        found = Measured(
            tmp_path / "in", tmp_path / f"out{n}",
            visit_minutes=(60 + n) * T_R_S / 60, combine_runs="concatenate",
        )  # fmt: skip
        assert found.column("n_retained") == ["60", str(n), str(60 + n)]
        parts = [scaled(first)] + ([scaled(second[:n])] if n > 1 else [])
        np.testing.assert_allclose(found.edges(2), np.corrcoef(np.vstack(parts).T), atol=1e-8)


@pytest.mark.parametrize("key", ["AcquisitionTime", "AcquisitionDateTime"])
def test_runs_without_numbers_need_their_times(tmp_path, key):
    names = ["_acq-a", "_acq-b"]
    write_runs(tmp_path / "in", 60, 60, names=names)
    found = Measured(tmp_path / "in", tmp_path / "out", visit_minutes=2.0)
    assert set(found.column("code")) == {"run-order"}
    day = "2026-01-01T" * (key == "AcquisitionDateTime")
    for name, time in zip(names, ("10:00:00.25", "09:30:00"), strict=True):
        path = next((tmp_path / "in").rglob(f"*{name}*.json"))
        path.write_text(json.dumps({"RepetitionTime": T_R_S, key: day + time}))
    found = Measured(tmp_path / "in", tmp_path / "out", visit_minutes=2.0)
    assert {r["run"][-1]: r["code"] for r in found.rows} == {"b": "n/a", "a": "beyond-minutes"}


def test_equal_numbers_of_other_acquisitions_are_no_order(tmp_path):
    write_runs(tmp_path / "in", 30, 30, names=["_acq-a_run-1", "_acq-b_run-1"])
    runs = bids.find_runs(tmp_path / "in", bids.Query()).runs
    assert in_order(runs) is None
    assert in_order(runs[:1]) == [runs[0]]


def test_a_visit_with_one_run_is_not_concatenated(tmp_path):
    (values,) = write_runs(tmp_path / "in", 60)
    found = Measured(tmp_path / "in", tmp_path / "out", combine_runs="concatenate")
    assert found.column("status") == ["included"]
    np.testing.assert_allclose(found.edges(0), np.corrcoef(values.T), atol=1e-8)


def test_runs_of_other_repetition_times_or_without_number_are_not_concatenated(tmp_path):
    write_runs(tmp_path / "in", 60, 60)
    write_series(tmp_path / "in", "_run-2", random_series(1, 60), t_r_s=1.5)
    found = Measured(tmp_path / "in", tmp_path / "out", combine_runs="concatenate")
    assert set(found.column("code")) == {"not-concatenated"}
    assert "repetition times of 1.5 and 2 s" in found.rows[0]["reason"]
    shutil.rmtree(tmp_path / "in")
    write_runs(tmp_path / "in", 60, 60, names=["", "_dir-PA"])
    found = Measured(tmp_path / "in", tmp_path / "out", combine_runs="concatenate")
    assert "named sub-01_ses-pre_task-rest" in found.rows[0]["reason"]


def test_a_region_that_is_missing_in_one_run_is_missing_in_the_visit(tmp_path):
    _, second = write_runs(tmp_path / "in", 60, 60)
    second[:, 2] = np.nan
    write_series(tmp_path / "in", "_run-2", second)
    found = Measured(tmp_path / "in", tmp_path / "out", combine_runs="concatenate")
    assert found.column("n_regions_lost") == ["0", "1", "1"]
    assert np.isnan(found.edges(2)[2]).all()


@pytest.mark.parametrize("more", [{"visit_minutes": 1.0}, {"combine_runs": "concatenate"}])
def test_matrices_are_refused(tmp_path, more):
    matrix = np.corrcoef(random_series(1, 60).T)
    write_series(tmp_path / "in", "_run-1", matrix, suffix="relmat")
    found = Measured(tmp_path / "in", tmp_path / "out", **more)
    assert found.column("status") == ["failed"]
    assert "need time series, but this is a matrix" in found.rows[0]["reason"]
    runs = bids.find_runs(tmp_path / "in", bids.Query()).runs
    measuring.refuse_matrices(runs, AnalysisSettings())
    with pytest.raises(InputError, match="provide the time series"):
        measuring.refuse_matrices(runs, AnalysisSettings(**more))


def test_runs_are_excluded_without_repetition_time(tmp_path):
    write_runs(tmp_path / "in", 60)
    next((tmp_path / "in").rglob("*.json")).write_text("{}")
    found = Measured(tmp_path / "in", tmp_path / "out", visit_minutes=1.0)
    assert found.column("code") == ["unknown-minutes"]


@pytest.mark.parametrize("combine", ["average", "concatenate"])
def test_a_change_of_one_run_measures_its_visit_again(tmp_path, monkeypatch, combine):
    monkeypatch.setattr(digests, "_SETTLED_NS", -1)
    root, out = tmp_path / "in", tmp_path / "out"
    write_runs(root, 60, 60)
    write_runs(root, 60, 60, session="post")
    more = {"visit_minutes": 3.0, "combine_runs": combine}
    n_visit = 3 if combine == "concatenate" else 2
    first = Measured(root, out, **more)
    assert len(first.matrices) == 2 * n_visit
    again = Measured(root, out, **more)
    assert (again.matrices, again.rows) == ({}, first.rows)
    table = next(out.glob("sub-01/*_runs.tsv")).read_bytes()
    write_series(root, "_run-1", random_series(1, 75))
    changed = Measured(root, out, **more)
    assert len(changed.matrices) == n_visit
    assert all("ses-pre" in name for name in changed.matrices)
    write_series(root, "_run-1", random_series(0, 60))
    Measured(root, out, **more)
    assert next(out.glob("sub-01/*_runs.tsv")).read_bytes() == table
    next(out.rglob("*ses-post*_relmat.tsv")).unlink()
    assert len(Measured(root, out, **more).matrices) == n_visit
    other = Measured(root, out, **(more | {"visit_minutes": 2.5}))
    assert len(other.matrices) == 2 * n_visit
    default = Measured(root, out)
    assert set(default.column("status")) == {"included"}
    assert len(default.matrices) == 4


def test_the_group_level_excludes_no_run_that_was_concatenated(tmp_path):
    write_runs(tmp_path / "in", 60, 60)
    found = Measured(tmp_path / "in", tmp_path / "out", combine_runs="concatenate")
    rows = tuple(row | {"person": "01"} for row in found.rows)
    measured = GroupInput(rows, {}, {}, (), ())
    assert list(group_level._run_exclusions(measured, "as given", "Mine")) == []


def test_the_signal_to_noise_ratio_of_a_visit_is_that_of_its_runs(images, tmp_path):
    root, *_ = images
    found = Measured(root, tmp_path, combine_runs="concatenate", **settings_of_images(root))
    (*runs, whole) = found.rows
    weights = [int(row["n_retained"]) for row in runs]
    ratios = []
    for row in found.rows:
        name = row["relmat"].replace("_stat-pearsoncorrelation", "_stat-mean")
        sidecar = tmp_path / name.replace("_relmat.tsv", "_timeseries.json")
        ratios.append(list(tables.read_json(sidecar)["TemporalSignalToNoise"].values()))
    assert whole["code"] == "concatenated"
    assert np.ptp(ratios, axis=0).min() > 0
    np.testing.assert_allclose(ratios[-1], np.average(ratios[:-1], axis=0, weights=weights))
