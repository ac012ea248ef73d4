"""Files of a git repository: from a local server, by path, and what is said without access."""

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.validation.opendata import annex
from circuitshift.pipeline.validation.opendata.fetch import published_sources
from circuitshift.pipeline.validation.opendata.git_source import (
    GitSource,
    fetch_git,
    is_present,
    terms,
)

LICENCE = "Creative Commons Attribution-NonCommercial 4.0\n\nUse it for research.\n"
FILES = {
    "LICENSE": LICENCE.encode(),
    "README.md": b"words\n",
    "results/a/one.mat": b"\x00\x01 one",
    "results/a/two.mat": b"\x00\x01 two",
    "results/table.tsv": b"x\n1\n",
    "code/run.m": b"disp(1)\n",
}


def git(folder: Path, *words: str) -> str:
    env = os.environ | {
        f"GIT_{role}_{what}": "x@localhost"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    done = subprocess.run(
        ["git", *words], cwd=folder, env=env, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> tuple[Path, str]:
    """Make a bare repository whose newest commit is not the one with the published files."""
    work = tmp_path / "work"
    work.mkdir()
    git(work, "init", "--quiet", "--initial-branch=main")
    for path, content in FILES.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_bytes(content)
    git(work, "add", ".")
    git(work, "commit", "--quiet", "-m", "published")
    commit = git(work, "rev-parse", "HEAD")
    (work / "results/a/one.mat").write_bytes(b"changed later")
    git(work, "rm", "--quiet", "results/a/two.mat")
    git(work, "commit", "--quiet", "-a", "-m", "later")
    bare = tmp_path / "served" / "study.git"
    git(tmp_path, "clone", "--quiet", "--bare", str(work), str(bare))
    git(bare, "config", "uploadpack.allowFilter", "true")
    return bare, commit


@pytest.fixture
def server(repository: tuple[Path, str]):
    """Serve the repository on the loopback interface; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = repository[0].parent
    words = ["git", "daemon", "--export-all", "--listen=127.0.0.1", f"--port={port}"]
    with subprocess.Popen(
        [*words, f"--base-path={folder}", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"git://127.0.0.1:{port}/study.git"
        os.killpg(process.pid, 15)


def source_of(url: str, commit: str, **fields: object) -> GitSource:
    values = {"paths": ("a/*.mat", "table.tsv"), "folder": "results", "licence": "CC BY-NC"}
    return GitSource(url, commit, **(values | fields))  # type: ignore[arg-type]


def test_files_of_a_commit_arrive_from_a_server(server, repository, tmp_path, monkeypatch):
    said: list[str] = []
    order: list[str] = []
    run_git = annex.run_git

    def recorded(folder, *words, **options):
        order.append(next(word for word in words if word[0] != "-" and "=" not in word))
        if order[-1] == "checkout":
            # the terms of use and the licence were shown before a file was fetched
            assert "CC BY-NC" in said[0]
            assert "NonCommercial 4.0 / Use it for research." in said[1]
        return run_git(folder, *words, **options)

    monkeypatch.setattr(annex, "run_git", recorded)
    source = source_of(server, repository[1][:8])
    folder = tmp_path / "data" / "study"
    assert not is_present(source, folder)
    assert fetch_git(source, folder, notify=said.append) == 3
    assert said[0] == terms(source)
    assert order.index("checkout") > order.index("show")
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert found == {".fetch.json", "LICENSE", "a/one.mat", "a/two.mat", "table.tsv"}
    for path in found - {".fetch.json", "LICENSE"}:
        assert (folder / path).read_bytes() == FILES[f"results/{path}"]
    assert is_present(source, folder)
    assert published_sources(folder) == (f"{server}#{repository[1]}",)
    assert tables.read_json(folder / ".fetch.json")["licence"] == "CC BY-NC"
    assert [p.name for p in folder.parent.iterdir()] == ["study"]


def test_other_files_are_not_transferred(server, tmp_path):
    clone = tmp_path / "clone"
    annex.clone_without_files(server, clone)
    missing = git(clone, "rev-list", "--objects", "--missing=print", "--all")
    assert sum(line.startswith("?") for line in missing.splitlines()) == len(FILES) + 1


def test_files_of_a_commit_arrive_from_a_path(repository, tmp_path):
    bare, commit = repository
    folder = tmp_path / "study"
    folder.mkdir()
    source = source_of(bare.as_uri(), commit, folder="", paths=("results/*",))
    assert fetch_git(source, folder, notify=lambda _: None) == 3
    assert (folder / "results/a/one.mat").read_bytes() == FILES["results/a/one.mat"]


@pytest.mark.parametrize(
    ("fields", "commit", "message"),
    [
        ({}, "0000000", "has no commit 0000000 on any branch or tag; correct commit"),
        ({"paths": ("b/*.mat",)}, "", r"has no file results/b/\*\.mat at commit .*\(similar: res"),
        ({"folder": "result"}, "", r"has no file result/a/\*\.mat .*; correct paths or folder"),
    ],
)
def test_what_the_repository_lacks_is_named(repository, tmp_path, fields, commit, message):
    bare, newest = repository
    folder = tmp_path / "study"
    with pytest.raises(InputError, match=message):
        fetch_git(source_of(str(bare), commit or newest, **fields), folder, notify=lambda _: None)
    assert not folder.exists()
    assert not list(tmp_path.glob(".study*"))


def test_without_access_the_message_says_how_to_go_on(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"git://127.0.0.1:{closed.getsockname()[1]}/study.git"
        with pytest.raises(InputError) as caught:
            fetch_git(source_of(url, "abc1234"), tmp_path / "study", notify=lambda _: None)
    message = str(caught.value)
    assert "cannot be used (" in message
    assert f"'git clone {url}' and 'git checkout abc1234', copy its folder results to" in message
    assert "DIR/study, and run the same command with --data DIR" in message


def test_a_folder_with_other_files_is_refused(repository, tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study/notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"is not empty and does not contain the files a/\*\.mat"):
        fetch_git(source_of(str(repository[0]), "x"), tmp_path / "study", notify=print)


def test_pointers_to_content_outside_git_are_refused(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    git(work, "init", "--quiet")
    (work / "big.mat").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    git(work, "add", ".")
    git(work, "commit", "--quiet", "-m", "all")
    source = source_of(str(work), git(work, "rev-parse", "HEAD"), folder="", paths=("*.mat",))
    with pytest.raises(InputError, match=r"content of big\.mat outside git .*by --data"):
        fetch_git(source, tmp_path / "study", notify=lambda _: None)


def test_files_that_the_user_copied_are_used(tmp_path):
    source = source_of("https://example.org/x.git", "abc1234")
    folder = tmp_path / "study"
    (folder / "a").mkdir(parents=True)
    (folder / "a/one.mat").write_bytes(b"1")
    assert not is_present(source, folder)  # the table is missing
    (folder / "table.tsv").write_text("x\n")
    assert is_present(source, folder)
    (tmp_path / "bids/sub-01").mkdir(parents=True)
    assert is_present(source, tmp_path / "bids")
