"""Columns of the tables of secondary analyses, and the question that these analyses share."""

import numpy as np

from circuitshift.pipeline.model.secondary.record import SecondaryTable


def test_a_table_has_columns_of_circuits_only_if_its_record_describes_them():
    columns = {"participant_id": "Participant", "n": "Number"}
    plain = SecondaryTable("a", "A table", columns)
    assert plain.described(("dmn", "tpn")) == columns
    wide = SecondaryTable("a", "A table", columns, circuit_columns="Its change")
    assert list(wide.described(("tpn", "dmn"))) == ["participant_id", "n", "tpn", "dmn"]
    assert wide.described(("tpn", "dmn"))["dmn"] == "Its change"


def test_all_participants_have_equal_weights(study_of):
    weighted = study_of(weights=np.linspace(0.5, 1.5, 18))
    assert weighted.visits.weights is not None
    assert weighted.question.weights is None
    assert set(weighted.circuits) == {"dmn", "tpn"}
