"""The embedded atlas: the 300 spheres of Seitzman and colleagues, read from nilearn's own files.

nilearn packages the coordinates, so no network is needed; its files are found without importing
nilearn, which would take seconds.
"""

import importlib.util
import re
from collections import Counter
from pathlib import Path

from circuitshift.atlases.errors import AtlasError
from circuitshift.atlases.records import Atlas, Region

__all__ = ["load_seitzman"]

SPHERES = "seitzman_2018_ROIs_300inVol_MNI_allInfo.txt"
ANATOMY = "seitzman_2018_ROIs_anatomicalLabels.txt"
REFERENCE = "doi:10.1016/j.neuroimage.2019.116290"
LICENCE = "coordinates packaged by nilearn (BSD-3-Clause); cite Seitzman 2020"
# The authors drew their spheres in MNI space (NLin6Asym of the Human Connectome Project);
# at 8 to 10 mm across, MNI152NLin2009cAsym is served as well.
CORTEX = {"cortexMid": "", "cortexL": "L", "cortexR": "R"}


def load_seitzman(space: str) -> Atlas:
    """Spheres of Seitzman and colleagues, in the order of the published file.

    Cortical regions are named by network, the others by anatomy: ``DefaultMode_L_01``,
    ``Amygdala_R_01``. Cerebellar spheres that reach across the midline have no hemisphere.

    Parameters
    ----------
    space : str
        MNI space that the coordinates are used in.

    Returns
    -------
    Atlas
        300 regions of kind ``spheres``; `Region.index` is the 1-based row of the file.

    Raises
    ------
    AtlasError
        If nilearn's files are not found or not as expected.
    """
    spheres = _lines(SPHERES)[1:]
    header, *codes = _lines(ANATOMY)
    anatomy = dict(part.split("=") for part in header.split(","))
    if len(spheres) != len(codes):
        raise AtlasError(
            f"Seitzman300: nilearn's {SPHERES} has {len(spheres)} rows but {ANATOMY} {len(codes)};"
            " reinstall nilearn"
        )
    running: Counter[str] = Counter()
    regions = []
    for index, (line, code) in enumerate(zip(spheres, codes, strict=True), start=1):
        x, y, z, radius, _, network = line.split()
        part = anatomy[code.strip()]
        hemisphere = CORTEX.get(part, _side(part, float(x), float(radius)))
        stem = f"{_title(network if part in CORTEX else part)}_{hemisphere or 'M'}"
        running[stem] += 1
        regions.append(
            Region(
                index=index,
                label=f"{stem}_{running[stem]:02d}",
                hemisphere=hemisphere,
                network="" if network == "unassigned" else network,
                xyz_mm=(float(x), float(y), float(z)),
                radius_mm=float(radius),
            )
        )
    return Atlas(
        name="Seitzman300",
        regions=tuple(regions),
        kind="spheres",
        space=space,
        reference=REFERENCE,
        licence=LICENCE,
    )


def _side(part: str, x_mm: float, radius_mm: float) -> str:
    """Hemisphere of a region outside the cortex; the vermis has none."""
    if part == "cerebellum" and abs(x_mm) < radius_mm:
        return ""
    return "L" if x_mm < 0 else "R"


def _title(name: str) -> str:
    """Make the first letter a capital."""
    return re.sub("^.", lambda first: first[0].upper(), name)


def _lines(name: str) -> list[str]:
    """Lines of one of nilearn's data files."""
    spec = importlib.util.find_spec("nilearn")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "datasets" / "data" / name
        if path.is_file():
            return path.read_text(encoding="utf-8").splitlines()
    raise AtlasError(
        f"Seitzman300: nilearn's file {name} is not installed; "
        "install nilearn 0.14.1 or later, or pass the path of another atlas"
    )
