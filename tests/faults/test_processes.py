"""Faults of processes: killed, limited, simultaneous, or without home, terminal or network.

The command runs as a process of its own, as it does for users. After each fault, the same command
ends with results identical to those of an undisturbed study, or with a one-line message.
"""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from circuitshift.pipeline import edges as connectivity
from circuitshift.pipeline.io import tables
from circuitshift.workflows.cli import main as cli
from circuitshift.workflows.cli.exit_status import EXIT_FAILED, EXIT_OK, EXIT_PARTIAL

ONE = ("--participant-label", "01")
ROOT = os.geteuid() == 0


def command(words):
    return [sys.executable, "-m", "circuitshift.workflows.cli.main", *map(str, words)]


def finished(bench, level="participant"):
    assert bench.run(level) == EXIT_OK
    assert bench.differs() == []


def one_sentence(done):
    """Return the only line of standard error; the exit status must be 1."""
    assert done.returncode == EXIT_FAILED, done
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("circuitshift: ")
    assert "Traceback" not in done.stdout
    return lines[0]


def children(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(word) for word in found.stdout.split()]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(("level", "line"), [("participant", "[2/"), ("group", "[1/2] analyse")])
def test_a_killed_run_is_continued(bench, level, line):
    """Workers end with their parent, no lock remains, and the next run completes the results."""
    words = command(bench.words(level)[:-2] if level == "group" else bench.words(level))
    words[words.index("--nprocs") + 1] = "2"
    if level == "group":
        words += ["--study", str(bench.root / "study.toml")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        for printed in process.stdout:
            if printed.startswith(line):
                break
        workers = children(process.pid)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    end = time.monotonic() + 60
    while any(map(is_alive, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(is_alive, workers))
    finished(bench, level)
    assert not list(bench.out.rglob(".part-*"))


def killing(monkeypatch, times, tmp_path):
    """Kill the process of the first participant a number of times while it computes."""
    original = connectivity.correlation

    def kill(series, *more):
        stat = os.stat(tmp_path / "data/sub-01/ses-pre/func")  # noqa: PTH116
        count = len(list(tmp_path.glob("killed-*")))
        if count < times and stat and _is_first(tmp_path, series):
            (tmp_path / f"killed-{count}").write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
        return original(series, *more)

    monkeypatch.setattr(connectivity, "correlation", kill)


def _is_first(root, series):
    first = tables.read_series(next(root.glob("data/sub-01/ses-pre/func/*.tsv")))[1]
    return first[0, 0] == series[0, 0]


def test_a_worker_that_is_killed_once(bench, capsys, monkeypatch):
    killing(monkeypatch, 1, bench.root)
    words = bench.words()
    words[words.index("--nprocs") + 1] = 2
    with pytest.raises(SystemExit) as ended:
        cli.main(list(map(str, words)))
    printed = "".join(capsys.readouterr())
    assert "its process was killed; the step is repeated on its own" in printed
    assert ended.value.code == EXIT_OK, printed
    assert bench.differs() == []


def test_a_worker_that_is_killed_each_time(bench, capsys, monkeypatch):
    """The participant fails and has a report; all others are complete; the next run succeeds."""
    killing(monkeypatch, 99, bench.root)
    words = bench.words()
    words[words.index("--nprocs") + 1] = 2
    with pytest.raises(SystemExit) as ended:
        cli.main(list(map(str, words)))
    printed = "".join(capsys.readouterr())
    assert ended.value.code == EXIT_PARTIAL, printed
    assert "sub-01: its process was killed twice, most likely because memory ran out" in printed
    assert {name.partition("/")[0] for name in bench.differs()} <= {"sub-01", "sub-01.html"}
    assert "killed twice" in (bench.out / "sub-01.html").read_text()
    monkeypatch.undo()
    finished(bench)


def test_simultaneous_runs(bench):
    """One of two runs with the same participants is refused; with different ones, both succeed."""
    both = [
        subprocess.Popen(command(bench.words()), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True)
        for _ in range(2)
    ]  # fmt: skip
    ends = [(process.communicate(), process.returncode) for process in both]
    codes = sorted(code for _, code in ends)
    assert codes in ([0, 0], [0, 1]), (
        ends
    )  # both succeed if the second began after the end of the first
    for (_, errors), code in ends:
        if code:
            assert re.fullmatch(r"circuitshift: .* is being written to by another run .*\n", errors)
    assert bench.differs() == []
    shutil.rmtree(bench.out)
    both = [
        subprocess.Popen(command(bench.words("participant", "--participant-label", *labels)),
                         stdout=subprocess.DEVNULL)
        for labels in (("01", "02"), ("03", "04"))
    ]  # fmt: skip
    assert [process.wait() for process in both] == [0, 0]
    finished(bench)


# ----------------------------------------------------------------- file systems


def mounted(options, target, words):
    """Return words that run a command with a file system that only this process sees."""
    space = ["unshare", "-m"] if ROOT else ["unshare", "-Urm"]
    script = 'mount $1 "$2" && shift 2 && exec "$@"'
    return [*space, "sh", "-c", script, "sh", options, str(target), *words]


def can_mount(tmp_path):
    (tmp_path / "m").mkdir()
    try:
        words = mounted("-t tmpfs -o size=64k none", tmp_path / "m", ["true"])
        words[words.index("-c") + 1] = 'mount $1 "$2" && shift 2 && exec "$@"'
        return subprocess.run(words, capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.parametrize("size", ["8k", "160k"])
def test_a_full_disk(bench, size):
    if not can_mount(bench.root):
        pytest.skip("this user may not mount a file system")
    bench.out.mkdir()
    words = mounted(f"-t tmpfs -o size={size} none", bench.out, command(bench.words()))
    done = subprocess.run(words, capture_output=True, text=True)
    message = one_sentence(done)
    assert "No space left on device" in message
    assert "free" in message
    finished(bench)


@pytest.mark.parametrize("n_procs", [1, 2])
def test_a_full_scratch_disk(bench, n_procs):
    if not can_mount(bench.root):
        pytest.skip("this user may not mount a file system")
    (bench.root / "work").mkdir()
    words = bench.words()
    words[words.index("--nprocs") + 1] = n_procs
    words = mounted("-t tmpfs -o size=8k none", bench.root / "work", command(words))
    done = subprocess.run(words, capture_output=True, text=True)
    if n_procs == 1:  # steps in turn do not use the scratch folder
        assert done.returncode == EXIT_OK, done
        assert bench.differs() == []
        return
    assert done.returncode in (EXIT_FAILED, EXIT_PARTIAL), done
    assert "Traceback" not in done.stdout + done.stderr
    assert "No space left on device" in done.stdout + done.stderr
    finished(bench)


@pytest.mark.parametrize("which", ["results", "scratch", "data"])
def test_read_only_folders(bench, which):
    """Data may be read-only; read-only results and scratch are refused before anything is run."""
    if not can_mount(bench.root):
        pytest.skip("this user may not mount a file system")
    folder = {"results": bench.out, "scratch": bench.root / "work", "data": bench.data}[which]
    folder.mkdir(exist_ok=True)
    script = (
        f"mount --bind '{folder}' '{folder}' && mount -o remount,bind,ro '{folder}' && exec \"$@\""
    )
    space = ["unshare", "-m"] if ROOT else ["unshare", "-Urm"]
    words = [*space, "sh", "-c", script, "sh", *command(bench.words("participant", *ONE))]
    done = subprocess.run(words, capture_output=True, text=True)
    if which == "data":
        assert done.returncode == EXIT_OK, done.stderr
        assert bench.differs(person="01") == []
    else:
        name = {"results": "OUTPUT_DIR", "scratch": "--work-dir"}[which]
        assert f"{name}: cannot write into {folder} (Read-only file system)" in one_sentence(done)


def limited(kind, amount):
    return lambda: resource.setrlimit(kind, (amount, amount))


@pytest.mark.parametrize(("n_bytes", "is_measured"), [(2_000, False), (20_000, True)])
def test_a_limit_of_the_file_size(bench, n_bytes, is_measured):
    """A file that is too large ends the command, or fails the report that contains all figures."""
    done = subprocess.run(command(bench.words("participant", *ONE)), capture_output=True, text=True,
                          preexec_fn=limited(resource.RLIMIT_FSIZE, n_bytes))  # fmt: skip
    if is_measured:
        assert done.returncode == EXIT_PARTIAL, done
        assert "sub-01.html: the file cannot be written (File too large)" in done.stdout
        assert "Traceback" not in done.stdout + done.stderr
    else:
        assert "File too large" in one_sentence(done)
    assert bench.run("participant", *ONE) == EXIT_OK
    assert bench.differs(person="01") == []


@pytest.mark.parametrize("megabytes", [60, 200, 1000])
def test_a_too_low_limit_of_memory_is_refused(bench, megabytes):
    """Without this check, some libraries would wait for memory forever while they load."""
    done = subprocess.run(command(bench.words("participant", *ONE)), capture_output=True, text=True,
                          preexec_fn=limited(resource.RLIMIT_AS, megabytes * 2**20))  # fmt: skip
    assert f"memory is limited to {megabytes} MB (ulimit -v)" in one_sentence(done)
    assert not bench.out.exists()


# ------------------------------------------------------------------------- users and terminals


def test_an_unknown_user_without_home_name_or_rights(bench):
    """Containers have such users. A file without read permission affects its run only."""
    space = ["unshare", "-U", "--map-user=54321", "--map-group=54321"]
    own = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    env = own | {"HOME": "/proc/nowhere"}

    def go():
        words = [*space, *command(bench.words("participant", *ONE))]
        return subprocess.run(words, env=env, capture_output=True, text=True, cwd="/")

    probe = [*space, sys.executable, "-c", "import os, pwd; pwd.getpwuid(os.getuid())"]
    if "KeyError" not in subprocess.run(probe, env=env, capture_output=True, text=True).stderr:
        pytest.skip("this user may not create a user namespace")
    bench.series().chmod(0o000)
    done = go()
    printed = done.stdout + done.stderr
    assert "Traceback" not in printed
    assert done.returncode == EXIT_PARTIAL, printed
    assert "it cannot be read (Permission denied)" in printed
    bench.series().chmod(0o644)
    done = go()
    assert done.returncode == EXIT_OK, done.stdout + done.stderr
    assert bench.differs(person="01") == []


def test_an_ascii_terminal(undisturbed, tmp_path):
    root = tmp_path / "Größe 日本"
    root.mkdir()
    shutil.copytree(undisturbed.data, root / "data")
    bench = type(undisturbed)(root / "data", root / "out", root, undisturbed.whole)
    env = os.environ | {"PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C"}
    words = command(bench.words("participant", *ONE, "--study", root / "Ö.toml"))
    done = subprocess.run(words, capture_output=True, text=True, env=env)
    assert "there is no such file" in one_sentence(done)
    done = subprocess.run(command(bench.words("participant", *ONE)), capture_output=True, env=env)
    assert done.returncode == EXIT_OK, done.stderr
    assert done.stdout.isascii()
    assert bench.differs(person="01") == []


_LISTEN = """
import os, sys
def hook(event, args):
    if event.startswith("socket.") and "AF_UNIX" not in repr(args) and event not in (
        "socket.gethostname", "socket.sethostname"):
        with open(os.environ["RECORDED"], "a") as file:
            file.write(f"{event} {args!r}\\n")
sys.addaudithook(hook)
"""


def test_nothing_is_sent_anywhere(bench):
    """Audit hooks of Python record each use of a socket, in both levels and their workers."""
    (bench.root / "site").mkdir()
    (bench.root / "site/sitecustomize.py").write_text(_LISTEN)
    recorded = bench.root / "heard"
    folders = [str(bench.root / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(folders), "RECORDED": str(recorded)}
    env = {k: v for k, v in env.items() if k not in ("NO_ET", "NIPYPE_NO_ET")}
    probe = "import socket; socket.socket(); socket.getaddrinfo('localhost', 1)"
    subprocess.run([sys.executable, "-c", probe], env=env, check=True)
    assert {line.split()[0] for line in recorded.read_text().splitlines()} >= {
        "socket.__new__", "socket.getaddrinfo"}  # fmt: skip
    recorded.unlink()
    words = bench.words("group")
    words[words.index("--nprocs") + 1] = 2
    done = subprocess.run(command(words), capture_output=True, text=True, env=env)
    assert done.returncode == EXIT_OK, done.stderr
    assert not recorded.exists(), recorded.read_text()
    assert bench.differs() == []
    assert "\r" not in done.stdout
    assert done.stdout.replace("\n", "").isprintable()
