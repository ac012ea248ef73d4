"""Tables and JSON of a meta-analysis."""

import numpy as np
import pytest

from circuitshift.pipeline.io import tables
from circuitshift.pipeline.study.pooling.pool import pool_folders
from circuitshift.pipeline.study.pooling.pool_tables import SCHEMA_VERSION, pool_content, write_pool


@pytest.fixture
def analysis(finished_study):
    rows = [("global", "shift", 0.02, 0.01), ("specific", "dmn", -0.1, 0.04)]
    other = [("specific", "dmn", -0.12, 0.03), ("secondary", "tpn", 0.1, 0.04)]
    third = [("global", "shift", 0.03, 0.01), ("specific", "dmn", -0.02, 0.03)]
    folders = [finished_study(n, r) for n, r in zip("abc", (rows, other, third), strict=True)]
    return pool_folders([("", folder) for folder in folders])


def test_each_term_has_two_rows_and_each_study_one(analysis, tmp_path):
    write_pool(tmp_path / "out", analysis)
    pooled = list(tables.read_table(tmp_path / "out/pooled.tsv").rows())
    terms = [term.term for term in analysis.terms]
    assert [row["term"] for row in pooled] == [term for term in terms for _ in range(2)]
    dmn = [row for row in pooled if row["term"] == "dmn"]
    assert [row["unit"] for row in dmn] == ["Fisher z", "smallest effect of interest"]
    effect = next(term.effect for term in analysis.terms if term.term == "dmn")
    assert float(dmn[0]["ci_low"]) == pytest.approx(effect.ci_low)
    assert float(dmn[0]["tau"]) == pytest.approx(np.sqrt(effect.tau2), abs=1e-8)
    assert (dmn[0]["safeguarded"], dmn[0]["k"]) == (str(effect.safeguarded).lower(), "3")
    studies = list(tables.read_table(tmp_path / "out/studies.tsv").rows())
    assert len(studies) == 3 * len(terms)
    tpn = {row["study"]: row["missing"] for row in studies if row["term"] == "tpn"}
    assert tpn == {"a": "not a circuit of this analysis", "b": "n/a", "c": tpn["a"]}
    assert [row["left_out"] for row in tables.read_table(tmp_path / "out/leave_one_out.tsv").rows()
            if row["term"] == "dmn"] == ["a", "b", "c"]  # fmt: skip


def test_the_json_file_has_a_version_and_hashes_of_the_tables(analysis, tmp_path):
    content = tables.read_json(write_pool(tmp_path / "out", analysis))
    assert content["schema_version"] == SCHEMA_VERSION
    for name, digest in content["files"].items():
        assert tables.checksum(tmp_path / "out" / name) == digest
    assert set(content) == {*pool_content(analysis), "files"}
    assert [study["name"] for study in content["studies"]] == ["a", "b", "c"]
    assert content["terms"]["tpn"]["effect"] is None
    assert content["terms"]["dmn"]["studies"][0]["estimate"] == -0.1


def test_identical_studies_give_identical_bytes(analysis, tmp_path):
    first, second = (write_pool(tmp_path / name, analysis).parent for name in "xy")
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()


def test_every_key_is_documented(analysis):
    from pathlib import Path

    text = (Path(__file__).parents[4] / "docs/pool.md").read_text(encoding="utf-8")
    assert f"`{SCHEMA_VERSION}`" in text
    content = pool_content(analysis)
    keys = [*content, "files", *content["terms"]["dmn"], *content["terms"]["dmn"]["effect"]]
    assert not [key for key in keys if f"`{key}`" not in text]
