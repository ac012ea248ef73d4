"""Descriptions of data sets: their content, and protection of other programs' output."""

import json

import pytest

from circuitshift.pipeline import __version__
from circuitshift.pipeline.bids.description import (
    generator,
    refuse_foreign,
    simulation_sentence,
    write_dataset_description,
)
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.validation.simulate.cohort import write_description


def test_the_description_states_sources_and_links(tmp_path):
    out = tmp_path / "out"
    raw = tmp_path / "raw set"
    write_dataset_description(
        out,
        name="circuitshift",
        sources=(str(raw), "doi:10.18112/openneuro.ds003007.v1.0.1", "https://example.org/x"),
        links={"fmriprep": str(raw)},
    )
    content = json.loads((out / "dataset_description.json").read_text())
    assert content["DatasetType"] == "derivative"
    assert content["GeneratedBy"] == [{"Name": "circuitshift", "Version": __version__}]
    assert content["SourceDatasets"] == [
        {"URL": raw.resolve().as_uri()},
        {"DOI": "doi:10.18112/openneuro.ds003007.v1.0.1"},
        {"URL": "https://example.org/x"},
    ]
    assert content["DatasetLinks"] == {"fmriprep": raw.resolve().as_uri()}
    ignored = (out / ".bidsignore").read_text().split()
    assert {"*.html", "group", "logs"} <= set(ignored)
    assert generator(out) == "circuitshift"


def test_output_of_circuitshift_may_be_written_again(tmp_path):
    for name in ("first", "second"):
        write_dataset_description(tmp_path, name=name)
        content = json.loads((tmp_path / "dataset_description.json").read_text())
        assert content["Name"] == name
        assert not {"SourceDatasets", "DatasetLinks"} & set(content)


def test_a_data_set_of_another_program_is_not_changed(tmp_path, files):
    files.touch(tmp_path / "dataset_description.json", '{"GeneratedBy": [{"Name": "fMRIPrep"}]}')
    with pytest.raises(InputError, match="it is a data set of fMRIPrep, so nothing is written"):
        write_dataset_description(tmp_path, name="circuitshift")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset_description.json"]


@pytest.mark.parametrize("text", ["{}", "{", '{"GeneratedBy": {}}', '{"GeneratedBy": []}'])
def test_a_data_set_of_an_unknown_program_is_not_changed(tmp_path, files, text):
    files.touch(tmp_path / "dataset_description.json", text)
    assert generator(tmp_path) == ""
    with pytest.raises(InputError, match="it is a data set of another program"):
        refuse_foreign(tmp_path)


def test_an_empty_or_missing_folder_may_be_used(tmp_path):
    refuse_foreign(tmp_path)
    refuse_foreign(tmp_path / "none")
    assert generator(tmp_path / "none") == ""


def test_derivatives_of_simulated_data_are_called_simulated(tmp_path):
    data, out, further = (tmp_path / name for name in ("data", "out", "further"))
    write_description(data, "A study", "raw")
    write_dataset_description(out, name="circuitshift", sources=(str(data), "doi:10.1/x"))
    write_dataset_description(further, name="circuitshift", sources=(str(out),))
    words = "circuitshift simulate: Simulated images; no participant was scanned"
    for folder in (data, out, further):
        sentence = simulation_sentence(folder)
        assert sentence == f"The data are simulated, as their description states ({words})."
    assert generator(further) == "circuitshift"
    assert simulation_sentence(out, "healthy").startswith("The data of healthy are simulated")


@pytest.mark.parametrize(
    "content",
    [
        {"Name": "Driving in a simulator", "GeneratedBy": [{"Name": "fMRIPrep"}]},
        {"GeneratedBy": ["simulate"]},
        {"GeneratedBy": {"Name": "simulate"}},
        {},
    ],
)
def test_measured_data_are_not_called_simulated(tmp_path, files, content):
    files.touch(tmp_path / "in" / "dataset_description.json", json.dumps(content))
    write_dataset_description(tmp_path / "out", name="x", sources=(str(tmp_path / "in"),))
    assert simulation_sentence(tmp_path / "in") == simulation_sentence(tmp_path / "out") == ""
