"""Recipes: packaged ones, a recipe of the user, and errors."""

import re

import pytest

from circuitshift.pipeline.errors import InputError, InputProblemsError, TableError
from circuitshift.pipeline.study.study_file import read_study_file
from circuitshift.pipeline.validation.opendata.git_source import GitSource
from circuitshift.pipeline.validation.opendata.needed_files import FileSelection
from circuitshift.pipeline.validation.opendata.recipe import load_recipe, recipe_names

FROM_GIT = ("dbs2025", "dbs2025-associative", "dbs2025-motor", "psilocybin-aal90", "tbi2024")


@pytest.mark.parametrize("name", recipe_names())
def test_packaged_recipes_are_valid_and_cite_publications(name):
    assert name in recipe_names()
    recipe = load_recipe(name)
    assert read_study_file(recipe.study).stated
    assert recipe.published
    for row in recipe.published:
        assert re.fullmatch(r"doi:10\.\d{4,9}/\S+", row.source)
        assert row.where
        assert not (row.rule in ("equal", "at most") and isinstance(row.value, str))
    assert (name in FROM_GIT) == (recipe.data_sets[0].source is not None)
    for data_set in recipe.data_sets:
        if data_set.source is not None:
            assert data_set.source.git.startswith("https://github.com/")
            assert re.fullmatch(r"[0-9a-f]{7,40}", data_set.source.commit)
            assert "cite" in data_set.source.licence
        else:
            assert re.fullmatch(r"ds\d{6}", data_set.accession)
            assert re.fullmatch(r"\d+\.\d+\.\d+", data_set.tag)


def test_a_recipe_of_the_user(write_recipe):
    recipe = load_recipe(write_recipe(published=True))
    (data_set,) = recipe.data_sets
    assert (recipe.name, recipe.title, recipe.study.name) == ("mine", "A", "mine.study.toml")
    assert (data_set.accession, data_set.tag, data_set.replica.groups) == (
        "ds000001", "1.0.0", {"a": 3},
    )  # fmt: skip
    assert data_set.selection == FileSelection()
    assert recipe.published[0].value == 12


def test_labels_of_a_recipe_select_files(write_recipe):
    path = write_recipe(lambda text: text.replace("tag =", 'tasks = ["rest"]\nruns = ["1"]\ntag ='))
    assert load_recipe(path).data_sets[0].selection == FileSelection(tasks=("rest",), runs=("1",))


def test_all_problems_of_a_recipe_are_reported(write_recipe):
    def damage(text):
        text = text.replace("tag =", "tga =").replace('title = "A"', "title = 3")
        return text.replace("at most", "about")

    with pytest.raises(InputProblemsError) as caught:
        load_recipe(write_recipe(damage, published=True))
    message = str(caught.value)
    for word in ("key 'tga' of a RecipeData is unknown", "title = 3", "rule 'about'"):
        assert word in message


GIT = """[source]
name = "here"
git = "/somewhere"
commit = "abc1234"
folder = "results"
paths = ["*.mat"]
licence = "MIT"
"""


def with_source(text, source=GIT):
    return text.split("[[dataset]]")[0] + source


def test_a_recipe_that_enters_by_series_or_matrices(write_recipe):
    (data_set,) = load_recipe(write_recipe(with_source)).data_sets
    assert (data_set.accession, data_set.tag, data_set.replica) == ("here", "abc1234", None)
    assert data_set.source == GitSource("/somewhere", "abc1234", ("*.mat",), "MIT", "results")
    text = '[source]\nopenneuro = "ds000001"\ntag = "1.0.0"\npaths = ["derivatives/*.tsv"]\n'
    (data_set,) = load_recipe(write_recipe(lambda t: with_source(t, text))).data_sets
    assert (data_set.accession, data_set.tag, data_set.source) == ("ds000001", "1.0.0", None)
    assert data_set.selection == FileSelection(include=("derivatives/*.tsv",))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "here"\n', "", r"\[source\] has no name; add the name of the folder"),
        ('name = "here"', 'name = "../up"', r"\[source\] has no name"),
        ('licence = "MIT"\n', "", "a GitSource lacks 'licence'"),
        ('licence = "MIT"', 'licence = " "', "empty paths or licence; state the files"),
        ("commit", "comit", "key 'comit' of a GitSource is unknown"),
        ("[source]", 'circuits = "none.toml"\n[source]', "no file none.toml beside it"),
    ],
)
def test_wrong_sources_are_reported(write_recipe, old, new, message):
    with pytest.raises(InputProblemsError, match=message):
        load_recipe(write_recipe(lambda text: with_source(text, GIT.replace(old, new))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace('about = "B"', ""), "a Recipe lacks 'about'; add it"),
        (lambda text: text.split("[[dataset]]")[0], "it has no data set"),
        (lambda text: text.replace('tag = "1.0.0"', ""), "a RecipeData lacks 'tag'"),
    ],
)
def test_missing_keys_are_reported(write_recipe, change, message):
    with pytest.raises(InputProblemsError, match=message):
        load_recipe(write_recipe(change))


def test_missing_and_invalid_files_are_reported(write_recipe, tmp_path):
    with pytest.raises(InputError, match="unknown recipe ds9; choose from dbs2025, "):
        load_recipe("ds9")
    with pytest.raises(TableError, match="it is not valid TOML"):
        load_recipe(write_recipe(lambda text: text + "["))
    path = write_recipe()
    (tmp_path / "mine.study.toml").unlink()
    with pytest.raises(InputError, match=r"study file mine\.study\.toml is missing"):
        load_recipe(path)
