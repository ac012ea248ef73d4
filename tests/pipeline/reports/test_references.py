"""References: every work that is cited is in the list, once."""

from circuitshift.atlases import remote, seitzman
from circuitshift.pipeline.measure.denoise import load_strategies
from circuitshift.pipeline.measure.voxelwise import SEEDS
from circuitshift.pipeline.reports import references
from circuitshift.pipeline.reports.references import cited, listed


def test_every_work_that_strategies_atlases_and_seeds_name_is_in_the_list():
    strategies = [s.reference for s in load_strategies().values()]
    assert not [line for line in listed(cited(strategies), strategies) if line.startswith("doi:")]
    texts = [text for text in strategies if text.startswith("doi:")]  # the others name their work
    texts += [seed.source for seed in SEEDS] + [seitzman.REFERENCE, remote.SCHAEFER[0]]
    texts += [remote.TIAN[0], remote.DIFUMO[0], remote.HARVARD_OXFORD[0], remote.AAL[0]]
    dois = references.cited(texts)
    assert len(dois) >= 12
    assert "@misc" not in references.bibtex(dois)
    assert all(line.startswith("doi:") is False for line in references.listed(dois))


def test_works_are_cited_once_and_known_ones_in_full():
    text = "As in doi:10.1007/BF01068419, doi:10.1038/nn.4500 and again (doi:10.1007/BF01068419)."
    works = cited([text])
    assert works == ("10.1007/BF01068419", "10.1038/nn.4500")
    assert listed(works)[0].startswith("Schuirmann, Donald J. (1987). A comparison of the two")


def test_a_work_that_is_not_in_the_list_is_named_as_the_text_names_it():
    texts = [
        "cleaned (Doe 2020, doi:10.1000/x), filtered (see O'Neill et al. 1999, doi:10.1000/(y)z).",
        "Müller-Lang 2015, doi:10.1000/k",
        "without a name (doi:10.1000/n), Schuirmann 1987, doi:10.1007/BF01068419",
    ]
    works = cited(texts)
    *named, bare, known = listed(works, texts)
    assert named == [
        "Doe 2020. doi:10.1000/x", "O'Neill et al. 1999. doi:10.1000/(y)z",
        "Müller-Lang 2015. doi:10.1000/k",
    ]  # fmt: skip
    assert bare == "doi:10.1000/n"
    assert known.startswith("Schuirmann, Donald J. (1987).")
