"""Comparison with published values: rules of agreement, and numbers of participants."""

import pytest

from circuitshift.pipeline.io import tables
from circuitshift.pipeline.validation.opendata.compare import account, compare, write_comparison
from circuitshift.pipeline.validation.opendata.recipe import load_recipe


def write_results(folder, estimates, n):
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
        ("decrease", (0.2, 0.1, 0.3), "disagrees"),
        ("decrease", (-0.2, -0.5, 0.1), "undetermined"),
        ("none", (0.1, -0.1, 0.3), "agrees"),
        ("none", (0.2, 0.1, 0.3), "disagrees"),
        ("", (0.2, 0.1, 0.3), "for the reader to judge"),
        ("increase", ("n/a", "n/a", "n/a"), "not compared: it was not tested"),
    ],
)
def test_estimates_are_compared_by_direction(tmp_path, write_recipe, rule, interval, agreement):
    def change(text):
        text = text.replace('"n.treated"', '"global/shift"').replace("at most", rule)
        return text.replace("value = 12", 'value = "rose"')

    recipe = load_recipe(write_recipe(change, published=True))
    group = write_results(tmp_path, [("global", "shift", *interval, "Fisher z")], {})
    (row,) = compare(recipe, group)
    assert row.agreement == agreement
    tested = interval[0] != "n/a"
    assert row.ours == (
        f"{interval[0]:.3f} ({interval[1]:.3f} to {interval[2]:.3f}) Fisher z"
        if tested
        else "not tested"
    )
    (row,) = compare(recipe, group, simulated=True)
    assert row.agreement == "not compared: simulated images"


@pytest.mark.parametrize(
    ("rule", "n", "agreement"),
    [
        ("at most", 10, "agrees"),
        ("at most", 12, "agrees"),
        ("at most", 13, "disagrees"),
        ("at most", 0, "disagrees"),
        ("equal", 12, "agrees"),
        ("equal", 11, "disagrees"),
        ("", 12, "for the reader to judge"),
        ("equal", None, "not compared: it was not tested"),
    ],
)
def test_numbers_of_participants_are_compared(tmp_path, write_recipe, rule, n, agreement):
    path = write_recipe(lambda text: text.replace("at most", rule), published=True)
    group = write_results(tmp_path, [], {} if n is None else {"treated": n})
    assert compare(load_recipe(path), group)[0].agreement == agreement


def test_participants_that_are_missing_from_the_results_are_listed(tmp_path, write_recipe):
    recipe = load_recipe(write_recipe(published=True))
    group = write_results(tmp_path, [], {"treated": 1})
    for folder in ("a/sub-01", "a/sub-02", "a/sub-03", "b/sub-01"):
        (tmp_path / folder).mkdir(parents=True)
    table = {"participant_id": ["sub-04"], "group": ["x"]}
    tables.write_table(tmp_path / "a" / "participants.tsv", table)
    tables.write_table(group / "change.tsv", {"participant_id": ["sub-01"]})
    tables.write_table(group / "circuits.tsv", {"participant_id": ["sub-01", "b:sub-01"]})
    tables.write_table(group / "exclusions.tsv", {"participant_id": ["sub-01", "sub-02"]})
    accounted = account(group, [("", tmp_path / "a"), ("b", tmp_path / "b")])
    assert (accounted.available, accounted.analysed, accounted.excluded) == (5, 2, 1)
    assert accounted.missing == ("sub-03", "sub-04")
    rows = compare(recipe, group)
    sources = {"ds000001": ["doi:10.1000/y"]}
    page = write_comparison(tmp_path, recipe, rows, accounted, sources=sources, simulated=False)
    text = page.read_text()
    assert "sub-03, sub-04" in text
    assert 'href="https://doi.org/10.1000/y"' in text
    assert "simulated" not in text
    about = tables.read_json(tmp_path / "validation.json")
    assert set(about) == set(tables.read_table(tmp_path / "validation.tsv").columns)
