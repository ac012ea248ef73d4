"""Recipes with simulated replicas of their data sets, and checks of the folders of tools."""

from types import SimpleNamespace

import pytest

from circuitshift.pipeline.bids.convert.description import read_inputs
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.validation.opendata.recipe import load_recipe, recipe_names
from circuitshift.pipeline.validation.opendata.replica import write_replica
from circuitshift.workflows.cli import main as cli
from circuitshift.workflows.cli import open_data
from circuitshift.workflows.cli.exit_status import EXIT_FAILED, EXIT_OK


def run(*words):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return ended.value.code


@pytest.mark.slow
@pytest.mark.usefixtures("few_figures")
@pytest.mark.parametrize(
    ("name", "every", "available", "arms"),
    [
        ("ds003007", 5, 23, {"treated": 4, "control": 3, "reference": 5}),
        ("ds003059", 4, 4, {"treated": 4, "control": 0, "reference": 0}),
        ("ds005917", 5, 13, {"treated": 6, "control": 0, "reference": 5}),
        ("ds003037", 6, 8, {"treated": 4, "control": 4, "reference": 0}),
    ],
)
def test_a_recipe_runs_on_its_replica_to_the_report(tmp_path, capsys, name, every, available, arms):
    recipe = load_recipe(name)
    write_replica(recipe, tmp_path / "data", every=every)
    words = (name, tmp_path / "out", "--data", tmp_path / "data", "--replica", "--nprocs", 1)
    assert run("validate", *words) == EXIT_OK
    output = capsys.readouterr().out
    assert f"{available} participants:" in output
    assert "0 unaccounted for" in output
    verdict = tables.read_json(tmp_path / "out/results/group/verdict.json")
    assert {arm: verdict["n"][arm] for arm in arms} == arms
    assert verdict["n"]["listed"] == available
    page = (tmp_path / "out/validation.html").read_text()
    assert "simulated images" in page
    for row in recipe.published:
        assert row.quantity in page
    assert (tmp_path / "out/results/group/report.html").stat().st_size > 50_000


def test_recipes_are_listed_with_their_titles(capsys):
    assert run("validate", "list") == EXIT_OK
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{name}  {load_recipe(name).title}" for name in recipe_names()]
    assert len(lines) >= 4


def test_a_folder_is_used_for_one_recipe_only(tmp_path):
    recipe, other = load_recipe("ds003007"), load_recipe("ds003059")
    out, data = tmp_path / "out", tmp_path / "data"
    open_data._prepare_folder(out, recipe, data, replica=True)
    assert tables.read_json(out / "validation.json") == {"recipe": "ds003007", "replica": True}
    assert "n_permutations = " in (out / "study.toml").read_text()
    open_data._prepare_folder(out, recipe, data, replica=True)
    for item, replica in ((other, True), (recipe, False)):
        with pytest.raises(InputError, match="contains another validation"):
            open_data._prepare_folder(out, item, data, replica=replica)


def test_published_data_are_not_overwritten_by_a_replica(tmp_path, monkeypatch):
    monkeypatch.setattr(open_data, "published_sources", lambda _: ("doi:10/x",))
    recipe = load_recipe("ds003059")
    with pytest.raises(InputError, match=r"contains the published data of ds003059; .*--data"):
        open_data._prepare_folder(tmp_path / "out", recipe, tmp_path / "data", replica=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("commit", "shown"), [("abc", "raw abc"), ("", "raw not available")])
def test_the_version_of_downloaded_files_is_printed(tmp_path, monkeypatch, capsys, commit, shown):
    calls = []

    def fetch(*words, **options):
        calls.append((words, options))
        return SimpleNamespace(
            commit=commit, derivatives={"fmriprep": "def"}, tag="1.2", n_files=7, folder=words[1]
        )

    monkeypatch.setattr(open_data, "fetch_files", fetch)
    folder = tmp_path / "to"
    words = ("fetch", "ds1", folder, "--tag", "1.2", "--derivatives", "fmriprep")
    assert run(*words) == EXIT_OK
    output = capsys.readouterr().out
    assert output.startswith(f"version 1.2; commits: {shown}, fmriprep def\n7 files are complete (")
    assert run(*words, "--dry-run") == EXIT_OK
    assert capsys.readouterr().out == f"version 1.2; commits: {shown}, fmriprep def\n"
    assert [options["dry_run"] for _, options in calls] == [False, True]
    assert {(words[:2], options["tag"]) for words, options in calls} == {(("ds1", folder), "1.2")}


# ------------------------------------------------------------------- series and matrices


@pytest.fixture
def recipe_of_series(tmp_path):
    """Write a recipe whose files are in a git repository that cannot be reached."""
    path = tmp_path / "mine.toml"
    path.write_text(
        'title = "A"\nabout = "B"\n[source]\nname = "study"\ngit = "/nowhere/study.git"\n'
        'commit = "abc1234"\npaths = ["fc.npy"]\nlicence = "for research only"\n'
    )
    path.with_name("mine.study.toml").write_text(
        '[sessions]\nbaseline = "OFF"\n\n[[input]]\nformat = "stack"\nfile = "fc.npy"\n'
        'participants = 2\nvisits = ["OFF", "ON"]\nregions = 6\nvalues = "correlation"\n\n'
        '[groups]\ntreated = ["a"]\n'
    )
    return path


def test_terms_of_use_precede_an_unreachable_repository(tmp_path, recipe_of_series, capsys):
    assert run("validate", recipe_of_series, tmp_path / "out") == EXIT_FAILED
    said = capsys.readouterr()
    assert "/nowhere/study.git at commit abc1234. Terms of use: for research only" in said.out
    assert "cannot be used (" in said.err
    assert "run the same command with --data DIR" in said.err


def test_series_and_matrices_have_no_replica(tmp_path, recipe_of_series, capsys):
    assert run("validate", recipe_of_series, tmp_path / "out", "--replica") == EXIT_FAILED
    assert "which have no replica; omit --replica" in capsys.readouterr().err


def test_files_at_hand_are_used_and_their_terms_are_printed(tmp_path, recipe_of_series, capsys):
    (tmp_path / "data/study").mkdir(parents=True)
    (tmp_path / "data/study/fc.npy").write_bytes(b"")
    (data_set,) = load_recipe(str(recipe_of_series)).data_sets
    open_data._fetch_missing(data_set, tmp_path / "data/study")
    said = capsys.readouterr().out
    assert f"study: using the files in {tmp_path / 'data/study'}" in said
    assert "Terms of use: for research only" in said


def test_the_page_states_origin_and_terms_of_use(tmp_path, recipe_of_series):
    (data_set,) = load_recipe(str(recipe_of_series)).data_sets
    said = "/nowhere/study.git at commit abc1234. Terms of use: for research only"
    copied = open_data._sources(data_set, tmp_path)
    assert copied == ("A copy, not fetched by circuitshift.", said)
    tables.write_json(tmp_path / ".fetch.json", {"git": "file:///x", "commit": "abc"})
    assert open_data._sources(data_set, tmp_path) == ("file:///x#abc", said)


@pytest.mark.parametrize("is_bids", [False, True])
def test_data_in_bids_are_not_converted(tmp_path, recipe_of_series, is_bids):
    (tmp_path / "data/study" / ("sub-01" if is_bids else "files")).mkdir(parents=True)
    recipe = load_recipe(str(recipe_of_series))
    open_data._prepare_folder(tmp_path / "out", recipe, tmp_path / "data", replica=False)
    text = (tmp_path / "out/study.toml").read_text()
    assert len(read_inputs(tmp_path / "out/study.toml")) == (not is_bids)
    assert "[sessions]" in text
    assert "[groups]" in text
