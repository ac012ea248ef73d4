"""Confounds of a run under fMRIPrep's names: motion, tissue signals, components, drift, outliers.

One implementation for preprocessed and for simulated runs. Where fMRIPrep calls nipype, the numbers
are nipype's (`nipype.algorithms.confounds`), which the tests compare.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

__all__ = [
    "HEAD_MM",
    "MOTION",
    "Voxels",
    "compcor",
    "confounds_of",
    "cosines",
    "dvars",
    "expand",
    "framewise_displacement",
    "non_steady_state",
    "one_hot",
    "outliers",
    "relative_rms",
    "write_confounds",
]

Floats = npt.NDArray[np.float64]
Columns = dict[str, Floats]
Meta = dict[str, dict[str, object]]

MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
#: Head radius of Power's framewise displacement, mm (doi:10.1016/j.neuroimage.2011.10.018).
HEAD_MM = 50.0
_SPHERE_MM = 80.0  # Jenkinson's
_VARIANCE = 0.5  # share that the components kept explain, as in fMRIPrep
_TEMPORAL_SHARE, _TEMPORAL_MOST = 0.02, 5000
_FEW = 5  # steady volumes below which no component is estimated


@dataclass(frozen=True, slots=True, eq=False)
class Voxels:
    """Series of the voxels of a run's masks, each of shape (n_volumes, n_voxels).

    Parameters
    ----------
    brain : ndarray
    csf, white_matter : ndarray
        Of masks that keep clear of grey matter; may have no voxel.
    """

    brain: npt.NDArray[np.float32]
    csf: npt.NDArray[np.float32]
    white_matter: npt.NDArray[np.float32]


# ------------------------------------------------------------------------------------ motion


def framewise_displacement(motion: Floats) -> Floats:
    """Power's framewise displacement, mm; the first value is NaN.

    ``FD = sum |d trans| + 50 mm * sum |d rot|`` (doi:10.1016/j.neuroimage.2011.10.018).

    Parameters
    ----------
    motion : ndarray, shape (n_volumes, 6)
        Translations, mm, and rotations, radians.

    Returns
    -------
    ndarray, shape (n_volumes,)
    """
    step = np.abs(np.diff(motion, axis=0))
    fd = step[:, :3].sum(1) + HEAD_MM * step[:, 3:].sum(1)
    return np.concatenate([[np.nan], fd])


def relative_rms(motion: Floats) -> Floats:
    """Root mean square of the displacement of a sphere of 80 mm from volume to volume, mm.

    ``sqrt(R^2 / 5 trace(A'A) + t't)``, with A and t the rotation less one and the shift of the
    centre (Jenkinson 1999, FMRIB report TR99MJ1); the first value is NaN.

    Parameters
    ----------
    motion : ndarray, shape (n_volumes, 6)
        Translations, mm, and rotations, radians, ``R_x R_y R_z`` about the centre.

    Returns
    -------
    ndarray, shape (n_volumes,)
    """
    turns = Rotation.from_euler("XYZ", motion[:, 3:])
    between = (turns[1:] * turns[:-1].inv()).as_matrix()
    shift = motion[1:, :3] - np.einsum("nij,nj->ni", between, motion[:-1, :3])
    part = between - np.eye(3)
    squares = _SPHERE_MM**2 / 5 * (part**2).sum(axis=(1, 2)) + (shift**2).sum(axis=1)
    return np.concatenate([[np.nan], np.sqrt(squares)])


def non_steady_state(global_signal: Floats) -> int:
    """Count the volumes at the start that are brighter or darker than the run.

    Those of the first 50 volumes, from the first on, whose modified z is above 3.5 (Iglewicz &
    Hoaglin 1993; nipype's ``is_outlier``).

    Parameters
    ----------
    global_signal : ndarray, shape (n_volumes,)
        Mean over the image.

    Returns
    -------
    int
    """
    first = np.asarray(global_signal, float)[:50]
    distance = np.abs(first - np.median(first))
    spread = float(np.median(distance))
    if spread == 0:
        return 0
    steady = np.flatnonzero(0.6745 * distance / spread <= 3.5)
    return int(steady[0])


def outliers(fd_mm: Floats, std_dvars: Floats) -> npt.NDArray[np.bool_]:
    """Tell volumes that fMRIPrep calls motion outliers: FD above .5 mm or std DVARS above 1.5."""
    return (np.nan_to_num(fd_mm) > 0.5) | (np.nan_to_num(std_dvars) > 1.5)


# ------------------------------------------------------------------------------------ columns


def expand(name: str, values: Floats) -> Columns:
    """Add to a confound its difference, and the square of both (Friston's 24 parameters).

    Parameters
    ----------
    name : str
    values : ndarray, shape (n_volumes,)

    Returns
    -------
    dict of str to ndarray
    """
    change = np.concatenate([[np.nan], np.diff(values)])
    return {
        name: values,
        f"{name}_derivative1": change,
        f"{name}_derivative1_power2": change**2,
        f"{name}_power2": values**2,
    }


def one_hot(stem: str, at: npt.NDArray[np.intp], n_volumes: int) -> Columns:
    """Make a column for each volume named in `at`, 1 there and 0 elsewhere."""
    return {f"{stem}{k:02d}": (np.arange(n_volumes) == t) * 1.0 for k, t in enumerate(at)}


def cosines(n_volumes: int, t_r_s: float, *, cutoff_s: float = 128.0) -> Floats:
    """Discrete cosine regressors of slow drift, as fMRIPrep writes them.

    Parameters
    ----------
    n_volumes : int
    t_r_s : float
        Repetition time, s.
    cutoff_s : float
        Slowest period that is kept in the data.

    Returns
    -------
    ndarray, shape (n_volumes, max(floor(2 * n_volumes * t_r_s / cutoff_s), 1) - 1)
        Orthonormal columns without the constant (nipype's ``_cosine_drift``).
    """
    order = max(1, int(np.floor(2 * n_volumes * t_r_s / cutoff_s)))
    t, k = np.arange(n_volumes)[:, None] + 0.5, np.arange(1, order)
    return np.asarray(np.sqrt(2 / n_volumes) * np.cos(np.pi / n_volumes * t * k))


def dvars(voxels: npt.NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Root mean square change of intensity from volume to volume, plain and standardised.

    Parameters
    ----------
    voxels : ndarray, shape (n_volumes, n_voxels)

    Returns
    -------
    dvars : ndarray, shape (n_volumes,)
        With the median intensity scaled to 1000 (Power 2012); the first value is NaN.
    std_dvars : ndarray, shape (n_volumes,)
        Over what noise alone would give: ``sd sqrt(2 (1 - ar1))``, sd from quartiles (Nichols,
        arXiv:1704.01469; nipype's ``compute_dvars``).
    """
    values = np.asarray(voxels, np.float32)
    low, high = np.percentile(values, [25, 75], axis=0, method="lower")
    there = high > low
    # the scale is that of all voxels, the mean that of those that vary
    scale = 1000 / max(float(np.median(values)), 1e-9)
    values = values[:, there] * np.array(scale, np.float32)
    spread = (high - low)[there] * scale / 1.349
    centred = values - values.mean(axis=0)
    power = np.einsum("nv,nv->v", centred, centred)
    lagged = np.einsum("nv,nv->v", centred[1:], centred[:-1])
    ar1 = np.divide(lagged, power, out=np.zeros_like(power), where=power > 0)
    expected = float(np.mean(np.sqrt(2 * (1 - ar1)) * spread)) if there.any() else 0.0
    step = np.diff(values, axis=0)
    plain = np.sqrt(np.einsum("nv,nv->n", step, step) / max(values.shape[1], 1)).astype(float)
    scaled = plain / expected if expected > 0 else np.full_like(plain, np.nan)
    return np.concatenate([[np.nan], plain]), np.concatenate([[np.nan], scaled])


def compcor(
    voxels: npt.NDArray[np.floating],
    drift: Floats,
    *,
    prefix: str,
    mask: str,
    method: str = "aCompCor",
) -> tuple[Columns, Meta]:
    """Principal components of noise voxels up to half of their variance, at least six.

    Drift and mean removed, voxels standardised, left singular vectors (Behzadi 2007,
    doi:10.1016/j.neuroimage.2007.04.042; nipype's ``compute_noise_components``).

    Parameters
    ----------
    voxels : ndarray, shape (n_volumes, n_voxels)
    drift : ndarray, shape (n_volumes, n_drift)
        Orthonormal, without the constant.
    prefix : str
        Columns are named ``<prefix>_comp_cor_00`` and so on.
    mask, method : str
        For the sidecar: ``CSF``, ``WM``, ``combined``; ``aCompCor`` or ``tCompCor``.

    Returns
    -------
    columns : dict of str to ndarray, shape (n_volumes,)
    meta : dict
        Of these, and of three that were dropped.
    """
    data = _cleaned(voxels, drift)
    sd = data.std(axis=0)
    data = np.divide(data, sd, out=np.zeros_like(data), where=sd > 1e-9 * max(sd.max(), 1e-300))
    left, singular = _left_vectors(data)
    share = singular**2 / max(float((singular**2).sum()), 1e-300)
    total = np.cumsum(share)
    n_kept = min(max(6, int(np.searchsorted(total, _VARIANCE)) + 1), len(share))
    columns: Columns = {}
    meta: Meta = {}
    for k in range(min(n_kept + 3, len(share))):
        kept = k < n_kept
        # fMRIPrep lists what it left out in the sidecar, by another name
        name = f"{prefix}_comp_cor_{k:02d}" if kept else f"dropped_{mask.lower()}_{k - n_kept}"
        if kept:
            columns[name] = left[:, k] * np.sign(left[np.argmax(np.abs(left[:, k])), k])
        meta[name] = {
            "CumulativeVarianceExplained": round(float(total[k]), 10),
            "Mask": mask,
            "Method": method,
            "Retained": kept,
            "SingularValue": round(float(singular[k]), 10),
            "VarianceExplained": round(float(share[k]), 10),
        }
    return columns, meta


def _cleaned(voxels: npt.NDArray[np.floating], drift: Floats) -> Floats:
    """Take mean and drift out."""
    data = np.asarray(voxels, float)
    data = data - data.mean(axis=0)
    return np.asarray(data - drift @ (drift.T @ data))


def _left_vectors(data: Floats) -> tuple[Floats, Floats]:
    """Left singular vectors and singular values, from the smaller of the two square matrices."""
    if data.shape[1] <= data.shape[0]:
        left, singular, _ = np.linalg.svd(data, full_matrices=False)
        return left, singular
    values, vectors = np.linalg.eigh(data @ data.T)
    keep = slice(None, None, -1)
    return vectors[:, keep], np.sqrt(np.maximum(values[keep], 0.0))


# ------------------------------------------------------------------------------------ table


def confounds_of(
    voxels: Voxels, motion: Floats, t_r_s: float, *, n_dummy: int = 0
) -> tuple[Columns, Meta]:
    """Make the confounds of a run, in fMRIPrep's order.

    Parameters
    ----------
    voxels : Voxels
    motion : ndarray, shape (n_volumes, 6)
    t_r_s : float
        Repetition time, s.
    n_dummy : int
        Volumes before the steady state, which components and drift leave out.

    Returns
    -------
    columns : dict of str to ndarray, shape (n_volumes,)
        NaN where fMRIPrep writes n/a.
    meta : dict
        Content of the JSON sidecar.
    """
    n_volumes = len(motion)
    columns: Columns = {}
    meta: Meta = {}
    for name, part in (
        ("csf", voxels.csf),
        ("white_matter", voxels.white_matter),
        ("global_signal", voxels.brain),
    ):
        there = part.shape[1] > 0
        mean = part.mean(axis=1, dtype=float) if there else np.full(n_volumes, np.nan)
        columns |= expand(name, mean)
        meta[name] = {"Method": "Mean"}
        if not there:
            meta[name]["Note"] = "the mask holds no voxel"
    plain, scaled = dvars(voxels.brain)
    columns |= {"std_dvars": scaled, "dvars": plain}
    fd = framewise_displacement(motion)
    columns |= {"framewise_displacement": fd, "rmsd": relative_rms(motion)}
    drift = cosines(n_volumes - n_dummy, t_r_s)
    before = np.zeros(n_dummy)
    for found, notes in _components(voxels, drift, n_dummy):
        columns |= {key: np.concatenate([before, values]) for key, values in found.items()}
        meta |= notes
    columns |= {
        f"cosine{k:02d}": np.concatenate([before, drift[:, k]]) for k in range(drift.shape[1])
    }
    columns |= one_hot("non_steady_state_outlier", np.arange(n_dummy), n_volumes)
    for name, values in zip(MOTION, motion.T, strict=True):
        columns |= expand(name, values)
    columns |= one_hot("motion_outlier", np.flatnonzero(outliers(fd, scaled)), n_volumes)
    return columns, meta


def _components(voxels: Voxels, drift: Floats, n_dummy: int) -> "list[tuple[Columns, Meta]]":
    """Temporal and anatomical components, those of an empty mask left out."""
    if len(drift) < _FEW:
        return []
    sd = _cleaned(voxels.brain[n_dummy:], drift).std(axis=0)
    n = min(_TEMPORAL_MOST, int(np.ceil(_TEMPORAL_SHARE * sd.size)))
    loud = np.sort(np.argsort(-sd, kind="stable")[:n])
    combined = np.concatenate([voxels.csf, voxels.white_matter], axis=1)
    out = []
    for prefix, mask, method, part in (
        ("t", "temporal", "tCompCor", voxels.brain[:, loud]),
        ("a", "combined", "aCompCor", combined),
        ("c", "CSF", "aCompCor", voxels.csf),
        ("w", "WM", "aCompCor", voxels.white_matter),
    ):
        if part.shape[1]:
            out.append(compcor(part[n_dummy:], drift, prefix=prefix, mask=mask, method=method))
    return out


def write_confounds(path: Path, columns: Columns, meta: Meta) -> None:
    """Write a confounds table and its JSON sidecar.

    Parameters
    ----------
    path : Path
        Ends in ``.tsv``; its folder exists.
    columns : dict of str to ndarray
        NaN is written as n/a.
    meta : dict
        Content of the sidecar.
    """
    # one format string for a whole row is many times faster than a cell at a time, and a
    # simulation writes tens of thousands of cells a run
    values = np.column_stack(list(columns.values()))
    row = "\t".join(["%.9g"] * values.shape[1])
    lines = ["\t".join(columns), *(row % tuple(line) for line in values.tolist())]
    path.write_text("\n".join(lines).replace("nan", "n/a") + "\n", encoding="utf-8")
    text = json.dumps(meta, indent=2, sort_keys=True)
    path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
