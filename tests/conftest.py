"""Fixtures for tests in all rooms, and settings that shorten a run of all tests."""

import gc

import pytest

with pytest.MonkeyPatch.context() as _patch:
    # The command limits these libraries to one thread before it loads them. Tests that call it in
    # their own process must do the same, or two processes of pytest compete with four threads.
    # The variables are restored, so that commands in other processes still set them themselves.
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        _patch.setenv(_name, "1")
    import numpy  # noqa: F401
    import scipy.linalg  # noqa: F401


def pytest_collection_finish():
    """Exempt what was collected from garbage collection, which would visit it again and again.

    Nipype collects garbage each time it looks for completed steps, which takes a third of a second
    in a process that has collected all tests.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def empty_figures():
    """Draw the figures of reports, but write empty ones: half of the time of a report.

    For tests of a module that do not read figures. It affects this process only, that is, commands
    that are called with ``--nprocs 1``.
    """
    from matplotlib.figure import Figure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda _, file, **__: file.write("<svg></svg>"))
        yield
