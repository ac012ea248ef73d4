"""Read the quality of the registration of a run from its sidecar."""

from collections.abc import Mapping

from circuitshift.pipeline.bids.run_metadata import metadata_of
from circuitshift.pipeline.errors import CircuitshiftError
from circuitshift.pipeline.records import Registration, Run

__all__ = ["REGISTRATION_KEYS", "registration_of"]

#: Keys of the sidecar of a preprocessed run, by the names in the records of preprocessing.
REGISTRATION_KEYS: Mapping[str, str] = {
    "boundary_cost": "BoundaryCost",
    "disagreement_mm": "RegistrationDisagreement",
}


def registration_of(run: Run) -> Registration:
    """Return the quality of the registration of a run to the T1-weighted image.

    Parameters
    ----------
    run : Run
        Preprocessed run.

    Returns
    -------
    Registration
        Values that circuitshift's preprocessing wrote to the sidecar of the run; NaN if they are
        not stated, as in the output of other software.
    """
    try:
        stated = metadata_of(run)
    except CircuitshiftError:  # reported where the repetition time is read
        stated = {}
    values = (stated.get(key) for key in REGISTRATION_KEYS.values())
    return Registration(*(float(v) if isinstance(v, int | float) else float("nan") for v in values))
