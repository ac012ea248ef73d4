"""Fixture: a running Slurm of one node, which ``make slurm-test`` installs."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("one_node.sh")


@pytest.fixture(scope="session")
def node():
    """Start a Slurm and return its folder; without Slurm, the tests fail and are not skipped."""
    # not the folder of pytest, since the path of munge's socket must be short
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as name:
        started = subprocess.run([SCRIPT, "start", name], capture_output=True, text=True)
        try:
            assert started.returncode == 0, started.stderr
            os.environ["SLURM_CONF"] = f"{name}/slurm.conf"
            yield Path(name)
        finally:
            subprocess.run([SCRIPT, "stop", name])
            os.environ.pop("SLURM_CONF", None)
