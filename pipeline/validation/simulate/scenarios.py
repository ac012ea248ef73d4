"""Studies that a hostile reviewer would try: what is planted, and which tests must stay silent."""

from dataclasses import dataclass, replace

from circuitshift.pipeline.validation.simulate.edges import TRUTHS, EdgeSpec, Truth

__all__ = ["SCENARIOS", "TABLES", "Scenario"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row of a calibration table.

    Parameters
    ----------
    truth : Truth
    spec : EdgeSpec
    is_global, is_specific : bool
        What is planted; the tests of a family whose effect is not planted must reject at the
        nominal rate.
    naive_is_valid : bool
        Whether circuit minus background change tests the same hypothesis here: its power is then
        what the model is compared with.
    """

    truth: Truth
    spec: EdgeSpec
    is_global: bool
    is_specific: bool
    naive_is_valid: bool


def _of(truth: Truth, **spec: object) -> Scenario:
    size = replace(EdgeSpec(), **spec)  # type: ignore[arg-type]
    shape = any((truth.gain, truth.attenuation, truth.normalisation))
    return Scenario(
        truth,
        size,
        is_global=bool(truth.shift) or shape,
        is_specific=bool(truth.specific),
        naive_is_valid=not shape and not truth.artefact_z_per_mm and not truth.region_loss,
    )


_NONE, _GAIN, _NORMAL = TRUTHS["nothing"], TRUTHS["gain"], TRUTHS["normalisation"]
_ATTENUATED = Truth(attenuation=0.25)

#: Every scenario by name.
SCENARIOS: dict[str, Scenario] = {
    **{name: _of(truth) for name, truth in TRUTHS.items()},
    **{f"{name}, n = 100": _of(t, n_treated=100, n_reference=100) for name, t in TRUTHS.items()},
    "nothing, two arms": _of(_NONE, n_control=30),
    "specific, two arms": _of(TRUTHS["specific"], n_control=30),
    "attenuation, strong circuit": _of(_ATTENUATED, circuit_strength=0.9),
    "attenuation, strong circuit, 12 people": _of(
        _ATTENUATED, circuit_strength=0.9, n_treated=12, n_reference=12
    ),
    "signal lost in one region": _of(Truth(region_loss=0.5), star=True),
    "motion by visit": _of(_NONE, motion_mm=(0.08, 0.06, 0.0)),
    "motion by visit and arm": _of(_NONE, n_control=30, motion_mm=(0.08, 0.10, 0.02)),
    "distance artefact": _of(Truth(artefact_z_per_mm=0.001)),
    "12 noisy against 30": _of(_NONE, n_treated=12, n_control=30, control_noise=0.5),
    "gain, 30 % missing": _of(_GAIN, missing=0.3),
    "nothing, reference of 12": _of(_NONE, n_reference=12),
    "normalisation, reference of 12": _of(_NORMAL, n_reference=12),
    "no deviation": _of(_NONE, deviation_sd=0.0, circuit_deviation=0.0),
    "gain, no deviation": _of(_GAIN, deviation_sd=0.0, circuit_deviation=0.0),
    "heavy tails": _of(_NONE, tails_df=3.0),
    "gain, heavy tails": _of(_GAIN, tails_df=3.0),
    "nothing, noisy hubs": _of(_NONE, hubs=0.1),
    "gain, noisy hubs": _of(_GAIN, hubs=0.1),
    "normalisation, overlapping circuits": _of(_NORMAL, n_circuits=3, overlapping=True),
    "gain, five circuits": _of(_GAIN, n_circuits=5),
    "nothing, five circuits": _of(_NONE, n_circuits=5),
}

#: Names of the rows of each table.
TABLES: dict[str, tuple[str, ...]] = {
    "truths": tuple(TRUTHS),
    "hard": tuple(n for n in SCENARIOS if n not in TRUTHS and "n = 100" not in n),
    "large": tuple(n for n in SCENARIOS if "n = 100" in n),
}
