"""From unusual tables of participants to roles, covariates and scores, or to a refusal.

Each input is a variant of one study of 14 participants with two visits, of whom the first seven
received the drug. Whatever is read must give the same members of the study.
"""

import numpy as np
import pytest

from circuitshift.pipeline.errors import CircuitshiftError
from circuitshift.pipeline.study.group_level import DataSet, read_input, resolve_study
from circuitshift.pipeline.study.members import study_members
from circuitshift.pipeline.study.resolution.resolve import require
from circuitshift.pipeline.study.study_file import StudyFile

LABELS = tuple(f"{k:02d}" for k in range(1, 15))
AGES = tuple(20 + k + 0.5 * (k % 2) for k in range(1, 15))
CHANGES = tuple((12 if k <= 7 else 26) - 30.0 + k % 3 for k in range(1, 15))


def write(path, lines, *, sep="\t", end="\n", codec="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(sep.join(map(str, line)) + end for line in lines)
    path.write_bytes(text.encode(codec))


def arm(k):
    return "drug" if k < 7 else "placebo"


def participants(label=lambda k: f"sub-{LABELS[k]}", age=lambda k: AGES[k]):
    return [("participant_id", "group", "age"), *((label(k), arm(k), age(k)) for k in range(14))]


def scores(session=lambda k: ("pre", "post")[k]):
    """Rows of participant, session and score."""
    return [
        (f"sub-{label}", session(visit), 30 if visit == 0 else 30 + CHANGES[k])
        for k, label in enumerate(LABELS)
        for visit in (0, 1)
    ]


def write_scores(root, rows):
    write(root / "phenotype/madrs.tsv", [("participant_id", "session_id", "MADRS"), *rows])


def rows_by_visit():
    yield ("participant_id", "session_id", "group", "MADRS", "age")
    for row, (label, session, score) in enumerate(scores()):
        yield (label, f"ses-{session}", arm(row // 2), score, AGES[row // 2])


def comma(k):
    return str(AGES[k]).replace(".", ",")


def fancy(k):
    return f"{AGES[k]}".removesuffix(".0")


VARIANTS = {
    "as in BIDS": participants(),
    "two columns of labels": [
        (label, "participant_id" if k == 0 else f"CQ{k}", *rest)
        for k, (label, *rest) in enumerate(participants())
    ],
    "labels without zeros": participants(lambda k: k + 1),
    "labels with more zeros": participants(lambda k: f"SUB-{k + 1:04d}"),
    "decimal commas": participants(age=comma),
    "whole numbers among decimals": participants(age=fancy),
    "a row per visit": list(rows_by_visit()),
    "other name of the column": [("Subject ID", "group", "age"), *participants()[1:]],
    "repeated rows": [*participants(), *participants()[1:4]],
}
FORMS = {
    "utf-16": {"codec": "utf-16", "end": "\r\n"},
    "utf-8 with mark and carriage returns": {"codec": "utf-8-sig", "end": "\t\t\r"},
    "utf-32": {"codec": "utf-32"},
    "semicolons": {"sep": ";", "end": "\r\n"},
    "quotes": {"sep": '"\t"'},
}


@pytest.fixture
def study(tmp_path):
    """Make the tables of runs of the study, and a function that reads its members."""
    data, out = tmp_path / "data", tmp_path / "out"
    header = ("run", "session", "status", "code", "reason", "relmat")
    for label in LABELS:
        rows = [(f"ses-{s}", s, "included", "n/a", "n/a", "n/a") for s in ("pre", "post")]
        write(out / f"sub-{label}/sub-{label}_runs.tsv", [header, *rows])
        for session in ("pre", "post"):
            (data / f"sub-{label}/ses-{session}/func").mkdir(parents=True)
    write_scores(data, scores())

    def members(**keys):
        stated = StudyFile(
            None, tuple(({"covariates": ("age",), "symptom": "MADRS"} | keys).items())
        )
        given = read_input([DataSet(out, data)])
        found, design, _ = study_members(given, require(resolve_study(given, stated)[0]))
        assert design.covariates == ("age",)
        return {member.participant: member for member in found}

    members.data = data
    return members


def check(members):
    assert [members[label].role for label in LABELS] == ["treated"] * 7 + ["control"] * 7
    np.testing.assert_array_equal([members[label].covariates[0] for label in LABELS], AGES)
    np.testing.assert_array_equal([members[label].symptom for label in LABELS], CHANGES)
    assert set(members) == set(LABELS)


@pytest.mark.parametrize("rows", VARIANTS.values(), ids=VARIANTS)
def test_tables_with_the_same_content(study, rows):
    if rows[0][1] == "session_id":
        (study.data / "phenotype/madrs.tsv").unlink()
    write(study.data / "participants.tsv", rows)
    check(study())


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_files_with_the_same_content(study, form):
    rows = participants()
    if form.get("sep") == '"\t"':
        rows = [(f'"{label}', group, f'{age}"') for label, group, age in rows]
    write(study.data / "participants.tsv", rows, **form)
    check(study())


@pytest.mark.parametrize(
    "labels",
    [("1", "2"), ("ses-01", "ses-02"), ("1.0", "2.0"), ("Pre", "POST"), ("Session 1", "Session 2")],
)
def test_sessions_of_scores_in_other_spellings(study, labels):
    folders = ("pre", "post") if labels == ("Pre", "POST") else ("01", "02")
    for label in LABELS:
        for old, new in zip(("pre", "post"), folders, strict=True):
            (study.data / f"sub-{label}/ses-{old}").rename(study.data / f"sub-{label}/ses-{new}")
        path = study.data.parent / f"out/sub-{label}/sub-{label}_runs.tsv"
        text = path.read_text().replace("post", folders[1]).replace("pre", folders[0])
        path.write_text(text)
    write(study.data / "participants.tsv", participants())
    write_scores(study.data, scores(lambda visit: labels[visit]))
    check(study(baseline=folders[0], followup=folders[1]))


REFUSED = {
    "labels that meet no folder": (
        participants(lambda k: f"sub-SD_{LABELS[k]}"),
        "0 of 14 participants with a folder have a row in this table",
    ),
    "labels of another list": (
        participants(lambda k: f"CQ{k}"),
        "0 of 14 participants with a folder",
    ),
    "thousands or decimals": (
        participants(age=lambda k: f"{k + 1},234"),
        "covariate 'age' cannot be used",
    ),
    "units": (participants(age=lambda k: f"{20 + k} years"), "covariate 'age' cannot be used"),
    "bounds": (
        participants(age=lambda k: 20 + k if k % 2 else ">60"),
        "7 texts ('>60')",
    ),
    "a code of missing values": (
        participants(age=lambda k: AGES[k] if k else -999),
        "contains '-999'",
    ),
    "a header only": (participants()[:1], "it has a header and no valid rows"),
    "no column of labels": ([row[1:] for row in participants()], "it has no column participant_id"),
    "the column of arms twice": (
        [(*row, "group" if k == 0 else "AB"[k % 2]) for k, row in enumerate(participants())],
        "'group' may name the arms, but cannot be used",
    ),
    "a web page": ([("<html>",), ("</html>",)], "it is a web page"),
}


@pytest.mark.parametrize(("rows", "sentence"), REFUSED.values(), ids=REFUSED)
def test_tables_that_do_not_decide_are_refused(study, rows, sentence):
    write(study.data / "participants.tsv", rows)
    with pytest.raises(CircuitshiftError) as caught:
        study()
    assert sentence in str(caught.value)
    assert "; " in str(caught.value)  # what to do


def test_a_score_that_meets_no_visit_is_refused(study):
    write(study.data / "participants.tsv", participants())
    write_scores(study.data, scores(lambda visit: f"T{visit}"))
    with pytest.raises(CircuitshiftError, match="symptom 'MADRS' has values for ses-T0, ses-T1"):
        study()
