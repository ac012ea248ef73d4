"""Methods text of a meta-analysis."""

from circuitshift.pipeline.reports.blocks import Quote
from circuitshift.pipeline.reports.pool.methods import methods_section


def test_the_text_names_the_number_of_studies_and_the_methods(analysis):
    (quote,) = [block for block in methods_section(analysis) if isinstance(block, Quote)]
    assert quote.words.startswith("Estimates of 3 studies")
    for word in ("restricted maximum likelihood", "Hartung", "Q profile", "Holm"):
        assert word in quote.words
