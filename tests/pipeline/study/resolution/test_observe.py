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
