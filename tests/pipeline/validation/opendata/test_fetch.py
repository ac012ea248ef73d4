"""Download of data sets from a mock server and a local git-annex repository, with failures."""

import json
import socket
from pathlib import Path

import pytest

from circuitshift.pipeline.errors import InputError, InputProblemsError
from circuitshift.pipeline.validation.opendata import openneuro
from circuitshift.pipeline.validation.opendata.fetch import fetch, is_fetched, published_sources
from circuitshift.pipeline.validation.opendata.needed_files import FileSelection

DATASET, TAG = "ds000001", "1.0.1"
RUN = "sub-01/ses-{}/func/sub-01_ses-{}_task-rest_bold.nii.gz"
PRE, POST = RUN.format("pre", "pre"), RUN.format("post", "post")
T1W = "sub-02/ses-pre/anat/sub-02_ses-pre_T1w.nii.gz"


def files_in(folder):
    """List the files of a folder, without the record of the download."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".fetch")
    }


def test_only_needed_files_are_fetched_and_the_version_is_recorded(
    mock_openneuro, published_data, tmp_path
):
    server, lines = mock_openneuro(), []
    fetched = fetch(DATASET, tmp_path / "ds", FileSelection(tasks=("rest",)), notify=lines.append)
    expected = {
        path for path in server.files if not any(word in path for word in ("dwi", "._", "nback"))
    }
    assert files_in(tmp_path / "ds") == expected
    assert all((tmp_path / "ds" / path).read_bytes() == server.files[path] for path in expected)
    assert (fetched.tag, fetched.commit, fetched.n_files) == (
        TAG, published_data.commit, len(expected),
    )  # fmt: skip
    n_bytes = sum(len(server.files[path]) for path in expected)
    assert f"{len(expected)} files, {n_bytes / 1e9:.3g} GB" in lines[0]
    assert is_fetched(tmp_path / "ds")
    assert published_sources(tmp_path / "ds") == (f"doi:10.18112/openneuro.{DATASET}.v{TAG}",)


def test_verified_files_are_not_fetched_again_and_truncated_ones_are_resumed(
    mock_openneuro, tmp_path
):
    server, selection = mock_openneuro(), FileSelection(participants=("01",), tasks=("rest",))
    folder = tmp_path / "ds"
    fetch(DATASET, folder, selection, notify=lambda _: None)
    server.requests.clear()
    fetch(DATASET, folder, selection, notify=lambda _: None)
    assert server.requests == []
    (folder / PRE).write_bytes(server.files[PRE][:5000])
    fetch(DATASET, folder, selection, notify=lambda _: None)
    assert (PRE, "bytes=5000-") in server.requests  # the download is resumed
    assert {path for path, _ in server.requests} <= {
        PRE,
        "dataset_description.json",
        "participants.tsv",
        "README",
    }
    assert (folder / PRE).read_bytes() == server.files[PRE]


@pytest.mark.parametrize("etag", [True, False])
def test_failures_of_the_server_are_compensated(mock_openneuro, tmp_path, etag):
    failures = {
        "api": 2,
        PRE: ("truncated", 2),
        POST: ("html", 1),
        T1W: ("empty", 1),
        "participants.tsv": ("html", 1),
        RUN.format("pre", "pre").replace("01", "02"): ("500", 2),
    }
    if etag:  # takes 5 s, until openneuro-py closes the connection
        failures[RUN.format("post", "post").replace("01", "02")] = ("stall", 1)
    server = mock_openneuro(failures=failures, etag=etag)
    fetch(DATASET, tmp_path / "ds", FileSelection(tasks=("rest",)), notify=lambda _: None)
    for path in files_in(tmp_path / "ds"):
        assert (tmp_path / "ds" / path).read_bytes() == server.files[path], path


def test_files_that_cannot_be_fetched_are_reported_and_all_others_are_fetched(
    mock_openneuro, published_data, tmp_path, monkeypatch
):
    monkeypatch.setattr(openneuro, "_RETRIES", 1)
    files = published_data.raw_files() | {T1W: b""}  # empty on the server as well
    server = mock_openneuro(files, {PRE: ("html", 100), POST: ("500", 100)})
    with pytest.raises(InputProblemsError) as caught:
        fetch(DATASET, tmp_path / "ds", FileSelection(tasks=("rest",)), notify=lambda _: None)
    message = str(caught.value)
    reported = {
        Path(problem.where).relative_to(tmp_path / "ds").as_posix()
        for problem in caught.value.problems
    }
    assert reported == {PRE, POST, T1W}
    assert "run the same command again" in message
    assert "empty (0 bytes)" in message
    assert not is_fetched(tmp_path / "ds")
    other = PRE.replace("01", "02")
    assert (tmp_path / "ds" / other).read_bytes() == server.files[other]
    server.failures.clear()
    server.files[T1W] = published_data.image(3, n=1)
    fetch(DATASET, tmp_path / "ds", FileSelection(tasks=("rest",)), notify=lambda _: None)
    assert is_fetched(tmp_path / "ds")


def test_versions_and_folders_are_not_mixed(mock_openneuro, tmp_path):
    mock_openneuro()
    with pytest.raises(InputError, match=r"no version 9; use one of 1.0.0, 1.0.1"):
        fetch(DATASET, tmp_path / "ds", tag="9", notify=lambda _: None)
    selection = FileSelection(include=("sub-02/ses-pre/anat/*",))
    fetch(DATASET, tmp_path / "ds", selection, notify=lambda _: None)
    with pytest.raises(InputError, match=r"contains ds000001 1.0.1; choose another"):
        fetch(DATASET, tmp_path / "ds", selection, tag="1.0.0", notify=lambda _: None)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("words")
    with pytest.raises(InputError, match="was not fetched"):
        fetch(DATASET, tmp_path / "full", notify=lambda _: None)
    with pytest.raises(InputError, match="is a run that matches"):
        fetch(DATASET, tmp_path / "new", FileSelection(tasks=("stroop",)), notify=lambda _: None)


def test_a_dry_run_reports_the_size_and_writes_nothing(mock_openneuro, tmp_path):
    mock_openneuro()
    lines = []
    fetch(DATASET, tmp_path / "ds", dry_run=True, notify=lines.append)
    assert "GB" in lines[0]
    assert not (tmp_path / "ds").exists()


def test_without_a_network_the_error_states_a_remedy(tmp_path, monkeypatch):
    # a closed port, and a server that accepts the connection and never answers
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen(8)
    monkeypatch.setattr(openneuro, "_TIMEOUT_S", 0.3)  # 12 s by default
    for url in ("http://127.0.0.1:9/", f"http://127.0.0.1:{silent.getsockname()[1]}/"):
        with pytest.raises(InputError, match="run this again with network access"):
            fetch(DATASET, tmp_path / "ds", api=url, notify=lambda _: None)
    silent.close()
    with pytest.raises(InputError, match="cannot be used"):
        fetch(
            DATASET,
            tmp_path / "ds",
            derivatives=("fmriprep", "http://127.0.0.1:9/x.git"),
            notify=lambda _: None,
        )


# ------------------------------------------------------------------------------ git-annex


def derivative_files(image):
    """Make the files of output of fMRIPrep, by path."""
    out = {
        "dataset_description.json": json.dumps(
            {
                "Name": "fMRIPrep",
                "BIDSVersion": "1.4.0",
                "SourceDatasets": [{"DOI": f"10.18112/openneuro.{DATASET}.v{TAG}"}],
            }
        ).encode(),
        "desc-aseg_dseg.tsv": b"index\tname\n0\tUnknown\n",
        "logs/CITATION.md": b"x",
        "sub-01/figures/sub-01_T1w.svg": b"<svg/>" * 1000,
    }
    for k, (label, session) in enumerate((p, s) for p in ("01", "02") for s in ("pre", "post")):
        stem = f"sub-{label}/ses-{session}/func/sub-{label}_ses-{session}_task-rest"
        for m, space in enumerate(("MNI152NLin2009cAsym_res-2", "MNI152NLin6Asym", "T1w")):
            out[f"{stem}_space-{space}_desc-preproc_bold.nii.gz"] = image(100 + 10 * k + m)
            out[f"{stem}_space-{space}_desc-preproc_bold.json"] = b'{"RepetitionTime": 2.0}'
            out[f"{stem}_space-{space}_desc-brain_mask.nii.gz"] = image(200 + 10 * k + m, n=1)
        table = "\t".join(["a", "b"]) + "\n" + "1\t2\n" * 1500 + f"{k}\t{k}\n"
        out[f"{stem}_desc-confounds_timeseries.tsv"] = table.encode()
        out[f"{stem}_desc-confounds_timeseries.json"] = b"{}"
    return out


IN_2009C = "sub-{0}/ses-{1}/func/sub-{0}_ses-{1}_task-rest_space-MNI152NLin2009cAsym_res-2_desc-{2}"


def test_a_derivative_is_fetched_in_one_space(
    mock_openneuro, published_data, annex_repository, tmp_path
):
    mock_openneuro()
    files = derivative_files(published_data.image)
    git = annex_repository(tmp_path / "source", files)
    lines = []
    fetched = fetch(
        DATASET,
        tmp_path / "ds",
        derivatives=("fmriprep", str(tmp_path / "source")),
        notify=lines.append,
    )
    root = tmp_path / "ds/derivatives/fmriprep"
    expected = {
        path
        for path in files
        if "confounds" in path
        or "2009c" in path
        or path in ("dataset_description.json", "desc-aseg_dseg.tsv")
    }
    complete = {
        path
        for path in files
        if (root / path).exists() and (root / path).read_bytes() == files[path]
    }
    assert expected <= complete
    remaining = {
        path for path in files if (root / path).is_symlink() and not (root / path).exists()
    }
    assert {path for path in files if path.endswith("bold.nii.gz")} - expected <= remaining
    assert not any(
        path.endswith("bold.nii.gz")
        for path in files_in(tmp_path / "ds")
        if "derivatives" not in path
    )
    head = git("rev-parse", "HEAD")
    assert fetched.derivatives == {"fmriprep": head}
    assert fetched.tag == TAG  # the version that the derivative states as its source
    assert any(" GB; to fetch" in line for line in lines)
    sources = published_sources(tmp_path / "ds")
    assert sources[1].startswith("file://")
    assert sources[1].endswith(f"source#{head}")

    # only missing content is fetched again
    missing_file = root / f"{IN_2009C.format('02', 'post', 'preproc')}_bold.nii.gz"
    missing_file.resolve().parent.chmod(0o755)
    missing_file.resolve().unlink()
    lines.clear()
    fetch(
        DATASET,
        tmp_path / "ds",
        derivatives=("fmriprep", str(tmp_path / "source")),
        notify=lines.append,
    )
    assert missing_file.read_bytes() == files[str(missing_file.relative_to(root))]
    assert [line for line in lines if line.startswith("[")] == [
        f"[1] {missing_file.relative_to(root)}"
    ]
    with pytest.raises(InputError, match="is a clone of"):
        fetch(
            DATASET, tmp_path / "ds", derivatives=("fmriprep", str(tmp_path)), notify=lines.append
        )


def test_problems_of_an_annex_are_reported(
    mock_openneuro, published_data, annex_repository, tmp_path
):
    mock_openneuro()
    files = derivative_files(published_data.image)
    missing = f"{IN_2009C.format('01', 'pre', 'preproc')}_bold.nii.gz"
    page = f"{IN_2009C.format('01', 'post', 'preproc')}_bold.nii.gz"
    short = f"{IN_2009C.format('02', 'pre', 'preproc')}_bold.nii.gz"
    files[page] = published_data.page * 5  # stored as the content of an image
    git = annex_repository(tmp_path / "source", files)
    git("annex", "drop", "--force", missing)
    stored = (tmp_path / "source" / short).resolve()
    stored.parent.chmod(0o755)
    stored.chmod(0o644)
    stored.write_bytes(stored.read_bytes()[:1000])
    with pytest.raises(InputProblemsError) as caught:
        fetch(
            DATASET,
            tmp_path / "ds",
            derivatives=("fmriprep", str(tmp_path / "source")),
            notify=lambda _: None,
        )
    root = tmp_path / "ds/derivatives/fmriprep"
    reported = {
        Path(problem.where).relative_to(root).as_posix() for problem in caught.value.problems
    }
    assert reported == {missing, page, short}
    assert "web page" in str(caught.value)
    complete = f"{IN_2009C.format('02', 'post', 'preproc')}_bold.nii.gz"
    assert (root / complete).read_bytes() == files[complete]
