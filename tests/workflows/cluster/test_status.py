"""Tests of the state of a study: a verdict is current while what it is made of stays the same."""

import numpy as np

from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.digests import Digests
from circuitshift.pipeline.measure.outputs import runs_table
from circuitshift.pipeline.study.members import DataSet
from circuitshift.pipeline.study.ratings import read_ratings
from circuitshift.pipeline.study.validity import ratings_hash, results_hash
from circuitshift.workflows.cluster.status import group_state


def write_matrix(root, label, values):
    name = f"sub-{label}/sub-{label}_relmat.tsv"
    tables.write_matrix(root / name, ("a", "b"), values, sidecar={})
    tables.write_table(runs_table(label, root), {"run": [f"sub-{label}"], "relmat": [name]})


def test_a_verdict_of_other_results_or_ratings_is_not_current(tmp_path):
    data_sets = [DataSet(tmp_path, tmp_path)]
    for label in ("01", "02"):
        write_matrix(tmp_path, label, np.eye(2))
    assert group_state(tmp_path, data_sets) == (False, "no verdict yet")
    made_from = {
        "results": results_hash(data_sets, Digests("group", tmp_path)),
        "ratings": ratings_hash(read_ratings(tmp_path / "ratings")),
    }
    verdict = {"verdict": "global", "made_from": made_from}
    tables.write_json(tmp_path / "group" / "verdict.json", verdict)
    assert group_state(tmp_path, data_sets) == (True, "verdict: global")

    write_matrix(tmp_path, "02", np.array([[1.0, 0.5], [0.5, 1.0]]))
    is_current, sentence = group_state(tmp_path, data_sets)
    assert not is_current
    assert "other results" in sentence

    write_matrix(tmp_path, "02", np.eye(2))
    rating = {"participant_id": "sub-02", "rating": "exclude"}
    tables.write_json(tmp_path / "ratings" / "sub-02.json", rating)
    is_current, sentence = group_state(tmp_path, data_sets)
    assert not is_current
    assert "other ratings" in sentence
