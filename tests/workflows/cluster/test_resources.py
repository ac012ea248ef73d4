"""Predicted resources of jobs, compared with the measurements in resources.toml."""

import tomllib
from pathlib import Path

import pytest

from circuitshift.workflows.cluster import resources

ROOT = Path(__file__).resolve().parents[3]
TABLE = tomllib.loads((ROOT / "workflows/cluster/resources.toml").read_text())


def quantities(kind, row):
    size = {"one": 1, **row}
    if kind == "group":
        size["edges"] = row["regions"] * (row["regions"] - 1) / 2
    if kind != "group":
        size["largest_run"] = row["voxels"] * row["volumes"]
        size["voxel_volumes"] = row["runs"] * size["largest_run"]
    if kind == "raw":
        size["largest_anat"] = row["anat_voxels"]
        size["anat_voxels"] = row["anats"] * row["anat_voxels"]
        size["structure_voxels"] = size["anat_voxels"] if row.get("structure") else 0
    return size


@pytest.mark.parametrize(
    ("kind", "row"),
    [(kind, row) for kind in ("person", "raw", "group") for row in TABLE[kind]],
    ids=lambda x: x if isinstance(x, str) else "-".join(map(str, x.values())),
)
def test_estimates_agree_with_the_measurements(kind, row):
    seconds, mib = resources.estimate(kind, quantities(kind, row))
    assert seconds == pytest.approx(row["seconds"], rel=0.35, abs=1)
    assert mib == pytest.approx(row["mib"], rel=0.25)
    requested = resources.request(kind, quantities(kind, row))
    assert requested.mib >= 1.2 * row["mib"]
    assert requested.minutes * 60 >= 3 * row["seconds"]


def test_an_estimate_is_the_sum_of_its_terms(monkeypatch):
    """Two terms in seconds, one in MiB; margins of 2 and 3."""
    rule = {
        "seconds": [{"each": 10.0, "of": ["one"]}, {"each": 2.0, "of": ["runs", "regions"]}],
        "mib": [{"each": 300.0, "of": ["runs"]}],
    }
    margin = {"seconds": 2.0, "mib": 3.0, "min_mib": 1024}
    monkeypatch.setattr(resources, "_table", lambda: {"rule": {"raw": rule}, "margin": margin})
    size = {"one": 1, "runs": 4, "regions": 100}
    assert resources.estimate("raw", size) == (10 + 2 * 4 * 100, 1200)
    # 1620 s are 27 min, rounded up to 30; 3600 MiB are rounded up to 8 times 512
    assert resources.request("raw", size) == resources.Request(mib=4096, minutes=30)
    small = {"one": 1, "runs": 1, "regions": 0}
    assert resources.request("raw", small) == resources.Request(mib=1024, minutes=15)
