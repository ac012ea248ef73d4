"""Facts about data sets, in particular dates of acquisition."""

from datetime import date

import pytest

from circuitshift.pipeline.bids.participants import read_participants
from circuitshift.pipeline.study.resolution.observe import observe

SESSIONS = {"01": ("A", "B"), "02": ("A", "B")}


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["\t".join(line) for line in lines]) + "\n")


def test_dates_of_sessions_and_scans(tmp_path):
    for participant, labels in SESSIONS.items():
        for label in labels:
            (tmp_path / f"sub-{participant}" / f"ses-{label}").mkdir(parents=True)
    write(
        tmp_path / "sub-01/sub-01_sessions.tsv",
        ("session_id", "acq_time"),
        ("ses-A", "1867-03-02T10:00:00"),
        ("ses-B", "1867-02-01T10:00:00"),
    )
    write(
        tmp_path / "sub-02/ses-A/sub-02_ses-A_scans.tsv",
        ("filename", "acq_time"),
        ("anat/x.nii.gz", "2020-01-01T08:00:00"),
        ("func/x.nii.gz", "2020-01-05T08:00:00.000000"),
    )
    write(tmp_path / "sub-02/ses-B/sub-02_ses-B_scans.tsv", ("filename", "acq_time"), ("f", "n/a"))
    write(
        tmp_path / "participants.tsv", ("participant_id", "arm"), ("sub-01", "x"), ("sub-02", "y")
    )
    seen = observe(SESSIONS, {"": read_participants(tmp_path)})
    assert seen.dates["01", "A"] - seen.dates["01", "B"] == 29
    days = (date(2020, 1, 5) - date(1867, 3, 2)).days - 2 / 24  # functional, not structural
    assert seen.dates["02", "A"] - seen.dates["01", "A"] == pytest.approx(days)
    assert ("02", "B") not in seen.dates
    assert seen.columns["arm"] == {"01": "x", "02": "y"}
    assert seen.participants_by_session() == {"A": 2, "B": 2}


def test_a_score_of_a_table_with_a_row_per_visit_is_doubtful_as_a_column_only(tmp_path):
    rows = [
        (f"sub-{participant}", f"ses-{label}", "x", f"{20 + 3 * k}")
        for participant, labels in SESSIONS.items()
        for k, label in enumerate(labels)
    ]
    for participant, label, _, _ in rows:
        (tmp_path / participant / label).mkdir(parents=True)
    header = ("participant_id", "session_id", "arm", "MADRS")
    write(tmp_path / "elsewhere/mine.tsv", header, *rows)
    write(
        tmp_path / "sub-01/sub-01_sessions.tsv",
        ("session_id", "acq_time"),
        ("a", "2020-01-01T10:00:00"),
    )
    table = read_participants(tmp_path, tmp_path / "elsewhere/mine.tsv")
    seen = observe(SESSIONS, {"": table})
    assert (list(seen.columns), list(seen.doubtful)) == (["arm"], ["MADRS"])
    assert (dict(seen.doubtful_scores), len(seen.scores["MADRS"])) == ({}, 4)
    assert list(seen.dates) == [("01", "A")]


def test_arms_of_other_tables_are_noticed_if_they_divide_participants(tmp_path):
    for k, (participant, labels) in enumerate(SESSIONS.items()):
        for label in labels:
            (tmp_path / f"sub-{participant}" / f"ses-{label}").mkdir(parents=True)
        lines = [
            (f"ses-{label}", ("none", "xy"[k])[n], ("off", "on")[n], "1")
            for n, label in enumerate(labels)
        ]
        header = ("session_id", "group", "condition", "drug_level")
        write(tmp_path / f"sub-{participant}/sub-{participant}_sessions.tsv", header, *lines)
    assert observe(SESSIONS, {"": read_participants(tmp_path)}).arms_elsewhere == ("group",)
