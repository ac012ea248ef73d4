"""The plan: each participant's own runs and faults, in a place of their own."""

import numpy as np

from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.records import AnalysisSettings
from circuitshift.workflows.plan import InputFolder, make_plan

LABELS = [f"Region_{k}" for k in range(5)]


def write(root, participants):
    for label in participants:
        for session in ("pre", "post"):
            path = root / f"sub-{label}/ses-{session}/func"
            path /= f"sub-{label}_ses-{session}_task-rest_atlas-A_timeseries.tsv"
            tables.write_series(path, LABELS, np.ones((5, 5)), sidecar={"RepetitionTime": 2.0})
    return root


def test_participants_have_their_own_runs_and_faults(tmp_path):
    data = write(tmp_path / "data", ("01", "02", "03"))
    empty = next(data.glob("sub-02/ses-post/func/*.tsv"))
    empty.write_bytes(b"")
    plan = make_plan(
        [InputFolder(data, data)], bids.Query(), settings=AnalysisSettings(),
        out_dir=tmp_path / "out",
    )  # fmt: skip
    found = {
        p.participant: ([(r.participant, r.session) for r in p.runs], len(p.problems))
        for p in plan.participants
    }
    assert found == {
        "01": ([("01", "post"), ("01", "pre")], 0),
        "02": ([("02", "pre")], 1),
        "03": ([("03", "post"), ("03", "pre")], 0),
    }


def test_equal_labels_of_two_data_sets_do_not_meet(tmp_path):
    main, other = (write(tmp_path / name, ("01",)) for name in ("main", "other"))
    plan = make_plan(
        [InputFolder(main, main), InputFolder(other, other, "healthy")], bids.Query(),
        settings=AnalysisSettings(), out_dir=tmp_path / "out",
    )  # fmt: skip
    first, second = plan.participants
    assert (first.data_set, second.data_set) == ("", "healthy")
    assert first.out_dir != second.out_dir
    assert first.node_name != second.node_name
    assert all(run.path.is_relative_to(main) for run in first.runs)
    assert all(run.path.is_relative_to(other) for run in second.runs)
