"""Tables of structure are written with units and read back as features of regions."""

from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.errors import DesignError, TableError
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.preproc.structure.table import (
    COLUMNS,
    MEASURES,
    WHOLE,
    RegionValues,
    read_structure,
    write_structure_table,
)

REGIONS = ("Hippocampus_L", "Frontal_L", "lost")


def measured(session: str, volume: float) -> list[RegionValues]:
    values = {
        "volume": np.array([volume, 2 * volume, np.nan]),
        "grey_matter": np.array([np.nan, volume, np.nan]),
    }
    return [
        RegionValues(session, WHOLE, ("intracranial",), {"volume": np.array([1.5e6])}),
        RegionValues(session, "AAL", REGIONS, values),
    ]


@pytest.fixture
def written(tmp_path: Path) -> list[Path]:
    return [
        tmp_path / write_structure_table(tmp_path, label, measured("pre", v) + measured("post", w))
        for label, v, w in (("01", 4000.0, 3880.0), ("02", 4100.0, 4100.0))
    ]


def test_each_row_is_a_region_of_a_session(written: list[Path]) -> None:
    assert written[0].name == "sub-01_structure.tsv"
    table = tables.read_table(written[0])
    rows = list(table.rows())
    assert tuple(table.columns) == tuple(COLUMNS)
    assert len(rows) == 2 * 4
    assert rows[1] == {
        "participant_id": "sub-01",
        "session": "pre",
        "atlas": "AAL",
        "region": "Hippocampus_L",
        "volume": "4000",
        "grey_matter": "n/a",
    }
    about = tables.read_json(written[0].with_suffix(".json"))
    assert {name: about[name]["Units"] for name in MEASURES} == MEASURES


def test_a_measure_is_read_as_features_with_its_unit(written: list[Path]) -> None:
    found = read_structure(written, atlas="AAL", measure="volume")
    assert found.rows == (("01", "pre"), ("01", "post"), ("02", "pre"), ("02", "post"))
    assert found.features.regions == ("Hippocampus_L", "Frontal_L")  # without the lost region
    assert (found.features.kind, found.features.unit) == ("region", "mm^3")
    found.features.check_range("volumes", found.values)
    assert found.values[:, 0].tolist() == [4000, 3880, 4100, 4100]
    grey = read_structure(written, atlas="AAL", measure="grey_matter")
    assert grey.features.regions == ("Frontal_L",)


def test_data_sets_without_sessions_have_an_empty_label(tmp_path: Path) -> None:
    path = tmp_path / write_structure_table(tmp_path, "01", measured("", 1.0))
    assert read_structure([path], atlas="AAL", measure="volume").rows == (("01", ""),)


def test_what_was_not_measured_is_refused(written: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DesignError, match="there is no measure 'area'; choose one of volume"):
        read_structure(written, atlas="AAL", measure="area")
    with pytest.raises(TableError, match="it has no region of atlas Tian; measure with --atlas"):
        read_structure(written, atlas="Tian", measure="volume")
    other = RegionValues("pre", "AAL", ("Frontal_L",), {"volume": np.array([1.0])})
    path = tmp_path / write_structure_table(tmp_path, "03", [other])
    with pytest.raises(TableError, match="sub-03 pre: its regions of atlas AAL differ"):
        read_structure([*written, path], atlas="AAL", measure="volume")
