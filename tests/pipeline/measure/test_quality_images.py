"""Quality images of a run, and the participant report that shows them.

Values in the report are compared with the tables, cell by cell.
"""

import re
from dataclasses import replace

import numpy as np
import pytest
from markupsafe import escape

from circuitshift.pipeline.bids.description import write_dataset_description
from circuitshift.pipeline.bids.select_runs import Query, find_runs
from circuitshift.pipeline.io import images, tables
from circuitshift.pipeline.io.nifti import read_header
from circuitshift.pipeline.measure import extract
from circuitshift.pipeline.measure import person as measure
from circuitshift.pipeline.measure import quality_images as views
from circuitshift.pipeline.measure import voxelwise as voxels
from circuitshift.pipeline.measure.atlas_files import prepare_atlases
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.pipeline.reports.person import inputs as collect
from circuitshift.pipeline.reports.person.content import _read_carpet, read_views
from circuitshift.pipeline.validation.simulate import data_set


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    """A person with two visits, measured and reported; and one with a single visit."""
    root = tmp_path_factory.mktemp("views")
    spec = data_set.SimulationSpec(n_treated=1, n_control=0, n_reference=1, n_volumes=80)
    rng = np.random.default_rng(2)
    data_set.write_simulated_data_set(
        root / "data", data_set.PlantedTruth("nothing"), spec=spec, rng=rng
    )
    derivative = root / "data" / "derivatives" / "fmriprep"
    settings = AnalysisSettings()
    out = root / "out"
    found = find_runs(derivative, Query())
    by_participant = {}
    for each in found.runs:
        by_participant.setdefault(each.participant, []).append(each)
    both = next(label for label, runs in by_participant.items() if len(runs) == 2)
    lone = next(label for label, runs in by_participant.items() if len(runs) == 1)
    (derivative / f"sub-{both}.html").write_text("<html></html>")
    prepare_atlases(found.runs, settings, out)
    write_dataset_description(out, name="circuitshift", sources=(str(root / "data"),))
    for label in (both, lone):
        measure.measure_participant(
            by_participant[label], (), participant=label, settings=settings, out_dir=out
        )
        collect.report_participant(label, settings, out)
    return out, both, lone, by_participant


def cells(page, caption):
    """Rows of a table of a page as text."""
    table = re.search(
        rf"<caption>{re.escape(str(escape(caption)))}</caption>(.*?)</table>", page, re.DOTALL
    )
    rows = re.findall(r"<tr>(.*?)</tr>", table[1], re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]


def number(text):
    return float(text.replace("\N{MINUS SIGN}", "-"))


def test_numbers_of_the_page_are_those_of_the_tables(person):
    out, both, _, _ = person
    page = (out / f"sub-{both}.html").read_text()
    assert "The data are simulated, as their description states (circuitshift simulate" in page
    rows = list(tables.read_table(out / f"sub-{both}/sub-{both}_runs.tsv").rows())
    by_key = {(row["run"], row["strategy"]): row for row in rows}
    _, *removed = cells(page, "Data removed by each denoising strategy, median over regions")
    assert len(removed) == len(rows) == 4
    for run, strategy, used, regressors, variance, dof, usable in removed:
        row = by_key[run, strategy]
        assert int(used) == int(row["n_retained"])
        assert int(regressors) == int(row["n_regressors"])
        assert number(variance) == pytest.approx(100 * float(row["variance_removed"]), abs=0.051)
        assert number(dof) == pytest.approx(float(row["residual_dof"]), abs=0.51)
        assert usable == ("yes" if row["status"] == "included" else "no")
    _, *kept = cells(page, "Retained data of each run")
    for run, n, dummy, censored, used, minutes, regressors, dof, fd, usable in kept:
        row = by_key[run, "24p+acompcor"]
        found = [int(x) for x in (n, dummy, censored, used, regressors)]
        names = ("n_volumes", "n_dummy", "n_censored", "n_retained", "n_regressors")
        assert found == [int(row[name]) for name in names]
        assert number(minutes) == pytest.approx(float(row["minutes"]), abs=0.051)
        assert number(dof) == pytest.approx(float(row["residual_dof"]), abs=0.51)
        assert number(fd) == pytest.approx(float(row["mean_fd_mm"]), abs=0.00051)
        assert usable == ("yes" if row["status"] == "included" else "no")
        said = re.search(rf"{run}: (\d+)(?=[;.])", page[page.index("Median over the voxels") :])
        assert number(said[1]) == pytest.approx(float(row["median_tsnr"]), abs=0.51)
        motion = tables.read_table(next(out.rglob(f"{run}_motion.tsv")))
        displacement = motion.numbers("framewise_displacement")
        said = re.search(rf"{run}: mean ([\d.]+) mm over all volumes, largest ([\d.]+) mm", page)
        assert number(said[1]) == pytest.approx(np.nanmean(displacement), abs=0.0051)
        assert number(said[2]) == pytest.approx(np.nanmax(displacement), abs=0.0051)
    _, *circuits = cells(page, "Mean Fisher z over the edges of each circuit")
    assert len(circuits) > 5
    for _, before, after, change in circuits:
        assert number(change) == pytest.approx(number(after) - number(before), abs=0.0011)


def test_the_range_of_others_and_the_circuits_are_those_of_the_group_table(person):
    out, both, _, _ = person
    names = [row[0] for row in cells((out / f"sub-{both}.html").read_text(), CIRCUITS)[1:]]
    rng = np.random.default_rng(4)
    rows = [
        {"participant_id": f"sub-x{k}", "session": "pre", "circuit": name, "value_z": rng.normal()}
        for k in range(9)
        for name in names
    ]
    rows += [row | {"participant_id": f"sub-{both}", "value_z": 99.0} for row in rows[-2:]]
    rows += [row | {"session": "post", "value_z": -99.0} for row in rows[:9]]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    tables.write_table(out / "group" / "circuits.tsv", columns)
    tables.write_json(out / "group" / "verdict.json", {"seed": 4711})
    collect.report_participant(both, AnalysisSettings(), out, again=True)
    page = (out / f"sub-{both}.html").read_text()
    (out / "group" / "circuits.tsv").unlink()
    (out / "group" / "verdict.json").unlink()
    assert "percentile of 9 other participants of the study in ses-pre" in page
    assert "seed of the group level: 4711" in page
    for name, _, _, _, low, high in cells(page, CIRCUITS)[1:]:
        own = [r["value_z"] for r in rows[: 9 * len(names)] if r["circuit"] == name]
        assert number(low) == pytest.approx(np.percentile(own, 5), abs=0.00051)
        assert number(high) == pytest.approx(np.percentile(own, 95), abs=0.00051)


CIRCUITS = "Mean Fisher z over the edges of each circuit"


def test_the_page_of_two_visits_has_everything_and_that_of_one_renders(person):
    out, both, lone, _ = person
    page = (out / f"sub-{both}.html").read_text()
    for section in ("Rating", "Preprocessing", "Coverage and signal", "Carpet plots", "Seed maps"):
        assert f">{section}</h2>" in page

    # motion, volumes, confounds, coverage, ratio, carpets, edges, circuits, and a figure a seed:
    # the simulated data set has signal in its regions only, so some seeds have none and no map
    def seeds(label):
        found = (out / f"sub-{label}").rglob("*_seed-*_boldmap.nii.gz")
        return {re.search(r"_seed-(\w+?)_", path.name)[1] for path in found}

    assert "PCC" in seeds(both)
    assert page.count("<figure>") == 8 + len(seeds(both))
    link = re.search(r'<a href="([^"]*fmriprep/sub-[^"]*\.html)"', page)[1]
    assert (out / link).resolve().read_text() == "<html></html>"
    assert len(page) < 6e6
    alone = (out / f"sub-{lone}.html").read_text()
    assert "Only one session is usable" in alone
    assert alone.count("<figure>") == 8 + len(seeds(lone))
    for text in (page, alone):
        assert "%40article" in text  # the references, to be saved
        bib = next(out.glob("sub-*/sub-*_references.bib")).read_text()
        assert "@article{behzadi2007" in bib


def test_a_view_that_was_deleted_comes_back_and_the_page_needs_no_images(person):
    out, both, _, by_participant = person
    made = sorted((out / f"sub-{both}").rglob("*_carpet.png"))
    assert len(made) == 4
    content = made[0].read_bytes()
    made[0].unlink()
    collect.report_participant(both, AnalysisSettings(), out)
    assert "not available" in (out / f"sub-{both}.html").read_text()
    measure.measure_participant(
        by_participant[both], (), participant=both, settings=AnalysisSettings(), out_dir=out
    )
    assert made[0].read_bytes() == content  # same data, same bytes
    collect.report_participant(both, AnalysisSettings(), out)


def test_tissues_order_the_carpet_when_a_segmentation_is_there(person, tmp_path):
    _, both, _, by_participant = person
    run = by_participant[both][0]
    mask = images.read(run.mask)
    folder = tmp_path / f"sub-{both}"
    (folder / "func").mkdir(parents=True)
    labels = np.full(mask.grid, 2, np.uint8)
    labels[: mask.grid[0] // 2] = 3
    name = f"sub-{both}_space-{run.space}_dseg.nii.gz"
    images.write(folder / "anat" / name, images.Image(labels, mask.affine))
    moved = replace(run, path=folder / "func" / run.path.name)
    inside = np.asarray(mask.data) > 0
    watch = voxels.VoxelPass(read_header(run.path), inside)
    extract.extract(run.path, [], followers=[watch])
    blocks = watch.blocks()
    tissue = np.array(views._tissues(moved, blocks))
    assert set(tissue) == {"white matter", "cerebrospinal fluid"}
    half = blocks.centres_mm() @ np.linalg.inv(mask.affine)[:3, :3].T
    half = half[:, 0] + np.linalg.inv(mask.affine)[0, 3]
    assert set(tissue[half > mask.grid[0] / 2 + 1]) == {"white matter"}
    assert set(views._tissues(run, blocks)) == {"outside all regions"}


def test_a_carpet_keeps_its_values_to_a_grey_level(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((50, 6)) * [1, 2, 3, 4, 5, 0]
    keep = np.arange(50) > 4
    values[~keep] = np.nan
    views._write_carpet(tmp_path / "a_carpet.png", values, tuple("aabbcc"), keep)
    carpet = read_views(["a_desc-before_carpet.png"], tmp_path)
    assert carpet.before is None
    carpet = _read_carpet(tmp_path / "a_carpet.png")
    assert carpet.kinds == tuple("aabbcc")
    assert np.isnan(carpet.values[~keep]).all()
    expected = np.clip(values[keep, :5] / values[keep, :5].std(axis=0), -3, 3)
    np.testing.assert_allclose(carpet.values[keep, :5], expected, atol=3 / 127)
    np.testing.assert_allclose(carpet.values[keep, 5], 0)
