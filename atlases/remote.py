"""Find the files of an atlas by its name, in the caches of templateflow and nilearn.

Each library's own cache is used. A cached file is returned without network access and, for
templateflow, without importing the library, because the import takes seconds. A file that is not
cached is fetched by the library. If this fails, the error names the files and the folder in which
to place them.
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
from circuitshift.atlases.shared_folders import refuse_foreign_cache

__all__ = ["AtlasFiles", "find", "is_filled", "known_names", "templateflow_home"]

SCHAEFER_SIZES = (100, 200, 300, 400, 500, 600, 700, 800, 900, 1000)
# sizes that nilearn provides and templateflow does not
SCHAEFER_FROM_NILEARN = (700, 900)
DIFUMO_SIZES = (64, 128, 256, 512, 1024)
# labels of the Harvard-Oxford subcortical image that are tissue classes, not regions
NOT_REGIONS = re.compile(r"White Matter|Cerebral Cortex|Ventric", re.IGNORECASE)

SCHAEFER = ("doi:10.1093/cercor/bhx179", "MIT")
TIAN = ("doi:10.1038/s41593-020-00711-6", "free with citation")
DIFUMO = ("doi:10.1016/j.neuroimage.2020.117126", "free for non-commercial research")
HARVARD_OXFORD = ("doi:10.1016/j.neuroimage.2006.01.021", "FSL licence, non-commercial")
AAL = ("doi:10.1006/nimg.2001.0978", "free for research with citation")
AAL3 = ("doi:10.1016/j.neuroimage.2019.116189", "free for research with citation")


@dataclass(frozen=True, slots=True)
class AtlasFiles:
    """The files of an atlas, its space and its citation.

    Parameters
    ----------
    name : str
        Atlas name, letters and digits only.
    image : Path
        Label image or maps.
    space : str
        TemplateFlow name of the space of the image.
    table : Path, optional
        Label table; None if `rows` name the regions.
    rows : sequence of (int, str), optional
        Value and name of each region, where the library provides these instead of a table.
    reference, licence : str
        How to cite the atlas, and its terms of use.
    """

    name: str
    image: Path
    space: str
    table: Path | None = None
    rows: Sequence[tuple[int, str]] = ()
    reference: str = ""
    licence: str = ""


def find(name: str, space: str) -> tuple[AtlasFiles, ...]:
    """Find the files of an atlas, fetching those that are not cached.

    Parameters
    ----------
    name : str
        One of `known_names`. Case, ``_`` and ``-`` are ignored.
    space : str
        TemplateFlow name of the requested space. Atlases that exist in one space only are
        returned in that space.

    Returns
    -------
    tuple of AtlasFiles
        One element, or two for atlases that are published as separate cortical and subcortical
        images (Harvard-Oxford).

    Raises
    ------
    AtlasError
        If the name is unknown, or files are missing and cannot be fetched.
    """
    key = re.sub("[^a-z0-9]", "", name.lower())
    for pattern, finder in FINDERS:
        if found := re.fullmatch(pattern, key):
            return finder(name, space, *(int(number) for number in found.groups()))
    raise AtlasError(_unknown_name_message(name, key))


def known_names() -> tuple[str, ...]:
    """Return all names that `load_atlas` accepts: those of `find`, and the embedded atlases."""
    return (
        "seitzman300circuits",
        "seitzman300",
        *(f"Schaefer2018_{n}Parcels_{k}Networks" for n in SCHAEFER_SIZES for k in (7, 17)),
        *(f"Tian_S{scale}" for scale in range(1, 5)),
        "HarvardOxford",
        "AAL",
        "AAL3",
        *(f"DiFuMo{n}" for n in DIFUMO_SIZES),
    )


def _unknown_name_message(name: str, key: str) -> str:
    """Compose an error message with the nearest names; `key` is the simplified name."""
    names = {re.sub("[^a-z0-9]", "", known.lower()): known for known in known_names()}
    near = [names[match] for match in difflib.get_close_matches(key, names, n=3, cutoff=0.5)]
    hint = f"the nearest names are {', '.join(near)}; " if near else ""
    return (
        f"unknown atlas {name!r}; {hint}use one of seitzman300circuits, seitzman300, "
        "Schaefer2018_<100..1000>Parcels_<7|17>Networks, Tian_S1 to Tian_S4, HarvardOxford, AAL, "
        "AAL3, DiFuMo<64|128|256|512|1024>, the path of an image or table, or two joined by +"
    )


# --------------------------------------------------------------------------------- templateflow


def _schaefer(name: str, space: str, size: int, networks: int) -> tuple[AtlasFiles, ...]:
    atlas_name = f"Schaefer{size}Parcels{networks}Networks"
    if size not in SCHAEFER_SIZES or networks not in (7, 17):
        raise AtlasError(
            f"unknown atlas {name!r}; the Schaefer atlas has "
            f"{', '.join(map(str, SCHAEFER_SIZES))} parcels and 7 or 17 networks"
        )
    if size in SCHAEFER_FROM_NILEARN:
        stem = f"Schaefer2018_{size}Parcels_{networks}Networks_order"
        bunch = _from_nilearn(
            atlas_name,
            "fetch_atlas_schaefer_2018",
            {"n_rois": size, "yeo_networks": networks, "resolution_mm": 2},
            [f"schaefer_2018/{stem}.txt", f"schaefer_2018/{stem}_FSLMNI152_2mm.nii.gz"],
        )
        return (_from_bunch(atlas_name, bunch, "MNI152NLin6Asym", SCHAEFER),)
    entities = f"atlas-Schaefer2018_desc-{size}Parcels{networks}Networks"
    return (_from_templateflow(atlas_name, space, (entities, "dseg"), SCHAEFER),)


def _tian(name: str, space: str, scale: int) -> tuple[AtlasFiles, ...]:
    if scale not in (1, 2, 3, 4):
        raise AtlasError(f"unknown atlas {name!r}; the scales of the Tian atlas are S1 to S4")
    entities = (f"atlas-TianSubcortex_desc-S{scale}", "dseg")
    return (_from_templateflow(f"TianS{scale}", space, entities, TIAN),)


def _difumo(name: str, space: str, size: int) -> tuple[AtlasFiles, ...]:
    if size not in DIFUMO_SIZES:
        raise AtlasError(
            f"unknown atlas {name!r}; DiFuMo has {', '.join(map(str, DIFUMO_SIZES))} maps"
        )
    entities = (f"atlas-DiFuMo_desc-{size}dimensions", "probseg")
    return (_from_templateflow(f"DiFuMo{size}", space, entities, DIFUMO),)


def _from_templateflow(
    name: str, space: str, parts: tuple[str, str], citation: tuple[str, str]
) -> AtlasFiles:
    """Find the image at 2 mm resolution and its table in templateflow's cache, or fetch them."""
    entities, suffix = parts
    folder = templateflow_home() / f"tpl-{space}"
    image = folder / f"tpl-{space}_res-02_{entities}_{suffix}.nii.gz"
    table = folder / f"tpl-{space}_{entities}_{suffix}.tsv"
    if not (is_filled(image) and is_filled(table)):
        _fetch_from_templateflow(space, entities, suffix)
    missing = [path.name for path in (image, table) if not is_filled(path)]
    if missing:
        raise AtlasError(
            f"atlas {name} in {space} is not in templateflow's cache and could not be fetched; "
            f"place {' and '.join(missing)} in {folder}, or pass the path of a label image "
            "with its table"
        )
    return AtlasFiles(name, image, space, table, (), *citation)


def _fetch_from_templateflow(space: str, entities: str, suffix: str) -> None:
    """Fetch the files of an atlas into templateflow's cache; the caller checks the result."""
    atlas, desc = re.findall(r"-([^_]+)", entities)
    with warnings.catch_warnings():
        # templateflow warns at import when it creates a cache, which is irrelevant to the user
        warnings.simplefilter("ignore")
        try:
            from templateflow.client import (  # noqa: PLC0415 - takes 2 s
                TemplateFlowClient,
            )

            client = TemplateFlowClient(root=templateflow_home())
            for selection in ({"resolution": 2, "extension": ".nii.gz"}, {"extension": ".tsv"}):
                client.get(space, atlas=atlas, desc=desc, suffix=suffix, **selection)
        except (OSError, RuntimeError, ValueError):  # no network, or a partial file
            return


def templateflow_home() -> Path:
    """Return the cache folder of templateflow, determined by that library's rules."""
    home = os.environ.get("TEMPLATEFLOW_HOME")
    if not home:
        from platformdirs import user_cache_dir  # noqa: PLC0415 - comes with templateflow

        home = user_cache_dir("templateflow")
    folder = Path(home).absolute()
    refuse_foreign_cache(folder, "set TEMPLATEFLOW_HOME to a folder of your own")
    return folder


def is_filled(path: Path) -> bool:
    """Return whether a file exists and is not one of templateflow's empty placeholders."""
    return path.is_file() and path.stat().st_size > 0


# -------------------------------------------------------------------------------------- nilearn


def _harvard_oxford(name: str, space: str) -> tuple[AtlasFiles, ...]:
    """Find the lateralised cortical and the subcortical image (threshold 25 %, 2 mm)."""
    del name, space  # the atlas exists in one space only
    folder = "fsl/data/atlases"
    parts = []
    for part, atlas_name, table in (
        (
            "cortl-maxprob-thr25-2mm",
            "HarvardOxfordCortex",
            "HarvardOxford-Cortical-Lateralized.xml",
        ),
        ("sub-maxprob-thr25-2mm", "HarvardOxfordSubcortex", "HarvardOxford-Subcortical.xml"),
    ):
        image = f"{folder}/HarvardOxford/HarvardOxford-{part}.nii.gz"
        bunch = _from_nilearn(
            "HarvardOxford",
            "fetch_atlas_harvard_oxford",
            {"atlas_name": part},
            [image, f"{folder}/{table}"],
        )
        rows = [(i, label) for i, label in enumerate(bunch.labels) if i > 0]
        rows = [row for row in rows if not NOT_REGIONS.search(row[1])]
        file = Path(bunch.filename)
        parts.append(AtlasFiles(atlas_name, file, "MNI152NLin6Asym", None, rows, *HARVARD_OXFORD))
    return tuple(parts)


def _aal(name: str, space: str) -> tuple[AtlasFiles, ...]:
    del space  # the atlas exists in one space only
    is_version_3 = name.rstrip().endswith("3")
    version, files, citation = (
        ("3v2", ["aal_3v2/AAL3/AAL3v1.nii", "aal_3v2/AAL3/AAL3v1.xml"], AAL3)
        if is_version_3
        else ("SPM12", ["aal_SPM12/aal/atlas/AAL.nii", "aal_SPM12/aal/atlas/AAL.xml"], AAL)
    )
    atlas_name = "AAL3" if is_version_3 else "AAL"
    bunch = _from_nilearn(atlas_name, "fetch_atlas_aal", {"version": version}, files)
    return (_from_bunch(atlas_name, bunch, "MNIColin27", citation),)


def _from_bunch(name: str, bunch: Any, space: str, citation: tuple[str, str]) -> AtlasFiles:  # noqa: ANN401 - nilearn's Bunch
    """Make the record of an atlas from the result of a nilearn fetcher."""
    table = zip(bunch.lut["index"], bunch.lut["name"], strict=True)
    rows = [(int(index), str(label)) for index, label in table if int(index) != 0]
    return AtlasFiles(name, Path(bunch.maps), space, None, rows, *citation)


def _from_nilearn(name: str, fetcher: str, options: dict[str, Any], files: Sequence[str]) -> Any:  # noqa: ANN401 - nilearn's Bunch
    """Run a nilearn fetcher; if it fails, the error names the files to place by hand."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nilearn import datasets  # noqa: PLC0415 - takes 3 s

        home = _nilearn_home(datasets)
        missing = [file for file in files if not is_filled(home / file)]
        try:
            return getattr(datasets, fetcher)(**options, data_dir=home, verbose=0)
        except Exception as error:
            # nilearn passes on exceptions of requests, zipfile, xml and pandas
            what = (
                f"could not be fetched; place {' and '.join(missing)} in {home}"
                if missing
                else f"is cached but cannot be read ({type(error).__name__}); fetch it again"
            )
            raise AtlasError(
                f"atlas {name} {what}, or pass the path of a label image with its table"
            ) from None


def _nilearn_home(datasets: Any) -> Path:  # noqa: ANN401 - the module
    """Return the first data folder that nilearn would use."""
    folder = Path(datasets.get_data_dirs()[0]).absolute()
    refuse_foreign_cache(folder, "set NILEARN_DATA to a folder of your own")
    return folder


FINDERS: tuple[tuple[str, Callable[..., tuple[AtlasFiles, ...]]], ...] = (
    (r"schaefer(?:2018)?(?:n|x)?(\d+)parcels(\d+)networks", _schaefer),
    (r"tian(?:subcortex)?s(\d+)", _tian),
    (r"difumo(\d+)(?:dimensions)?", _difumo),
    (r"harvardoxford", _harvard_oxford),
    (r"aal3?", _aal),
)
