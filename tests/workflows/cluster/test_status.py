"""State of the group level: a verdict is current while its inputs are those it was made from."""

from circuitshift.pipeline.io import tables
from circuitshift.pipeline.io.digests import Digests
from circuitshift.pipeline.measure.outputs import runs_table
from circuitshift.pipeline.study.members import DataSet
from circuitshift.pipeline.study.validity import ratings_hash, results_hash
from circuitshift.workflows.cluster.status import group_state


def test_a_verdict_made_from_other_measurements_is_not_current(tmp_path):
    for label in ("01", "02"):
        tables.write_text(runs_table(label, tmp_path), "run\trelmat\n")
    data_sets = [DataSet(tmp_path, tmp_path)]
    assert group_state(tmp_path, data_sets) == (False, "no verdict yet")
    made_from = {
        "results": results_hash(data_sets, Digests("group", tmp_path)),
        "ratings": ratings_hash(()),
    }
    tables.write_json(
        tmp_path / "group/verdict.json", {"verdict": "global", "made_from": made_from}
    )
    assert group_state(tmp_path, data_sets) == (True, "verdict: global")
    tables.write_text(runs_table("02", tmp_path), "run\trelmat\nsub-02_task-rest\tn/a\n")
    is_current, sentence = group_state(tmp_path, data_sets)
    assert not is_current
    assert "other results of the participant level" in sentence
