"""Select the columns of confounds tables of fMRIPrep, as nilearn does and without importing it.

`nilearn.interfaces.fmriprep.load_confounds` selects columns of a table by their names. Importing it
takes more than a second, because it imports pandas and scikit-learn, and a process often measures
one participant only. The function of this module returns the same columns with the same values for
the arguments that strategies use. It returns nothing for other arguments, and if a column is not
available, so that nilearn loads the table or states what is wrong with it.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.errors import TableError
from circuitshift.pipeline.io import tables

__all__ = ["select_columns"]

_AXES = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
#: Columns of each type, and the default of its model in nilearn.
_MODELLED = {
    "motion": (_AXES, "full"),
    "wm_csf": (("csf", "white_matter"), "basic"),
    "global_signal": (("global_signal",), "basic"),
}
_ENDINGS = {
    "basic": (),
    "derivatives": ("_derivative1",),
    "power2": ("_power2",),
    "full": ("_derivative1", "_power2", "_derivative1_power2"),
}
#: Beginnings of the names of components, and masks of anatomical components.
_COMPCOR = {
    "anat_combined": ("a", ("combined",)),
    "anat_separated": ("awc", ("WM", "CSF")),
    "temporal": ("t", ()),
    "temporal_anat_combined": ("ta", ("combined",)),
    "temporal_anat_separated": ("tawc", ("WM", "CSF")),
}
_ARGUMENTS = {"strategy", *_MODELLED, "compcor", "n_compcor", "ica_aroma"}
# header of fMRIPrep before version 1.2, which nilearn refuses
_CAMEL_CASE = re.compile(r"[A-Z]|^[\d.]+$")


class _NotCoveredError(Exception):
    """The arguments or the table are not covered, so that nilearn has to load the table."""


def select_columns(
    table: tables.Table, sidecar: Path, load: Mapping[str, Any]
) -> tuple[tuple[str, ...], Floats] | None:
    """Select regressors with the arguments of `nilearn.interfaces.fmriprep.load_confounds`.

    Parameters
    ----------
    table : Table
        Confounds table of fMRIPrep, version 1.2 or newer.
    sidecar : Path
        JSON file of the table, which lists the masks of components.
    load : mapping
        Arguments of `load_confounds`.

    Returns
    -------
    names : tuple of str
        Names of the columns, in the order of the types in ``load["strategy"]``.
    values : ndarray, shape (n_volumes, n_columns)
        Values. A missing value of the first volume, as of derivatives, is replaced by that of the
        second, as in nilearn.

        None is returned instead if nilearn has to load the table.
    """
    try:
        names = _names(table, sidecar, load)
        values = np.column_stack([table.numbers(name) for name in names])
    except (_NotCoveredError, TableError):
        return None
    if len(values) < 2:
        return None
    values[0] = np.where(np.isnan(values[0]), values[1], values[0])
    return names, values


def _names(table: tables.Table, sidecar: Path, load: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the selected columns."""
    families = load["strategy"]
    if not set(load) <= _ARGUMENTS or any(_CAMEL_CASE.search(name) for name in table.columns):
        raise _NotCoveredError
    names: list[str] = []
    for family in families:
        if family in _MODELLED:
            names += _modelled(family, load)
        elif family == "high_pass":
            names += [name for name in table.columns if "cosine" in name]
        elif family == "compcor" and "high_pass" in families:
            names += _components(sidecar, load)
        elif family == "ica_aroma" and load.get("ica_aroma") == "basic":
            names += [name for name in table.columns if "aroma" in name]
        else:
            raise _NotCoveredError
    is_repeated = len(set(names)) < len(names)
    if not names or is_repeated or not set(names) <= set(table.columns):
        raise _NotCoveredError
    return tuple(names)


def _modelled(family: str, load: Mapping[str, Any]) -> list[str]:
    """Return the columns of a type with their derivatives and squares."""
    first, default = _MODELLED[family]
    model = load.get(family, default)
    if model not in _ENDINGS:
        raise _NotCoveredError
    return [*first, *(name + ending for name in first for ending in _ENDINGS[model])]


def _components(sidecar: Path, load: Mapping[str, Any]) -> list[str]:
    """Return the first components of each mask, and the first temporal components."""
    kind, most = load.get("compcor", "anat_combined"), load.get("n_compcor", "all")
    is_number = isinstance(most, int) and not isinstance(most, bool) and most > 0
    if kind not in _COMPCOR or not (most == "all" or is_number):
        raise _NotCoveredError
    about = tables.read_json(sidecar)
    n_most = len(about) if most == "all" else int(most)
    beginnings, masks = _COMPCOR[kind]
    names: list[str] = []
    for beginning in beginnings:
        n = sum(f"{beginning}_comp_cor" in name for name in about)
        own = [f"{beginning}_comp_cor_{k:02d}" for k in range(n)]
        if beginning == "a":
            for mask in masks:
                names += [name for name in own if _mask(about, name) == mask][:n_most]
        else:
            names += own[:n_most]
    return names


def _mask(about: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 - any content of JSON
    """Return the mask of an anatomical component."""
    component = about.get(name)
    if not isinstance(component, dict) or "Mask" not in component:
        raise _NotCoveredError
    return component["Mask"]
