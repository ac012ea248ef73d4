"""Harmonisation of sites by ComBat, with a check that it preserves the effects of interest."""

from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import DesignError, InputError

__all__ = ["harmonise_sites"]


MIN_SCANS = 3  # scans per site needed to estimate its variance


def harmonise_sites(z: Floats, site: Sequence[str], keep: Floats) -> Floats:
    """Remove differences of mean and variance between sites from each edge.

    Parameters
    ----------
    z : ndarray, shape (n_scans, n_edges)
        Edges, Fisher z.
    site : sequence of str, length n_scans
        Site of each scan.
    keep : ndarray, shape (n_scans, n_columns)
        Effects to preserve: visit, arm, their product, reference group, covariates. Constant
        columns are ignored.

    Returns
    -------
    ndarray, shape (n_scans, n_edges)
        Harmonised edges. Edges that are missing in any scan cannot be harmonised and are NaN in all
        scans. With a single site, `z` itself.

    Raises
    ------
    DesignError
        If sites are confounded with the effects to preserve (for example, when all follow-up scans
        or one arm were acquired on another scanner), or if a site has fewer than three scans.
    InputError
        If neuroCombat is not installed.

    Notes
    -----
    ComBat (Johnson, Li & Rabinovic 2007, doi:10.1093/biostatistics/kxj037; for connectivity, Yu
    2018, doi:10.1002/hbm.24241) is that of the package neuroCombat. It does not model the
    dependence between scans of a participant.
    """
    names, number, counts = np.unique(site, return_inverse=True, return_counts=True)
    if len(names) < 2:
        return z
    small = [str(name) for name, n in zip(names, counts, strict=True) if n < MIN_SCANS]
    if small:
        raise DesignError(
            f"site {', '.join(small)} has fewer than {MIN_SCANS} scans, which is too few for "
            "harmonisation; join sites, exclude these participants, or remove [model] harmonise "
            "from the study file"
        )
    effects = keep[:, keep.std(axis=0) > 0]
    sites = np.eye(len(names))[number]
    if np.linalg.matrix_rank(np.hstack([sites, effects])) < len(names) + effects.shape[1]:
        raise DesignError(
            f"sites {', '.join(map(str, names))} are confounded with visit, arm or covariates, so "
            "that harmonisation would remove the change itself; remove [model] harmonise from the "
            "study file"
        )
    try:
        import pandas as pd  # noqa: PLC0415 - an extra
        from neuroCombat import neuroCombat  # noqa: PLC0415 - an extra
    except ImportError:
        raise InputError(
            "[model] harmonise of the study file needs the package neuroCombat; install it with: "
            "pip install 'circuitshift[harmonise]'"
        ) from None
    available = np.isfinite(z).all(axis=0)
    table = pd.DataFrame({"site": number + 1})
    columns = [f"effect {k}" for k in range(effects.shape[1])]
    table[columns] = effects
    out = np.full(z.shape, np.nan)
    with redirect_stdout(StringIO()):  # neuroCombat prints its progress
        harmonised = neuroCombat(
            dat=z[:, available].T, covars=table, batch_col="site", continuous_cols=columns
        )
    out[:, available] = harmonised["data"].T
    return out
