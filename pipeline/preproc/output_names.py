"""Name the files of preprocessing as fMRIPrep does, relative to the root of the derivative."""

from pathlib import Path

from circuitshift.pipeline.bids.names import build_path
from circuitshift.pipeline.bids.raw_records import RawAnat, RawBold

__all__ = [
    "anat_path",
    "anatomy_record",
    "bold_path",
    "bold_record",
    "coregistration_path",
    "coregistration_record",
    "func_path",
    "reference_path",
    "run_stem",
    "session_path",
    "structure_path",
    "structure_record",
    "warp_path",
    "xfm_path",
]

_Pair = tuple[str, str]


def anat_path(participant: str, suffix: str, *pairs: _Pair, end: str = ".nii.gz") -> Path:
    """Return the path of an anatomical file; `pairs` are its entities."""
    return build_path([("sub", participant), *pairs], suffix, end, "anat")


def warp_path(participant: str, source: str, target: str) -> Path:
    """Return the path of the transform from one space to another."""
    pairs = (("from", source), ("to", target), ("mode", "image"))
    return anat_path(participant, "xfm", *pairs)


def xfm_path(anat: RawAnat) -> Path:
    """Return the path of the transform from a raw T1-weighted image to the participant's space."""
    pairs = (("from", "orig"), ("to", "T1w"), ("mode", "image"))
    return build_path([*anat.entities, *pairs], "xfm", ".txt", "anat")


def func_path(bold: RawBold, suffix: str, *pairs: _Pair, end: str = ".nii.gz") -> Path:
    """Return the path of a file of a run; `pairs` are additional entities."""
    return build_path([*bold.entities, *pairs], suffix, end)


def reference_path(bold: RawBold, step: str) -> Path:
    """Return the path of the reference of a run: of head motion (``hmc``) or of registration.

    The second (``coreg``) is the image that was registered to the T1-weighted image.
    """
    return func_path(bold, "boldref", ("desc", step))


def coregistration_path(bold: RawBold) -> Path:
    """Return the path of the transform from the reference of a run to the T1-weighted image."""
    pairs = (("from", "boldref"), ("to", "T1w"), ("mode", "image"), ("desc", "coreg"))
    return func_path(bold, "xfm", *pairs, end=".txt")


def bold_path(bold: RawBold, template: str) -> Path:
    """Return the path of the preprocessed run."""
    return func_path(bold, "bold", ("space", template), ("desc", "preproc"))


def anatomy_record(participant: str) -> Path:
    """Return the path of the record of a participant's anatomy."""
    return Path(f"sub-{participant}", "log", f"sub-{participant}_anatomy.json")


def coregistration_record(participant: str) -> Path:
    """Return the path of the record of the coregistration of all runs of a participant."""
    return Path(f"sub-{participant}", "log", f"sub-{participant}_coregistration.json")


def run_stem(bold: RawBold) -> str:
    """Return the name of a run: its entities."""
    return "_".join(f"{key}-{value}" for key, value in bold.entities)


def bold_record(bold: RawBold, step: str = "bold") -> Path:
    """Return the path of the record of a step of a run."""
    return Path(f"sub-{bold.participant}", "log", f"{run_stem(bold)}_{step}.json")


def session_path(anat: RawAnat, suffix: str, *pairs: _Pair) -> Path:
    """Return the path of an image of a session on the grid of the participant's T1-weighted image.

    All T1-weighted images of the session contribute to it, so that its name has no other entities.
    """
    entities = (("sub", anat.participant), ("ses", anat.session), ("space", "T1w"))
    return build_path([*entities, *pairs], suffix, ".nii.gz", "anat")


def structure_path(participant: str) -> Path:
    """Return the path of the table of the structure of all sessions."""
    return Path(f"sub-{participant}", f"sub-{participant}_structure.tsv")


def structure_record(participant: str) -> Path:
    """Return the path of the record of the structure of all sessions."""
    return Path(f"sub-{participant}", "log", f"sub-{participant}_structure.json")
