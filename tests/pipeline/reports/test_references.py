"""References: each work that is cited is listed once."""

from circuitshift.atlases import circuit_spheres, remote, seitzman
from circuitshift.pipeline.measure.denoise import load_strategies
from circuitshift.pipeline.measure.voxelwise import SEEDS
from circuitshift.pipeline.reports import references
from circuitshift.pipeline.reports.references import cited, listed


def test_all_works_cited_by_strategies_atlases_and_seeds_are_listed():
    strategies = [s.reference for s in load_strategies().values()]
    assert not [line for line in listed(cited(strategies), strategies) if line.startswith("doi:")]
    texts = [
        text for text in strategies if text.startswith("doi:")
    ]  # other texts contain author and year
    texts += [seed.source for seed in SEEDS] + [seitzman.REFERENCE, remote.SCHAEFER[0]]
    texts += [remote.TIAN[0], remote.DIFUMO[0], remote.HARVARD_OXFORD[0], remote.AAL[0]]
    texts += [sphere.source for sphere in circuit_spheres.SPHERES]
    dois = references.cited(texts)
    assert len(dois) >= 12
    assert "@misc" not in references.bibtex(dois)
    assert all(line.startswith("doi:") is False for line in references.listed(dois))


def test_each_work_is_cited_once_with_its_full_reference():
    text = "As in doi:10.1007/BF01068419, doi:10.1038/nn.4500 and again (doi:10.1007/BF01068419)."
    works = cited([text])
    assert works == ("10.1007/BF01068419", "10.1038/nn.4500")
    assert listed(works)[0].startswith("Schuirmann, Donald J. (1987). A comparison of the two")


def test_a_work_that_is_not_listed_has_the_name_in_the_text():
    texts = [
        "cleaned (Doe 2020, doi:10.1000/x), filtered (see O'Neill et al. 1999, doi:10.1000/(y)z).",
        "Müller-Lang 2015, doi:10.1000/k",
        "without a name (doi:10.1000/n), Schuirmann 1987, doi:10.1007/BF01068419",
    ]
    works = cited(texts)
    *named, bare, full = listed(works, texts)
    assert named == [
        "Doe 2020. doi:10.1000/x", "O'Neill et al. 1999. doi:10.1000/(y)z",
        "Müller-Lang 2015. doi:10.1000/k",
    ]  # fmt: skip
    assert bare == "doi:10.1000/n"
    assert full.startswith("Schuirmann, Donald J. (1987).")
