"""Define the simulated studies of the calibration tables.

The scenarios include violations of the model that a critical reviewer would ask about. Each one
states which effects are planted and therefore which tests must not reject.
"""

from dataclasses import dataclass, replace

from circuitshift.pipeline.validation.simulate.edges import TRUTHS, EdgeSpec, Truth

__all__ = ["SCENARIOS", "TABLES", "Scenario"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """Simulated studies of one row of a calibration table.

    Parameters
    ----------
    truth : Truth
        Effect of treatment.
    spec : EdgeSpec
        Size and noise of the studies.
    is_global, is_specific : bool
        Whether a global and a circuit-specific effect are planted. Tests of a family whose effect
        is not planted must reject at the nominal rate.
    naive_is_valid : bool
        Whether the contrast of circuit minus background change tests the same hypothesis in this
        scenario, so that its power can be compared with that of the model.
    """

    truth: Truth
    spec: EdgeSpec
    is_global: bool
    is_specific: bool
    naive_is_valid: bool


def _scenario(truth: Truth, **spec: object) -> Scenario:
    """Derive which effects are planted from the truth; `spec` changes fields of `EdgeSpec`."""
    sizes = replace(EdgeSpec(), **spec)  # type: ignore[arg-type]
    has_shape = any((truth.gain, truth.attenuation, truth.normalisation))
    return Scenario(
        truth,
        sizes,
        is_global=bool(truth.shift) or has_shape,
        is_specific=bool(truth.specific),
        naive_is_valid=not has_shape and not truth.artefact_z_per_mm and not truth.region_loss,
    )


_NONE, _GAIN, _NORMAL = TRUTHS["nothing"], TRUTHS["gain"], TRUTHS["normalisation"]
_ATTENUATED = Truth(attenuation=0.25)

#: Every scenario by name. The names enter the random seeds of the published tables: renaming a
#: scenario changes its numbers.
SCENARIOS: dict[str, Scenario] = {
    **{name: _scenario(truth) for name, truth in TRUTHS.items()},
    **{
        f"{name}, n = 100": _scenario(t, n_treated=100, n_reference=100)
        for name, t in TRUTHS.items()
    },
    "nothing, two arms": _scenario(_NONE, n_control=30),
    "specific, two arms": _scenario(TRUTHS["specific"], n_control=30),
    "attenuation, strong circuit": _scenario(_ATTENUATED, circuit_strength=0.9),
    "attenuation, strong circuit, 12 participants": _scenario(
        _ATTENUATED, circuit_strength=0.9, n_treated=12, n_reference=12
    ),
    "signal lost in one region": _scenario(Truth(region_loss=0.5), star=True),
    "motion by visit": _scenario(_NONE, motion_mm=(0.08, 0.06, 0.0)),
    "motion by visit and arm": _scenario(_NONE, n_control=30, motion_mm=(0.08, 0.10, 0.02)),
    "distance artefact": _scenario(Truth(artefact_z_per_mm=0.001)),
    "12 noisy against 30": _scenario(_NONE, n_treated=12, n_control=30, control_noise=0.5),
    "gain, 30 % missing": _scenario(_GAIN, missing=0.3),
    "nothing, reference of 12": _scenario(_NONE, n_reference=12),
    "normalisation, reference of 12": _scenario(_NORMAL, n_reference=12),
    "no deviation": _scenario(_NONE, deviation_sd=0.0, circuit_deviation=0.0),
    "gain, no deviation": _scenario(_GAIN, deviation_sd=0.0, circuit_deviation=0.0),
    "heavy tails": _scenario(_NONE, tails_df=3.0),
    "gain, heavy tails": _scenario(_GAIN, tails_df=3.0),
    "nothing, noisy hubs": _scenario(_NONE, hubs=0.1),
    "gain, noisy hubs": _scenario(_GAIN, hubs=0.1),
    "normalisation, overlapping circuits": _scenario(_NORMAL, n_circuits=3, overlapping=True),
    "gain, five circuits": _scenario(_GAIN, n_circuits=5),
    "nothing, five circuits": _scenario(_NONE, n_circuits=5),
}

#: Names of the scenarios in each table.
TABLES: dict[str, tuple[str, ...]] = {
    "truths": tuple(TRUTHS),
    "hard": tuple(n for n in SCENARIOS if n not in TRUTHS and "n = 100" not in n),
    "large": tuple(n for n in SCENARIOS if "n = 100" in n),
}
