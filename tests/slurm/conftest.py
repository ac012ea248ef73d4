"""A running Slurm of one node; ``make slurm-test`` installs it."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("one_node.sh")


@pytest.fixture(scope="session")
def node():
    """Folder of a Slurm that runs; without one the tests fail, since a skip would prove nothing."""
    # not pytest's own folder: munge's socket has a short path
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as name:
        started = subprocess.run([SCRIPT, "start", name], capture_output=True, text=True)
        try:
            assert started.returncode == 0, started.stderr
            os.environ["SLURM_CONF"] = f"{name}/slurm.conf"
            yield Path(name)
        finally:
            subprocess.run([SCRIPT, "stop", name])
            os.environ.pop("SLURM_CONF", None)
