"""Atlases by name: which files they are, and where templateflow or nilearn keep them.

Both libraries have caches of their own, which are used as they are: a file already there is
taken without touching the network (and, for templateflow, without importing it, since that takes
seconds); otherwise the library is asked to fetch it. Without a network, the error says which file
to place where.
"""

import difflib
import os
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuitshift.atlases.errors import AtlasError

__all__ = ["AtlasFiles", "find", "known_names"]

SCHAEFER_SIZES = (100, 200, 300, 400, 500, 600, 700, 800, 900, 1000)
# templateflow does not hold these two; nilearn does
SCHAEFER_OF_NILEARN = (700, 900)
DIFUMO_SIZES = (64, 128, 256, 512, 1024)
# of the subcortical image: tissue, not regions
NOT_REGIONS = re.compile(r"White Matter|Cerebral Cortex|Ventric", re.IGNORECASE)

SCHAEFER = ("doi:10.1093/cercor/bhx179", "MIT")
TIAN = ("doi:10.1038/s41593-020-00711-6", "free with citation")
DIFUMO = ("doi:10.1016/j.neuroimage.2020.117126", "free for non-commercial research")
HARVARD_OXFORD = ("doi:10.1016/j.neuroimage.2006.01.021", "FSL licence, non-commercial")
AAL = ("doi:10.1006/nimg.2001.0978", "free for research with citation")
AAL3 = ("doi:10.1016/j.neuroimage.2019.116189", "free for research with citation")


@dataclass(frozen=True, slots=True)
class AtlasFiles:
    """Files of an atlas.

    Parameters
    ----------
    name : str
        Atlas name, letters and digits only.
    image : Path
        Label image or maps.
    space : str
        TemplateFlow name of the image's space.
    table : Path, optional
        Label table beside it.
    rows : sequence of (int, str), optional
        Value and name of each region, where the library gave them instead of a table.
    reference, licence : str
    """

    name: str
    image: Path
    space: str
    table: Path | None = None
    rows: Sequence[tuple[int, str]] = ()
    reference: str = ""
    licence: str = ""


def find(name: str, space: str) -> tuple[AtlasFiles, ...]:
    """Files of an atlas by its name; two parts for one that has cortex and subcortex apart.

    Parameters
    ----------
    name : str
        See `known_names`; case, ``_`` and ``-`` do not matter.
    space : str
        Space wanted. An atlas that exists in one space only comes in that.

    Raises
    ------
    AtlasError
        If the name is unknown, or the files are not there and cannot be fetched.
    """
    plain = re.sub("[^a-z0-9]", "", name.lower())
    for pattern, finder in FINDERS:
        if found := re.fullmatch(pattern, plain):
            return finder(name, space, *(int(number) for number in found.groups()))
    raise AtlasError(_unknown(name, plain))


def known_names() -> tuple[str, ...]:
    """Every name that `find` accepts, and the embedded atlas."""
    return (
        "seitzman300",
        *(f"Schaefer2018_{n}Parcels_{k}Networks" for n in SCHAEFER_SIZES for k in (7, 17)),
        *(f"Tian_S{scale}" for scale in range(1, 5)),
        "HarvardOxford",
        "AAL",
        "AAL3",
        *(f"DiFuMo{n}" for n in DIFUMO_SIZES),
    )


def _unknown(name: str, plain: str) -> str:
    names = {re.sub("[^a-z0-9]", "", available.lower()): available for available in known_names()}
    near = [names[key] for key in difflib.get_close_matches(plain, names, n=3, cutoff=0.5)]
    hint = f"the nearest names are {', '.join(near)}; " if near else ""
    return (
        f"no atlas {name!r}: {hint}accepted are seitzman300, "
        "Schaefer2018_<100..1000>Parcels_<7|17>Networks, Tian_S1 to Tian_S4, HarvardOxford, AAL, "
        "AAL3, DiFuMo<64|128|256|512|1024>, the path of an image or table, or two joined by +"
    )


# --------------------------------------------------------------------------------- templateflow


def _schaefer(name: str, space: str, size: int, networks: int) -> tuple[AtlasFiles, ...]:
    short = f"Schaefer{size}Parcels{networks}Networks"
    if size not in SCHAEFER_SIZES or networks not in (7, 17):
        raise AtlasError(
            f"no atlas {name!r}: Schaefer comes with {', '.join(map(str, SCHAEFER_SIZES))} parcels "
            "and 7 or 17 networks"
        )
    if size in SCHAEFER_OF_NILEARN:
        stem = f"Schaefer2018_{size}Parcels_{networks}Networks_order"
        got = _from_nilearn(
            short,
            "fetch_atlas_schaefer_2018",
            {"n_rois": size, "yeo_networks": networks, "resolution_mm": 2},
            [f"schaefer_2018/{stem}.txt", f"schaefer_2018/{stem}_FSLMNI152_2mm.nii.gz"],
        )
        return (_of_bunch(short, got, "MNI152NLin6Asym", SCHAEFER),)
    entities = f"atlas-Schaefer2018_desc-{size}Parcels{networks}Networks"
    return (_from_templateflow(short, space, (entities, "dseg"), SCHAEFER),)


def _tian(name: str, space: str, scale: int) -> tuple[AtlasFiles, ...]:
    if scale not in (1, 2, 3, 4):
        raise AtlasError(f"no atlas {name!r}: Tian's scales are S1, S2, S3 and S4")
    entities = (f"atlas-TianSubcortex_desc-S{scale}", "dseg")
    return (_from_templateflow(f"TianS{scale}", space, entities, TIAN),)


def _difumo(name: str, space: str, size: int) -> tuple[AtlasFiles, ...]:
    if size not in DIFUMO_SIZES:
        raise AtlasError(
            f"no atlas {name!r}: DiFuMo comes with {', '.join(map(str, DIFUMO_SIZES))} maps"
        )
    entities = (f"atlas-DiFuMo_desc-{size}dimensions", "probseg")
    return (_from_templateflow(f"DiFuMo{size}", space, entities, DIFUMO),)


def _from_templateflow(
    name: str, space: str, entities: tuple[str, str], terms: tuple[str, str]
) -> AtlasFiles:
    """Image at 2 mm and its table, from the cache of templateflow or fetched by it."""
    middle, suffix = entities
    folder = templateflow_home() / f"tpl-{space}"
    image = folder / f"tpl-{space}_res-02_{middle}_{suffix}.nii.gz"
    table = folder / f"tpl-{space}_{middle}_{suffix}.tsv"
    if not (is_filled(image) and is_filled(table)):
        _ask_templateflow(space, middle, suffix)
    lacking = [path.name for path in (image, table) if not is_filled(path)]
    if lacking:
        raise AtlasError(
            f"atlas {name} in {space} is not in templateflow's cache and could not be fetched: "
            f"place {' and '.join(lacking)} in {folder}, or pass the path of a label image "
            "with its table"
        )
    return AtlasFiles(name, image, space, table, (), *terms)


def _ask_templateflow(space: str, middle: str, suffix: str) -> None:
    """Let templateflow fetch into its cache what it knows of; what is lacking is seen after."""
    atlas, desc = re.findall(r"-([^_]+)", middle)
    with warnings.catch_warnings():
        # a new cache is announced by a warning at import, which is not the user's concern
        warnings.simplefilter("ignore")
        try:
            from templateflow.client import (  # noqa: PLC0415 - it takes 2 s
                TemplateFlowClient,
            )

            client = TemplateFlowClient(root=templateflow_home())
            for extra in ({"resolution": 2, "extension": ".nii.gz"}, {"extension": ".tsv"}):
                client.get(space, atlas=atlas, desc=desc, suffix=suffix, **extra)
        except (OSError, RuntimeError, ValueError):  # no network, or half a file: said by caller
            return


def templateflow_home() -> Path:
    """Return the cache of templateflow, as that library finds it."""
    if home := os.environ.get("TEMPLATEFLOW_HOME"):
        return Path(home).absolute()
    from platformdirs import user_cache_dir  # noqa: PLC0415 - comes with templateflow

    return Path(user_cache_dir("templateflow")).absolute()


def is_filled(path: Path) -> bool:
    """Whether a file is there and no empty placeholder, which templateflow's cache is full of."""
    return path.is_file() and path.stat().st_size > 0


# -------------------------------------------------------------------------------------- nilearn


def _harvard_oxford(name: str, space: str) -> tuple[AtlasFiles, ...]:
    """Cortex split by hemisphere, and the regions below it; both at 25 percent, 2 mm."""
    del name, space  # exists in one space only
    folder = "fsl/data/atlases"
    parts = []
    for part, short, table in (
        (
            "cortl-maxprob-thr25-2mm",
            "HarvardOxfordCortex",
            "HarvardOxford-Cortical-Lateralized.xml",
        ),
        ("sub-maxprob-thr25-2mm", "HarvardOxfordSubcortex", "HarvardOxford-Subcortical.xml"),
    ):
        image = f"{folder}/HarvardOxford/HarvardOxford-{part}.nii.gz"
        got = _from_nilearn(
            "HarvardOxford",
            "fetch_atlas_harvard_oxford",
            {"atlas_name": part},
            [image, f"{folder}/{table}"],
        )
        rows = [(i, label) for i, label in enumerate(got.labels) if i > 0]
        rows = [row for row in rows if not NOT_REGIONS.search(row[1])]
        file = Path(got.filename)
        parts.append(AtlasFiles(short, file, "MNI152NLin6Asym", None, rows, *HARVARD_OXFORD))
    return tuple(parts)


def _aal(name: str, space: str) -> tuple[AtlasFiles, ...]:
    del space  # exists in one space only
    third = name.rstrip().endswith("3")
    version, files, terms = (
        ("3v2", ["aal_3v2/AAL3/AAL3v1.nii", "aal_3v2/AAL3/AAL3v1.xml"], AAL3)
        if third
        else ("SPM12", ["aal_SPM12/aal/atlas/AAL.nii", "aal_SPM12/aal/atlas/AAL.xml"], AAL)
    )
    short = "AAL3" if third else "AAL"
    got = _from_nilearn(short, "fetch_atlas_aal", {"version": version}, files)
    return (_of_bunch(short, got, "MNIColin27", terms),)


def _of_bunch(name: str, got: Any, space: str, terms: tuple[str, str]) -> AtlasFiles:  # noqa: ANN401 - nilearn's Bunch
    """Files and rows of what a fetcher of nilearn returned."""
    table = zip(got.lut["index"], got.lut["name"], strict=True)
    rows = [(int(index), str(label)) for index, label in table if int(index) != 0]
    return AtlasFiles(name, Path(got.maps), space, None, rows, *terms)


def _from_nilearn(name: str, fetcher: str, options: dict[str, Any], files: Sequence[str]) -> Any:  # noqa: ANN401 - nilearn's Bunch
    """Run a fetcher of nilearn, or say which files to place where."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nilearn import datasets  # noqa: PLC0415 - it takes 3 s

        home = _nilearn_home(datasets)
        lacking = [file for file in files if not is_filled(home / file)]
        try:
            return getattr(datasets, fetcher)(**options, data_dir=home, verbose=0)
        except Exception as error:
            # nilearn lets through whatever requests, zipfile, xml or pandas raise
            what = (
                f"could not be fetched: place {' and '.join(lacking)} in {home}"
                if lacking
                else f"is there but cannot be read ({type(error).__name__}): fetch it again"
            )
            raise AtlasError(
                f"atlas {name} {what}, or pass the path of a label image with its table"
            ) from None


def _nilearn_home(datasets: Any) -> Path:  # noqa: ANN401 - the module
    """Return the first folder that nilearn would use."""
    return Path(datasets.get_data_dirs()[0]).absolute()


FINDERS: tuple[tuple[str, Callable[..., tuple[AtlasFiles, ...]]], ...] = (
    (r"schaefer(?:2018)?(?:n|x)?(\d+)parcels(\d+)networks", _schaefer),
    (r"tian(?:subcortex)?s(\d+)", _tian),
    (r"difumo(\d+)(?:dimensions)?", _difumo),
    (r"harvardoxford", _harvard_oxford),
    (r"aal3?", _aal),
)
