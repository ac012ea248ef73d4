"""Runs with identical data are named by the entities in which they differ."""

from pathlib import Path

import pytest

from circuitshift.pipeline.bids.runs.identical import copies_among
from circuitshift.pipeline.records import Run


def run_of(name, session=""):
    entities = tuple(tuple(part.split("-")) for part in name.split("_"))
    found = dict(entities)
    return Run(
        participant=found["sub"],
        session=found.get("ses", session),
        task=found.get("task", ""),
        run=found.get("run", ""),
        space="",
        res="",
        input_type="bold",
        path=Path(f"{name}_bold.nii.gz"),
        entities=entities,
    )


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (
            ("sub-01_ses-pre_task-rest", "sub-01_ses-post_task-rest"),
            "sub-01: ses-pre and ses-post have identical data (",
        ),
        (
            ("sub-01_ses-pre_run-1", "sub-01_ses-post_run-2"),
            "sub-01: ses-pre and ses-post have identical data (",
        ),
        (
            ("sub-01_ses-pre_run-1", "sub-01_ses-pre_run-2"),
            "sub-01, ses-pre: run-1 and run-2 have identical data (",
        ),
        (
            ("sub-01_task-rest", "sub-01_task-rest_run-2"),
            "sub-01: no run- and run-2 have identical data (",
        ),
        (
            ("sub-01_ses-1_run-1", "sub-01_ses-1_run-2", "sub-01_ses-2_run-1"),
            "sub-01: ses-1 run-1, ses-1 run-2 and ses-2 run-1 have identical data (",
        ),
    ],
)
def test_copies_are_named(names, sentence):
    runs = [run_of(name) for name in names]
    other = run_of("sub-01_ses-extra_task-rest")
    found = copies_among([*((run, "same") for run in runs), (other, "another")])
    assert list(found) == runs
    assert {text.startswith(sentence) for text in found.values()} == {True}
    assert all(f"{name}_bold.nii.gz" in found[runs[0]] for name in names)


def test_different_and_unknown_contents_are_no_copies():
    runs = [run_of(f"sub-01_ses-{k}") for k in range(4)]
    assert copies_among(zip(runs, ("a", "b", "", ""), strict=True)) == {}
