"""BIDS file names: parsing and building are inverse, and invalid labels are refused."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from circuitshift.pipeline.bids.names import ORDER, build_path, is_junk, parse_name
from circuitshift.pipeline.errors import CircuitshiftError, InputError

# pytest is strict here and stops at a folder .hypothesis in the root of the repository
set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis-circuitshift")

LABEL = st.from_regex(r"[a-zA-Z0-9+]{1,12}", fullmatch=True)
KEYS = ["ses", "task", "acq", "dir", "run", "echo", "space", "res", "atlas", "stat", "desc", "zz"]


@settings(database=None)
@given(
    st.dictionaries(st.sampled_from(KEYS), LABEL, max_size=8),
    LABEL,
    st.sampled_from(["bold", "timeseries", "relmat", "AROMAnoiseICs"]),
    st.sampled_from([".nii.gz", ".nii", ".tsv", ".dtseries.nii", ".json"]),
    st.randoms(),
)
def test_parsing_is_the_inverse_of_building(entities, sub, suffix, extension, random):
    pairs = [("sub", sub), *entities.items()]
    random.shuffle(pairs)
    path = build_path(pairs, suffix, extension)
    name = parse_name(path.name)
    assert (dict(name.entities), name.suffix, name.extension) == (dict(pairs), suffix, extension)
    assert path == build_path(name.entities, suffix, extension)
    folders = [f"sub-{sub}", *([f"ses-{entities['ses']}"] if "ses" in entities else []), "func"]
    assert list(path.parts[:-1]) == folders


@settings(database=None)
@given(
    sub=LABEL,
    more=st.dictionaries(st.sampled_from(ORDER[1:]), LABEL, max_size=6),
    suffix=st.sampled_from(["bold", "relmat", "timeseries"]),
)
def test_entities_are_in_the_order_of_bids(sub, more, suffix):
    path = build_path([("sub", sub), *more.items()], suffix, ".tsv")
    name = parse_name(path.name)
    assert dict(name.entities) == {"sub": sub, **more}
    places = [ORDER.index(key) for key, _ in name.entities]
    assert places == sorted(places)


@settings(database=None)
@given(value=st.text(max_size=20), key=st.sampled_from(["sub", "ses", "task"]))
def test_no_label_leads_out_of_the_folder(value, key):
    pairs = {"sub": "01", key: value}
    try:
        path = build_path(pairs.items(), "bold", ".tsv")
    except CircuitshiftError as error:
        assert "letters and digits" in str(error)  # noqa: PT017
    else:
        assert not path.is_absolute()
        assert all(part not in ("..", "") and "/" not in part for part in path.parts)


@settings(database=None)
@given(name=st.text(max_size=60))
def test_any_text_is_parsed_or_refused(name):
    parsed = parse_name(name)
    if parsed is not None:
        keys = [key for key, _ in parsed.entities]
        assert len(set(keys)) == len(keys)
        stem = "_".join([*(f"{k}-{v}" for k, v in parsed.entities), parsed.suffix])
        assert stem + parsed.extension == name


def test_the_order_of_entities_is_that_of_fmriprep_and_xcpd():
    pairs = {"desc": "24p", "stat": "mean", "atlas": "AAL", "res": "2", "space": "S", "run": "1"}
    pairs |= {"task": "rest", "ses": "pre", "sub": "01", "acq": "mb"}
    assert str(build_path(pairs.items(), "timeseries", ".tsv")) == (
        "sub-01/ses-pre/func/sub-01_ses-pre_task-rest_acq-mb_run-1_space-S_res-2_atlas-AAL_"
        "stat-mean_desc-24p_timeseries.tsv"
    )


def test_keys_outside_bids_precede_desc():
    pairs = [("desc", "x"), ("zz", "1"), ("sub", "01"), ("yy", "2")]
    assert build_path(pairs, "bold", ".nii", "").name == "sub-01_zz-1_yy-2_desc-x_bold.nii"


@pytest.mark.parametrize(
    "name",
    [
        "participants.tsv",
        "sub-01_bold",
        "sub_01_bold.nii",
        "sub-01_sub-02_bold.nii",
        "sub-01__bold.nii",
        "._sub-01_bold.nii.gz",
        "sub-0 1_bold.nii",
        "sub-01_task-a-b_bold.nii",
        "",
    ],
)
def test_invalid_names_are_not_parsed(name):
    assert parse_name(name) is None


@pytest.mark.parametrize(
    "pairs", [[("task", "rest")], [("sub", "1"), ("sub", "2")], [("sub", "0_1")], [("sub", "a/b")]]
)
def test_no_path_is_built_from_invalid_entities(pairs):
    with pytest.raises(InputError, match="no BIDS name can be built"):
        build_path(pairs, "bold", ".nii")


def test_parts_of_a_name():
    name = parse_name("sub-01_task-rest_space-fsLR_den-91k_bold.dtseries.nii")
    assert name.extension == ".dtseries.nii"
    assert (name.get("den"), name.get("run"), name.get("run", "1")) == ("91k", "", "1")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("._sub-01_bold.nii", True), (".DS_Store", True), ("Thumbs.db", True), (".bidsignore", False)],
)
def test_files_of_operating_systems_are_recognised(name, expected):
    assert is_junk(name) is expected
