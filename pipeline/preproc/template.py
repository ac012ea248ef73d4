"""Load the template to which brains are normalised: the embedded one, or one of TemplateFlow."""

import warnings
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from circuitshift.atlases.remote import is_filled, templateflow_home
from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io.images import Image, read

__all__ = ["EMBEDDED", "Template", "load_template", "template_files"]

#: ICBM 152 nonlinear 2009a symmetric (Fonov 2011, doi:10.1016/j.neuroimage.2010.07.033), which
#: nilearn contains without skull.
EMBEDDED = "MNI152NLin2009aSym"


@dataclass(frozen=True, eq=False)
class Template:
    """Template brain with its mask and tissue probabilities.

    Parameters
    ----------
    name : str
        Name of the template, the value of the BIDS entity ``space``.
    brain : Image
        T1-weighted image, zero outside the brain, in RAS orientation with voxels of 1 mm.
    mask : ndarray of bool
        Brain mask on the grid of `brain`.
    priors : tuple of Image
        Probability of cerebrospinal fluid, grey and white matter; empty if not available.
    """

    name: str
    brain: Image
    mask: npt.NDArray[np.bool_]
    priors: tuple[Image, ...] = ()


@lru_cache(maxsize=1)
def load_template(name: str = EMBEDDED) -> Template:
    """Load a template.

    Parameters
    ----------
    name : str
        `EMBEDDED`, or an identifier of TemplateFlow such as ``MNI152NLin2009cAsym``.

    Returns
    -------
    Template
        The template, with tissue probabilities if it has them.

    Raises
    ------
    InputError
        If the template is not embedded, not in the cache of TemplateFlow, and cannot be downloaded.
    """
    return _embedded() if name == EMBEDDED else _from_templateflow(name)


def template_files(name: str) -> list[Path]:
    """Return the existing files of a template, without downloading any.

    Parameters
    ----------
    name : str
        Name of the template; see `load_template`.

    Returns
    -------
    list of Path
        Files from which the template is read.
    """
    if name == EMBEDDED:
        return _embedded_files()
    needed, tissue = _templateflow_files(name)
    return [path for path in (*needed, *tissue) if is_filled(path)]


def _embedded_files() -> list[Path]:
    spec = find_spec("nilearn")  # nilearn is not imported, which would take a second
    assert spec is not None and spec.origin is not None  # noqa: S101, PT018 - a dependency
    folder = Path(spec.origin).parent / "datasets" / "data"
    paths = [
        folder / f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
        for kind in ("t1", "gm", "wm")
    ]
    if not all(path.is_file() for path in paths):
        raise InputError(
            f"the installed nilearn does not contain {paths[0].name}; install nilearn 0.14, or "
            "choose a template of TemplateFlow with --output-space"
        )
    return paths


def _embedded() -> Template:
    brain, grey, white = (read(path) for path in _embedded_files())
    mask = np.asarray(brain.data) > 0
    grey, white = (p.like(np.asarray(p.data, np.float32) / 255) for p in (grey, white))
    rest = np.clip(1 - grey.data - white.data, 0, 1) * mask
    return Template(EMBEDDED, brain, mask, (brain.like(rest), grey, white))


def _templateflow_files(name: str) -> tuple[list[Path], list[Path]]:
    """Return the paths of the required head and brain mask, and of the optional tissue maps."""
    folder = templateflow_home() / f"tpl-{name}"
    stem = f"tpl-{name}_res-01"
    needed = [folder / f"{stem}_T1w.nii.gz", folder / f"{stem}_desc-brain_mask.nii.gz"]
    tissue = [folder / f"{stem}_label-{label}_probseg.nii.gz" for label in ("CSF", "GM", "WM")]
    return needed, tissue


def _from_templateflow(name: str) -> Template:
    needed, tissue = _templateflow_files(name)
    if not all(is_filled(path) for path in (*needed, *tissue)):
        _download(name)
    missing = [path.name for path in needed if not is_filled(path)]
    if missing:
        raise InputError(
            f"template {name} is not in the cache of TemplateFlow and could not be downloaded; "
            f"place {' and '.join(missing)} in {needed[0].parent}, or omit --output-space to use "
            f"{EMBEDDED}, which is installed with nilearn"
        )
    head, inside = (read(path) for path in needed)
    mask = np.asarray(inside.data) > 0
    brain = head.like(np.where(mask, head.data, 0).astype(np.float32))
    priors = tuple(read(path) for path in tissue) if all(map(is_filled, tissue)) else ()
    return Template(name, brain, mask, priors)


def _download(name: str) -> None:
    """Download the files of a template to the cache of TemplateFlow, as far as possible."""
    with warnings.catch_warnings():
        # templateflow warns at import when it creates its cache, which users need not know
        warnings.simplefilter("ignore")
        try:
            from templateflow.client import TemplateFlowClient  # noqa: PLC0415 - it takes 2 s

            client = TemplateFlowClient(root=templateflow_home())
            client.get(name, resolution=1, suffix="T1w", desc=None, extension=".nii.gz")
            client.get(name, resolution=1, suffix="mask", desc="brain", extension=".nii.gz")
            for label in ("CSF", "GM", "WM"):
                client.get(name, resolution=1, suffix="probseg", label=label)
        except (OSError, RuntimeError, ValueError):  # reported by the caller
            return
