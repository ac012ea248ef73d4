"""Estimate by simulation how many participants and minutes of scanning a study needs.

Simulated studies are analysed with the code that analyses real studies.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import numpy as np

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.io.tables import write_table, write_text
from circuitshift.pipeline.model.analyse import Rules
from circuitshift.pipeline.stats.detectable import EXPECTED_CORRELATION, power_beforehand
from circuitshift.pipeline.study.study_file import DEFAULT_PRIMARY
from circuitshift.pipeline.validation.calibration import (
    CalibrationRow,
    calibration_table,
    wilson_interval,
)
from circuitshift.pipeline.validation.simulate.edges import EdgeSpec, Truth
from circuitshift.pipeline.validation.simulate.scenarios import Scenario

__all__ = [
    "PowerQuestion",
    "PowerRow",
    "circuit_reliability",
    "power_table",
    "standard_power",
    "write_power",
]


#: Effects for which the power is always reported, in standard deviations of change.
STANDARD_EFFECTS = {"power_at_d_0.3": 0.3, "power_at_d_0.4": 0.4, "power_at_d_0.5": 0.5}

#: Minutes per visit that the default noise of `EdgeSpec` corresponds to.
STANDARD_MINUTES = 8.0


@dataclass(frozen=True, slots=True)
class PowerQuestion:
    """Effect to detect, and reliability of the measurement.

    Parameters
    ----------
    specific, shift, gain : float
        Planted effects: change of one circuit beyond the global model (Fisher z), shift of all
        edges (Fisher z), and gain of all edges (share).
    arms : {1, 2}
        Number of arms.
    reliability : float, optional
        Intraclass correlation of the circuit's mean edge between visits; scales the state noise.
    minutes : float, optional
        Minutes of scanning per visit. Edge noise within a visit decreases with the square root of
        its duration, relative to 8 minutes. Variation of a participant's true state (mood, arousal)
        does not decrease with duration.
    """

    specific: float = 0.1
    shift: float = 0.0
    gain: float = 0.0
    arms: int = 2
    reliability: float | None = None
    minutes: float | None = None


@dataclass(frozen=True, slots=True)
class PowerRow:
    """Results of simulated studies of one size.

    Parameters
    ----------
    n : int
        Number of participants per arm.
    n_studies : int
        Number of simulated studies.
    global_found, specific_found, right_verdict : float
        Share of studies with a significant global term, with a significant circuit, and with the
        verdict that corresponds to the planted effects.
    """

    n: int
    n_studies: int
    global_found: float
    specific_found: float
    right_verdict: float


def circuit_reliability(spec: EdgeSpec) -> float:
    """Compute the intraclass correlation of the mean edge of a simulated circuit.

    Parameters
    ----------
    spec : EdgeSpec
        Sizes of trait and state variation.

    Returns
    -------
    float
        Trait variance divided by the sum of trait and state variance.

    Notes
    -----
    The variance of a circuit's mean edge is the sum of the variances of the shift common to all
    edges, of twice the mean regional term (each region takes part in 2 / n_circuit of the edges),
    of the network term, and of the mean edge noise.
    """
    k = spec.n_circuit
    n_edges = k * (k - 1) / 2
    trait, state = (
        sd[0] ** 2 + 4 * sd[1] ** 2 / k + sd[2] ** 2 + sd[3] ** 2 / n_edges
        for sd in (spec.trait_sd, spec.state_sd)
    )
    return float(trait / (trait + state))


def _spec(question: PowerQuestion, n: int) -> EdgeSpec:
    spec = EdgeSpec(n_treated=n, n_control=n if question.arms == 2 else 0, n_reference=n)
    if question.minutes is not None:
        if question.minutes <= 0:
            raise DesignError(
                f"minutes per visit must be positive, but {question.minutes:g} was given"
            )
        edge = spec.state_sd[3] * np.sqrt(STANDARD_MINUTES / question.minutes)
        spec = replace(spec, state_sd=(*spec.state_sd[:3], float(edge)))
    if question.reliability is not None:
        if not 0 < question.reliability < 1:
            raise DesignError(
                f"the reliability must lie between 0 and 1, but {question.reliability:g} was given"
            )
        odds = circuit_reliability(spec) / (1 - circuit_reliability(spec))
        target_odds = question.reliability / (1 - question.reliability)
        scale = float(np.sqrt(odds / target_odds))
        spec = replace(spec, state_sd=tuple(sd * scale for sd in spec.state_sd))  # type: ignore[arg-type]
    return spec


def power_table(
    question: PowerQuestion,
    sizes: Sequence[int],
    *,
    n_studies: int = 200,
    seed: int = 20260101,
    n_procs: int = 1,
    rules: Rules | None = None,
) -> Iterator[PowerRow]:
    """Simulate and analyse studies of each size.

    Parameters
    ----------
    question : PowerQuestion
        Effect to detect, and reliability of the measurement.
    sizes : sequence of int
        Numbers of participants per arm, and in the reference group.
    n_studies : int
        Number of simulated studies per size.
    seed : int
        Random seed.
    n_procs : int
        Number of processes.
    rules : Rules, optional
        Rules of the analysis; see `calibration_table`.

    Yields
    ------
    PowerRow
        Results of one size, as soon as they are available.

    Raises
    ------
    DesignError
        If a size is below 6, minutes are not positive, or the reliability is outside 0 to 1.
    """
    if min(sizes) < 6:
        raise DesignError(
            f"{min(sizes)} participants per arm are too few for the model; choose 6 or more"
        )
    truth = Truth(specific=question.specific, shift=question.shift, gain=question.gain)
    is_global = bool(question.shift or question.gain)
    for n in sizes:
        scenario = Scenario(
            truth,
            _spec(question, n),
            is_global=is_global,
            is_specific=bool(question.specific),
            naive_is_valid=not question.gain,
        )
        row = next(
            calibration_table(
                (f"n = {n}",),
                n_studies=n_studies,
                seed=seed,
                scenarios={f"n = {n}": scenario},
                rules=rules,
                n_procs=n_procs,
            )
        )
        yield PowerRow(
            n=n,
            n_studies=n_studies,
            global_found=row.rejected["global"],
            specific_found=row.rejected["specific"],
            right_verdict=_share_correct(row),
        )


def _share_correct(row: CalibrationRow) -> float:
    s = row.scenario
    right = {
        (True, True): ("both",),
        (True, False): ("global",),
        (False, True): ("circuit-specific",),
        (False, False): ("neither", "undetermined"),
    }[s.is_global, s.is_specific]
    return sum(row.verdicts.get(name, 0.0) for name in right)


def standard_power(
    sizes: Sequence[int], arms: int, *, n_tests: int, alpha: float = 0.05
) -> list[dict[str, float]]:
    """Compute the power for effects of .3, .4 and .5 standard deviations of change.

    Parameters
    ----------
    sizes : sequence of int
        Numbers of participants per arm.
    arms : {1, 2}
        Number of arms. Two arms are compared by analysis of covariance, with a correlation of
        baseline and follow-up of `EXPECTED_CORRELATION`.
    n_tests : int
        Number of primary circuits, for which the significance level is corrected.
    alpha : float
        Family-wise error rate.

    Returns
    -------
    list of dict
        One row per size: ``n``, and the power of one test for each effect by the formula of
        `power_beforehand`, without simulation.
    """
    out = []
    for n in sizes:
        power = power_beforehand(
            list(STANDARD_EFFECTS.values()),
            n,
            n if arms == 2 else 0,
            alpha=alpha,
            n_tests=n_tests,
            correlation=EXPECTED_CORRELATION if arms == 2 else None,
        )
        out.append({"n": n} | dict(zip(STANDARD_EFFECTS, power.tolist(), strict=True)))
    return out


_COLUMNS = {
    "n": "Number of participants per arm, and in the reference group",
    "n_studies": "Number of simulated studies",
    "global_found": "Share of studies with a significant global term (corrected p < .05)",
    "specific_found": "Share of studies in which the circuit is significant (corrected p < .05)",
    "right_verdict": "Share of studies whose verdict corresponds to the planted effects",
} | {
    name: f"Power for a change of a circuit by d = {d:g} standard deviations of change between "
    f"participants, corrected for {len(DEFAULT_PRIMARY)} primary circuits, by formula"
    for name, d in STANDARD_EFFECTS.items()
}


def write_power(
    folder: Path, question: PowerQuestion, rows: Sequence[PowerRow]
) -> tuple[Path, Path]:
    """Write the results of a power analysis as ``power.tsv`` and ``power.svg``.

    Parameters
    ----------
    folder : Path
        Folder to write to.
    question : PowerQuestion
        Effect and measurement that were simulated; recorded in the sidecar.
    rows : sequence of PowerRow
        Results of all sizes.

    Returns
    -------
    table, figure : Path
        Files that were written.
    """
    table, figure = folder / "power.tsv", folder / "power.svg"
    sidecar: dict[str, object] = {k: {"Description": v} for k, v in _COLUMNS.items()}
    question_fields = {name: getattr(question, name) for name in question.__slots__}
    columns: dict[str, list[object]] = {
        name: [getattr(row, name) for row in rows]
        for name in _COLUMNS
        if name not in STANDARD_EFFECTS
    }
    sizes = [row.n for row in rows]
    standard = standard_power(sizes, question.arms, n_tests=len(DEFAULT_PRIMARY))
    columns |= {name: [round(row[name], 4) for row in standard] for name in STANDARD_EFFECTS}
    write_table(table, columns, sidecar=sidecar | {"Question": question_fields})
    write_text(figure, _figure(question, rows))
    return table, figure


def _figure(question: PowerQuestion, rows: Sequence[PowerRow]) -> str:
    import matplotlib as mpl  # noqa: PLC0415 - a second of import
    from matplotlib.figure import Figure  # noqa: PLC0415 - a second of import

    n = np.array([row.n for row in rows], float)
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    ax = figure.subplots()
    for label, name, marker in (
        ("a global term", "global_found", "s"),
        ("the circuit", "specific_found", "o"),
        ("the correct verdict", "right_verdict", "^"),
    ):
        share = np.array([getattr(row, name) for row in rows])
        ends = [wilson_interval(s, row.n_studies) for s, row in zip(share, rows, strict=True)]
        error = np.abs(np.array(ends).T - share)
        ax.errorbar(n, share, error, marker=marker, capsize=3, label=label)
    ax.axhline(0.8, color="0.6", linewidth=0.8, linestyle="--")
    planted = [name for name in ("specific", "shift", "gain") if getattr(question, name)]
    words = ", ".join(f"{name} {getattr(question, name):g}" for name in planted) or "nothing"
    arms = f"{question.arms} arm" + "s" * (question.arms == 2)
    ax.set_title(f"Planted: {words}; {arms}", fontsize=10)
    ax.set(xlabel="participants per arm", ylabel="share of studies that detect it", ylim=(0, 1.02))
    ax.legend(frameon=False)
    buffer = StringIO()
    with mpl.rc_context({"svg.hashsalt": "circuitshift", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
