"""The page of a study, part by part: what is drawn, said, counted and left open."""

import json
import re

import numpy as np
import pytest

from circuitshift.atlases.records import Region
from circuitshift.pipeline.reports import figures
from circuitshift.pipeline.reports.figures import style as figures_base
from circuitshift.pipeline.reports.references import cited, listed
from circuitshift.pipeline.reports.study import answer as report_answer
from circuitshift.pipeline.reports.study import brain as report_brain
from circuitshift.pipeline.reports.study import tables as report_tables
from circuitshift.pipeline.reports.study.content import StudyReport
from circuitshift.pipeline.reports.study.methods import checklist, limits
from circuitshift.pipeline.reports.study.page import write_study_report

NAN = float("nan")
DESIGN = {"baseline": "pre", "followup": "post", "alpha": 0.05, "sesoi_z": 0.1}


def estimate(term, family, value=0.02, p=0.4, **more):
    row = {
        "test": term, "family": family, "term": term, "estimate": value, "unit": "Fisher z",
        "ci_low": value - 0.05, "ci_high": value + 0.05, "se": 0.02, "df": 17.0,
        "statistic": value / 0.02, "p": p, "p_corrected": p, "bound": 0.1, "equivalence_p": 0.01,
        "n": 12, "n_control": 10, "n_reference": 9, "detectable": 0.06, "detectable_family": 0.12,
    }  # fmt: skip
    return row | more


def study(verdict=None, **more):
    """A study of a few rows; anything can be replaced."""
    given = {
        "verdict": {"verdict": "undetermined", "design": DESIGN} | (verdict or {}),
        "tests": [], "participants": [], "exclusions": [], "quality": [],
        "change_by_strength": None,
        "notes": (), "methods": "",
    }  # fmt: skip
    return StudyReport(**(given | more))


def rows(svg):
    """Text of a figure."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_short_names_keep_what_tells_visits_apart():
    names = [figures_base.short_name(f"psilocybin{when}", 9) for when in ("pre", "post")]
    assert names == ["psil…npre", "psil…post"]
    assert max(map(len, names)) <= 9


def test_a_changed_circuit_is_said_to_move_toward_or_away_from_the_reference():
    tests = [estimate(name, "specific", p=0.001) for name in ("near", "far", "open")]
    tests.append(estimate("still", "specific", p=0.6))
    shares = [
        {"circuit": "near", "share": 0.5, "ci_low": 0.2, "ci_high": 0.8},
        {"circuit": "far", "share": -1.4, "ci_low": -2.0, "ci_high": -0.9},
        {"circuit": "open", "share": 0.1, "ci_low": -0.4, "ci_high": 0.6},
        {"circuit": "still", "share": 0.5, "ci_low": 0.2, "ci_high": 0.8},
        {"circuit": "withheld", "share": None, "ci_low": None, "ci_high": None},
    ]
    said = report_answer.reference_words(study(tests=tests, beside={"normalisation": shares}), 0.05)
    assert [words.partition(" (")[0] for words in said] == [
        "near: the treated moved toward the reference group",
        "far: the treated moved away from the reference group",
    ]


# -- one scale ------------------------------------------------------------------------------------


def test_one_scale_is_in_units_of_each_own_bound(monkeypatch):
    seen = {}
    drawn = figures.one_scale

    def keep(groups, **more):
        seen.update(dict(groups))
        return drawn(groups, **more)

    monkeypatch.setattr(figures, "one_scale", keep)
    gain = estimate("gain", "global", 0.3, unit="proportion", bound=0.6)
    tests = [gain, estimate("dmn", "specific", 0.2, 0.001), estimate("x", "specific", bound=NAN)]
    found = report_answer.scale_figure(study(tests=tests), 0.05)
    assert [row.name for row in seen["Circuits"]] == ["dmn"]  # no bound, no place on the scale
    assert [row.hit for title in seen for row in seen[title]] == [False, True]
    assert "gain: 0.60 proportion; circuits: 0.10 Fisher z" in found.caption
    assert report_answer.scale_figure(study(), 0.05) is None


def test_intervals_that_go_on_are_cut_with_an_arrow():
    far = figures.ForestRow("far", 0.2, -5.0, 9.0, 0.1, "text")
    near = figures.ForestRow("near", 0.2, 0.1, 0.3, 0.1, "text")
    missing = figures.ForestRow("lost", NAN, NAN, NAN, 0.1, "not available")
    svg = figures.one_scale([("Circuits", [far, near, missing])], key="k", alt="Three circuits.")
    ticks = [float(t.replace("\N{MINUS SIGN}", "-")) for t in rows(svg) if re.search(r"^.?\d+$", t)]
    assert max(ticks) == 6
    assert "not tested" in rows(svg)


# -- people ---------------------------------------------------------------------------------------


def test_the_flow_counts_people_at_each_visit_and_names_reasons():
    participants = [
        {"participant_id": f"sub-{k}", "arm": "treated", "session": session, "circuit": circuit}
        for k in range(5)
        for session in ("pre", "post")[: 1 if k == 4 else 2]
        for circuit in ("dmn", "tpn")
    ]
    exclusions = [
        {"participant_id": "sub-4", "arm": "treated", "code": "missing-visit"},
        {"participant_id": "sub-5", "arm": "treated", "code": "motion"},
        {"participant_id": "sub-5", "arm": "treated", "code": "motion"},
        {"participant_id": "sub-9", "arm": "n/a", "code": "no-role"},
    ]
    flow = {
        "treated": {"known": 7, "measured": 6, "analysed": 4},
        "reference": {"known": 3, "measured": 3, "analysed": 3},
        "none": {"known": 1, "measured": 0, "analysed": 0},
    }
    found = report_answer.flow_figure(
        study({"flow": flow}, participants=participants, exclusions=exclusions)
    )
    text = rows(found.svg)
    for words in (
        "Enrolled: 7", "Measured at least once: 6", "Usable at ses-pre: 5", "Usable at ses-post: 4",
        "Analysed: 4", "Not analysed: 3", "missing-visit: 1", "motion: 1", "no role", "Enrolled: 1",
    ):  # fmt: skip
        assert words in text, words
    assert sum(word.startswith("Usable") for word in text) == 2  # the reference has one visit


def test_people_without_a_role_are_apart_and_the_others_sorted():
    exclusions = [
        {"participant_id": "sub-9", "arm": "n/a", "code": "no-role", "reason": "group 'x'"},
        {"participant_id": "sub-4", "arm": "treated", "code": "missing-visit", "reason": "late"},
    ]
    given = study(exclusions=exclusions)
    assert [row[0] for row in report_tables.exclusion_table(given).rows] == ["sub-4"]
    assert [row[:2] for row in report_tables.exclusion_table(given, no_role=True).rows] == [
        ("sub-9", "none")
    ]
    assert [who for _, who, _ in report_answer.outlier_table(given)] == ["sub-4"]


def test_people_to_look_at_are_those_far_off_lost_or_influential_with_their_pages():
    quality = [
        {"participant_id": f"sub-{k}", "arm": "treated", "session": "pre", "n_regions_lost": 0,
         "mean_fd_mm": 0.1 + 0.01 * k}
        for k in range(8)
    ]  # fmt: skip
    quality[3]["mean_fd_mm"] = 0.9
    quality[5]["n_regions_lost"] = 2
    quality[6]["mean_fd_mm"] = "n/a"
    influence = [{"participant_id": "sub-1", "term": "dmn", "estimate": 0.2, "without": "0.15"}]
    given = study(
        quality=quality, beside={"influence": influence}, pages={"sub-3": "../sub-3.html"}
    )
    found = {who: (link, why) for link, who, why in report_answer.outlier_table(given)}
    assert set(found) == {"sub-1", "sub-3", "sub-5"}
    assert found["sub-3"][0] == "../sub-3.html"
    assert "0.900 mm at ses-pre" in found["sub-3"][1]
    assert found["sub-5"] == ("", "2 regions without enough signal at ses-pre")
    assert "from 0.200 to 0.150" in found["sub-1"][1]


# -- specifications, power ------------------------------------------------------------------------


def test_specifications_are_our_own_others_and_twins_each_once():
    tests = [
        estimate("dmn", "specific", 0.2, 0.001),
        estimate("dmn", "sensitivity: 24p+gsr: specific", 0.1, 0.2),
        estimate("dmn", "sensitivity: none: circuit change", 0.5, 0.2),
    ]
    specification = [
        {"background": b, "covariates": c, "family": "specific", "term": "dmn",
         "estimate": "0.19" if b == "matched" else "n/a", "p_corrected": "0.01"}
        for b in ("all", "matched", "disjoint") for c in ("with", "without")
    ]  # fmt: skip
    verdict = {
        "strategy": "24p", "covariates": ["motion"], "design": DESIGN | {"background": "all"},
        "sensitivity": [{"strategy": "24p+gsr"}, {"strategy": "none"}],
    }  # fmt: skip
    given = study(verdict, tests=tests, beside={"specification": specification})
    found = report_answer._specified(given, tests[0], 0.05)
    assert [(one.estimate, one.ours) for one in found] == [
        (0.2, True), (0.19, False), (0.19, False), (0.1, False),
    ]  # fmt: skip
    assert found[0].choices == {"background": "all", "covariates": "with", "denoising": "24p"}
    assert found[-1].choices["denoising"] == "24p+gsr"
    assert [one.hit for one in found] == [True, True, True, False]
    figure = report_answer.specification_figure(given, 0.05)
    assert "denoising: 24p+gsr" in rows(figure.svg)


@pytest.mark.parametrize(
    ("one", "family", "bound", "said"),
    [
        (0.06, 0.09, 0.1, "yes"),
        (0.06, 0.12, 0.1, "by one test alone"),
        (0.2, 0.3, 0.1, "no"),
        (0.2, 0.3, NAN, "not available"),
    ],
)
def test_power_says_whether_the_smallest_effect_would_be_found(one, family, bound, said):
    row = estimate("dmn", "specific", bound=bound, detectable=one, detectable_family=family)
    (table,) = report_answer.power_tables(study(tests=[row]))
    assert table.rows[0][-1] == said


def test_symptoms_are_drawn_only_of_people_who_have_the_score():
    change = [
        {"participant_id": f"sub-{k}", "arm": "treated", "symptom_change": "n/a" if k == 2 else -k,
         "specific_dmn": 0.1 * k, "global_shift": 0.0}
        for k in range(4)
    ]  # fmt: skip
    tests = [estimate("dmn", "symptom: specific", 0.1, 0.01)]
    verdict = {"design": DESIGN | {"symptom": "madrs"}}
    words, figure, shown = report_answer.symptom_part(
        study(verdict, tests=tests, beside={"change": change}), 0.05
    )
    assert words == "Change of madrs goes with: dmn. 3 people have the score at both visits."
    assert figure.svg.count("<use") >= 3
    assert shown == tests
    assert report_answer.symptom_part(study(tests=tests), 0.05)[:2] == ("", None)


# -- whole brain ----------------------------------------------------------------------------------


def brain(n=6, **columns):
    rng = np.random.default_rng(3)
    n_edges = n * (n - 1) // 2
    regions = [
        Region(k, f"</script><b>{k}", xyz_mm=(10.0 * k - 25, 5.0 * k, 7.0)) for k in range(n)
    ]
    given = {
        "typical_z": rng.normal(0.3, 0.2, n_edges),
        "reference_z": rng.normal(0.3, 0.2, n_edges),
        "change_treated_z": rng.normal(0, 0.1, n_edges),
        "estimate_z": rng.normal(0, 0.1, n_edges),
        "statistic": rng.normal(0, 2, n_edges),
        "p_corrected": np.full(n_edges, 0.5),
        "distance_mm": rng.uniform(10, 100, n_edges),
        "qcfc_r": rng.normal(0, 0.2, n_edges),
        "qcfc_change_r": rng.normal(0, 0.2, n_edges),
        "circuits": ["dmn"] * 3 + ["n/a"] * (n_edges - 3),
        "is_circuit": np.arange(n_edges) < 3,
    }
    tests = [estimate("dmn", "specific")]
    return study(tests=tests, regions=regions, change_by_strength=given | columns)


def test_the_brain_leaves_out_edges_and_regions_that_are_not_known(tmp_path):
    given = brain()
    change = given.change_by_strength["estimate_z"].copy()
    change[4] = NAN
    missing = Region(2, "lost")
    regions = [*given.regions[:2], missing, *given.regions[3:]]
    given = study(
        tests=given.tests, regions=regions,
        change_by_strength=given.change_by_strength | {"estimate_z": change},
    )  # fmt: skip
    data = report_brain.connectome_data(given, 0.05)
    assert data["nodes"][2] is None
    first, second = np.triu_indices(6, 1)
    of = {(int(i), int(j)): z for i, j, z in zip(first, second, change, strict=True)}
    edges = data["sets"][0]["edges"]
    assert len(edges) == 15 - 5 - 1  # five edges of the lost region, and one unknown
    assert all(abs(of[i, j] - z) < 5.1e-5 and 2 not in (i, j) for i, j, z in edges)
    assert [part["title"] for part in data["sets"]] == [
        "Largest statistics of the whole brain", "dmn",
    ]  # fmt: skip
    write_study_report(tmp_path / "r.html", given)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    (held,) = re.findall(r'id="connectome-data">(.*?)</script>', text, re.DOTALL)
    assert json.loads(held)["nodes"][0][3] == "</script><b>0"


def test_a_brain_without_centres_or_changes_is_not_drawn(tmp_path):
    unknown = np.full(15, NAN)
    nowhere = [Region(k, f"r{k}") for k in range(6)]
    for given in (
        brain(estimate_z=unknown),
        study(regions=nowhere, change_by_strength=brain().change_by_strength),
        study(),
    ):
        assert report_brain.connectome_data(given, 0.05) is None
        assert report_brain.connectome_figure(given) is None
        write_study_report(tmp_path / "r.html", given)
        text = (tmp_path / "r.html").read_text(encoding="utf-8")
        assert "Edges cannot be drawn on a brain" in text
        assert "<script" not in text


def test_the_deviation_is_the_reference_minus_the_patients(monkeypatch):
    seen = {}
    drawn = figures.change_by_strength

    def keep(x, panels, **more):
        seen[more["key"]] = x
        return drawn(x, panels, **more)

    monkeypatch.setattr(figures, "change_by_strength", keep)
    given = brain()
    assert report_brain.deviation_figure(given, 0.05) is not None
    columns = given.change_by_strength
    np.testing.assert_array_equal(seen["deviation"], columns["reference_z"] - columns["typical_z"])
    assert report_brain.deviation_figure(brain(reference_z=np.full(15, NAN)), 0.05) is None


def test_motion_by_length_needs_both():
    quality = {"qcfc_median_abs_r": 0.2, "qcfc_distance_rho": -0.31, "baseline": {}}
    given = brain()
    found = report_brain.length_figure(
        study({"quality": quality}, change_by_strength=given.change_by_strength)
    )
    assert "median |r| = 0.20, with length rho = \N{MINUS SIGN}0.31" in found.svg
    unknown = np.full(15, NAN)
    assert report_brain.length_figure(brain(distance_mm=unknown)) is None
    assert report_brain.length_figure(brain(qcfc_r=unknown, qcfc_change_r=unknown)) is None


def test_networks_are_a_triangle_with_stars_where_p_says_so():
    networks = [
        {"network_a": a, "network_b": b, "estimate_z": z, "statistic": 1.0, "p": 0.1,
         "p_corrected": p}
        for a, b, z, p in (("A", "A", 0.1, 0.01), ("A", "B", -0.2, 0.5), ("B", "B", -0.001, 0.5))
    ]  # fmt: skip
    given = study(beside={"networks": networks})
    text = rows(report_brain.network_figure(given, 0.05).svg)
    assert {"+0.10*", "\N{MINUS SIGN}0.20", "0.00"} <= set(text)
    assert report_brain.network_table(given).rows[1][0] == "A \N{EN DASH} B"
    assert report_brain.network_figure(study(), 0.05) is None


# -- limits, checklist, references ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "said", "not_said"),
    [
        ({"n": {"treated": 9}}, "without a control arm", "at random"),
        ({"n": {"treated": 9, "control": 9}}, "at random", "without a control arm"),
        (
            {"design": DESIGN | {"control_baseline": "a", "control_followup": "b"}},
            "Order and carry-over",
            "without a control arm",
        ),
        ({"n": {"reference": 0}}, "without a reference group", "another data set"),
        (
            {"n": {"reference": 5}, "design": DESIGN | {"reference_dataset": "ds2"}},
            "another data set (ds2)",
            "without a reference group",
        ),
        ({"design": DESIGN | {"symptom": "madrs"}}, "which of them came first", "getting well"),
        ({"quality": {"qcfc_n_people": 9.0}}, "neither direction", "Motion: it is not known"),
        ({}, "Motion: it is not known", "which of them came first"),
        ({"plan": {"frozen": True}}, "Mechanism", "no plan was frozen"),
        ({"circuits_not_resolved": ["a", "b"]}, "2 circuits could not be found", "Order"),
    ],
)
def test_limits_follow_from_the_design(verdict, said, not_said):
    text = " ".join(limits({"design": DESIGN} | verdict))
    assert said in text
    assert not_said not in text


def test_the_checklist_leaves_open_what_the_files_do_not_tell():
    verdict = {
        "n": {"treated": 9, "control": 0, "reference": 4}, "design": DESIGN, "strategy": "24p",
        "science": {"estimator": "pearson", "min_minutes": 2.0, "max_mean_fd_mm": 0.5,
                    "min_coverage": 0.5},
        "code_hash": "abc", "seed": 7, "plan": {"sentence": "No plan was frozen."},
    }  # fmt: skip
    rows_ = checklist(verdict, [estimate("dmn", "specific", method="Welch t")])
    answers = {item: answer for _, item, answer in rows_}
    assert answers["Number analysed, by group"] == "9 treated, 4 reference"
    assert answers["Denoising"] == "24p"
    assert answers["Test and correction"] == "Welch t"
    assert answers["Sample size and its justification"].startswith("detectable with 80 % power")
    assert answers["Code, settings and seed"] == "code hash abc, seed 7"
    for item in ("Random assignment and blinding", "Scanner, sequence, repetition time, "
                 "instructions", "Where data and code can be had"):  # fmt: skip
        assert answers[item] == ""
    given = dict(verdict, strategy="as given")
    open_ = {item for _, item, answer in checklist(given, []) if not answer}
    assert {"Denoising", "Exclusion of data", "Sample size and its justification"} <= open_


def test_works_are_cited_once_and_known_ones_in_full():
    text = "As in doi:10.1007/BF01068419, doi:10.1038/nn.4500 and again (doi:10.1007/BF01068419)."
    works = cited([text])
    assert works == ("10.1007/BF01068419", "10.1038/nn.4500")
    assert listed(works)[0].startswith("Schuirmann, Donald J. (1987). A comparison of the two")
