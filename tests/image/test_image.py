"""The container, run without network and with a read-only root (`make image-test`)."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from circuitshift.pipeline import __version__
from circuitshift.pipeline.io import tables
from circuitshift.workflows.cli import main as cli

pytestmark = pytest.mark.image

ENGINE = Path(__file__).with_name("engine.sh")
ROOT = ENGINE.parents[2]
IMAGE = "localhost/circuitshift:test"
MAX_BYTES = 2.5e9


@pytest.fixture(scope="session")
def store():
    """Build the image and return its folder, which is kept if IMAGE_STORE is set."""
    permanent = os.environ.get("IMAGE_STORE")
    folder = permanent or tempfile.mkdtemp(prefix="image-", dir="/var/tmp")
    start = time.monotonic()
    built = subprocess.run([ENGINE, "build", folder], stderr=subprocess.PIPE, text=True)
    try:
        assert built.returncode == 0, built.stderr
        print(f"\n{built.stderr.strip()}\nbuilt in {time.monotonic() - start:.0f} s")
        yield folder
    finally:
        if not permanent:
            subprocess.run([ENGINE, "remove", folder])


def run(store, *words, binds=(), options=()):
    mounts = [word for bind in binds for word in ("-v", bind)]
    command = [ENGINE, "run", store, *options, *mounts, IMAGE, *words]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


def python(store, code):
    done = run(store, "-c", code, options=["--entrypoint", "/opt/circuitshift/bin/python"])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def shared(folder):
    """Create a folder that every user of the image can write to."""
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def test_labels_size_and_user(store):
    shown = subprocess.run([ENGINE, "inspect", store], capture_output=True, text=True, check=True)
    (about,) = json.loads(shown.stdout)
    print(f"\n{about['Size'] / 1e9:.2f} GB")
    assert about["Size"] < MAX_BYTES
    assert about["Config"]["User"] == "1000:1000"
    assert about["Config"]["Entrypoint"] == ["/opt/circuitshift/bin/circuitshift"]
    assert about["Labels"]["org.opencontainers.image.version"] == __version__
    assert about["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    done = run(store, "--version")
    assert done.stdout == f"circuitshift {__version__}\n", done.stderr


def test_only_pinned_packages_are_installed(store):
    code = (
        "import importlib.metadata as m, json; "
        "print(json.dumps({d.name: d.version for d in m.distributions()}))"
    )
    found = {_plain(name): version for name, version in python(store, code).items()}
    assert found.pop("circuitshift") == __version__
    found.pop("setuptools", None)  # installed by Debian's venv
    pins = (ROOT / "containers/constraints.txt").read_text().splitlines()[1:]
    pairs = [line.partition("==") for line in pins]
    assert found == {_plain(name): version for name, _, version in pairs}


def _plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_all_modules_are_compiled_in_the_image(store):
    code = (
        "import importlib.util as u, json, os, sys; from pathlib import Path; "
        "import circuitshift.workflows.cli.bids_app, nipype.pipeline.engine, nilearn, ants; "
        "print(json.dumps([m.__file__ for m in list(sys.modules.values()) if "
        "str(getattr(m, '__file__', '')).startswith('/opt/circuitshift/') and "
        "m.__file__.endswith('.py') and not os.path.exists(u.cache_from_source(m.__file__))]))"
    )
    assert python(store, code) == []


@pytest.fixture(scope="module")
def study(store, tmp_path_factory):
    """Simulate and analyse a study with the image and its default user."""
    root = tmp_path_factory.mktemp("s")
    data, out = shared(root / "data"), shared(root / "out")
    size = ["--n-treated", 4, "--n-control", 4, "--n-reference", 3]
    simulated = run(store, "simulate", "/in/data", *size, binds=[f"{data}:/in"])
    assert simulated.returncode == 0, simulated.stderr
    binds = [f"{data / 'data'}:/data:ro", f"{out}:/out"]
    start = time.monotonic()
    for level in ("participant", "group"):
        done = run(store, "/data", "/out", level, "-w", "/tmp/work", "--nprocs", 2, binds=binds)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    print(f"\n11 participants, both levels: {time.monotonic() - start:.0f} s")
    return data / "data", out


def test_both_levels_run_without_network_on_a_read_only_root(study):
    _, out = study
    assert len(list(out.glob("sub-*.html"))) == 11
    assert json.loads((out / "group/verdict.json").read_text())["verdict"]
    assert (out / "group/report.html").stat().st_uid == 1000


def test_errors_set_the_exit_status(store, study):
    data, _ = study
    done = run(store, "/data", "/nowhere", "participant", binds=[f"{data}:/data:ro"])
    assert done.returncode == 1
    assert "OUTPUT_DIR: cannot write into /nowhere" in done.stderr
    assert run(store, "--nonsense").returncode == 2


def test_any_user_without_a_home_gets_the_same_numbers(store, study, tmp_path):
    data, out = study
    again = shared(tmp_path / "again")
    binds = [f"{data}:/data:ro", f"{again}:/out"]
    words = ["/data", "/out", "participant", "-w", "/tmp/work", "--participant-label", "01"]
    options = ["--user", "12345:54321", "--env", "HOME=/nowhere"]
    done = run(store, *words, binds=binds, options=options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    tsv = sorted(path.relative_to(again) for path in again.glob("sub-01/**/*.tsv"))
    assert len(tsv) > 5
    for path in tsv:
        assert (again / path).read_bytes() == (out / path).read_bytes(), path


def test_raw_images_are_preprocessed(store, tmp_path):
    data, out = shared(tmp_path / "data"), shared(tmp_path / "out")
    size = ["--n-treated", 1, "--n-control", 0, "--n-reference", 0]
    simulated = run(store, "simulate", "/in/data", "--raw", *size, binds=[f"{data}:/in"])
    assert simulated.returncode == 0, simulated.stderr
    start = time.monotonic()
    binds = [f"{data / 'data'}:/data:ro", f"{out}:/out"]
    done = run(store, "/data", "/out", "participant", "-w", "/tmp/work", binds=binds)
    assert done.returncode == 0, done.stdout + done.stderr
    print(f"\nraw images of one participant: {time.monotonic() - start:.0f} s")
    assert "bids-validator-deno did not answer" not in done.stdout
    (table,) = out.glob("sub-*/sub-*_runs.tsv")
    assert set(tables.read_table(table).column("status")) == {"included"}


SHIM = r"""
import csv, io, os, subprocess, sys
# replaces Apptainer: takes the same arguments, and runs the image with podman
words = sys.argv[1:]
assert words[:5] == ["run", "--cleanenv", "--no-home", "--pwd", "/tmp"], words
words = words[5:]
mounts = []
while words[0] == "--mount":
    (fields,) = csv.reader(io.StringIO(words[1]))
    mounts += ["--mount", ",".join(fields)]
    words = words[2:]
home = os.environ.get("APPTAINERENV_TEMPLATEFLOW_HOME")
env = ["--env", f"TEMPLATEFLOW_HOME={home}"] if home else []
engine, store, image = os.environ["ENGINE"], os.environ["STORE"], os.environ["IMAGE"]
command = [engine, "run", store, *mounts, *env, "--workdir", "/tmp", image, *words[1:]]
sys.exit(subprocess.call(command))
"""


def test_the_scripts_of_slurm_run_the_image(store, study, tmp_path, capsys):
    """Apptainer cannot be installed everywhere; a program on the PATH replaces it."""
    data, out = study
    again, work = shared(tmp_path / "a gain"), shared(tmp_path / "work")
    shutil.copytree(data, tmp_path / "da ta")
    image = tmp_path / "image.sif"
    image.write_text("")
    words = ["slurm", tmp_path / "da ta", again, "-w", work, "--container", image]
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    assert ended.value.code == 0, capsys.readouterr().err
    (folder,) = (again / "logs/slurm").iterdir()
    for path in again.rglob("*"):  # unlike Apptainer, podman runs as another user
        if path.is_dir():
            path.chmod(0o777)
    (tmp_path / "bin").mkdir()
    shim = tmp_path / "bin" / "apptainer"
    shim.write_text(f"#!{sys.executable}\n{SHIM}")
    shim.chmod(0o755)
    env = os.environ | {
        "PATH": f"{shim.parent}{os.pathsep}{os.environ['PATH']}",
        "ENGINE": str(ENGINE),
        "STORE": store,
        "IMAGE": IMAGE,
        "SLURM_ARRAY_TASK_ID": "2",
        "SLURM_JOB_ID": "1",
    }
    script = folder / "participant.sbatch"
    done = subprocess.run(["bash", script], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (again / "sub-02.html").exists()
    for path in sorted(again.glob("sub-02/**/*relmat.tsv")):
        assert path.read_bytes() == (out / path.relative_to(again)).read_bytes()
