"""Fixtures for tests in all rooms."""

import pytest


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
