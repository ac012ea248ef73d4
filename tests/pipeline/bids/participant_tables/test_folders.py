"""Participants and sessions from the folders of a data set."""

from circuitshift.pipeline.bids.participant_tables.folders import sessions_of_folders


def test_sessions_are_folders_or_parts_of_file_names(tmp_path):
    for name in ("sub-01/ses-b", "sub-01/ses-a", "sub-01/anat", "sub-02/func", "sub-03", "code"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("sub-02_ses-2_bold.json", "sub-02_ses-1_task-x_bold.json", "notes.txt"):
        (tmp_path / "sub-02/func" / name).write_text("{}")
    assert sessions_of_folders(tmp_path) == {"01": ("a", "b"), "02": ("1", "2"), "03": ()}


def test_names_that_are_not_labels_are_omitted(tmp_path):
    for name in (
        "sub-01 copy",
        "sub-01.bak",
        "sub-",
        "sub-$(x)",
        "sub-02/ses-1 old",
        "sub-02/ses-1",
    ):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "sub-03").write_text("a file")
    assert sessions_of_folders(tmp_path) == {"02": ("1",)}
