"""Fixtures: a local server like OpenNeuro, a local git-annex data set, and a recipe."""

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
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from circuitshift.pipeline.validation.opendata import openneuro

DATASET, TAG, COMMIT = "ds000001", "1.0.1", "c0ffee" * 6 + "c0ff"
PAGE = b"<!DOCTYPE html><html><body>Service unavailable</body></html>" * 20
RECIPE = """
title = "A"
about = "B"
[[dataset]]
accession = "ds000001"
tag = "1.0.0"
[dataset.replica]
groups = {a = 3}
"""
PUBLISHED = """
[[published]]
quantity = "treated"
value = 12
source = "doi:10.1000/x"
where = "abstract"
ours = "n.treated"
rule = "at most"
"""


def compressed_image(seed: int = 0, n: int = 40) -> bytes:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 1000, (8, 8, 8, n)).astype(np.int16)
    return gzip.compress(nib.Nifti1Image(values, np.eye(4)).to_bytes(), mtime=0)


def raw_files() -> dict[str, bytes]:
    """Make the files of a raw data set, by path."""
    description = {
        "Name": "X",
        "BIDSVersion": "1.8.0",
        "DatasetDOI": "10.18112/openneuro.ds000001.v1.0.0",
    }
    out = {
        "dataset_description.json": json.dumps(description).encode(),
        "participants.tsv": b"participant_id\tgroup\nsub-01\tdrug\nsub-02\tplacebo\n",
        "README": b"words",
        "task-rest_bold.json": b'{"RepetitionTime": 2.0}',
        "phenotype/mood.tsv": b"participant_id\tsession_id\tMADRS\nsub-01\tses-pre\t30\n",
        "sub-01/ses-pre/dwi/sub-01_ses-pre_dwi.nii.gz": compressed_image(9),
        "sub-01/ses-pre/func/._sub-01_ses-pre_task-rest_bold.nii.gz": b"junk",
    }
    for k, (label, session) in enumerate((p, s) for p in ("01", "02") for s in ("pre", "post")):
        stem = f"sub-{label}/ses-{session}"
        name = f"sub-{label}_ses-{session}"
        out[f"{stem}/func/{name}_task-rest_bold.nii.gz"] = compressed_image(k)
        out[f"{stem}/func/{name}_task-nback_bold.nii.gz"] = compressed_image(20 + k)
        if session == "pre":
            out[f"{stem}/anat/{name}_T1w.nii.gz"] = compressed_image(10 + k, n=1)
    return out


class Handler(BaseHTTPRequestHandler):
    """Handler that answers queries and serves files, or fails as requested."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_words):
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
        mock = self.server.mock
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if mock.failures.get("api", 0) > 0:
            mock.failures["api"] -= 1
            self.send(503, b"busy")
        else:
            self.send(200, json.dumps(mock.answer(query["query"])).encode(), "application/json")

    def do_HEAD(self):
        content = self.server.mock.files[self.path.removeprefix("/files/")]
        self.send(200, content, **self.tags(content))

    def do_GET(self):
        mock, path = self.server.mock, self.path.removeprefix("/files/")
        content, span = mock.files[path], self.headers.get("Range", "")
        start = int(span[6:].rstrip("-") or 0) if span else 0
        mock.requests.append((path, span))
        failure, remaining = mock.failures.get(path, ("", 0))
        if remaining:
            mock.failures[path] = (failure, remaining - 1)
            self.fail(failure, content[start:])
        else:
            self.send(206 if start else 200, content[start:], **self.tags(content))

    def tags(self, content):
        digest = hashlib.md5(content).hexdigest()  # noqa: S324 - as in S3
        return {"ETag": f'"{digest}"'} if self.server.mock.etag else {}

    def fail(self, failure, content):
        if failure == "500":
            self.send(500, b"error")
        elif failure == "html":
            self.send(200, PAGE, "text/html")
        elif failure == "empty":
            self.send(200, b"")
        else:  # the connection is closed, or stalls, after a third of the content
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 3])
            self.wfile.flush()
            time.sleep(7 if failure == "stall" else 0)
            self.close_connection = True


class MockOpenNeuro:
    """Local server with the interface and files of OpenNeuro.

    `failures` maps a path, or "api", to the kind and number of failures.
    """

    def __init__(self, files, failures=(), etag=True):
        self.files, self.failures, self.etag = files, dict(failures), etag
        self.requests: list[tuple[str, str]] = []
        self.tags = ("1.0.0", TAG)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.mock = self
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, query):
        if "hexsha" in query:
            return {"data": {"snapshot": {"hexsha": COMMIT}}}
        if "snapshots" in query:
            snapshots = [{"id": f"{DATASET}:{tag}", "tag": tag} for tag in self.tags]
            return {"data": {"dataset": {"snapshots": snapshots} if snapshots else None}}
        files = [
            {"filename": path, "size": len(data), "id": path, "urls": [f"{self.url}/files/{path}"]}
            for path, data in self.files.items()
        ]
        return {"data": {"snapshot": {"id": f"{DATASET}:{TAG}", "files": files}}}


@pytest.fixture
def mock_openneuro(monkeypatch, tmp_path):
    """Provide a function that starts a mock server and directs openneuro-py to it."""
    servers = []
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    import openneuro._download as client

    def start(files=None, failures=(), **options):
        server = MockOpenNeuro(files or raw_files(), failures, **options)
        monkeypatch.setattr(client, "gql_url", f"{server.url}/crn/graphql")
        monkeypatch.setattr(openneuro, "API", f"{server.url}/crn/graphql")
        monkeypatch.setattr(openneuro, "_PAUSE_S", 0.01)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.server.shutdown()
        server.server.server_close()


@pytest.fixture
def annex_repository():
    """Provide a function that makes a git-annex data set, with images annexed and text in git."""
    own = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": own}
    for role in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{role}_NAME": "x", f"GIT_{role}_EMAIL": "x@localhost"}

    def make(folder, files):
        def git(*words):
            done = subprocess.run(
                ["git", *words], cwd=folder, env=env, check=True, capture_output=True, text=True
            )
            return done.stdout.strip()

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

    return make


@pytest.fixture
def published_data():
    """Provide constants and file contents of the published data set."""
    return SimpleNamespace(
        dataset=DATASET,
        tag=TAG,
        commit=COMMIT,
        page=PAGE,
        image=compressed_image,
        raw_files=raw_files,
    )


@pytest.fixture
def write_recipe(tmp_path):
    """Provide a function that writes a recipe with its study file; `published` is one value."""

    def write(change=lambda text: text, *, published=False):
        path = tmp_path / "mine.toml"
        path.write_text(change(RECIPE + (PUBLISHED if published else "")))
        (tmp_path / "mine.study.toml").write_text("[groups]\ntreated = ['a']\n")
        return str(path)

    return write
