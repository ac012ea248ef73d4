"""The public interface: all listed names exist, and importing it loads no library."""

import subprocess
import sys

import pytest

import circuitshift


def test_every_public_name_exists():
    for name in circuitshift.__all__:
        assert getattr(circuitshift, name) is not None
    assert set(circuitshift.__all__) <= set(dir(circuitshift))
    with pytest.raises(AttributeError, match="analyze"):
        _ = circuitshift.analyze


def test_importing_is_cheap_and_loads_no_library():
    code = (
        "import sys, time; start = time.process_time(); import circuitshift; "
        "circuitshift.__version__; spent = time.process_time() - start; "
        "print(spent < 0.2, [m for m in ('numpy', 'scipy', 'nilearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "True []", done.stderr
