"""Real files of CONN and of matrices: group means equal numbers that were computed independently.

The numbers, to four digits, are those of the README of the shared data.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from circuitshift.pipeline import edges
from circuitshift.pipeline.bids.convert.conn_regions import match_regions
from circuitshift.pipeline.bids.convert.conn_runs import conn_runs, find_conn_files
from circuitshift.pipeline.bids.convert.description import ConnInput, StackInput
from circuitshift.pipeline.bids.convert.stack_runs import stack_regions, stack_runs
from circuitshift.pipeline.io.conn import read_conn, read_conn_regions
from circuitshift.pipeline.io.stacks import read_stack

SHARED = Path(__file__).resolve().parents[4].parent / "shared/data"
TBI, DBS = SHARED / "tbi-conn", SHARED / "dbs-fc"
PATIENTS = ConnInput("TBI_sch1000", "patient", "session", ((1, "1"), (2, "2"), (3, "3")))
HEALTHY = [
    ConnInput(f"HC_sch1000_tp{visit}", "healthy", "folder", ((0, visit),), prefix="HC")
    for visit in "12"
]
VISITS = (("patient", "1"), ("patient", "2"), ("patient", "3"), ("healthy", "1"), ("healthy", "2"))
#: Regions of one side, of the other side, and the mean Fisher z of each of `VISITS`.
MEANS = {
    "atlas of CONN, 132 regions": (r"atlas\..*", "", (0.0567, 0.0532, 0.0566, 0.0685, 0.0714)),
    "default mode, 4 regions": (
        r"networks\.DefaultMode\..*",
        "",
        (0.4834, 0.4856, 0.4949, 0.5246, 0.5999),
    ),
    "middle frontal gyrus - amygdala": (
        r"atlas\.MidFG.*",
        r"atlas\.Amygdala.*",
        (-0.0690, -0.0678, -0.0669, -0.1123, -0.0650),
    ),
    "Schaefer, 1000 regions": (r"Schaefer.*", "", (0.0443, 0.0417, 0.0469, 0.0594, 0.0608)),
}


@pytest.fixture(scope="module")
def tbi():
    """Labels, notes, and the correlation matrices of each group and visit."""
    if not TBI.is_dir():
        pytest.skip("shared/data/tbi-conn is not on this machine")
    found = [(source, find_conn_files(TBI, source)) for source in (PATIENTS, *HEALTHY)]
    match = match_regions(
        [
            (source, read_conn_regions(path))
            for source, participants in found
            for files in participants.values()
            for _, path in files
        ]
    )
    matrices = {}
    for source, participants in found:
        for subject, files in participants.items():
            content = {condition: read_conn(path) for condition, path in files}
            for run in conn_runs(subject, content, source, match.columns)[0]:
                r = edges.correlation(run.values).astype(np.float32)
                matrices.setdefault((run.group, run.session), []).append(r)
    return match.regions.labels, match.notes, matrices


def test_three_spellings_of_an_atlas_are_one_set_of_regions(tbi):
    labels, notes, matrices = tbi
    assert len(labels) == 32 + 132 + 1000
    assert {key: len(found) for key, found in matrices.items()} == dict.fromkeys(VISITS, 12)
    for folder, spelling in (
        ("HC_sch1000_tp1", "Schaefer10007RSN"),
        ("HC_sch1000_tp2", "Schaeffer10007RSN"),
    ):
        said = f"{folder}: 1000 regions named {spelling}.* are taken as Schaefer1000RSN7.*"
        assert any(note.startswith(said) and "1000 agree within" in note for note in notes)
    assert any("HC_sch1000_tp2: 101 more regions match" in note for note in notes)


@pytest.mark.parametrize("name", MEANS)
def test_group_means_equal_the_independent_numbers(tbi, name):
    labels, _, matrices = tbi
    first, second, expected = MEANS[name]
    one = [k for k, label in enumerate(labels) if re.fullmatch(first, label)]
    two = [k for k, label in enumerate(labels) if second and re.fullmatch(second, label)]

    def mean(r):
        block = r[np.ix_(one, two)].ravel() if two else edges.from_matrix(r[np.ix_(one, one)])
        return edges.fisher_z(block).mean()

    found = [np.mean([mean(r) for r in matrices[visit]]) for visit in VISITS]
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "n_regions", "change", "t", "p"),
    [
        ("limbic", 48, -0.0141, -3.79, 0.002),
        ("motor", 60, 0.0003, 0.05, 0.96),
        ("assoc", 46, -0.0005, -0.08, 0.94),
    ],
)
def test_stimulation_changes_limbic_connectivity_only(name, n_regions, change, t, p):
    if not DBS.is_dir():
        pytest.skip("shared/data/dbs-fc is not on this machine")
    source = StackInput(
        file=f"results_{name}_v1_0.001-0.1Hz.mat",
        key="fcs",
        content="matrices",
        axes=("participant", "visit", "region", "region"),
        values="correlation",
        participants=tuple(f"{k:02d}" for k in range(1, 17)),
        visits=("OFF", "OFF", "ON", "ON"),
        groups=(),
        regions=0,
        region_keys=(("names", "allrois_idx"),),
    )
    regions = stack_regions(DBS, source)
    assert len(regions.labels) == n_regions
    values, key = read_stack(DBS / source.file, source.key, 4)
    runs, notes = stack_runs(values, source, regions.labels, key=key)
    assert "diagonal 1, largest asymmetry 2.2e-16; read as correlations" in notes[0]
    z = {"OFF": np.zeros(16), "ON": np.zeros(16)}
    for run in runs:  # the mean of both runs of a visit
        z[run.session][int(run.participant) - 1] += edges.fisher_z(
            edges.from_matrix(run.values)
        ).mean() / 2  # fmt: skip
    found = z["ON"] - z["OFF"]
    assert found.mean() == pytest.approx(change, abs=1e-4)
    test = ttest_1samp(found, 0)
    assert test.statistic == pytest.approx(t, abs=0.01)
    assert test.pvalue == pytest.approx(p, abs=0.005)
