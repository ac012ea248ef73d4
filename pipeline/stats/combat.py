"""Harmonisation of sites by ComBat, with a check of what it would destroy."""

from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import DesignError, InputError

__all__ = ["harmonise_sites"]


MIN_SCANS = 3  # of a site: fewer have no variance to harmonise


def harmonise_sites(z: Floats, site: Sequence[str], keep: Floats) -> Floats:
    """Take differences of level and spread between sites out of every edge.

    ComBat (Johnson, Li & Rabinovic 2007, doi:10.1093/biostatistics/kxj037; for connectivity Yu
    2018, doi:10.1002/hbm.24241), by the package neuroCombat. It does not know that scans of a
    person belong together; what `keep` describes is preserved.

    Parameters
    ----------
    z : ndarray, shape (n_scans, n_edges)
        Fisher z.
    site : sequence of str, length n_scans
    keep : ndarray, shape (n_scans, n_columns)
        What must not be taken for site: visit, arm, their product, reference, covariates.
        Constant columns are left out.

    Returns
    -------
    ndarray, shape (n_scans, n_edges)
        NaN on edges that are unknown in any scan: they cannot be harmonised, and must not be mixed
        with those that are.

    Raises
    ------
    DesignError
        If sites cannot be told from what is to be kept (every follow-up on a new scanner, each arm
        on its own), or a site has fewer than three scans.
    InputError
        If neuroCombat is not installed.
    """
    names, number, counts = np.unique(site, return_inverse=True, return_counts=True)
    if len(names) < 2:
        return z
    few = [str(name) for name, n in zip(names, counts, strict=True) if n < MIN_SCANS]
    if few:
        raise DesignError(
            f"site {', '.join(few)} has fewer than {MIN_SCANS} scans, too few to harmonise; join "
            "sites, leave these people out, or leave [model] harmonise out of the study file"
        )
    kept = keep[:, keep.std(axis=0) > 0]
    sites = np.eye(len(names))[number]
    if np.linalg.matrix_rank(np.hstack([sites, kept])) < len(names) + kept.shape[1]:
        raise DesignError(
            f"sites {', '.join(map(str, names))} cannot be told from visit, arm or covariates: "
            "harmonisation would take the change itself out; leave [model] harmonise out of the "
            "study file"
        )
    try:
        import pandas as pd  # noqa: PLC0415 - an extra
        from neuroCombat import neuroCombat  # noqa: PLC0415 - an extra
    except ImportError:
        raise InputError(
            "[model] harmonise needs the package neuroCombat: pip install 'circuitshift[harmonise]'"
        ) from None
    available = np.isfinite(z).all(axis=0)
    table = pd.DataFrame({"site": number + 1})
    columns = [f"kept {k}" for k in range(kept.shape[1])]
    table[columns] = kept
    out = np.full(z.shape, np.nan)
    with redirect_stdout(StringIO()):  # it prints its progress
        found = neuroCombat(
            dat=z[:, available].T, covars=table, batch_col="site", continuous_cols=columns
        )
    out[:, available] = found["data"].T
    return out
