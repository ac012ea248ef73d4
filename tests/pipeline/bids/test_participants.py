"""Tables about participants: tolerated deviations, scores by session, and invalid rows."""

import numpy as np
import pytest

from circuitshift.pipeline.bids.participants import read_participants
from circuitshift.pipeline.errors import DesignError, InputError, TableError

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
            "they differ by leading zeros only: '1' with sub-01, '2' with sub-02, '3' with sub-03 "
            "and 2 others",
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
        "sub-02 has different rows (age 42 and 43); keep one of them, or add a column session_id",
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
    "a unit in a numeric column": (
        TABLE,
        GOOD.replace("\t42\t", "\t42 y\t"),
        "age of sub-02 is '42 y' in a numeric column",
    ),
    "a bound in a numeric column": (
        TABLE,
        GOOD.replace("\t42\t", "\t>40\t"),
        "age of sub-02 is '>40' in a numeric column",
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
            "it has no column participant_id (its columns are age, group); use this name for the "
            "column of labels",
        ),
        (
            "PK\x03\x04\0",
            "it is a spreadsheet or zip archive and not text; save it as text with tabs",
        ),
        (
            "participant_id\tage\n",
            "it has a header and no valid rows; write one row for each participant",
        ),
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
            "its content was never fetched (it holds a pointer of git-lfs or git-annex); run "
            "`git lfs pull` or `datalad get` on it",
        ),
    ],
)
def test_participants_of_an_unreadable_table_are_those_with_a_folder(root, text, message):
    put(root / TABLE, text)
    participants = read_participants(root)
    assert participants.labels == LABELS
    (problem,) = participants.problems
    assert (problem.participant, str(problem)) == ("", f"{root / TABLE}: {message}")
    assert participants.refusals == (problem,)


def test_a_table_that_is_not_text_or_was_never_fetched(root):
    (root / TABLE).write_bytes(b"participant_id\tage\nsub-01\t\x81\n")
    found = read_participants(root)
    (problem,) = found.problems
    assert found.refusals == (problem,)
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
    assert "line 7 has no valid label" in str(participants.problems[-1])
    assert {problem.participant for problem in participants.problems} <= {"", label, "0 1"}
    assert (participants.labels, participants.refusals) == (LABELS, ())


def test_tables_without_a_column_of_labels_are_reported(root):
    put(root / SESSIONS, "when\tBDI\npre\t1\n")
    put(root / "phenotype/x.tsv", "age\n3\n")
    participants = read_participants(root)
    assert [str(problem) for problem in participants.problems] == [
        f"{root / name}: it has no column {key} (its columns are {columns}); use this name for the "
        "column of labels"
        for name, key, columns in (
            ("phenotype/x.tsv", "participant_id", "age"),
            (SESSIONS, "session_id", "when, BDI"),
        )
    ]
    assert len(participants.scores("BDI")) == 9


# --- who is in the table

ARMS = ("drug", "drug", "drug", "placebo", "placebo")
IDS = tuple(f"sub-{label}" for label in LABELS)


def table(ids, values=ARMS, name="group", end="\n"):
    return end.join([f"participant_id\t{name}", *map("\t".join, zip(ids, values, strict=True)), ""])


def group_of(participants, column="group"):
    return dict(zip(participants.labels, participants.columns[column], strict=True))


@pytest.mark.parametrize(
    ("codec", "note"),
    [
        ("utf-16", "is encoded as UTF-16; it was read as such. Save it as UTF-8"),
        ("utf-32", "is encoded as UTF-32"),
        ("utf-16-le", "is encoded as UTF-16"),
        ("cp1252", "is encoded as Windows-1252; it was read as such; check words with accents"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_of_spreadsheets_do_not_change_the_groups(root, codec, note, end):
    arms = tuple(f"{arm} für Bücher" for arm in ARMS)
    (root / TABLE).write_bytes(table(IDS, arms, end=end).encode(codec))
    found = read_participants(root)
    assert (found.labels, found.columns["group"]) == (LABELS, arms)
    assert (found.problems, found.refusals) == ((), ())
    assert any(note in text for text in found.notes)


@pytest.mark.parametrize(
    ("folders", "ids", "rule"),
    [
        (LABELS, ("1", "2", "3", "4", "5"), "leading zeros"),
        (LABELS, ("sub-001", "sub-002", "sub-003", "sub-004", "sub-005"), "leading zeros"),
        (LABELS, ("1.0", "2.0", "3.0", "4.0", "5.0"), "leading zeros"),
        (("1", "2", "3", "4", "5"), IDS, "leading zeros"),
        (("P01", "P02", "P03", "C01", "C02"), ("p01", "p02", "p03", "c01", "c02"), "case"),
        (("P01", "P02", "P03", "C01", "C02"), ("P1", "P2", "P3", "C1", "C2"), "leading zeros"),
        (("P01", "P02", "P03", "C01", "C02"), ("SUB-p1", "p2", "P3", "c1", "C2"), "leading zeros"),
        (LABELS, ("sub_01", "sub_2", "sub03", "sub 04", "Sub05"), "the spelling of sub-"),
        (LABELS, ("sub\u201101", "sub\u201302", "sub-\u200b03", "04\u00a0", "5"), "leading zeros"),
        (
            ("NDARINV1A", "NDARINV2B", "NDARINV3C", "SD1010", "AB12"),
            ("NDAR_INV1A", "sub-NDAR_INV2B", "ndar_inv3c", "SD-1010", "AB 12"),
            "case and separators",
        ),
    ],
)
def test_labels_are_matched_by_case_and_number(tmp_path, folders, ids, rule):
    for label in folders:
        (tmp_path / f"sub-{label}").mkdir()
    put(tmp_path / TABLE, table(ids))
    found = read_participants(tmp_path)
    assert group_of(found) == dict(zip(folders, ARMS, strict=True))
    assert (found.problems, found.refusals) == ((), ())
    assert len([note for note in found.notes if rule in note]) >= 1


@pytest.mark.parametrize(
    ("ids", "ambiguous"),
    [
        (("sub-01", "sub-1", "sub-03", "sub-04", "sub-05"), ["1"]),
        (("sub-1", "sub-001", "sub-03", "sub-04", "sub-05"), ["001", "1"]),
        (("sub-01", "sub-02", "sub-03", "sub-04", "4"), ["4"]),
    ],
)
def test_two_labels_of_one_folder_are_refused(root, ids, ambiguous):
    put(root / TABLE, table(ids))
    found = read_participants(root)
    assert [problem.participant for problem in found.problems] == ambiguous
    assert "leading zeros only), so it was matched with no folder" in str(found.problems[0])
    exact = {f"sub-{label}": label for label in LABELS}
    for label, arm in zip(ids, ARMS, strict=True):
        if label in exact:
            assert group_of(found)[exact[label]] == arm


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (
            [f"sub-SD_{label}" for label in LABELS],
            "0 of 5 participants with a folder have a row in this table (in the table: sub-SD_01, "
            "sub-SD_02, sub-SD_03 and 2 others; folders: sub-01, sub-02, sub-03 and 2 others); the "
            "labels of the table begin with 'SD_'; write the names of the folders",
        ),
        (["sub-01", "sub-02", "sub-x3", "sub-x4", "sub-x5"], "2 of 5 participants"),
        (["1.5", "2.5", "3.5", "-4", "-5"], "0 of 5 participants"),
        (["CQ1", "CQ2", "CQ3", "CQ4", "CQ5"], "0 of 5 participants"),
        (["a@b.org", "c@b.org", "d@b.org", "e@b.org", "f@b.org"], "0 of 5 participants"),
    ],
)
def test_a_table_that_meets_few_folders_stops_the_group_level(root, ids, words):
    put(root / TABLE, table(ids))
    found = read_participants(root)
    (refusal,) = found.refusals
    assert words in str(refusal)
    assert refusal in found.problems


def test_half_of_the_participants_are_enough(tmp_path):
    for label in "1234":
        (tmp_path / f"sub-{label}").mkdir()
    put(tmp_path / TABLE, table(("1", "2"), ("a", "b")))
    assert read_participants(tmp_path).refusals == ()


def test_folders_with_invalid_names_are_no_participants(root):
    for name in ("sub-01 copy", "sub-01.bak", "sub-$(x)", "sub-"):
        (root / name).mkdir()
    assert read_participants(root).labels == LABELS


def test_a_repeated_column_of_labels_is_read_first(root):
    rows = [f"{label}\tCQ{k}\t{ARMS[k]}" for k, label in enumerate(IDS)]
    put(root / TABLE, "\n".join(["participant_id\tparticipant_id\tgroup", *rows]))
    found = read_participants(root)
    assert found.columns == {"group": ARMS}
    (problem,) = found.problems
    assert "column participant_id occurs more than once, and the first one was read" in str(problem)
    assert found.refusals == ()


def test_a_repeated_column_is_omitted_and_doubtful(root):
    rows = [f"{label}\t{ARMS[k]}\t{k}\t{k + 1}" for k, label in enumerate(IDS)]
    put(root / TABLE, "\n".join(["participant_id\tgroup\tage\tage", *rows]))
    found = read_participants(root)
    assert found.columns == {"group": ARMS}
    (problem,) = found.problems
    assert "column age occurs more than once with different values (line 2)" in str(problem)
    with pytest.raises(DesignError, match=r"column age occurs more than once .*; rename one"):
        found.numbers("age")
    equal = [f"{label}\t{ARMS[k]}\t{k}\t{k}" for k, label in enumerate(IDS)]
    put(root / TABLE, "\n".join(["participant_id\tgroup\tage\tage", *equal]))
    found = read_participants(root)
    assert found.numbers("age").tolist() == [0, 1, 2, 3, 4]
    assert (found.problems, dict(found.doubtful)) == ((), {})


@pytest.mark.parametrize(
    "change",
    [
        lambda t: "\n".join(f'"{line}"'.replace("\t", '"\t"') for line in t.strip().split("\n")),
        lambda t: "\n".join(  # row names of R
            line if k == 0 else f"{k}\t{line}" for k, line in enumerate(t.strip().split("\n"))
        ),
        lambda t: "\n".join(  # index of pandas
            f"{k - 1 if k else ''}\t{line}" for k, line in enumerate(t.strip().split("\n"))
        ),
        lambda t: "\n" + t,
        lambda t: "\ufeff" + t.replace("\n", "\t\t\r") + "\t\t\t\r",
        lambda t: t.replace("participant_id", "Participant_ID").replace("\t", " \t"),
    ],
    ids=["quotes", "row names", "index", "empty line", "mark and tabs", "spaces"],
)
def test_exports_of_other_programs_are_read(root, change):
    put(root / TABLE, change(table(IDS)))
    found = read_participants(root)
    assert (found.labels, found.columns, found.refusals) == (LABELS, {"group": ARMS}, ())


@pytest.mark.parametrize(
    ("name", "is_read"),
    [
        ("Participants.tsv", True),
        ("participants.csv", False),
        ("participants.tsv.txt", False),
        ("participants.xlsx", False),
    ],
)
def test_a_table_under_another_name_is_read_or_refused(root, name, is_read):
    (root / TABLE).unlink()
    put(root / name, GOOD)
    found = read_participants(root)
    assert ("group" in found.columns) == is_read
    assert bool(found.refusals) != is_read
    if not is_read:
        assert "its name is not participants.tsv; save it as" in str(found.refusals[0])


def test_a_source_whose_table_lists_nobody_is_refused(tmp_path):
    derivative = tmp_path / "study/derivatives/fmriprep"
    (derivative / "sub-1010").mkdir(parents=True)
    put(tmp_path / "study" / TABLE, table(("sub-SD_1010",), ("drug",)))
    found = read_participants(derivative)
    assert (found.labels, found.columns) == (("1010",), {})
    (refusal,) = found.refusals
    assert "it lists none of the participants with a folder in" in str(refusal)
    put(tmp_path / "study" / TABLE, table(("SUB-01010",), ("drug",)))
    found = read_participants(derivative)
    assert (group_of(found), found.refusals) == ({"1010": "drug"}, ())


def test_a_table_beside_the_data_set_is_read_with_its_sidecar(root, tmp_path):
    put(root / "phenotype/x.tsv", "participant_id\thamd\nsub-01\t7\n")
    other = put(tmp_path / "mine.tsv", table(IDS, ("1", "1", "0", "0", "9"), "arm"))
    put(
        tmp_path / "mine.json",
        '{"arm": {"Levels": {"1": "drug", "0": "sham", "9": "missing"}}}',
    )
    found = read_participants(root, other)
    assert found.columns == {"arm": ("1", "1", "0", "0", "n/a")}
    assert found.levels["arm"]["1"] == "drug"
    assert found.path == other
    assert found.scores("hamd") == {("01", ""): 7}
    missing = read_participants(root, tmp_path / "nowhere.tsv")
    assert "there is no such file" in str(missing.refusals[0])


# --- numbers and missing values


@pytest.mark.parametrize(
    ("ages", "expected"),
    [
        (("21,7", "22,1", "23", "24,9", "n/a"), [21.7, 22.1, 23, 24.9, np.nan]),
        (("22,5", "31,5", "44,5", "22,5", "31,5"), [22.5, 31.5, 44.5, 22.5, 31.5]),
        (("21,7", "22.5", "-", "null", ""), [21.7, 22.5, np.nan, np.nan, np.nan]),
        (("1e1", "2E+01", "30", "NA", "4.0e1"), [10, 20, 30, np.nan, 40]),
    ],
)
def test_numbers_of_spreadsheets_are_one_numeric_column(root, ages, expected):
    put(root / TABLE, table(IDS, ages, "age"))
    found = read_participants(root)
    np.testing.assert_array_equal(found.numbers("age"), expected)
    assert found.problems == ()
    assert any("has decimal commas" in note for note in found.notes) == ("," in "".join(ages))


@pytest.mark.parametrize(
    ("ages", "words"),
    [
        (("1,234", "12,345", "2,345", "3,456", "4,567"), "separators of thousands"),
        (("21 y", "22 y", "23 y", "24 y", "25 y"), "numbers with units or bounds ('21 y'"),
        ((">60", "<18", ">65", "~30", "n/a"), "numbers with units or bounds ('>60', '<18'"),
        (("21", "22", "old", "young", "n/a"), "2 texts ('old', 'young')"),
        (("21", "22", "-999", "23", "24"), "contains '-999', which may stand for missing values"),
        (("45%", "0.5", "0.6", "50%", "n/a"), "percentages ('45%', '50%') and other numbers"),
    ],
)
def test_doubtful_columns_are_named_and_give_no_numbers(root, ages, words):
    put(root / TABLE, table(IDS, ages, "age"))
    found = read_participants(root)
    said = [*map(str, found.problems), *found.notes]
    assert any("column age" in text and words in text for text in said)
    with pytest.raises(DesignError, match="column age contains"):
        found.numbers("age")


def test_codes_of_the_sidecar_are_missing_values(root):
    rows = ["1\t31\t-999\t5", "2\t99\t3\t-99", "9\t25\t2\t7", "1\t88\t-999.0\t8", "2\t40\t5\t6"]
    lines = [f"{label}\t{row}" for label, row in zip(IDS, rows, strict=True)]
    put(root / TABLE, "\n".join(["participant_id\tsex\tage\tscore\tother", *lines]))
    put(
        root / "participants.json",
        """{"sex": {"Levels": {"1": {"Description": "male"}, "2": "female", "9": "Not available"}},
        "Age": {"MissingValues": [99, "88"]}, "score": {"Missing": -999},
        "other": {"NaN": {"-99": "not done"}, "Levels": "none"}, "absent": 3}""",
    )
    found = read_participants(root)
    assert found.columns["sex"] == ("1", "2", "n/a", "1", "2")
    np.testing.assert_array_equal(found.numbers("age"), [31, np.nan, 25, np.nan, 40])
    np.testing.assert_array_equal(found.numbers("score"), [np.nan, 3, 2, np.nan, 5])
    np.testing.assert_array_equal(found.numbers("other"), [5, np.nan, 7, 8, 6])
    assert found.levels["sex"] == {"1": "male", "2": "female", "9": "Not available"}
    assert "values '-999', '-999.0' of column score are missing values according to" in " ".join(
        found.notes
    )
    assert found.problems == ()


def test_a_malformed_sidecar_is_noted(root):
    put(root / "participants.json", '{"group": {"Levels": ')
    found = read_participants(root)
    assert (found.levels, found.refusals) == ({}, ())
    assert any("it is not JSON" in note and "was not used" in note for note in found.notes)


# --- rows by visit


def visits_table(session_column="session_id", sessions=("pre", "post"), change=None):
    lines = [f"participant_id\t{session_column}\tgroup\tMADRS\tage"]
    for k, label in enumerate(IDS):
        for j, session in enumerate(sessions):
            cells = [label, session, ARMS[k], str(30 - 10 * j + k), str(20 + k)]
            lines.append("\t".join(change(k, j, cells) if change else cells))
    return "\n".join(lines) + "\n"


def add_sessions(root, *names, labels=LABELS):
    for label in labels:
        for name in names:
            (root / f"sub-{label}" / f"ses-{name}" / "func").mkdir(parents=True)


@pytest.mark.parametrize(
    ("session_column", "sessions", "folders"),
    [
        ("session_id", ("ses-pre", "ses-post"), ("pre", "post")),
        ("visit", ("1", "2"), ("01", "02")),
        ("Time Point", ("V1", "V2"), ("v1", "v2")),
        ("timepoint", ("1.0", "2.0"), ("1", "2")),
        ("Session", ("Baseline", "Follow-Up"), ("baseline", "followup")),
        (
            "eventname",
            ("baseline_year_1_arm_1", "2_year_follow_up_y_arm_1"),
            ("baselineYear1Arm1", "2YearFollowUpYArm1"),
        ),
        ("redcap_event_name", ("week_0", "week_12"), ("week00", "week12")),
    ],
)
def test_a_table_with_a_row_per_visit(root, session_column, sessions, folders):
    add_sessions(root, *folders)
    put(root / TABLE, visits_table(session_column, sessions))
    found = read_participants(root)
    assert (found.labels, found.problems, found.refusals) == (LABELS, (), ())
    assert group_of(found) == dict(zip(LABELS, ARMS, strict=True))
    assert found.numbers("age").tolist() == [20, 21, 22, 23, 24]
    assert set(found.columns) == {"group", "age"}
    assert set(found.visits) == {"MADRS"}
    scores = found.scores("MADRS")
    assert [scores["03", name] for name in folders] == [32, 22]
    assert (len(scores), found.meets("MADRS")) == (10, 10)
    assert "has one row per visit" in " ".join(found.notes)
    with pytest.raises(DesignError, match="column MADRS varies between the visits of 5 particip"):
        found.numbers("MADRS")


def test_a_value_that_differs_once_is_missing_for_this_participant_only(root):
    def change(k, j, cells):
        if (k, j) == (1, 1):
            cells[2] = "placebo"
        if (k, j) == (2, 1):
            cells[4] = "23"  # a birthday between the visits
        if (k, j) == (3, 1):
            cells[2] = "n/a"
        return cells

    put(root / TABLE, visits_table(change=change))
    found = read_participants(root)
    assert group_of(found) == dict(
        zip(LABELS, ("drug", "n/a", "drug", "placebo", "placebo"), strict=True)
    )
    (problem,) = found.problems
    assert problem.participant == "02"
    assert "different values of group in its rows (drug, placebo)" in str(problem)
    np.testing.assert_array_equal(found.numbers("age"), [20, 21, np.nan, 23, 24])
    assert found.scores("age")["03", "post"] == 23


def test_a_condition_that_varies_in_a_crossover_is_a_score(root):
    def change(k, j, cells):
        cells[2] = ("drug", "placebo")[(k + j) % 2]
        return cells

    put(root / TABLE, visits_table(change=change))
    found = read_participants(root)
    assert "group" not in found.columns
    assert "varies between the visits of 5 participants" in found.doubtful["group"]
    assert found.visits["group"]["02", "pre"] == "placebo"


def test_rows_without_a_session_column_must_not_differ(root):
    put(root / TABLE, visits_table("MRI", ("pre", "post")))
    found = read_participants(root)
    assert len(found.problems) == 5
    assert "add a column session_id if each row is a visit" in str(found.problems[0])


def test_a_session_column_of_one_row_per_participant_is_a_characteristic(root):
    put(root / TABLE, table(IDS, ("1", "2", "2", "1", "1"), "visit"))
    found = read_participants(root)
    assert found.columns["visit"] == ("1", "2", "2", "1", "1")
    assert found.visits == {}


# --- sessions of scores


@pytest.mark.parametrize(
    ("folders", "sessions", "rule"),
    [
        (("01", "02"), ("1", "2"), "leading zeros"),
        (("1", "2"), ("ses-01", "ses-02"), "leading zeros"),
        (("01", "02"), ("1.0", "2.0"), "leading zeros"),
        (("baseline", "followup"), ("Baseline", "Follow-Up"), "case and separators"),
        (("V1", "V2"), ("v01", "v02"), "leading zeros and case"),
        (("01", "02"), ("Session 1", "session2"), "the spelling of ses-"),
    ],
)
@pytest.mark.parametrize("kind", ["sessions", "root", "phenotype", "column"])
def test_sessions_of_scores_are_matched_with_folders(root, folders, sessions, rule, kind):
    add_sessions(root, *folders)
    if kind == "column" and not all(name.isalnum() for name in sessions):
        sessions = tuple("".join(filter(str.isalnum, name)) for name in sessions)
    for label in LABELS:
        rows = "".join(f"{name}\t{20 - 5 * j}\n" for j, name in enumerate(sessions))
        if kind == "sessions":
            put(root / f"sub-{label}/sub-{label}_sessions.tsv", f"session_id\tHAMD\n{rows}")
    lines = "".join(
        f"{label}\t{name}\t{20 - 5 * j}\n" for label in IDS for j, name in enumerate(sessions)
    )
    if kind in ("root", "phenotype"):
        name = "sessions.tsv" if kind == "root" else "phenotype/hamd.tsv"
        put(root / name, f"participant_id\tsession_id\tHAMD\n{lines}")
    if kind == "column":
        names = [f"HAMD_ses-{name.removeprefix('ses-')}" for name in sessions]
        rows = "".join(f"{label}\t20\t15\n" for label in IDS)
        put(root / TABLE, "participant_id\t" + "\t".join(names) + "\n" + rows)
    found = read_participants(root)
    if kind == "column" and sessions[0] == "10":
        return  # 1.0 cannot be part of a label
    scores = found.scores("HAMD")
    assert [scores["04", name] for name in folders] == [20, 15]
    assert found.meets("HAMD") == 10
    if kind != "column":
        assert any(rule in note for note in found.notes)
        assert len([note for note in found.notes if "is matched with" in note]) <= 2


def test_sessions_that_match_no_folder_are_noted_and_meet_nothing(root):
    add_sessions(root, "pre", "post")
    lines = "".join(f"{label}\tT{j}\t{j}\n" for label in IDS for j in (0, 1))
    put(root / "sessions.tsv", f"participant_id\tsession_id\tHAMD\n{lines}")
    found = read_participants(root)
    assert (found.meets("HAMD"), found.meets("BDI"), found.meets("group")) == (0, 9, 5)
    assert any("no folder matches session 'T0', 'T1'" in note for note in found.notes)
    with pytest.raises(TableError, match="no score or column 'HAMDD'"):
        found.meets("HAMDD")


def test_sessions_that_match_several_folders_are_refused(root):
    add_sessions(root, "1", "01")
    put(root / SESSIONS, "session_id\tHAMD\n001\t7\n1\t8\n")
    found = read_participants(root)
    assert found.scores("HAMD") == {("02", "1"): 8}
    (problem,) = [p for p in found.problems if "may be" in str(p)]
    assert "session '001' of sub-02 may be ses-01 or ses-1, so its values were not used" in str(
        problem
    )


def test_sessions_without_folders_are_taken_from_file_names(root):
    for label in LABELS:
        for session in ("01", "02"):
            put(root / f"sub-{label}/func/sub-{label}_ses-{session}_task-rest_bold.json", "{}")
    put(root / SESSIONS, "session_id\tHAMD\n1\t7\n2\t8\n")
    found = read_participants(root)
    assert found.scores("HAMD") == {("02", "01"): 7, ("02", "02"): 8}
    assert ("02", "01") in found.with_data


def test_scores_have_decimal_commas_and_codes_of_their_sidecar(root):
    put(root / "phenotype/a.tsv", "participant_id\tsession_id\tx\n01\tpre\t1,5\n02\tpre\t-9\n")
    put(root / "phenotype/a.json", '{"x": {"Levels": {"-9": "Refused to answer; missing"}}}')
    put(root / "sessions.json", '{"y": {"MissingValues": [99]}}')
    put(root / SESSIONS, "session_id\ty\npre\t99\npost\t7\n")
    found = read_participants(root)
    assert found.scores("x") == {("01", "pre"): 1.5}
    assert found.scores("y") == {("02", "post"): 7}
    assert found.problems == ()


def test_a_score_of_unclear_numbers_is_refused(root):
    lines = "".join(f"{label}\tpre\t{k + 1},{k}00\n" for k, label in enumerate(IDS))
    put(root / "sessions.tsv", f"participant_id\tsession_id\tsteps\n{lines}")
    found = read_participants(root)
    with pytest.raises(DesignError, match="score steps contains separators of thousands"):
        found.scores("steps")


@pytest.mark.parametrize(
    ("text", "folder"), [("1.5", "15"), ("-1", "1"), ("1", "10"), ("1.0", "10")]
)
def test_sessions_with_other_numbers_are_not_matched(root, text, folder):
    add_sessions(root, folder)
    put(root / SESSIONS, f"session_id\tHAMD\n{text}\t7\n")
    found = read_participants(root)
    assert found.meets("HAMD") == 0
    assert any(f"no folder matches session '{text}'" in note for note in found.notes)


def test_semicolons_and_decimal_commas_of_a_european_spreadsheet(root):
    rows = [
        f"{label};{arm};{20 + k},5" for k, (label, arm) in enumerate(zip(IDS, ARMS, strict=True))
    ]
    put(root / TABLE, "\r\n".join(["Participant ID;group;age", *rows, ";;"]))
    found = read_participants(root)
    assert found.numbers("age").tolist() == [20.5, 21.5, 22.5, 23.5, 24.5]
    assert (found.columns["group"], found.problems) == (ARMS, ())


def test_commas_as_separators_and_decimals_are_refused(root):
    rows = [f"{label},{arm},20,5" for label, arm in zip(IDS, ARMS, strict=True)]
    put(root / TABLE, "\n".join(["participant_id,group,age", *rows]))
    assert "no valid rows" in str(read_participants(root).refusals[0])
