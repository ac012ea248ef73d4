"""The committed table of entities equals that of the installed BIDS schema."""

import importlib.util
from pathlib import Path

import pytest

from circuitshift.pipeline.bids import entities, filters, names

SCRIPT = Path(__file__).with_name("derive_entities.py")


@pytest.fixture(scope="module")
def derive():
    spec = importlib.util.spec_from_file_location("derive_entities", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_file_follows_from_the_schema(derive):
    assert derive.FILE.read_text() == derive.derived(), f"python {SCRIPT.name}"


def test_the_order_of_entities_differs_from_the_schema_only_as_in_fmriprep():
    moved = {"cohort", "res", "den", "stat"}
    order = [key for key in names.ORDER if key not in moved]
    assert order == [key for key, _, _ in entities.ENTITIES if key not in moved]
    assert set(names.ORDER) == {key for key, _, _ in entities.ENTITIES} | {"stat"}
    place = names.ORDER.index("space")
    assert names.ORDER[place : place + 4] == ("space", "cohort", "res", "den")
    assert names.ORDER[-2:] == ("stat", "desc")


def test_a_name_of_fmriprep_23_is_reproduced():
    name = "sub-01_ses-a_task-rest_dir-AP_run-1_space-MNIPediatricAsym_cohort-1_res-2_desc-preproc"
    pairs = [part.split("-", 1) for part in reversed(name.split("_"))]
    path = names.build_path(pairs, "bold", ".nii.gz")
    assert path.as_posix() == f"sub-01/ses-a/func/{name}_bold.nii.gz"


def test_entities_of_versions_and_parcellations_are_in_the_schema():
    available = set(names.ORDER) | {"meas", "measure"}  # older output of XCP-D
    assert available >= names.VARIANT
    assert set(names.PARCELS) <= available


@pytest.mark.parametrize(
    ("key", "requested", "label", "passes"),
    [
        ("run", "1", "01", True),
        ("res", "2", "02", True),
        ("task", "1", "01", False),
        ("reconstruction", "1", "1", True),
        ("hemisphere", "L", "L", True),
    ],
)
def test_long_names_and_numbers_of_a_filter(key, requested, label, passes):
    short = {"reconstruction": "rec", "hemisphere": "hemi"}.get(key, key)
    name = names.parse_name(f"sub-01_{short}-{label}_bold.nii.gz")
    assert filters.passes_all(name, (("bold", ((key, requested),)),)) is passes
