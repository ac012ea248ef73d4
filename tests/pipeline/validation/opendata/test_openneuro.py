"""OpenNeuro: versions of data sets, failures of the service, and downloads."""

import pytest

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.validation.opendata import openneuro
from circuitshift.pipeline.validation.opendata.openneuro import download, read_snapshot


def test_files_of_a_version(mock_openneuro, published_data):
    server = mock_openneuro()
    snapshot = read_snapshot(published_data.dataset, "1.0.0")
    assert (snapshot.dataset, snapshot.tag, snapshot.commit) == (
        published_data.dataset, "1.0.0", published_data.commit,
    )  # fmt: skip
    assert snapshot.sizes == {path: len(data) for path, data in server.files.items()}


def test_the_newest_version_is_the_default(mock_openneuro, published_data):
    server = mock_openneuro()
    server.tags = ("1.0.10", "1.0.9", "1.0.2")
    assert read_snapshot(published_data.dataset).tag == "1.0.10"


def test_unknown_versions_and_data_sets_are_refused(mock_openneuro):
    server = mock_openneuro()
    with pytest.raises(InputError, match=r"ds000001 has no version 9; use one of 1\.0\.0, 1\.0\.1"):
        read_snapshot("ds000001", "9")
    server.tags = ()
    with pytest.raises(InputError, match="OpenNeuro has no public data set ds000002"):
        read_snapshot("ds000002")


@pytest.mark.parametrize(("n_failures", "succeeds"), [(2, True), (3, False)])
def test_failed_queries_are_repeated(mock_openneuro, published_data, n_failures, succeeds):
    mock_openneuro(failures={"api": n_failures})
    if succeeds:
        assert read_snapshot(published_data.dataset).tag == published_data.tag
    else:
        with pytest.raises(InputError, match=r"it answered HTTP 503\); run this again"):
            read_snapshot(published_data.dataset)


def test_a_service_that_does_not_state_the_commit(mock_openneuro, published_data, monkeypatch):
    server = mock_openneuro()
    answer = server.answer
    monkeypatch.setattr(
        server, "answer", lambda query: {"errors": "x"} if "hexsha" in query else answer(query)
    )
    assert read_snapshot(published_data.dataset).commit == ""


def test_downloads_and_their_errors(mock_openneuro, published_data, tmp_path, monkeypatch):
    server = mock_openneuro()
    snapshot = read_snapshot(published_data.dataset)
    folder = tmp_path / "ds"
    folder.mkdir()
    # a description of another version must not prevent the download
    (folder / "dataset_description.json").write_bytes(server.files["dataset_description.json"])
    assert download(snapshot, ["participants.tsv"], folder) == ""
    assert (folder / "participants.tsv").read_bytes() == server.files["participants.tsv"]
    assert not (folder / "sub-01").exists()
    monkeypatch.setattr(openneuro, "_RETRIES", 0)
    path = "sub-01/ses-pre/anat/sub-01_ses-pre_T1w.nii.gz"
    server.failures[path] = ("500", 100)
    message = download(snapshot, [path], folder)
    assert message
    assert "\n" not in message
