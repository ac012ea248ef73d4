"""Small observed studies for the tests of the resolution."""

import pytest

from circuitshift.pipeline.study.resolution.records import Observed
from circuitshift.pipeline.study.study_file import StudyFile


def make_observed(columns=None, sessions=("pre", "post"), n=None, **more):
    """Return the facts about participants 01, 02, ... with the given cells of each column."""
    columns = columns or {}
    n = n or max((len(cells) for cells in columns.values()), default=4)
    labels = [f"{k:02d}" for k in range(1, n + 1)]
    return Observed(
        sessions=dict.fromkeys(labels, sessions),
        columns={name: dict(zip(labels, cells, strict=True)) for name, cells in columns.items()},
        **more,
    )


@pytest.fixture
def observed():
    return make_observed


@pytest.fixture
def stated():
    return lambda **keys: StudyFile(None, tuple(keys.items()))
