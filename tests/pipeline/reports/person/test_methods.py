"""Methods section of a participant: text and references."""

from dataclasses import replace
from urllib.parse import unquote

from circuitshift.pipeline.reports import references
from circuitshift.pipeline.reports.person.methods import participant_bibtex, participant_methods


def test_the_methods_text_describes_the_analysis_and_cites_its_references(
    participant_report, write
):
    report = replace(
        participant_report(),
        provenance={
            "preprocessing": "fMRIPrep 23.2.1",
            "denoising": "Series were cleaned (doi:10.1016/j.neuroimage.2007.04.042)",
            "atlas": "Mine",
            "atlas reference": "doi:10.9999/not.listed",
        },
    )
    page = write(report)
    assert "preprocessed with fMRIPrep 23.2.1 ( doi:10.1038/s41592-018-0235-4 )" in page.text
    assert "20 regions of the atlas Mine" in page.text
    assert "Behzadi, Yashar et al. (2007)." in page.text
    assert "Seed maps" not in page.text  # there are none
    (link,) = [a for a in page.all("a") if "download" in a]
    bib = unquote(link["href"].partition(",")[2])
    assert bib == participant_bibtex(report)
    assert "doi={10.9999/not.listed}" in bib
    assert bib.count("@") == len(references.cited([" ".join(participant_methods(report))])) == 8
    assert "References (8)" in page.text
