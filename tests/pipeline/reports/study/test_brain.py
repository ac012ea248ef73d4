"""Sections on all edges: missing edges, deviation and networks."""

import json
import re
from dataclasses import replace

import numpy as np

from circuitshift.atlases.records import Region
from circuitshift.pipeline.reports import figures
from circuitshift.pipeline.reports.study import brain as section

NAN = float("nan")


def rows(svg):
    """Return the texts of a figure."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_the_third_panel_is_treated_minus_control(monkeypatch, full_study, write):
    seen = {}

    def keep(typical, panels, *, members, **more):
        seen.update(panels=dict(panels), members=members)
        return drawn(typical, panels, members=members, **more)

    drawn = figures.change_by_strength
    monkeypatch.setattr(figures, "change_by_strength", keep)
    report = full_study()
    write(report)
    change = report.change_by_strength
    difference = change["change_treated_z"] - change["change_control_z"]
    np.testing.assert_array_equal(seen["panels"]["treated minus control"], difference)
    inside = seen["members"]["Title of dmn"] | seen["members"]["Title of tpn"]
    np.testing.assert_array_equal(inside, change["is_circuit"])


def test_edges_without_circuit_names_are_one_group(full_study, write):
    report = full_study()
    change = {k: v for k, v in report.change_by_strength.items() if k != "circuits"}
    page = write(replace(report, change_by_strength=change))
    assert page.figures("evidence") == 1


def test_the_brain_omits_missing_edges_and_regions_without_centres(
    small_study, study_of_edges, write
):
    report = study_of_edges()
    change = report.change_by_strength["estimate_z"].copy()
    change[4] = NAN
    unplaced = Region(2, "unplaced")
    regions = [*report.regions[:2], unplaced, *report.regions[3:]]
    report = small_study(
        tests=report.tests, regions=regions,
        change_by_strength=report.change_by_strength | {"estimate_z": change},
    )  # fmt: skip
    data = section.connectome_data(report)
    assert data["nodes"][2] is None
    first, second = np.triu_indices(6, 1)
    change_of = {(int(i), int(j)): z for i, j, z in zip(first, second, change, strict=True)}
    edges = data["sets"][0]["edges"]
    assert len(edges) == 15 - 5 - 1  # five edges of the unplaced region, and one missing edge
    assert all(abs(change_of[i, j] - z) < 5.1e-5 and 2 not in (i, j) for i, j, z in edges)
    assert [part["title"] for part in data["sets"]] == [
        "Largest statistics of the whole brain", "dmn",
    ]  # fmt: skip
    text = write(report).source
    (held,) = re.findall(r'id="connectome-data">(.*?)</script>', text, re.DOTALL)
    assert json.loads(held)["nodes"][0][3] == "</script><b>0"


def test_a_brain_without_centres_or_changes_is_not_drawn(small_study, study_of_edges, write):
    missing = np.full(15, NAN)
    nowhere = [Region(k, f"r{k}") for k in range(6)]
    for report in (
        study_of_edges(estimate_z=missing),
        small_study(regions=nowhere, change_by_strength=study_of_edges().change_by_strength),
        small_study(),
    ):
        assert section.connectome_data(report) is None
        assert section.connectome_figure(report) is None
        text = write(report).source
        assert "Edges cannot be drawn on a brain" in text
        assert "<script" not in text


def test_the_deviation_is_the_reference_minus_the_patients(monkeypatch, study_of_edges):
    seen = {}
    drawn = figures.change_by_strength

    def keep(x, panels, **more):
        seen[more["key"]] = x
        return drawn(x, panels, **more)

    monkeypatch.setattr(figures, "change_by_strength", keep)
    report = study_of_edges()
    assert section.deviation_figure(report) is not None
    columns = report.change_by_strength
    np.testing.assert_array_equal(seen["deviation"], columns["reference_z"] - columns["typical_z"])
    assert section.deviation_figure(study_of_edges(reference_z=np.full(15, NAN))) is None


def test_networks_are_drawn_as_a_triangle_with_stars_for_significant_pairs(small_study):
    networks = [
        {"network_a": a, "network_b": b, "estimate_z": z, "statistic": 1.0, "p": 0.1,
         "p_corrected": p}
        for a, b, z, p in (("A", "A", 0.1, 0.01), ("A", "B", -0.2, 0.5), ("B", "B", -0.001, 0.5))
    ]  # fmt: skip
    report = small_study(secondary={"networks": networks})
    text = rows(section.network_figure(report).svg)
    assert {"+0.10*", "\N{MINUS SIGN}0.20", "0.00"} <= set(text)
    assert section.network_table(report).rows[1][0] == "A \N{EN DASH} B"
    assert section.network_figure(small_study()) is None
