"""Study-level content of a participant report: other participants, ratings and seed."""

import numpy as np
import pytest

from circuitshift.pipeline.io import tables
from circuitshift.pipeline.reports.person.context import (
    others_of,
    ratings_of,
    seed_of,
    study_root,
)


def write_circuits(root, rows):
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    tables.write_table(root / "group" / "circuits.tsv", columns)


def row(participant, value, *, circuit="dmn", session="pre"):
    return {
        "participant_id": participant, "session": session, "circuit": circuit, "value_z": value,
    }  # fmt: skip


def test_the_range_of_others_excludes_the_participant_and_other_sessions(tmp_path):
    values = np.random.default_rng(0).normal(size=6)
    rows = [row(f"sub-{k}", value) for k, value in enumerate(values)]
    rows += [row("sub-01", 99.0), row("sub-0", -99.0, session="post"), row("sub-1", "n/a")]
    rows += [row("sub-2", 0.5, circuit="tpn")]
    write_circuits(tmp_path, rows)
    others = others_of("01", tmp_path, "pre")
    assert others is not None
    assert (others.session, others.n_participants) == ("pre", 6)
    assert list(others.ranges) == ["dmn"]  # one value of tpn is too few
    assert others.ranges["dmn"] == pytest.approx(tuple(np.percentile(values, [5, 95])))


def test_the_range_requires_five_others(tmp_path):
    assert others_of("01", tmp_path, "pre") is None
    write_circuits(tmp_path, [row(f"sub-{k}", 0.1) for k in range(4)] + [row("sub-01", 0.1)])
    assert others_of("01", tmp_path, "pre") is None


def test_a_participant_of_another_data_set_is_identified_by_its_name(tmp_path):
    write_circuits(tmp_path, [row(f"ds2:sub-{k}", float(k)) for k in range(6)])
    folder = tmp_path / "datasets" / "ds2"
    others = others_of("0", folder, "pre")
    assert others is not None
    assert others.n_participants == 5
    assert study_root(folder) == (tmp_path, "ds2")
    assert study_root(tmp_path) == (tmp_path, "")


def test_ratings_that_cannot_be_read_are_a_note(tmp_path):
    content = {"participant_id": "sub-01", "rating": "doubt", "rater": "AB", "note": "stripes"}
    tables.write_json(tmp_path / "ratings" / "a_rating.json", content)
    (rating,), notes = ratings_of("01", tmp_path)
    assert (rating.rating, rating.rater, notes) == ("doubt", "AB", ())
    assert ratings_of("02", tmp_path) == ((), ())
    (tmp_path / "ratings" / "b_rating.json").write_text("{")
    ratings, (note,) = ratings_of("01", tmp_path)
    assert ratings == ()
    assert note.startswith("Ratings are not shown: ")
    assert "b_rating.json" in note


def test_the_seed_is_that_of_the_group_level(tmp_path):
    assert seed_of(tmp_path) == "this page contains no random numbers"
    tables.write_json(tmp_path / "group" / "verdict.json", {"seed": 4711})
    assert seed_of(tmp_path).endswith("seed of the group level: 4711")
