"""The page of a meta-analysis is complete and valid."""

from circuitshift.pipeline.reports.pool.page import SECTIONS, write_pool_report


def test_the_page_has_all_sections_and_is_valid(analysis, write):
    page = write(analysis)
    for section in SECTIONS:
        assert f'<h2 id="{section.id}">{section.title}</h2>' in page.source
    assert page.figures("result") == 1
    assert page.figures("global") == 1
    assert page.figures("circuits") == 2
    assert "Meta-analysis of 3 studies" in page.source


def test_identical_results_give_identical_bytes(analysis, tmp_path):
    for name in ("one.html", "two.html"):
        write_pool_report(tmp_path / name, analysis)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()
