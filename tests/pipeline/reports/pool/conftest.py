"""A meta-analysis of three small studies."""

import pytest

from circuitshift.pipeline.study.pooling.pool import pool_folders


@pytest.fixture
def analysis(finished_study):
    """Return a meta-analysis with a clear change of one circuit and a missing one."""

    def rows(dmn, *more):
        return [
            ("global", "shift", 0.001, 0.004),
            ("specific", "dmn", dmn, 0.0205),
            ("specific, from zero", "dmn", dmn, 0.02),
            *more,
        ]

    tpn = ("secondary", "tpn", 0.02, 0.03)
    folders = [
        finished_study("a", rows(-0.2, tpn)),
        finished_study("b", rows(-0.21, tpn), atlas="Tian"),
        finished_study("c", rows(-0.22)),
    ]
    return pool_folders([("", folder) for folder in folders])
