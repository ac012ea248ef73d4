"""Preprocessing of a participant with two raw sessions, from the command line to edges.

Noise, motion and physiology are equal in both sessions. Their edges can therefore differ by the
simulated change and by effects of the head's position in the scanner, which must be absent. The
result must not depend on the order of the sessions.
"""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from nilearn.interfaces.fmriprep import load_confounds, load_confounds_strategy

from circuitshift.atlases import DEFAULT_ATLAS
from circuitshift.atlases.load import load_atlas
from circuitshift.pipeline import edges as connectivity
from circuitshift.pipeline.bids.raw_records import RawBold
from circuitshift.pipeline.bids.runs.registration import registration_of
from circuitshift.pipeline.bids.select_runs import Query, find_runs
from circuitshift.pipeline.errors import ImageError
from circuitshift.pipeline.io import images, tables
from circuitshift.pipeline.io.images import Image, grid_over
from circuitshift.pipeline.measure.denoise import (
    clean,
    get_strategy,
    load_regressors,
    load_strategies,
)
from circuitshift.pipeline.measure.extract import extract, parcellate, read_mask
from circuitshift.pipeline.measure.person import measure_preprocessed
from circuitshift.pipeline.measure.run_quality import MAX_BOUNDARY_COST
from circuitshift.pipeline.preproc import anatomy, derivatives, registration, transforms
from circuitshift.pipeline.preproc import transforms as xfm
from circuitshift.pipeline.preproc.anatomy import Brain, dice
from circuitshift.pipeline.preproc.confounds import framewise_displacement
from circuitshift.pipeline.preproc.coregistration import agreement
from circuitshift.pipeline.preproc.coregistration.boundary import Boundary, BoundaryCost
from circuitshift.pipeline.preproc.coregistration.search import (
    Coregistration,
    Reference,
    prepare_reference,
)
from circuitshift.pipeline.preproc.derivatives import (
    _has_signal,
    _labels,
    _referred,
    _write_bold_sidecar,
)
from circuitshift.pipeline.preproc.motion import HeadMotion
from circuitshift.pipeline.preproc.output_names import anat_path, warp_path
from circuitshift.pipeline.preproc.template import load_template
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.pipeline.validation.simulate.bold_run import draw_series
from circuitshift.pipeline.validation.simulate.cohort import (
    SimulatedParticipant,
    draw_correlations,
    draw_study,
)
from circuitshift.pipeline.validation.simulate.head import (
    Head,
    HeadSpec,
    draw_head,
    draw_pose,
    draw_t1w,
)
from circuitshift.pipeline.validation.simulate.raw_data_set import (
    BoldTruth,
    Dropout,
    draw_bold,
)
from circuitshift.pipeline.validation.simulate.truth import PlantedTruth, SimulationSpec, plant
from circuitshift.workflows.cli import main as cli
from circuitshift.workflows.cli.exit_status import EXIT_OK

pytestmark = pytest.mark.slow

SESSIONS = ("before", "after")
SPACE = "MNI152NLin2009aSym"
SPEC = HeadSpec(t1w_mm=2.0, bold_mm=(3.5, 3.5, 3.5), fd_mm=0.15, noise=0.007)
#: Loss of signal in both amygdalae, at the second session only: 19 % remain.
DROPOUT = tuple(
    Dropout(region.xyz_mm, 2 * region.radius_mm, 0.19)
    for region in load_atlas(DEFAULT_ATLAS).regions
    if "amygdala" in region.label.lower()
)
CIRCUITSHIFT = Path(sys.executable).with_name("circuitshift")


@dataclass(frozen=True)
class Scan:
    """A session, and what is true of it."""

    t1w: images.Image
    pose: np.ndarray  # from the head to the T1-weighted image
    run: BoldTruth


@dataclass(frozen=True)
class Truth:
    head: Head
    scans: tuple[Scan, Scan]
    circuits: dict[str, np.ndarray]


@dataclass(frozen=True)
class Made:
    """What the command line wrote."""

    out: Path

    def func(self, session: str, name: str) -> Path:
        folder = self.out / "preproc/sub-01" / f"ses-{session}" / "func"
        return folder / f"sub-01_ses-{session}_task-rest_{name}"

    def measured(self, session: str, end: str) -> Path:
        (path,) = (
            p
            for p in (self.out / "sub-01").rglob(f"*ses-{session}_*_{end}")
            if "desc-" not in p.name
        )
        return path  # of the primary strategy


def write_session(root: Path, session: str, scan: Scan) -> None:
    folder, stem = root / "sub-01" / f"ses-{session}", f"sub-01_ses-{session}"
    images.write(folder / "anat" / f"{stem}_T1w.nii.gz", scan.t1w)
    run = folder / "func" / f"{stem}_task-rest_bold.nii.gz"
    images.write(run, scan.run.image, t_r_s=SPEC.t_r_s)
    content = {
        "RepetitionTime": SPEC.t_r_s,
        "SliceTiming": scan.run.slice_times_s.tolist(),
        "TaskName": "rest",
        "PhaseEncodingDirection": "j-",
    }
    tables.write_json(run.with_name(f"{stem}_task-rest_bold.json"), content)


def run_cli(raw: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    words = [str(CIRCUITSHIFT), str(raw), str(out), "participant", "-w", f"{out}_work", *more]
    return subprocess.run([*words, "--nprocs", "1"], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def truth() -> Truth:
    rng = np.random.default_rng(31)
    atlas = load_atlas(DEFAULT_ATLAS)
    study = draw_study(SimulationSpec(t_r_s=SPEC.t_r_s), PlantedTruth("specific"), atlas, rng)
    before = next(draw_correlations(study, SimulatedParticipant("01", "treated"), [False], rng))
    after = plant(before, study.truth, study.population, response=1.0)
    head = draw_head(SPEC, rng)
    scans = []
    for correlation, dropout in ((before, ()), (after, DROPOUT)):
        series = draw_series(correlation, 120, SPEC.t_r_s, np.random.default_rng(32))
        pose = draw_pose(SPEC, rng)
        t1w = draw_t1w(head, pose, SPEC, rng)
        moved = transforms.matrix_of([*rng.normal(0, 0.7, 3), *rng.normal(0, 0.01, 3)]) @ pose
        noise = np.random.default_rng(33)
        run = draw_bold(head, SPEC, series, atlas, pose=moved, rng=noise, dropout=dropout)
        scans.append(Scan(t1w, pose, run))
    return Truth(head, (scans[0], scans[1]), study.population.circuits)


#: Functions of images alone, which take two thirds of the time.
PURE = (
    (registration, "normalise"),
    (registration, "bias_corrected"),
    (registration, "rigid_to"),
    (anatomy, "brain_mask"),
    (derivatives, "estimate_motion"),
)


@pytest.fixture(scope="module")
def _once(remembered: Callable[[Callable], Callable]) -> Iterator[None]:
    """Repeat no registration of images that are equal to the byte, in the runs in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in PURE:
            patch.setattr(module, name, remembered(getattr(module, name)))
        yield


def made_of(truth: Truth, sessions: tuple[str, str], root: Path) -> Made:
    for session, scan in zip(sessions, truth.scans, strict=True):
        write_session(root / "raw", session, scan)
    time.sleep(3)  # digests of files that have just changed are not recorded
    words = [root / "raw", root / "out", "participant", "-w", root / "out_work", "--nprocs", 1]
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    assert ended.value.code == EXIT_OK
    return Made(root / "out")


@pytest.fixture(scope="module")
def made(truth: Truth, tmp_path_factory: pytest.TempPathFactory, _once: None) -> Made:
    return made_of(truth, SESSIONS, tmp_path_factory.mktemp("person"))


@pytest.mark.parametrize("number", [0, 1])
def test_motion_is_recovered(truth: Truth, made: Made, number: int) -> None:
    run, session = truth.scans[number].run, SESSIONS[number]
    name = "from-orig_to-boldref_mode-image_desc-hmc_xfm.txt"
    found = xfm.read_affines(made.func(session, name))
    available = [transforms.matrix_of(row, run.centre_mm) for row in run.motion]
    offset = [np.linalg.inv(a) @ b for a, b in zip(available, found, strict=True)][run.n_dummy :]
    # the reference is a mean of volumes: where it lies is free
    middle = np.linalg.inv(transforms.halfway(offset, run.centre_mm))
    error = np.array([transforms.parameters_of(middle @ m, run.centre_mm) for m in offset])
    assert np.median(np.abs(error[:, :3])) < 0.1
    assert np.degrees(np.median(np.abs(error[:, 3:]))) < 0.1
    table = tables.read_table(made.func(session, "desc-confounds_timeseries.tsv"))
    said, moved = table.numbers("framewise_displacement"), framewise_displacement(run.motion)
    assert np.corrcoef(said[3:], moved[3:])[0, 1] > 0.95
    marked = [name for name in table.columns if name.startswith("non_steady_state_outlier")]
    # nipype's rule, which drift can stretch by some volumes
    assert run.n_dummy <= len(marked) <= run.n_dummy + 4


def to_session(made: Made, session: str) -> np.ndarray:
    """From the person's space to a session's T1-weighted image."""
    stem = f"ses-{session}/anat/sub-01_ses-{session}_from-orig_to-T1w_mode-image_xfm.txt"
    (found,) = xfm.read_affines(made.out / "preproc/sub-01" / stem)
    return found


def test_the_sessions_lie_upon_each_other(truth: Truth, made: Made) -> None:
    first, second = (
        np.linalg.inv(scan.pose) @ to_session(made, session)
        for scan, session in zip(truth.scans, SESSIONS, strict=True)
    )
    error = transforms.parameters_of(np.linalg.inv(first) @ second, np.array([0.0, -18.0, 8.0]))
    assert np.abs(error[:3]).max() < 0.3
    assert np.degrees(np.abs(error[3:])).max() < 0.3


@pytest.mark.parametrize("number", [0, 1])
def test_grey_matter_meets_the_template(truth: Truth, made: Made, number: int) -> None:
    anat = made.out / "preproc/sub-01"
    warp = xfm.read_field(anat / f"anat/sub-01_from-T1w_to-{SPACE}_mode-image_xfm.nii.gz")
    template, scan = load_template(SPACE), truth.scans[number]
    # the head's own grey matter, brought to the template by what was found
    where = transforms.apply(
        np.linalg.inv(scan.pose) @ to_session(made, SESSIONS[number]), warp(template.brain.points())
    )
    found = truth.head.tissues[1].at(where).reshape(template.brain.grid) > 0.5
    assert dice(found, np.asarray(template.priors[1].data) > 0.5) >= 0.9


@pytest.mark.parametrize("number", [0, 1])
def test_regional_series_are_those_planted(truth: Truth, made: Made, number: int) -> None:
    run, session = truth.scans[number].run, SESSIONS[number]
    path = made.func(session, f"space-{SPACE}_desc-preproc_bold.nii.gz")
    mask, header = read_mask(made.func(session, f"space-{SPACE}_desc-brain_mask.nii.gz"))
    parcels = parcellate(load_atlas(DEFAULT_ATLAS), header.affine, header.grid, mask)
    (found,) = extract(path, [parcels]).series
    table = tables.read_table(made.func(session, "desc-confounds_timeseries.tsv"))
    drift = [table.numbers(name) for name in table.columns if name.startswith("cosine")]
    basis = np.linalg.qr(np.column_stack([np.ones(len(found)), *drift])[run.n_dummy :])[0]
    steady = (found[run.n_dummy :], run.carried[run.n_dummy :])
    clean = [s - basis @ (basis.T @ s) for s in steady]
    r = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(*(c.T for c in clean), strict=True)])
    assert np.isnan(r).mean() < 0.02
    assert np.nanmedian(r) >= 0.95
    assert np.nanpercentile(r, 5) >= 0.8


def test_change_is_recovered_without_bias(truth: Truth, made: Made) -> None:
    """Against a perfect scan: shrunk as far as thermal noise explains, and nothing else.

    Noise that regions do not share shrinks their correlation by the root of the product of the
    shares of variance that are signal (Spearman 1904): here r of one series times r of the other.
    Bounds are four standard deviations between the ten heads of tests/benchmarks/validate_raw.py.
    """
    strategy = get_strategy(AnalysisSettings().strategies[0], load_strategies())
    found, perfect, r = [], [], []
    for session, scan in zip(SESSIONS, truth.scans, strict=True):
        series = tables.read_series(made.measured(session, "stat-mean_timeseries.tsv"))[1]
        regressors = load_regressors(
            made.func(session, "desc-confounds_timeseries.tsv"), strategy, n_volumes=120
        )
        ideal = clean(scan.run.carried, regressors, strategy, SPEC.t_r_s)[0]
        found.append(connectivity.edges(series))
        perfect.append(connectivity.edges(ideal))
        r.append([np.corrcoef(a, b)[0, 1] for a, b in zip(series.T, ideal.T, strict=True)])
    first, second = np.triu_indices(len(r[0]), 1)
    kept = float(np.nanmedian([np.array(one)[first] * np.array(one)[second] for one in r]))
    change, available = found[1] - found[0], perfect[1] - perfect[0]
    there = np.isfinite(change)
    assert there.mean() > 0.95
    slope, offset = np.polyfit(available[there], change[there], 1)
    assert slope == pytest.approx(kept, abs=0.09)
    assert abs(offset) < 0.01
    for name, edges in truth.circuits.items():
        own = edges[there[edges]]
        assert own.size > edges.size / 2 or "amygdala" in name
        if own.size:
            expected = kept * available[own].mean()
            assert change[own].mean() == pytest.approx(expected, abs=0.03), name


def test_regions_with_dropout_are_not_covered_at_this_session(made: Made) -> None:
    labels = load_atlas(DEFAULT_ATLAS).labels
    lost = np.array(["amygdala" in label.lower() for label in labels])
    assert lost.sum() == len(DROPOUT) >= 2
    first, second = (
        tables.read_table(made.measured(session, "stat-coverage_bold.tsv")) for session in SESSIONS
    )
    assert first.numbers("coverage")[lost].min() > 0.9
    assert second.numbers("coverage")[lost].max() < 0.1
    assert second.numbers("signal")[lost] == pytest.approx(0.19, abs=0.08)
    difference = first.numbers("coverage") - second.numbers("coverage")
    assert np.abs(difference[~lost]).max() < 0.5
    matrix = tables.read_matrix(made.measured(SESSIONS[1], "relmat.tsv"))[1]
    assert np.isnan(matrix[lost]).all()
    masks = [
        np.asarray(images.read(made.func(s, f"space-{SPACE}_desc-brain_mask.nii.gz")).data)
        for s in SESSIONS
    ]
    assert (masks[0] > 0).sum() > (masks[1] > 0).sum()
    page = (made.out / "sub-01.html").read_text()
    assert "too little signal at one visit, but not at all." in page


def test_others_read_it_as_fmriprep_output(made: Made) -> None:
    bold = str(made.func(SESSIONS[0], f"space-{SPACE}_desc-preproc_bold.nii.gz"))
    for strategy in ("simple", "scrubbing", "compcor"):
        frame, _ = load_confounds_strategy(bold, denoise_strategy=strategy)
        assert len(frame) == 120
    frame, sample = load_confounds(bold, strategy=("motion", "wm_csf", "high_pass", "compcor"))
    assert frame.shape[1] > 24
    assert sample is not None


def test_the_derivatives_are_valid_bids(made: Made) -> None:
    words = [CIRCUITSHIFT.with_name("bids-validator-deno"), "--json", made.out / "preproc"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert not [(i["code"], i["location"]) for i in issues if i["severity"] == "error"]


def test_the_sessions_exchanged(
    truth: Truth, made: Made, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The second run takes results of `PURE` from the first where their images are equal."""
    other = made_of(truth, SESSIONS[::-1], tmp_path_factory.mktemp("exchanged"))
    swap = {f"ses-{a}": f"ses-{b}" for a, b in zip(SESSIONS, SESSIONS[::-1], strict=True)}
    compared = 0
    for path in sorted(made.out.rglob("sub-01*")):
        if path.suffix not in (".gz", ".tsv", ".txt") or path.name.endswith("_runs.tsv"):
            continue
        name = str(path.relative_to(made.out))
        counterpart = other.out / re.sub("|".join(swap), lambda m: swap[m[0]], name)
        assert counterpart.read_bytes() == path.read_bytes(), name
        compared += 1
    assert compared > 40


def test_what_is_there_is_not_made_again(made: Made) -> None:
    before = {
        p: p.stat().st_mtime_ns
        for p in made.out.rglob("sub-01*")
        if p.is_file() and "_runs." not in p.name and p.suffix != ".log"  # written each time
    }
    done = run_cli(made.out.parent / "raw", made.out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_the_derivatives_are_read_as_anybody_s(made: Made, tmp_path: Path) -> None:
    raw, preproc = made.out.parent / "raw", made.out / "preproc"
    done = run_cli(raw, tmp_path / "out", "--derivatives", str(preproc))
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "out/preproc").exists()
    for path in sorted((made.out / "sub-01").rglob("*relmat.tsv")):
        assert (tmp_path / "out" / path.relative_to(made.out)).read_bytes() == path.read_bytes()


def test_the_report_shows_it(made: Made) -> None:
    page = (made.out / "sub-01.html").read_text()
    assert "simpler than that of fMRIPrep" in page
    quality = json.loads((made.out / "preproc/sub-01/log/sub-01_anatomy.json").read_text())
    assert quality["quality"]["n_t1w"] == 2
    for session in SESSIONS:
        assert f"sub-01_ses-{session}_task-rest: mean volume in the space of the template" in page
    # in time, not by the alphabet
    first, second = (page.index(f"ses-{session}_task-rest: mean volume") for session in SESSIONS)
    assert first < second
    assert "before denoising above and after it below" in page
    assert len(page) < 6e6


def test_the_registration_of_a_run_is_applied_and_written_with_it(
    head: Head, moving_run: BoldTruth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registration is given, and the anatomy is the true one."""
    out, t1w = tmp_path / "out", head.tissues[0]
    mask = np.sum([t.data for t in head.tissues[:3]], axis=0) > 0.5
    images.write(out / anat_path("01", "T1w", ("desc", "preproc")), head.tissues[2])
    images.write(out / anat_path("01", "mask", ("desc", "brain")), t1w.like(mask))
    for label, tissue in zip(("CSF", "GM", "WM"), head.tissues, strict=False):
        images.write(out / anat_path("01", "probseg", ("label", label)), tissue)
    grid = grid_over(load_template().brain, 4.0)
    field = xfm.sampled_field(head.from_template, grid)
    xfm.write_field(out / warp_path("01", "T1w", SPACE), field)
    entities = (("sub", "01"), ("task", "rest"))
    path = tmp_path / "raw/sub-01/func/sub-01_task-rest_bold.nii.gz"
    images.write(path, moving_run.image, t_r_s=2.0)
    grid_of, zooms = moving_run.image.grid, (4.0, 4.0, 4.0)
    bold = RawBold("01", "", "rest", "", path, entities, 2.0, grid_of, zooms, 24)
    with monkeypatch.context() as patch:
        patch.setattr(derivatives, "signal_mask", lambda image: np.zeros(image.grid, bool))
        with pytest.raises(ImageError, match="contains no brain"):
            derivatives.write_motion(bold, 2, out)
    motion = derivatives.write_motion(bold, 2, out)
    shift = transforms.matrix_of([3.0, 0, 0, 0, 0, 0])
    found = agreement.RunRegistration(shift, 0.41234567, float("nan"), 0.9, 1.0)
    monkeypatch.setattr(derivatives, "register_runs", lambda *_: [found])
    registered = derivatives.write_coregistration([bold], out)
    name, image = registered["files"]
    assert image.endswith("_desc-coreg_boldref.nii.gz")
    np.testing.assert_allclose(xfm.read_affines(out / name)[0], np.linalg.inv(shift), atol=1e-9)
    record = derivatives.write_preprocessed_run(
        bold, (motion, registered), (SPACE, 4.0, False), out
    )
    assert record["quality"]["boundary_cost"] == 0.4123
    assert record["quality"]["disagreement_mm"] is None
    (run,) = find_runs(out, Query(input_types=("bold",))).runs
    read = registration_of(run)
    assert read.boundary_cost == 0.4123
    assert np.isnan(read.disagreement_mm)


def test_a_failed_registration_is_excluded_with_its_code(
    truth: Truth, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first session is registered with an error of 30 degrees, which nothing corrects."""
    bad = SESSIONS[0]
    shutil.copytree(made.out, tmp_path / "out")
    shutil.copytree(made.out.parent / "raw", tmp_path / "raw")
    for name in ("sub-01_coregistration", *(f"sub-01_ses-{s}_task-rest_bold" for s in SESSIONS)):
        (tmp_path / f"out/preproc/sub-01/log/{name}.json").unlink()
    turn = transforms.matrix_of([0, 0, 0, np.radians(30), 0, 0], truth.scans[0].run.centre_mm)
    copy_of = Made(tmp_path / "out")
    known = []  # the registrations that were found before are used again
    for session in SESSIONS:
        mask = prepare_reference(images.read(copy_of.func(session, "desc-hmc_boldref.nii.gz"))).mask
        name = "from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt"
        (back,) = xfm.read_affines(copy_of.func(session, name))
        matrix = np.linalg.inv(back)
        known.append((mask, matrix @ turn if session == bad else matrix))

    def search(reference: Reference, brain: Brain, boundary: Boundary) -> Coregistration:
        del brain
        (matrix,) = (m for mask, m in known if np.array_equal(mask.data, reference.mask.data))
        cost = BoundaryCost(boundary, reference.head).of(np.linalg.inv(matrix))
        return Coregistration(matrix, cost)

    monkeypatch.setattr(agreement, "coregister", search)
    monkeypatch.setattr(agreement, "refined", lambda *_: Coregistration(np.eye(4), 1.0))
    words = ("participant", "-w", tmp_path / "work", "--nprocs", 1)
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in (tmp_path / "raw", tmp_path / "out", *words)])
    assert ended.value.code == EXIT_OK
    for row in tables.read_table(tmp_path / "out/sub-01/sub-01_runs.tsv").rows():
        if row["session"] == bad:
            assert row["status"] == "excluded"
            assert row["code"] == "registration; registration-disagrees"
            assert float(row["boundary_cost"]) > MAX_BOUNDARY_COST
            assert float(row["registration_disagreement_mm"]) > 10
        else:
            assert row["status"] == "included"
            assert float(row["boundary_cost"]) < 0.3
            assert float(row["registration_disagreement_mm"]) == 0
    page = (tmp_path / "out/sub-01.html").read_text()
    assert "the registration to the T1-weighted image failed, its boundary cost" in page
    assert f"ses-{bad}_task-rest: the registration to the T1w image differs by" in page


def test_a_run_that_failed_is_a_row(tmp_path: Path) -> None:
    record = tmp_path / "sub-01_task-rest_bold.json"
    record.write_text(json.dumps({"fault": "x.nii.gz: it is empty; fetch it again"}))
    made = measure_preprocessed(
        [record, tmp_path / "sub-01_task-other_bold.json"],
        [],
        participant="01",
        settings=AnalysisSettings(),
        preproc_dir=tmp_path / "preproc",
        data_set="",
        out_dir=tmp_path,
    )
    rows = list(tables.read_table(made.runs).rows())
    assert [row["run"] for row in rows] == ["sub-01_task-rest", "sub-01_task-other"]
    assert {row["status"] for row in rows} == {"failed"}
    assert "it is empty; fetch it again" in rows[0]["reason"]


def test_tissue_labels_follow_bids() -> None:
    """Grey matter is 1, white matter 2, cerebrospinal fluid 3; 0 where no tissue is likely."""
    shares = {"CSF": [0.8, 0.1, 0.1, 0.1], "GM": [0.1, 0.7, 0.2, 0.1], "WM": [0.1, 0.2, 0.6, 0.2]}
    tissues = [Image(np.array(v).reshape(4, 1, 1), np.eye(4)) for v in shares.values()]
    assert _labels(tissues).ravel().tolist() == [3, 1, 2, 0]


def test_the_sidecar_of_a_run_repeats_the_facts_about_the_scanner(tmp_path: Path) -> None:
    func = tmp_path / "raw/sub-01/func"
    func.mkdir(parents=True)
    (tmp_path / "raw/task-rest_bold.json").write_text('{"Manufacturer": "GE", "EchoTime": 0.03}')
    entities = (("sub", "01"), ("task", "rest"))
    path = func / "sub-01_task-rest_bold.nii.gz"
    bold = RawBold("01", "", "rest", "", path, entities, 2.0, (4, 4, 4), (3.0, 3.0, 3.0))
    about = {"SliceTimingCorrected": False, "BoundaryCost": 0.2}
    _write_bold_sidecar(bold, "T", about, tmp_path / "out")
    (written,) = (tmp_path / "out").rglob("*_bold.json")
    content = tables.read_json(written)
    assert (content["Manufacturer"], content["EchoTime"]) == ("GE", 0.03)
    assert (content["RepetitionTime"], content["TaskName"]) == (2.0, "rest")
    assert (content["SliceTimingCorrected"], content["BoundaryCost"]) == (False, 0.2)
    assert "StationName" not in content


def test_voxels_below_the_floor_of_the_signal_are_not_in_the_mask() -> None:
    mean = np.full((4, 4, 4), 100.0, np.float32)
    mean[0], mean[1] = 19.0, 45.0
    seen = np.ones(mean.shape, bool)
    np.testing.assert_array_equal(_has_signal(mean, seen), mean > 19)
    assert _has_signal(mean - 100, seen).all()  # the mean was removed, so that it decides nothing


@pytest.mark.parametrize("similarity", [0.9, 0.5, float("nan")])
def test_an_sbref_is_the_reference_if_it_resembles_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, similarity: float
) -> None:
    image = Image(np.ones((4, 4, 4), np.float32), np.diag([3.0, 3.0, 3.0, 1.0]))
    images.write(tmp_path / "sbref.nii.gz", image)
    entities = (("sub", "01"), ("task", "rest"))
    bold = RawBold("01", "", "rest", "", tmp_path, entities, 2.0, (4, 4, 4), (3.0, 3.0, 3.0))
    found = HeadMotion(image, np.eye(4)[None], np.zeros(3))
    assert _referred(found, bold) == (found, {"reference": "mean volume"})
    moved = HeadMotion(image, 2 * np.eye(4)[None], np.ones(3))
    monkeypatch.setattr(derivatives, "relative_to", lambda *_: (moved, similarity))
    chosen, about = _referred(found, replace(bold, sbref=(tmp_path / "sbref.nii.gz",)))
    assert chosen is (moved if similarity == 0.9 else found)
    assert (about["reference"] == "SBRef") == (similarity == 0.9)
    assert "sbref_similarity" in about
