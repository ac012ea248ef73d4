"""Plant truths in measured series, whose visits are exchanged at random.

A plasmode study consists of real participants. Two visits of each participant, in random order, are
the visits of the study, so that nothing changes systematically between them. An effect is added to
the second visit of treated participants. Trait, state and sampling noise, and their dependence
between edges, are those of the measured series.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.load import infer_region
from circuitshift.atlases.records import Atlas
from circuitshift.atlases.resolve import load_circuits
from circuitshift.pipeline.arrays import Floats, Ints
from circuitshift.pipeline.edges import edge_ends
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.features import FeatureSpace
from circuitshift.pipeline.model.contrasts import Visits
from circuitshift.pipeline.validation.outside.effects import Untreated, matrices
from circuitshift.pipeline.validation.outside.measured import MeasuredPool
from circuitshift.pipeline.validation.outside.rows import Row
from circuitshift.pipeline.validation.outside.series import OutsideStudy
from circuitshift.pipeline.validation.outside.world import CIRCUITS, World

__all__ = ["N_NETWORKS", "Plasmode", "measured_world"]

#: Number of clusters of regions that stand for networks.
N_NETWORKS = 9


@dataclass(frozen=True, slots=True)
class Plasmode:
    """Source of studies of measured series with planted truths.

    Parameters
    ----------
    pool : MeasuredPool
        Edges of all visits.
    world : World
        Brain of these participants (`measured_world`).
    """

    pool: MeasuredPool
    world: World

    @classmethod
    def of(cls, pool: MeasuredPool) -> "Plasmode":
        """Prepare measured series.

        Parameters
        ----------
        pool : MeasuredPool
            Edges of all visits.

        Returns
        -------
        Plasmode
        """
        return cls(pool, measured_world(pool))

    def __call__(self, row: Row, rng: np.random.Generator) -> OutsideStudy:
        """Draw a study.

        Parameters
        ----------
        row : Row
            Truth; of its design, only the number of arms is used.
        rng : numpy.random.Generator
            Source of random numbers.

        Returns
        -------
        OutsideStudy
            All participants of the pool in one arm, or divided into two arms at random.
        """
        n = len(self.pool.visits)
        order = rng.permutation(n)
        pairs = [rng.permutation(len(self.pool.visits[k]))[:2] for k in order]
        both = np.array([self.pool.visits[k][pair] for k, pair in zip(order, pairs, strict=True)])
        before, after = both[:, 0], both[:, 1]
        treated = np.arange(n) < (n + 1) // 2 if row.design.n_control else np.ones(n, bool)
        after = np.where(treated[:, None], row.effect(Untreated(after, self.world, rng)), after)
        visits = Visits(
            baseline=before,
            followup=after,
            features=self.world.features,
            treated=treated if row.design.n_control else None,
        )
        return OutsideStudy(visits, self.world)


def measured_world(pool: MeasuredPool) -> World:
    """Derive networks, circuits and hierarchy from measured series.

    Parameters
    ----------
    pool : MeasuredPool
        Edges of all visits.

    Returns
    -------
    World
        Networks are clusters of the regions' mean connectivity profiles (Ward's method). The
        hierarchy is the rank of each region on the first principal component of these profiles
        (Margulies 2016, doi:10.1073/pnas.1608282113), with the default-mode network at its upper
        end.

    Raises
    ------
    InputError
        If the default-mode network is not found among the regions, or no cluster is free of
        circuits.
    """
    n = len(pool.labels)
    regions = tuple(infer_region(k + 1, label) for k, label in enumerate(pool.labels))
    found = {c.name: c for c in load_circuits(Atlas("measured", regions, "table")).circuits}
    circuits = {name: found[name] for name in CIRCUITS if name in found}
    if "dmn" not in circuits:
        raise InputError(
            "the default-mode network, in which truths are planted, was not found among the "
            f"regions {', '.join(pool.labels[:5])} and {n - 5} others; name them as an atlas of "
            "docs/atlases.md does"
        )
    core = np.array(circuits["dmn"].seeds, np.intp)
    profiles = matrices(pool.mean[None], n)[0]
    network = _clusters(profiles)
    inside = np.array(sorted({k for c in circuits.values() for k in (*c.seeds, *c.targets)}))
    named = tuple(
        bool(np.isin(inside, np.flatnonzero(network == k)).any()) for k in range(N_NETWORKS)
    )
    if all(named):
        raise InputError("each cluster of regions has a region of a circuit; no network is unnamed")
    positions = {name: circuit.edges(n) for name, circuit in circuits.items()}
    return World(
        features=FeatureSpace.of_edges(pool.labels, centres_mm=pool.centres_mm),
        network=network,
        names=tuple(f"cluster {k + 1}" for k in range(N_NETWORKS)),
        named=named,
        hierarchy=_hierarchy(profiles, core),
        circuits=positions,
        core=core,
        common=None,
        change_sd={
            name: pool.retest_sd([z[:, k].mean(axis=1) for z in pool.visits])
            for name, k in positions.items()
        },
    )


def _clusters(profiles: Floats) -> Ints:
    """Cluster regions by their connectivity profiles."""
    from scipy.cluster.hierarchy import fcluster, linkage  # noqa: PLC0415 - half a second of import

    centred = profiles - profiles.mean(axis=1, keepdims=True)
    tree = linkage(centred, method="ward")
    labels: npt.NDArray[np.int32] = fcluster(tree, N_NETWORKS, criterion="maxclust")
    return np.asarray(labels - 1, np.intp)


def _hierarchy(profiles: Floats, core: Ints) -> Floats:
    """Rank regions on the first principal component of the profiles, from 0 to 1."""
    off_diagonal = profiles[edge_ends(len(profiles))]
    filled = profiles.copy()
    np.fill_diagonal(filled, off_diagonal.mean())
    centred = filled - filled.mean(axis=0) - filled.mean(axis=1, keepdims=True) + filled.mean()
    score = np.linalg.eigh(centred)[1][:, -1]
    score = score if score[core].mean() > score.mean() else -score
    return np.asarray(np.argsort(np.argsort(score)) / (len(score) - 1), float)
