"""Load the embedded atlas, the 300 spheres of Seitzman et al. (2020), from nilearn's data files.

nilearn packages the coordinates, so no network connection is needed. The files are located without
importing nilearn, because the import takes seconds.
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
# The spheres were defined in MNI152NLin6Asym, the space of the Human Connectome Project. Their
# diameters are 8 to 10 mm, so they are used in MNI152NLin2009cAsym without transformation.
CORTEX = {"cortexMid": "", "cortexL": "L", "cortexR": "R"}


def load_seitzman(space: str) -> Atlas:
    """Load the 300 spheres in the order of the published file.

    Cortical regions are named by network and all others by anatomical structure, for example
    ``DefaultMode_L_01`` and ``Amygdala_R_01``. Cerebellar spheres that cross the midline have no
    hemisphere.

    Parameters
    ----------
    space : str
        TemplateFlow name of the MNI space in which the coordinates are used.

    Returns
    -------
    Atlas
        Atlas of kind ``spheres`` with 300 regions. `Region.index` is the 1-based row of the file.

    Raises
    ------
    AtlasError
        If nilearn's files are missing, or their numbers of rows differ.

    References
    ----------
    Seitzman BA et al. (2020), NeuroImage 206:116290, doi:10.1016/j.neuroimage.2019.116290.
    """
    spheres = _lines(SPHERES)[1:]
    header, *codes = _lines(ANATOMY)
    anatomy = dict(part.split("=") for part in header.split(","))
    if len(spheres) != len(codes):
        raise AtlasError(
            f"Seitzman300: nilearn's {SPHERES} has {len(spheres)} rows but {ANATOMY} has "
            f"{len(codes)}; reinstall nilearn"
        )
    counts: Counter[str] = Counter()
    regions = []
    for index, (line, code) in enumerate(zip(spheres, codes, strict=True), start=1):
        x, y, z, radius, _, network = line.split()
        part = anatomy[code.strip()]
        hemisphere = CORTEX.get(part, _side(part, float(x), float(radius)))
        stem = f"{_title(network if part in CORTEX else part)}_{hemisphere or 'M'}"
        counts[stem] += 1
        regions.append(
            Region(
                index=index,
                label=f"{stem}_{counts[stem]:02d}",
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
    """Return the hemisphere of a region outside the cortex; empty for the cerebellar vermis."""
    if part == "cerebellum" and abs(x_mm) < radius_mm:
        return ""
    return "L" if x_mm < 0 else "R"


def _title(name: str) -> str:
    """Capitalise the first letter and leave the others unchanged."""
    return re.sub("^.", lambda match: match[0].upper(), name)


def _lines(name: str) -> list[str]:
    """Read the lines of one of nilearn's data files."""
    spec = importlib.util.find_spec("nilearn")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "datasets" / "data" / name
        if path.is_file():
            return path.read_text(encoding="utf-8").splitlines()
    raise AtlasError(
        f"Seitzman300: nilearn's file {name} is not installed; "
        "install nilearn 0.14.1 or later, or pass the path of another atlas"
    )
