"""File names and participants of two OpenNeuro data sets, with small simulated images.

ds003007 has two sessions of 29 patients with depression, who received cognitive behavioural
therapy, neurofeedback or no treatment. ds002748 has one session of other participants with the same
labels, 21 of them healthy.
"""

import json
import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.io import tables
from circuitshift.pipeline.validation.simulate.data_set import SimulationSpec, write_layout
from circuitshift.workflows.cli import main as cli
from circuitshift.workflows.cli.exit_status import EXIT_PARTIAL

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
RAW, DERIVED = DATA / "openneuro", DATA / "openneuro-fmriprep"
pytestmark = [
    pytest.mark.skipif(not RAW.is_dir(), reason="the file lists of OpenNeuro are not available"),
    pytest.mark.slow,
]
SPEC = SimulationSpec(n_volumes=80, t_r_s=2.5)
RECIPES = resources.files("circuitshift.pipeline.validation.opendata") / "recipes"


def rebuild(folder, name, chosen=None):
    """Write a data set with its real file names and simulated images."""
    lines = (DERIVED / f"{name}-fmriprep" / "FILELIST.txt").read_text().splitlines()
    listed = folder / f"{name}.txt"
    listed.write_text(
        "\n".join(line for line in lines if chosen is None or line.split("/")[0] in chosen) + "\n"
    )
    root = folder / name
    write_layout(
        root / "derivatives" / "fmriprep",
        listed,
        spec=SPEC,
        rng=np.random.default_rng([ord(c) for c in name]),  # differs between data sets
        sidecars=DERIVED / f"{name}-fmriprep",
    )
    for file in ("participants.tsv", "participants.json", "dataset_description.json"):
        shutil.copy(RAW / name / file, root)
    return root


def run(*words):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return ended.value.code


@pytest.mark.usefixtures("few_figures")
def test_all_29_patients_of_a_trial_with_the_controls_of_another_data_set(tmp_path, capsys):
    trial = rebuild(tmp_path, "ds003007")
    participants = tables.read_table(RAW / "ds002748/participants.tsv")
    # all controls and two patients of the second data set, whose labels also occur in the first
    chosen = {
        person
        for person, group in zip(
            participants.column("participant_id"), participants.column("group"), strict=True
        )
        if group == "control" or person in ("sub-01", "sub-02")
    }
    rebuild(tmp_path, "ds002748", chosen)
    # a missing follow-up, and an image that was not downloaded
    func = trial / "derivatives/fmriprep/sub-03/ses-post/func"
    shutil.rmtree(func)
    missing = next(
        (trial / "derivatives/fmriprep/sub-07/ses-post/func").glob("*2009*preproc_bold.nii.gz")
    )
    missing.unlink()
    missing.symlink_to("../../../../.git/annex/objects/xx")
    recipe = tmp_path / "ds003007.toml"
    recipe.write_text((RECIPES / recipe.name).read_text())
    study = (RECIPES / "ds003007.study.toml").read_text()
    recipe.with_suffix(".study.toml").write_text(study + "[tests]\nn_permutations = 100\n")
    words = ("--data", tmp_path, "-w", tmp_path / "work", "--nprocs", 1)
    out = tmp_path / "out/results"
    assert run("validate", recipe, out.parent, *words) == EXIT_PARTIAL
    printed = capsys.readouterr().out
    assert "never fetched" in printed
    assert "101 participants:" in printed
    assert "0 unaccounted for" in printed
    agreed = tables.read_table(out.parent / "validation.tsv").column("agreement")
    assert list(agreed[:3]) == ["agrees"] * 3  # numbers of participants

    content = json.loads((out / "group/verdict.json").read_text())
    assert content["n"] == {
        "treated": 14,
        "control": 13,
        "reference": 21,
        "baseline_only": 2,
        "listed": 29 + 72,
    }
    assert content["design"]["covariates"] == ["age", "gender: m"]
    excluded = tables.read_table(out / "group/exclusions.tsv")
    rows = {
        (row["participant_id"], row["code"]): row["reason"]
        for row in excluded.rows()
        if ":" not in row["participant_id"]
    }
    assert set(rows) == {
        ("sub-03", "missing-visit"),
        ("sub-07", "missing-visit"),
        ("sub-07", "input"),
    }
    analysed = tables.read_table(out / "group/change.tsv").column("participant_id")
    assert {*analysed, "sub-03", "sub-07"} == {f"sub-{k:02d}" for k in range(1, 30)}
    others = {r["participant_id"] for r in excluded.rows() if ":" in r["participant_id"]}
    values = tables.read_table(out / "group/circuits.tsv")
    healthy = {row["participant_id"] for row in values.rows() if row["arm"] == "reference"}
    assert len(healthy) == 21
    assert len(healthy | others) == 72
    assert not healthy & others
    page = (out / "group/report.html").read_text()
    assert any("data set ds002748" in text for text in content["warnings"])
    for text in ("sub-03", "sub-07", "never fetched", "no usable follow-up"):
        assert text in page
