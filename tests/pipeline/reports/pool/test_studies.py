"""Tables of the studies and of their differences."""

from circuitshift.pipeline.reports.blocks import PageTable, Prose
from circuitshift.pipeline.reports.pool.studies import differences_section, studies_section


def test_each_study_is_listed_with_its_own_verdict(analysis):
    table = next(b for b in studies_section(analysis) if isinstance(b, PageTable))
    assert [row[0] for row in table.rows] == ["a", "b", "c"]
    assert table.rows[0][1:5] == ["20", "20", "10", "treated minus control"]
    assert [row[-1].text for row in table.rows] == ["undetermined"] * 3


def test_missing_estimates_are_counted(analysis):
    sentences = [b.words for b in studies_section(analysis) if isinstance(b, Prose)]
    assert sentences == ["Not all studies have an estimate of 1 term or circuit."]


def test_differences_have_a_column_for_each_study(analysis):
    table = next(b for b in differences_section(analysis) if isinstance(b, PageTable))
    assert table.head == ("setting", "a", "b", "c", "consequence")
    assert table.rows == [["atlas", "Seitzman300", "Tian", "Seitzman300", "warning"]]
