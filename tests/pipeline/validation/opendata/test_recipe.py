"""Recipes as data, what they ask for, and the comparison with what was published."""

import re

import pytest

from circuitshift.pipeline.errors import InputError, InputProblemsError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.study.study_file import read_study_file
from circuitshift.pipeline.validation.opendata.compare import account, compare, write_comparison
from circuitshift.pipeline.validation.opendata.needed_files import Wanted, needed_files
from circuitshift.pipeline.validation.opendata.recipe import load_recipe, recipe_names

RECIPE = """
title = "A"
about = "B"
[[dataset]]
accession = "ds000001"
tag = "1.0.0"
[dataset.replica]
groups = {a = 3}
"""
DRUG = """
[[published]]
quantity = "treated"
value = 12
source = "doi:10.1000/x"
where = "abstract"
ours = "n.treated"
rule = "at most"
"""


def written(folder, text, study="[groups]\ntreated = ['a']\n"):
    path = folder / "mine.toml"
    path.write_text(text)
    (folder / "mine.study.toml").write_text(study)
    return str(path)


@pytest.mark.parametrize("name", ["ds003007", "ds003037", "ds003059", "ds005917"])
def test_every_recipe_can_be_read_and_cites(name):
    assert name in recipe_names()
    recipe = load_recipe(name)
    assert read_study_file(recipe.study).stated
    assert recipe.published
    for row in recipe.published:
        assert re.fullmatch(r"doi:10\.\d{4,9}/\S+", row.source)
        assert row.where
        assert not (row.rule in ("equal", "at most") and isinstance(row.value, str))
    for data_set in recipe.data_sets:
        assert re.fullmatch(r"ds\d{6}", data_set.accession)
        assert re.fullmatch(r"\d+\.\d+\.\d+", data_set.tag)


def test_a_recipe_of_ones_own_and_all_its_faults(tmp_path):
    assert load_recipe(written(tmp_path, RECIPE)).data_sets[0].wanted == Wanted()
    bad = RECIPE.replace("tag =", "tga =").replace('title = "A"', "title = 3")
    bad += DRUG.replace("at most", "about")
    with pytest.raises(InputProblemsError) as caught:
        load_recipe(written(tmp_path, bad))
    said = str(caught.value)
    for word in ("'tga'", "title = 3", "rule 'about'"):
        assert word in said
    with pytest.raises(InputError, match="there are ds003007"):
        load_recipe("ds9")
    (tmp_path / "mine.study.toml").unlink()
    with pytest.raises(InputError, match=r"study file mine\.study\.toml"):
        load_recipe(str(tmp_path / "mine.toml"))


def results(folder, estimates, n):
    group = folder / "results" / "group"
    group.mkdir(parents=True)
    verdict = {"n": n, "verdict": "neither", "sentence": "s", "versions": {"x": "1"}, "seed": 1}
    tables.write_json(group / "verdict.json", verdict)
    names = ("family", "term", "estimate", "ci_low", "ci_high", "unit")
    columns = {name: [row[k] for row in estimates] for k, name in enumerate(names)}
    tables.write_table(group / "tests.tsv", columns)
    return group


@pytest.mark.parametrize(
    ("rule", "interval", "agreement"),
    [
        ("increase", (0.2, 0.1, 0.3), "agrees"),
        ("increase", (-0.2, -0.3, -0.1), "disagrees"),
        ("decrease", (-0.2, -0.3, -0.1), "agrees"),
        ("decrease", (-0.2, -0.5, 0.1), "undetermined"),
        ("none", (0.1, -0.1, 0.3), "agrees"),
        ("none", (0.2, 0.1, 0.3), "disagrees"),
        ("", (0.2, 0.1, 0.3), "for the reader to judge"),
        ("increase", ("n/a", "n/a", "n/a"), "not compared: it was not tested"),
    ],
)
def test_estimates_are_compared_by_direction(tmp_path, rule, interval, agreement):
    text = RECIPE + DRUG.replace('"n.treated"', '"global/shift"').replace("at most", rule)
    recipe = load_recipe(written(tmp_path, text.replace("value = 12", 'value = "rose"')))
    group = results(tmp_path, [("global", "shift", *interval, "Fisher z")], {})
    assert compare(recipe, group)[0].agreement == agreement
    assert compare(recipe, group, simulated=True)[0].agreement == "not compared: simulated images"


@pytest.mark.parametrize(
    ("rule", "found", "agreement"),
    [
        ("at most", 10, "agrees"),
        ("at most", 13, "disagrees"),
        ("at most", 0, "disagrees"),
        ("equal", 12, "agrees"),
        ("equal", 11, "disagrees"),
    ],
)
def test_numbers_of_people_are_compared(tmp_path, rule, found, agreement):
    recipe = load_recipe(written(tmp_path, RECIPE + DRUG.replace("at most", rule)))
    group = results(tmp_path, [], {"treated": found})
    assert compare(recipe, group)[0].agreement == agreement


def test_somebody_who_is_nowhere_is_named(tmp_path):
    recipe = load_recipe(written(tmp_path, RECIPE + DRUG))
    group = results(tmp_path, [], {"treated": 1})
    for folder in ("a/sub-01", "a/sub-02", "a/sub-03", "b/sub-01"):
        (tmp_path / folder).mkdir(parents=True)
    table = {"participant_id": ["sub-04"], "group": ["x"]}
    tables.write_table(tmp_path / "a" / "participants.tsv", table)
    tables.write_table(group / "change.tsv", {"participant_id": ["sub-01"]})
    tables.write_table(group / "circuits.tsv", {"participant_id": ["sub-01", "b:sub-01"]})
    tables.write_table(group / "exclusions.tsv", {"participant_id": ["sub-01", "sub-02"]})
    found = account(group, [("", tmp_path / "a"), ("b", tmp_path / "b")])
    assert (found.available, found.analysed, found.excluded) == (5, 2, 1)
    assert found.missing == ("sub-03", "sub-04")
    rows = compare(recipe, group)
    page = write_comparison(
        tmp_path, recipe, rows, found, sources={"ds000001": ["doi:10.1000/y"]}, simulated=False
    )
    text = page.read_text()
    assert "nowhere: sub-03, sub-04" in text
    assert 'href="https://doi.org/10.1000/y"' in text
    assert "simulated" not in text
    about = tables.read_json(tmp_path / "validation.json")
    assert set(about) == set(tables.read_table(tmp_path / "validation.tsv").columns)


def test_what_is_needed_of_a_derivative():
    stem = "sub-01/func/sub-01_task-rest"
    paths = [
        f"{stem}_desc-confounds_timeseries.tsv",
        f"{stem}_desc-confounds_timeseries.json",
        f"{stem}_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz",
        f"{stem}_space-MNI152NLin6Asym_desc-smoothAROMAnonaggr_bold.nii.gz",
        f"{stem}_space-MNI152NLin6Asym_desc-brain_mask.nii.gz",
        f"{stem}_space-MNI152NLin2009cAsym_res-2_desc-preproc_bold.nii.gz",
        f"{stem}_space-MNI152NLin2009cAsym_res-2_desc-brain_mask.nii.gz",
        f"{stem}_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz",
        f"{stem}_space-T1w_desc-preproc_bold.nii.gz",
        f"{stem}_desc-preproc_bold.nii.gz",
        "sub-01/anat/sub-01_space-MNI152NLin2009cAsym_res-2_desc-brain_mask.nii.gz",
        "sub-01.html",
        "dataset_description.json",
        ".datalad/config",
    ]
    both = {*paths[:2], "dataset_description.json"}
    assert set(needed_files(paths, Wanted(), "derivatives")) == both | {*paths[5:7]}
    asked = Wanted(spaces=("MNI152NLin6Asym",))
    assert set(needed_files(paths, asked, "derivatives")) == both | {paths[2], paths[4]}
    asked = Wanted(include=("sub-01/anat/*",))
    assert needed_files(paths, asked, "derivatives") == ["dataset_description.json", paths[10]]
    with pytest.raises(InputError, match="no preprocessed run"):
        needed_files(paths, Wanted(participants=("sub-02",)), "derivatives")
