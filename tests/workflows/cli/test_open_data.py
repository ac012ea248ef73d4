"""Recipes with simulated replicas of their data sets, and checks of the folders of tools."""

import pytest

from circuitshift.pipeline.io import tables
from circuitshift.pipeline.validation.opendata.recipe import load_recipe
from circuitshift.pipeline.validation.opendata.replica import write_replica
from circuitshift.workflows.cli import main as cli
from circuitshift.workflows.cli.exit_status import EXIT_OK


def run(*words):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return ended.value.code


@pytest.mark.slow
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
    words = (name, tmp_path / "out", "--data", tmp_path / "data", "--replica", "--nprocs", 2)
    assert run("validate", *words) == EXIT_OK
    output = capsys.readouterr().out
    assert f"{available} participants:" in output
    assert "0 unaccounted for" in output
    verdict = tables.read_json(tmp_path / "out/results/group/verdict.json")
    assert {arm: verdict["n"][arm] for arm in arms} == arms
    assert verdict["n"]["known"] == available
    page = (tmp_path / "out/validation.html").read_text()
    assert "simulated images" in page
    for row in recipe.published:
        assert row.quantity in page
    assert (tmp_path / "out/results/group/report.html").stat().st_size > 50_000
