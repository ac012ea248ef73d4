"""Which files, sessions and conditions of CONN become which visits."""

import numpy as np
import pytest

from circuitshift.pipeline.bids.convert.conn_regions import match_regions
from circuitshift.pipeline.bids.convert.conn_runs import conn_runs, find_conn_files
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io.conn import read_conn

NAME = "ROI_Subject{:03d}_Condition{:03d}.mat"


@pytest.fixture
def converted(tmp_path, write_conn, series):
    """Write files of one participant and convert them."""

    def make(source, conditions=(0,), **more):
        for number in conditions:
            path = tmp_path / source.folder / NAME.format(1, number)
            write_conn(path, series(number), **more)
        (subject, found), *_ = find_conn_files(tmp_path, source).items()
        content = {condition: read_conn(path) for condition, path in found}
        match = match_regions([(source, file.regions) for file in content.values()])
        return conn_runs(subject, content, source, match.columns)

    return make


def test_a_folder_is_a_visit(converted, source, series):
    (run,), notes = converted(source(prefix="TBI"))
    assert (run.participant, run.session, run.run, run.group) == ("TBI001", "pre", "", "patient")
    assert np.array_equal(run.values, series(0)[:, 3:])
    assert run.source["File"] == "patients/ROI_Subject001_Condition000.mat"
    assert notes == []


def test_sessions_of_a_file_are_visits(converted, source, series):
    by_session = source(by="session", visits=((1, "before"), (3, "after")))
    runs, notes = converted(by_session, sessions=np.repeat([1, 2, 3], [10, 12, 18]))
    assert [(run.session, len(run.values)) for run in runs] == [("before", 10), ("after", 18)]
    assert np.array_equal(runs[1].values, series(0)[22:, 3:])
    assert runs[1].source["Volumes"] == [23, 40]
    assert ["session 2 is no visit" in note for note in notes] == [True]


def test_sessions_within_a_folder_of_one_visit_are_its_runs(converted, source):
    runs, _ = converted(source(), sessions=np.repeat([1, 2], 20))
    assert [(run.session, run.run) for run in runs] == [("pre", "1"), ("pre", "2")]


def test_conditions_are_visits(converted, source, series):
    by_condition = source(by="condition", visits=((1, "pre"), (2, "post")))
    runs, _ = converted(by_condition, conditions=(0, 1, 2))
    assert [run.session for run in runs] == ["pre", "post"]
    assert np.array_equal(runs[1].values, series(2)[:, 3:])


def test_two_conditions_of_one_visit_are_its_runs(converted, source):
    by_condition = source(by="condition", visits=((1, "off"), (2, "off"), (3, "on")))
    runs, _ = converted(by_condition, conditions=(1, 2, 3))
    assert [(run.session, run.run) for run in runs] == [("off", "1"), ("off", "2"), ("on", "")]


def test_volumes_outside_the_condition_are_left_out_and_reported(converted, source):
    (run,), notes = converted(source(), weights=np.r_[np.zeros(15), np.ones(25)])
    assert len(run.values) == 25
    assert "15 of 40 volumes lie outside the condition 'rest'" in notes[0]


def test_a_region_without_signal_is_lost(source, tmp_path, write_conn, series):
    values = series(0)
    values[:, 5] = 3.0
    write_conn(tmp_path / "patients" / NAME.format(1, 0), values)
    content = {0: read_conn(tmp_path / "patients" / NAME.format(1, 0))}
    match = match_regions([(source(), content[0].regions)])
    (run,), notes = conn_runs("001", content, source(), match.columns)
    assert np.isnan(run.values[:, 2]).all()
    assert np.isfinite(np.delete(run.values, 2, axis=1)).all()
    assert "1 regions have no signal" in notes[0]


def test_several_conditions_need_a_choice(converted, source):
    with pytest.raises(InputError, match="has the conditions 1, 2; state condition = 1"):
        converted(source(), conditions=(1, 2))
    (run,), _ = converted(source(condition=2), conditions=(1, 2))
    assert run.source["File"].endswith("Condition002.mat")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"condition": 4}, "there is no condition 4; its conditions are 0"),
        ({"by": "condition", "visits": ((1, "pre"), (7, "post"))}, "no condition 1, 7"),
    ],
)
def test_conditions_that_are_not_there_are_refused(converted, source, fields, message):
    with pytest.raises(InputError, match=message):
        converted(source(**fields))


def test_folders_without_files_are_refused(tmp_path, source):
    with pytest.raises(InputError, match="folder cannot be read"):
        find_conn_files(tmp_path, source())
    (tmp_path / "patients").mkdir()
    with pytest.raises(InputError, match="it has no file ROI_SubjectNNN"):
        find_conn_files(tmp_path, source())
