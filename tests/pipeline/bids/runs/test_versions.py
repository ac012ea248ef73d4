"""One version of each acquired run is used, the same for all participants where possible."""

from dataclasses import dataclass

import pytest

from circuitshift.pipeline.bids.names import Name, acquired, parse_name, version_keys
from circuitshift.pipeline.bids.runs.versions import choose_versions, part_is_run, rank_of


@dataclass(frozen=True)
class File:
    """A file with a parsed name."""

    name: Name

    @property
    def identity(self):
        return acquired(self.name)


def files_of(*texts):
    return [File(parse_name(f"sub-{text}_bold.nii.gz")) for text in texts]


def chosen(*texts):
    """Choose among files; return the selected texts and the choices."""
    choices = []
    selected = choose_versions(files_of(*texts), choices)
    names = ["_".join(f"{k}-{v}" for k, v in file.name.entities)[4:] for file in selected]
    return names, choices


def test_which_entities_keep_runs_apart():
    name = parse_name(
        "sub-1_ses-a_task-rest_acq-x_ce-y_rec-z_dir-AP_run-02_echo-1_part-mag_proc-p_space-S_"
        "cohort-1_res-2_den-91k_denoise-36p_desc-preproc_bold.nii.gz"
    )
    assert dict(acquired(name)) == {
        "sub": "1",
        "ses": "a",
        "task": "rest",
        "acq": "x",
        "ce": "y",
        "dir": "AP",
        "run": "2",
    }
    assert set(version_keys(name)) == {
        *("rec", "echo", "part", "proc", "space", "cohort", "res", "den", "denoise", "desc")
    }


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["proc-pmeica", "proc-meica", "proc-poptcom", "proc-optcom"], "proc-optcom"),
        (["proc-meica", "proc-poptcom"], "proc-poptcom"),
        (["proc-b", "proc-a"], "proc-a"),
        (["rec-norm", ""], ""),
        (["rec-dis2d", "rec-dis3d"], "rec-dis2d"),
        (["part-mag", ""], "part-mag"),
        (["denoise-36p", "denoise-24p"], "denoise-24p"),
        (["smooth-6", ""], ""),
    ],
)
def test_one_of_several_versions_is_used(labels, expected):
    texts = [f"1_task-rest_run-1{f'_{label}' if label else ''}" for label in labels]
    names, (choice,) = chosen(*texts)
    assert names == [f"1_task-rest_run-1{f'_{expected}' if expected else ''}"]
    assert sum(n for _, n in choice.ignored) == len(labels) - 1


def test_entities_may_be_in_any_order():
    names, (choice,) = chosen(
        "1_task-rest_rec-a_run-1", "1_run-01_rec-b_task-rest", "2_rec-b_run-1_task-rest"
    )
    assert names == ["1_run-01_rec-b_task-rest", "2_rec-b_run-1_task-rest"]
    assert (choice.question, choice.chosen, choice.ignored) == ("rec", "rec-b", (("rec-a", 1),))
    assert choice.sentence == (
        "rec-b is used, which most runs have (in a tie, the order is no rec-, numbers by size, "
        "others by alphabet); ignored: rec-a (1 run)."
    )


@pytest.mark.parametrize("key", ["acq", "ce", "dir", "run"])
def test_acquisitions_are_kept_apart(key):
    texts = [f"1_task-rest_{key}-1", f"1_task-rest_{key}-2", "1_task-rest"]
    assert chosen(*texts) == (texts, [])


def test_visits_of_a_participant_have_one_version_where_possible():
    names, (choice,) = chosen(
        *(f"{k}_ses-{s}_rec-a" for k in (1, 2, 3) for s in ("pre", "post")),
        *("4_ses-pre_rec-a", "4_ses-pre_rec-b", "4_ses-post_rec-b"),
    )
    assert names[-2:] == ["4_ses-pre_rec-b", "4_ses-post_rec-b"]
    assert len(names) == 8
    assert choice.ignored == (("rec-a", 1),)
    assert "but rec-b in 2 runs of participants without it" in choice.sentence


def test_different_processing_without_a_choice_is_recorded():
    names, (choice,) = chosen("1_ses-pre_proc-optcom", "1_ses-post_proc-meica")
    assert len(names) == 2
    assert "processing differs between runs" in choice.sentence
    assert chosen("1_ses-pre_part-mag", "1_ses-post")[1] == []


def test_several_entities_are_chosen_one_after_the_other():
    texts = [f"1_proc-{p}_rec-{r}" for p in ("meica", "optcom") for r in "ab"]
    names, choices = chosen(*texts)
    assert names == ["1_proc-optcom_rec-a"]
    assert [choice.question for choice in choices] == ["proc", "rec"]


def test_parts_and_ranks():
    name = "sub-1_part-{}_bold.nii.gz"
    assert [part_is_run(parse_name(name.format(p))) for p in ("mag", "phase", "real", "imag")] == [
        *(True, False, False, False)
    ]
    assert sorted(["10", "9", "", "02", "2"], key=rank_of("res")) == ["2", "02", "", "9", "10"]
