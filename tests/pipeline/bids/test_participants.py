"""Tables about participants: tolerated deviations, scores by session, and invalid rows."""

import numpy as np
import pytest

from circuitshift.pipeline.bids.participants import read_participants
from circuitshift.pipeline.errors import InputError, TableError

GOOD = """participant_id\tage\tgroup\tBDI_ses-pre\tBDI_ses-post
sub-01\t31\ttreated\t20\t9
sub-02\t42\tcontrol\t22\tn/a
sub-03\t53\ttreated\t24\t10.5
sub-04\tn/a\tcontrol\t26\t25
sub-05\t25\tcontrol\t21\t20
"""
LABELS = ("01", "02", "03", "04", "05")


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "study"
    for label in LABELS:
        (folder / f"sub-{label}").mkdir(parents=True)
    put(folder / "participants.tsv", GOOD)
    return folder


# --- real tables


def test_a_real_table_with_scores_by_session(shared_data):
    participants = read_participants(shared_data("openneuro", "ds003007"))
    assert (len(participants.labels), participants.problems, participants.notes) == (29, (), ())
    assert participants.labels[:2] == ("01", "02")
    counts = dict(zip(*np.unique(participants.columns["group"], return_counts=True), strict=True))
    assert counts == {"depr_cbt": 8, "depr_nfb": 6, "depr_no_treatment": 15}
    scores = participants.scores("BDI")
    assert (scores["01", "pre"], scores["01", "post"]) == (14, 10)
    assert ("02", "pre") not in scores
    assert participants.scores("RRS-sum")["01", "post"] == 42
    assert participants.numbers("age")[:3].tolist() == [44, 28, 44]
    with pytest.raises(
        TableError, match=r"sub-01, ses-pre: ICD-10 is 'F32.0', which is not a number"
    ):
        participants.scores("ICD-10")


def test_a_real_table_without_sessions(shared_data):
    participants = read_participants(shared_data("openneuro", "ds002748"))
    assert (len(participants.labels), participants.problems) == (72, ())
    assert sorted(set(participants.columns["group"])) == ["control", "depr"]
    assert participants.visits == {}
    assert np.isnan(participants.numbers("MADRS")).any()


# --- tolerated deviations


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda t: t, None),
        (lambda t: "\ufeff" + t, None),
        (lambda t: t.replace("\n", "\r\n"), None),
        (lambda t: t.replace("\n", "\t\t\n"), None),
        (lambda t: t + "\n\t\t\t\n", None),
        (lambda t: t.replace("sub-", ""), None),
        (lambda t: t.replace("n/a", ""), None),
        (lambda t: t.replace("n/a", "NaN"), None),
        (lambda t: t.replace("\t", " \t "), None),
        (lambda t: t.replace("\t", ","), "its cells are separated by ',' instead of tabs"),
        (lambda t: t.replace("\t", ";"), "its cells are separated by ';' instead of tabs"),
        (
            lambda t: t.replace("sub-0", ""),
            "'1' is matched with the folder sub-01, from which it differs",
        ),
        (lambda t: t.replace("participant_id", "Subject_ID"), "'Subject_ID' is used as partic"),
        (lambda t: t.replace("participant_id", "Participant_ID"), "'Participant_ID' is used as"),
        (lambda t: t + "sub-03\t53\ttreated\t24\t10.5\n", "sub-03 has two equal rows"),
    ],
)
def test_tolerated_deviations_do_not_change_the_result(root, change, note):
    put(root / "participants.tsv", change(GOOD))
    participants = read_participants(root)
    assert participants.labels == LABELS
    assert participants.problems == ()
    assert participants.columns["group"] == ("treated", "control", "treated", "control", "control")
    assert participants.columns["age"][3] == "n/a"
    np.testing.assert_array_equal(participants.numbers("age"), [31, 42, 53, np.nan, 25])
    assert participants.scores("BDI")["03", "post"] == 10.5
    assert len(participants.scores("BDI")) == 9
    if note is None:
        assert participants.notes == ()
    else:
        assert any(note in text for text in participants.notes)


def test_participants_without_a_row_are_kept_and_noted(root):
    (root / "sub-06").mkdir()
    participants = read_participants(root)
    assert participants.labels == (*LABELS, "06")
    assert participants.columns["group"][-1] == "n/a"
    assert participants.notes == (
        f"sub-06: no row in {root / 'participants.tsv'}; all columns are n/a.",
    )


def test_contradictory_values_of_two_rows_are_missing(root):
    put(root / "participants.tsv", GOOD + "sub-02\t43\tcontrol\t22\tn/a\n")
    found = read_participants(root)
    ages = dict(zip(found.labels, found.numbers("age"), strict=True))
    assert np.isnan(ages["02"])
    assert (ages["01"], ages["03"]) == (31, 53)
    assert found.columns["group"][found.labels.index("02")] == "control"  # equal in both rows
    (problem,) = found.problems
    assert problem.participant == "02"
    assert "age 42 and 43" in str(problem)


def test_a_label_that_matches_two_folders_is_assigned_to_neither(tmp_path):
    for label in ("1", "01"):
        (tmp_path / f"sub-{label}").mkdir()
    put(tmp_path / "participants.tsv", "participant_id\tage\nsub-001\t31\nsub-1\t50\n")
    found = read_participants(tmp_path)
    ages = dict(zip(found.labels, found.numbers("age"), strict=True))
    assert ages == {"001": 31, "1": 50, "01": pytest.approx(np.nan, nan_ok=True)}


def test_without_a_table_participants_are_those_with_a_folder(root):
    (root / "participants.tsv").unlink()
    participants = read_participants(root)
    assert (participants.labels, participants.columns, participants.problems) == (LABELS, {}, ())
    assert (
        "has no participants.tsv; the participants are those with a folder" in participants.notes[0]
    )


@pytest.mark.parametrize(
    "origin", ["derivatives", "description", "relative description", "links", "sourcedata"]
)
def test_a_derivative_uses_the_table_of_its_source(root, tmp_path, origin):
    derivative = root / "derivatives/fmriprep" if origin == "derivatives" else tmp_path / "out"
    (derivative / "sub-02").mkdir(parents=True)
    description = {
        "description": f'{{"SourceDatasets": [{{"DOI": "x"}}, {{"URL": "{root.as_uri()}"}}]}}',
        "relative description": '{"SourceDatasets": [{"URL": "../study"}]}',
        "links": f'{{"DatasetLinks": {{"raw": "{root}", "web": "https://x.org/y"}}}}',
    }.get(origin)
    if description:
        put(derivative / "dataset_description.json", description)
    if origin == "sourcedata":
        (derivative / "sourcedata").mkdir()
        (derivative / "sourcedata/raw").symlink_to(root)
    participants = read_participants(derivative)
    assert participants.columns["group"] == ("treated", "control", "treated", "control", "control")
    assert len(participants.scores("BDI")) == 9
    assert "participants.tsv is taken from " in participants.notes[0]


def test_the_source_may_have_a_table_and_no_folders(root):
    for label in LABELS:
        (root / f"sub-{label}").rmdir()
    (root / "derivatives/fmriprep/sub-02").mkdir(parents=True)
    participants = read_participants(root / "derivatives/fmriprep")
    assert participants.labels == LABELS
    assert participants.columns["group"][1] == "control"


def test_a_table_of_other_participants_in_a_folder_above_is_not_used(root):
    derivative = root / "derivatives/fmriprep"
    (derivative / "sub-x9").mkdir(parents=True)
    participants = read_participants(derivative)
    assert (participants.labels, participants.columns) == (("x9",), {})


# --- scores by session


def test_scores_are_read_from_all_kinds_of_tables(root):
    put(root / "sub-01/sub-01_sessions.tsv", "session_id\tMADRS\nses-pre\t30\nses-post\t12\n")
    put(root / "sub-02/sub-02_sessions.tsv", "session_id\tMADRS\nses-pre\tn/a\npost\t22\n")
    put(root / "sessions.tsv", "participant_id\tsession_id\tHAMD\nsub-03\tses-pre\t17\n")
    put(
        root / "phenotype/phq9.tsv",
        "participant_id\tsession_id\ttotal\titem1\nsub-01\tses-pre\t8\t1\nsub-04\tpre\t9\t2\n",
    )
    put(root / "phenotype/gad7.tsv", "participant_id\ttotal\nsub-01\t5\n")
    put(root / "phenotype/._gad7.tsv", "junk")
    participants = read_participants(root)
    assert (participants.problems, participants.notes) == ((), ())
    assert participants.scores("MADRS") == {
        ("01", "pre"): 30,
        ("01", "post"): 12,
        ("02", "post"): 22,
    }
    assert participants.scores("HAMD") == {("03", "pre"): 17}
    assert participants.scores("phq9_total") == {("01", "pre"): 8, ("04", "pre"): 9}
    assert participants.scores("item1") == {("01", "pre"): 1, ("04", "pre"): 2}
    assert participants.scores("gad7_total") == {("01", ""): 5}


def test_equal_values_in_two_tables_are_not_contradictory(root):
    put(root / "sub-01/sub-01_sessions.tsv", "session_id\tBDI\nses-pre\t20.0\nses-post\t9\n")
    participants = read_participants(root)
    assert participants.problems == ()
    assert participants.scores("BDI")["01", "pre"] == 20


def test_a_score_without_values_exists(root):
    put(root / "participants.tsv", "participant_id\tX_ses-pre\nsub-01\tn/a\n")
    assert read_participants(root).scores("X") == {}


def test_unknown_names_are_answered_by_the_nearest_names(root):
    participants = read_participants(root)
    with pytest.raises(
        TableError, match=r"no score 'BDJ' by session; correct the name \(nearest: BDI\)"
    ):
        participants.scores("BDJ")
    with pytest.raises(
        TableError, match=r"no column 'groups'; correct the name \(nearest: group\)"
    ):
        participants.numbers("groups")
    with pytest.raises(TableError, match="sub-01, column group: 'treated' is not a number"):
        participants.numbers("group")
    with pytest.raises(InputError, match="it is not a folder"):
        read_participants(root / "nowhere")


# --- invalid tables: a row concerns one participant; without a valid table, folders are used

TABLE = "participants.tsv"
SESSIONS = "sub-02/sub-02_sessions.tsv"
INVALID_ROWS = {
    "rows that differ": (
        TABLE,
        GOOD + "sub-02\t43\tcontrol\t22\tn/a\n",
        "sub-02 has different rows (age 42 and 43); keep one of them",
    ),
    "a cell too few": (
        TABLE,
        GOOD.replace("sub-02\t42\t", "sub-02\t"),
        "line 3 has 4 cells where the header has 5; separate cells by one tab",
    ),
    "a cell too many": (
        TABLE,
        GOOD.replace("sub-02\t42\t", "sub-02\t42\t\tx"),
        "line 3 has 6 cells where the header has 5",
    ),
    "text in a numeric column": (
        TABLE,
        GOOD.replace("\t42\t", "\tforty\t"),
        "age of sub-02 is 'forty' in a numeric column and is treated as n/a; write a number or n/a",
    ),
    "a decimal comma in a numeric column": (
        TABLE,
        GOOD.replace("\t22\t", "\t22,5\t"),
        "BDI_ses-pre of sub-02 is '22,5' in a numeric column",
    ),
    "two tables that disagree": (
        SESSIONS,
        "session_id\tBDI\nses-pre\t30\n",
        "BDI of sub-02 at ses-pre is 22 in participants.tsv and 30 in sub-02_sessions.tsv, so it "
        "is not used; correct one of them",
    ),
    "a visit twice with different values": (
        SESSIONS,
        "session_id\tHAMD\nses-pre\t30\nses-pre\t31\n",
        "HAMD of sub-02 at ses-pre is 30 in sub-02_sessions.tsv and 31 in sub-02_sessions.tsv",
    ),
    "text in a numeric score": (
        "sessions.tsv",
        "participant_id\tsession_id\tHAMD\n"
        + "".join(f"sub-{label}\tses-pre\t1{label}\n" for label in ("01", "03", "04", "05"))
        + "sub-02\tses-pre\tmild\n",
        "HAMD of sub-02 is 'mild' in a numeric column",
    ),
}


@pytest.mark.parametrize(("name", "text", "message"), INVALID_ROWS.values(), ids=INVALID_ROWS)
def test_an_invalid_row_concerns_one_participant_only(root, name, text, message):
    put(root / name, text)
    participants = read_participants(root)
    assert sorted(participants.labels) == list(LABELS)
    (problem,) = participants.problems
    assert problem.participant == "02"
    assert str(problem).startswith(f"{root}")
    assert message in str(problem)
    ages = dict(zip(participants.labels, participants.numbers("age"), strict=True))
    assert {label: ages[label] for label in ("01", "03", "05")} == {"01": 31, "03": 53, "05": 25}
    scores = participants.scores("BDI")
    assert [scores[label, "pre"] for label in ("01", "03", "04", "05")] == [20, 24, 26, 21]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty; write or fetch it again"),
        ("<!DOCTYPE html>\n<html>", "it is a web page saved as a table; fetch it again"),
        (
            "age\tgroup\n31\tx\n",
            "it has no column participant_id; use this name for the column of labels",
        ),
        (
            "participant_id\tage\tage\nsub-01\t1\t2\n",
            "column age occurs more than once; rename one",
        ),
    ],
)
def test_participants_of_an_unreadable_table_are_those_with_a_folder(root, text, message):
    put(root / TABLE, text)
    participants = read_participants(root)
    assert participants.labels == LABELS
    (problem,) = participants.problems
    assert (problem.participant, str(problem)) == ("", f"{root / TABLE}: {message}")


def test_a_table_that_is_not_text_or_was_never_fetched(root):
    (root / TABLE).write_bytes(b"participant_id\tage\nsub-01\t\xe9\n")
    (problem,) = read_participants(root).problems
    assert "it is not UTF-8 text (byte 26); save it as UTF-8" in str(problem)
    (root / TABLE).unlink()
    (root / TABLE).symlink_to(".git/annex/objects/x")
    participants = read_participants(root)
    (problem,) = participants.problems
    assert "its content was never fetched (broken link); run `datalad get`" in str(problem)
    assert participants.labels == LABELS


@pytest.mark.parametrize("label", ["", "n/a", "sub-", "sub-0 1", "sub_01"])
def test_a_row_without_a_valid_label_is_reported(root, label):
    put(root / TABLE, GOOD + f"{label}\t31\ttreated\t1\t2\n")
    participants = read_participants(root)
    (problem,) = participants.problems
    assert "line 7 has no valid label" in str(problem)
    assert participants.labels == LABELS


def test_tables_without_a_column_of_labels_are_reported(root):
    put(root / SESSIONS, "visit\tBDI\npre\t1\n")
    put(root / "phenotype/x.tsv", "age\n3\n")
    participants = read_participants(root)
    assert [str(problem) for problem in participants.problems] == [
        f"{root / name}: it has no column {key}; use this name for the column of labels"
        for name, key in (("phenotype/x.tsv", "participant_id"), (SESSIONS, "session_id"))
    ]
    assert len(participants.scores("BDI")) == 9
