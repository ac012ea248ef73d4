"""Writer of files as CONN writes them."""

import numpy as np
import pytest
from scipy.io import savemat

from circuitshift.pipeline.bids.convert.description import ConnInput

NAMES = (
    "Grey Matter",
    "White Matter",
    "CSF",
    "networks.DefaultMode.MPFC (1,55,-3)",
    "networks.DefaultMode.PCC (1,-61,38)",
    "networks.Salience.ACC (0,22,35)",
    "atlas.MidFG l (Middle Frontal Gyrus Left)",
    "atlas.Amygdala l",
    "Schaefer1000RSN7.cluster001",
    "Schaefer1000RSN7.cluster002",
)


def cell(values):
    """A cell array of one row, as MATLAB writes it."""
    out = np.empty((1, len(values)), object)
    for k, value in enumerate(values):
        out[0, k] = value
    return out


def write_file(path, series, *, names=NAMES, centres=None, sessions=None, weights=None, **more):
    """Write one file; white matter and CSF have several dimensions, as in CONN."""
    n = len(series)
    columns = [series[:, [k]] for k in range(series.shape[1])]
    for k in (1, 2):
        columns[k] = np.repeat(columns[k], 3, axis=1)
    centres = np.arange(3.0 * len(names)).reshape(-1, 3) if centres is None else centres
    sessions = np.ones(n) if sessions is None else sessions
    weights = np.linspace(0.01, 1, n) if weights is None else weights
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(
        path,
        {
            "names": cell(names),
            "xyz": cell([row[None] for row in centres]),
            "data": cell(columns),
            "data_sessions": np.asarray(sessions, np.uint8)[:, None],
            "conditionsnames": cell(["rest"]),
            "conditionsweights": cell([cell([weights[:, None], weights[:, None]])]),
        }
        | more,
    )
    return path


@pytest.fixture
def write_conn():
    """Writer of CONN files."""
    return write_file


@pytest.fixture
def source():
    """Make the description of a folder."""

    def make(folder="patients", **fields):
        values = {"group": "patient", "by": "folder", "visits": ((0, "pre"),), "t_r_s": 2.0}
        return ConnInput(folder, **(values | fields))

    return make


@pytest.fixture
def series():
    """Series of all regions, volumes x regions."""

    def make(seed=0, n=40, n_regions=10):
        return np.random.default_rng(seed).normal(size=(n, n_regions))

    return make
