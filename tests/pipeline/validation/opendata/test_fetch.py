"""Fetching from a stand-in of OpenNeuro on loopback and a local git-annex data set, with faults."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from circuitshift.pipeline.errors import InputError, InputProblemsError
from circuitshift.pipeline.validation.opendata import openneuro
from circuitshift.pipeline.validation.opendata.fetch import fetch, is_fetched, published_sources
from circuitshift.pipeline.validation.opendata.needed_files import Wanted

DATASET, TAG, COMMIT = "ds000001", "1.0.1", "c0ffee" * 6 + "c0ff"
PAGE = b"<!DOCTYPE html><html><body>Service unavailable</body></html>" * 20


def image(seed=0, n=40):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 1000, (8, 8, 8, n)).astype(np.int16)
    return gzip.compress(nib.Nifti1Image(values, np.eye(4)).to_bytes(), mtime=0)


def raw_files():
    out = {
        "dataset_description.json": json.dumps(
            {
                "Name": "X",
                "BIDSVersion": "1.8.0",
                "DatasetDOI": "10.18112/openneuro.ds000001.v1.0.0",
            }
        ).encode(),
        "participants.tsv": b"participant_id\tgroup\nsub-01\tdrug\nsub-02\tplacebo\n",
        "README": b"words",
        "task-rest_bold.json": b'{"RepetitionTime": 2.0}',
        "phenotype/mood.tsv": b"participant_id\tsession_id\tMADRS\nsub-01\tses-pre\t30\n",
        "sub-01/ses-pre/dwi/sub-01_ses-pre_dwi.nii.gz": image(9),
        "sub-01/ses-pre/func/._sub-01_ses-pre_task-rest_bold.nii.gz": b"junk",
    }
    for k, (person, session) in enumerate((p, s) for p in ("01", "02") for s in ("pre", "post")):
        stem = f"sub-{person}/ses-{session}"
        name = f"sub-{person}_ses-{session}"
        out[f"{stem}/func/{name}_task-rest_bold.nii.gz"] = image(k)
        out[f"{stem}/func/{name}_task-nback_bold.nii.gz"] = image(20 + k)
        if session == "pre":
            out[f"{stem}/anat/{name}_T1w.nii.gz"] = image(10 + k, n=1)
    return out


class Handler(BaseHTTPRequestHandler):
    """Answers queries and serves files, or does what a fault says."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def send(self, status, body, kind="application/octet-stream", **head):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for key, value in head.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self):
        stand = self.server.stand
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if stand.problems.get("api", 0) > 0:
            stand.problems["api"] -= 1
            self.send(503, b"busy")
        else:
            self.send(200, json.dumps(stand.answer(query["query"])).encode(), "application/json")

    def do_HEAD(self):
        content = self.server.stand.files[self.path.removeprefix("/files/")]
        self.send(200, content, **self.tags(content))

    def do_GET(self):
        stand, path = self.server.stand, self.path.removeprefix("/files/")
        content, span = stand.files[path], self.headers.get("Range", "")
        start = int(span[6:].rstrip("-") or 0) if span else 0
        stand.asked.append((path, span))
        problem, left = stand.problems.get(path, ("", 0))
        if left:
            stand.problems[path] = (problem, left - 1)
            self.misbehave(problem, content[start:])
        else:
            self.send(206 if start else 200, content[start:], **self.tags(content))

    def tags(self, content):
        digest = hashlib.md5(content).hexdigest()  # noqa: S324 - as S3 does
        return {"ETag": f'"{digest}"'} if self.server.stand.etag else {}

    def misbehave(self, problem, content):
        if problem == "500":
            self.send(500, b"oops")
        elif problem == "html":
            self.send(200, PAGE, "text/html")
        elif problem == "empty":
            self.send(200, b"")
        else:  # the connection breaks off, or stalls, after a third
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 3])
            self.wfile.flush()
            time.sleep(7 if problem == "stall" else 0)
            self.close_connection = True


class StandIn:
    """OpenNeuro's API and file store on loopback; `problems`: what happens to a path, how often."""

    def __init__(self, files, problems=(), etag=True):
        self.files, self.problems, self.etag = files, dict(problems), etag
        self.asked: list[tuple[str, str]] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.stand = self
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, query):
        listed = [
            {"filename": path, "size": len(data), "id": path, "urls": [f"{self.url}/files/{path}"]}
            for path, data in self.files.items()
        ]
        if "hexsha" in query:
            return {"data": {"snapshot": {"hexsha": COMMIT}}}
        if "snapshots" in query:
            return {
                "data": {
                    "dataset": {
                        "snapshots": [
                            {"id": f"{DATASET}:{tag}", "tag": tag} for tag in ("1.0.0", TAG)
                        ]
                    }
                }
            }
        return {"data": {"snapshot": {"id": f"{DATASET}:{TAG}", "files": listed}}}


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    """Start a stand-in and send openneuro-py to it."""
    servers = []
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    for name in (
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    import openneuro._download as theirs

    def start(files=None, problems=(), **more):
        server = StandIn(files or raw_files(), problems, **more)
        monkeypatch.setattr(theirs, "gql_url", f"{server.url}/crn/graphql")
        monkeypatch.setattr(openneuro, "API", f"{server.url}/crn/graphql")
        monkeypatch.setattr(openneuro, "_PAUSE_S", 0.01)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.server.shutdown()
        server.server.server_close()


RUN = "sub-01/ses-{}/func/sub-01_ses-{}_task-rest_bold.nii.gz"
PRE, POST = RUN.format("pre", "pre"), RUN.format("post", "post")
T1W = "sub-02/ses-pre/anat/sub-02_ses-pre_T1w.nii.gz"


def there(folder):
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".fetch")
    }


def test_only_what_the_analysis_needs_comes_and_is_recorded(stand_in, tmp_path):
    server, said = stand_in(), []
    found = fetch(DATASET, tmp_path / "ds", Wanted(tasks=("rest",)), notify=said.append)
    expected = {
        path for path in server.files if not any(word in path for word in ("dwi", "._", "nback"))
    }
    assert there(tmp_path / "ds") == expected
    assert all((tmp_path / "ds" / path).read_bytes() == server.files[path] for path in expected)
    assert (found.tag, found.commit, found.n_files) == (TAG, COMMIT, len(expected))
    n_bytes = sum(len(server.files[path]) for path in expected)
    assert f"{len(expected)} files, {n_bytes / 1e9:.3g} GB" in said[0]
    assert is_fetched(tmp_path / "ds")
    assert published_sources(tmp_path / "ds") == (f"doi:10.18112/openneuro.{DATASET}.v{TAG}",)


def test_nothing_is_fetched_twice_and_what_was_lost_comes_back(stand_in, tmp_path):
    server, wanted = stand_in(), Wanted(participants=("01",), tasks=("rest",))
    folder = tmp_path / "ds"
    fetch(DATASET, folder, wanted, notify=lambda _: None)
    server.asked.clear()
    fetch(DATASET, folder, wanted, notify=lambda _: None)
    assert server.asked == []
    (folder / PRE).write_bytes(server.files[PRE][:5000])
    fetch(DATASET, folder, wanted, notify=lambda _: None)
    assert (PRE, "bytes=5000-") in server.asked  # it goes on where it stopped
    assert {path for path, _ in server.asked} <= {
        PRE,
        "dataset_description.json",
        "participants.tsv",
        "README",
    }
    assert (folder / PRE).read_bytes() == server.files[PRE]


@pytest.mark.slow
@pytest.mark.parametrize("etag", [True, False])
def test_every_fault_is_survived(stand_in, tmp_path, etag):
    problems = {
        "api": 2,
        PRE: ("truncated", 2),
        POST: ("html", 1),
        T1W: ("empty", 1),
        "participants.tsv": ("html", 1),
        RUN.format("pre", "pre").replace("01", "02"): ("500", 2),
    }
    if etag:  # 5 s, until openneuro-py gives the connection up
        problems[RUN.format("post", "post").replace("01", "02")] = ("stall", 1)
    server = stand_in(problems=problems, etag=etag)
    fetch(DATASET, tmp_path / "ds", Wanted(tasks=("rest",)), notify=lambda _: None)
    for path in there(tmp_path / "ds"):
        assert (tmp_path / "ds" / path).read_bytes() == server.files[path], path


@pytest.mark.slow
def test_what_cannot_be_had_is_named_and_the_rest_is_there(stand_in, tmp_path, monkeypatch):
    monkeypatch.setattr(openneuro, "_RETRIES", 1)
    files = raw_files() | {T1W: b""}  # empty on the server, too
    server = stand_in(files, {PRE: ("html", 100), POST: ("500", 100)})
    with pytest.raises(InputProblemsError) as caught:
        fetch(DATASET, tmp_path / "ds", Wanted(tasks=("rest",)), notify=lambda _: None)
    said = str(caught.value)
    named = {
        Path(problem.where).relative_to(tmp_path / "ds").as_posix()
        for problem in caught.value.problems
    }
    assert named == {PRE, POST, T1W}
    assert "run the same command again" in said
    assert "empty (0 bytes)" in said
    assert not is_fetched(tmp_path / "ds")
    other = PRE.replace("01", "02")
    assert (tmp_path / "ds" / other).read_bytes() == server.files[other]
    server.problems.clear()
    server.files[T1W] = image(3, n=1)
    fetch(DATASET, tmp_path / "ds", Wanted(tasks=("rest",)), notify=lambda _: None)
    assert is_fetched(tmp_path / "ds")


def test_versions_and_folders_are_not_mixed(stand_in, tmp_path):
    stand_in()
    with pytest.raises(InputError, match=r"no version 9; name one of 1.0.0, 1.0.1"):
        fetch(DATASET, tmp_path / "ds", tag="9", notify=lambda _: None)
    wanted = Wanted(include=("sub-02/ses-pre/anat/*",))
    fetch(DATASET, tmp_path / "ds", wanted, notify=lambda _: None)
    with pytest.raises(InputError, match=r"holds ds000001 1.0.1; name another"):
        fetch(DATASET, tmp_path / "ds", wanted, tag="1.0.0", notify=lambda _: None)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("words")
    with pytest.raises(InputError, match="was not fetched"):
        fetch(DATASET, tmp_path / "full", notify=lambda _: None)
    with pytest.raises(InputError, match="no run that fits"):
        fetch(DATASET, tmp_path / "new", Wanted(tasks=("stroop",)), notify=lambda _: None)


def test_a_dry_run_says_how_much_and_writes_nothing(stand_in, tmp_path):
    stand_in()
    said = []
    fetch(DATASET, tmp_path / "ds", dry_run=True, notify=said.append)
    assert "GB" in said[0]
    assert not (tmp_path / "ds").exists()


@pytest.mark.slow
def test_without_a_network_it_ends_soon_with_what_to_do(tmp_path, monkeypatch):
    # a port nobody listens at, and a server that takes the connection and never answers
    import socket

    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen(8)
    monkeypatch.setattr(openneuro, "_TIMEOUT_S", 0.3)  # 12 s otherwise
    for url in ("http://127.0.0.1:9/", f"http://127.0.0.1:{silent.getsockname()[1]}/"):
        with pytest.raises(InputError, match="run this again where there is a network"):
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


def annex_repository(folder, files):
    """Make a git-annex data set as OpenNeuroDerivatives has them: images annexed, text in git."""
    own = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": own}
    for who in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{who}_NAME": "x", f"GIT_{who}_EMAIL": "x@localhost"}

    def git(*words):
        subprocess.run(["git", *words], cwd=folder, env=env, check=True, capture_output=True)

    folder.mkdir()
    git("init", "--quiet")
    git("annex", "init", "source")
    for path, data in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    git("annex", "add", "--quiet", "--largerthan=100b", ".")
    git("add", ".")
    git("commit", "--quiet", "-m", "all")
    return git


def derived_files():
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
    for k, (person, session) in enumerate((p, s) for p in ("01", "02") for s in ("pre", "post")):
        stem = f"sub-{person}/ses-{session}/func/sub-{person}_ses-{session}_task-rest"
        for m, space in enumerate(("MNI152NLin2009cAsym_res-2", "MNI152NLin6Asym", "T1w")):
            out[f"{stem}_space-{space}_desc-preproc_bold.nii.gz"] = image(100 + 10 * k + m)
            out[f"{stem}_space-{space}_desc-preproc_bold.json"] = b'{"RepetitionTime": 2.0}'
            out[f"{stem}_space-{space}_desc-brain_mask.nii.gz"] = image(200 + 10 * k + m, n=1)
        table = "\t".join(["a", "b"]) + "\n" + "1\t2\n" * 1500 + f"{k}\t{k}\n"
        out[f"{stem}_desc-confounds_timeseries.tsv"] = table.encode()
        out[f"{stem}_desc-confounds_timeseries.json"] = b"{}"
    return out


SPACED = "sub-{0}/ses-{1}/func/sub-{0}_ses-{1}_task-rest_space-MNI152NLin2009cAsym_res-2_desc-{2}"


@pytest.mark.slow
def test_a_derivative_comes_from_git_annex_in_one_space(stand_in, tmp_path):
    stand_in()
    files = derived_files()
    annex_repository(tmp_path / "source", files)
    said = []
    found = fetch(
        DATASET,
        tmp_path / "ds",
        derivatives=("fmriprep", str(tmp_path / "source")),
        notify=said.append,
    )
    root = tmp_path / "ds/derivatives/fmriprep"
    expected = {
        path
        for path in files
        if "confounds" in path
        or "2009c" in path
        or path in ("dataset_description.json", "desc-aseg_dseg.tsv")
    }
    whole = {
        path
        for path in files
        if (root / path).exists() and (root / path).read_bytes() == files[path]
    }
    assert expected <= whole
    left = {path for path in files if (root / path).is_symlink() and not (root / path).exists()}
    assert {path for path in files if path.endswith("bold.nii.gz")} - expected <= left
    assert not any(
        path.endswith("bold.nii.gz") for path in there(tmp_path / "ds") if "derivatives" not in path
    )
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=tmp_path / "source", capture_output=True, text=True
    ).stdout.strip()
    assert found.derivatives == {"fmriprep": head}
    assert found.tag == TAG  # the one the derivative says it was made from
    assert any(" GB; to fetch" in line for line in said)
    sources = published_sources(tmp_path / "ds")
    assert sources[1].startswith("file://")
    assert sources[1].endswith(f"source#{head}")

    # what is lost comes back, and only that
    victim = root / f"{SPACED.format('02', 'post', 'preproc')}_bold.nii.gz"
    victim.resolve().parent.chmod(0o755)
    victim.resolve().unlink()
    said.clear()
    fetch(
        DATASET,
        tmp_path / "ds",
        derivatives=("fmriprep", str(tmp_path / "source")),
        notify=said.append,
    )
    assert victim.read_bytes() == files[str(victim.relative_to(root))]
    assert [line for line in said if line.startswith("[")] == [f"[1] {victim.relative_to(root)}"]
    with pytest.raises(InputError, match="is a clone of"):
        fetch(DATASET, tmp_path / "ds", derivatives=("fmriprep", str(tmp_path)), notify=said.append)


@pytest.mark.slow
def test_faults_of_an_annex_are_named(stand_in, tmp_path):
    stand_in()
    files = derived_files()
    missing = f"{SPACED.format('01', 'pre', 'preproc')}_bold.nii.gz"
    page = f"{SPACED.format('01', 'post', 'preproc')}_bold.nii.gz"
    short = f"{SPACED.format('02', 'pre', 'preproc')}_bold.nii.gz"
    files[page] = PAGE * 5  # as it was stored
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
    named = {Path(problem.where).relative_to(root).as_posix() for problem in caught.value.problems}
    assert named == {missing, page, short}
    assert "web page" in str(caught.value)
    whole = f"{SPACED.format('02', 'post', 'preproc')}_bold.nii.gz"
    assert (root / whole).read_bytes() == files[whole]
