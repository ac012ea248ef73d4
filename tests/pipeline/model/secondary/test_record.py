"""Columns of the tables of secondary analyses, and the question that they all ask."""

import numpy as np

from circuitshift.pipeline.model.secondary.record import SecondaryTable


def test_columns_of_circuits_follow_only_where_the_record_describes_them():
    columns = {"participant_id": "Participant", "n": "Number"}
    plain = SecondaryTable("a", "A table", columns)
    assert plain.described(("dmn", "tpn")) == columns
    wide = SecondaryTable("a", "A table", columns, circuit_columns="Its change")
    assert list(wide.described(("tpn", "dmn"))) == ["participant_id", "n", "tpn", "dmn"]
    assert wide.described(("tpn", "dmn"))["dmn"] == "Its change"


def test_each_participant_counts_once(study_of):
    weighted = study_of(weights=np.linspace(0.5, 1.5, 18))
    assert weighted.visits.weights is not None
    assert weighted.question.weights is None
    assert set(weighted.circuits) == {"dmn", "tpn"}
