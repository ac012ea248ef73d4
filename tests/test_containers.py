"""The recipes of the container, without building it (see `make image-test`)."""

import importlib.util
import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from circuitshift.pipeline import __version__
from circuitshift.workflows.cli.parsers import app_parser

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "containers"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
PINS = dict(
    line.split("==")
    for line in (FOLDER / "constraints.txt").read_text().splitlines()
    if not line.startswith("#")
)


@pytest.fixture(scope="module")
def derive():
    spec = importlib.util.spec_from_file_location("derive", FOLDER / "derive.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_definition_and_descriptor_follow_from_dockerfile_and_parser(derive):
    for name, text in derive.derived().items():
        assert (FOLDER / name).read_text() == text, f"python containers/derive.py, for {name}"


def test_an_instruction_that_apptainer_lacks_is_refused(derive):
    with pytest.raises(KeyError):
        derive.definition("ARG BASE=x\nFROM ${BASE}\nHEALTHCHECK NONE\n")


def test_the_definition_has_every_command_of_the_dockerfile():
    text = (FOLDER / "circuitshift.def").read_text()
    assert text.count("Bootstrap: docker") == DOCKERFILE.count("\nFROM ") == 2
    for word in ("pip install", "bake.py", "compileall", "TEMPLATEFLOW_HOME=/opt/templateflow"):
        assert word in DOCKERFILE
        assert word in text
    assert 'exec /opt/circuitshift/bin/circuitshift "$@"' in text
    assert "--mount" not in text


def test_versions_are_the_packages_own():
    assert f'org.opencontainers.image.version="{__version__}"' in DOCKERFILE
    descriptor = json.loads((FOLDER / "descriptor.json").read_text())
    assert descriptor["tool-version"] == __version__


def test_boutiques_accepts_the_descriptor(tmp_path, capsys):
    from boutiques.bosh import bosh

    descriptor = str(FOLDER / "descriptor.json")
    bosh(["validate", descriptor])
    call = {"bids_dir": "/a", "output_dir": "/b", "analysis_level": "participant"}
    call |= {"participant_label": ["01", "02"], "resource_monitor": True}
    (tmp_path / "call.json").write_text(json.dumps(call))
    bosh(["exec", "simulate", "-i", str(tmp_path / "call.json"), descriptor])
    line = "circuitshift /a /b participant --participant-label 01 02 --resource-monitor"
    assert line in capsys.readouterr().out


def test_the_descriptor_contains_every_flag():
    inputs = json.loads((FOLDER / "descriptor.json").read_text())["inputs"]
    flags = {item.get("command-line-flag") for item in inputs} - {None}
    available = {max(a.option_strings, key=len) for a in app_parser()._actions if a.option_strings}
    assert flags == available - {"--help", "--version"}
    assert [i["id"] for i in inputs[:3]] == ["bids_dir", "output_dir", "analysis_level"]


def test_pins_are_versions_only_and_meet_the_requirements_of_the_package():
    assert not re.search(r"://|--index|--find-links|@", (FOLDER / "constraints.txt").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for text in (*project["dependencies"], *extras["preproc"], *extras["harmonise"]):
        requirement = Requirement(text)
        pinned = {name.lower(): version for name, version in PINS.items()}[requirement.name.lower()]
        assert requirement.specifier.contains(pinned), text


def test_the_image_runs_as_an_ordinary_user_and_contains_no_address():
    assert re.search(r"^USER 1000:1000$", DOCKERFILE, re.MULTILINE)
    assert "://" not in DOCKERFILE
