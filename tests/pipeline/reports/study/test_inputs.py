"""Conversion of the outputs of the group level: tables, runs and links of the study report."""

import numpy as np
import pytest

from circuitshift.pipeline.bids.description import write_dataset_description
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.reports.study import inputs
from circuitshift.pipeline.validation.simulate.cohort import write_description


def test_a_study_without_a_group_level_is_an_error(tmp_path):
    with pytest.raises(InputError, match="run the group level first"):
        inputs.report_group(tmp_path)


def test_a_verdict_of_an_earlier_version_is_an_error(tmp_path):
    tables.write_json(tmp_path / "group/verdict.json", {"schema_version": "2.0", "science": {}})
    with pytest.raises(InputError, match=r"earlier version of .*group level again"):
        inputs.report_group(tmp_path)


def test_quality_is_that_of_the_primary_runs_with_the_arm_of_their_participant(tmp_path):
    columns = {
        "session": ["pre", "pre", "pre"], "strategy": ["24p", "none", "24p"],
        "atlas": ["A", "A", "B"], "status": ["included"] * 3,
    }  # fmt: skip
    columns |= {name: [k, k + 1, k + 2] for k, name in enumerate(inputs._QUALITY)}
    for folder in ("sub-01", "datasets/ds2/sub-01"):
        tables.write_table(tmp_path / folder / "sub-01_runs.tsv", columns)
    rows = inputs._quality(
        tmp_path,
        {"strategy": "24p", "atlas": "A"},
        [{"participant_id": "sub-01", "arm": "control"}],
    )
    assert [(row["participant_id"], row["arm"]) for row in rows] == [
        ("ds2:sub-01", "n/a"), ("sub-01", "control"),
    ]  # fmt: skip
    assert [rows[0][name] for name in inputs._QUALITY] == [
        str(k) for k in range(len(inputs._QUALITY))
    ]


def test_links_lead_from_the_group_folder_to_the_pages_of_participants(tmp_path):
    for name in ("sub-01.html", "datasets/ds2/sub-01.html"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert inputs._pages(tmp_path) == {
        "sub-01": "../sub-01.html", "ds2:sub-01": "../datasets/ds2/sub-01.html",
    }  # fmt: skip


def test_edges_have_numbers_and_the_names_of_their_circuits(tmp_path):
    path = tmp_path / "edges.tsv"
    assert inputs._edges(path) == {}
    columns = {name: [0.5 * k, "n/a"] for k, name in enumerate(inputs._EDGES)}
    tables.write_table(path, columns | {"circuits": ["dmn,tpn", "n/a"]})
    edges = inputs._edges(path)
    np.testing.assert_array_equal(edges["is_circuit"], [True, False])
    np.testing.assert_array_equal(edges["statistic"], [2.5, np.nan])
    assert list(edges["circuits"]) == ["dmn,tpn", "n/a"]


def test_tables_are_listed_with_the_columns_of_their_sidecars(tmp_path):
    tables.write_table(tmp_path / "tests.tsv", {"term": ["shift"]})
    tables.write_json(tmp_path / "tests.json", {"term": "Term", "p": "p value"})
    tables.write_table(tmp_path / "other.tsv", {"x": [1]})  # without a sidecar
    assert inputs._files(tmp_path) == {
        "tests.tsv": ("term", "p"), "verdict.json": (), "references.bib": (),
    }  # fmt: skip


def test_simulated_data_sets_are_named(tmp_path):
    write_description(tmp_path / "data", "A study", "raw")
    out, other = tmp_path / "out", tmp_path / "out" / "datasets" / "healthy"
    write_dataset_description(out, name="x", sources=(str(tmp_path / "measured"),))
    write_dataset_description(other, name="x", sources=(str(tmp_path / "data"),))
    (sentence,) = inputs._simulated(out)
    assert sentence.startswith("The data of healthy are simulated")
    write_dataset_description(out, name="x", sources=(str(tmp_path / "data"),))
    assert [text.partition(" are")[0] for text in inputs._simulated(out)] == [
        "The data",
        "The data of healthy",
    ]
