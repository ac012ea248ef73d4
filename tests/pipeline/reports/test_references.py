"""References: every work that is cited is in the list, once."""

from circuitshift.atlases import remote, seitzman
from circuitshift.pipeline.measure.denoise import load_strategies
from circuitshift.pipeline.measure.voxelwise import SEEDS
from circuitshift.pipeline.reports import references
from circuitshift.pipeline.reports.references import cited, listed


def test_every_work_that_strategies_atlases_and_seeds_name_is_in_the_list():
    texts = [s.reference for s in load_strategies().values()]
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
