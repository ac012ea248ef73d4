"""What of a study is done: a verdict is current as long as nothing it is made of is newer."""

import os

from circuitshift.pipeline.io import tables
from circuitshift.pipeline.measure.outputs import runs_table
from circuitshift.workflows.cluster.status import group_state
from circuitshift.workflows.plan import ParticipantPlan


def test_a_verdict_older_than_the_measurements_is_not_current(tmp_path):
    people = [ParticipantPlan(label, "", (), (), tmp_path) for label in ("01", "02")]
    for person in people:
        tables.write_text(runs_table(person.participant, tmp_path), "run\n")
    assert group_state(tmp_path, people) == (False, "no verdict yet")
    verdict = tmp_path / "group/verdict.json"
    tables.write_json(verdict, {"verdict": "global"})
    made = verdict.stat().st_mtime_ns
    times = {"01": made - 10**9, "02": made - 10**9}
    for label, at in times.items():
        os.utime(runs_table(label, tmp_path), ns=(at, at))
    is_current, said = group_state(tmp_path, people)
    assert is_current
    assert "global" in said
    os.utime(runs_table("02", tmp_path), ns=(made + 10**9, made + 10**9))
    is_current, said = group_state(tmp_path, people)
    assert not is_current
    assert "older than the outputs of 1" in said
    assert group_state(tmp_path, people[:1])[0]
