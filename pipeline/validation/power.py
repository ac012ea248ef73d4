"""How many people and minutes a study needs, by simulation with the code of real studies."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import numpy as np

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.io.tables import write_table, write_text
from circuitshift.pipeline.model.analyse import Rules
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
    "write_power",
]


#: Minutes a visit for which the standard noise of `EdgeSpec` stands.
STANDARD_MINUTES = 8.0


@dataclass(frozen=True, slots=True)
class PowerQuestion:
    """What is to be found, and how well it is measured.

    Parameters
    ----------
    specific, shift, gain : float
        Planted: of one circuit beyond the law, and of all edges (Fisher z, Fisher z, share).
    arms : {1, 2}
    reliability : float, optional
        ICC of the circuit's mean edge over visits; scales the state noise.
    minutes : float, optional
        Per visit; edge noise of a visit falls with its root, from 8 minutes. State that is real
        (mood, arousal) does not fall with minutes.
    """

    specific: float = 0.1
    shift: float = 0.0
    gain: float = 0.0
    arms: int = 2
    reliability: float | None = None
    minutes: float | None = None


@dataclass(frozen=True, slots=True)
class PowerRow:
    """Shares of simulated studies of one size.

    Parameters
    ----------
    n : int
        People per arm.
    n_studies : int
    global_found, specific_found, right_verdict : float
    """

    n: int
    n_studies: int
    global_found: float
    specific_found: float
    right_verdict: float


def circuit_reliability(spec: EdgeSpec) -> float:
    """ICC of the mean edge of a simulated circuit, from the variances of `EdgeSpec`.

    Parameters
    ----------
    spec : EdgeSpec

    Returns
    -------
    float
        Trait variance over trait plus state variance: of the person-wide shift, twice the mean
        regional term (each region is in 2 / n_circuit of the edges), the block, and the edges.
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
            raise DesignError(f"{question.minutes:g} minutes per visit are no measurement")
        edge = spec.state_sd[3] * np.sqrt(STANDARD_MINUTES / question.minutes)
        spec = replace(spec, state_sd=(*spec.state_sd[:3], float(edge)))
    if question.reliability is not None:
        if not 0 < question.reliability < 1:
            raise DesignError(f"a reliability of {question.reliability:g} is not between 0 and 1")
        odds = circuit_reliability(spec) / (1 - circuit_reliability(spec))
        wanted = question.reliability / (1 - question.reliability)
        scale = float(np.sqrt(odds / wanted))
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
    """Simulate studies of each size.

    Parameters
    ----------
    question : PowerQuestion
    sizes : sequence of int
        People per arm, and in the reference group.
    n_studies : int
        Per size.
    seed : int
    n_procs : int
    rules : Rules, optional

    Yields
    ------
    PowerRow

    Raises
    ------
    DesignError
        If a size is below 6, or the question makes no sense.
    """
    if min(sizes) < 6:
        raise DesignError(f"{min(sizes)} people per arm are too few for the model; give 6 or more")
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
            right_verdict=_right(row),
        )


def _right(row: CalibrationRow) -> float:
    s = row.scenario
    right = {
        (True, True): ("both",),
        (True, False): ("global",),
        (False, True): ("circuit-specific",),
        (False, False): ("neither", "undetermined"),
    }[s.is_global, s.is_specific]
    return sum(row.verdicts.get(name, 0.0) for name in right)


_COLUMNS = {
    "n": "People per arm, and in the reference group",
    "n_studies": "Simulated studies",
    "global_found": "Share in which a global term is found (corrected p < .05)",
    "specific_found": "Share in which the circuit is found (corrected p < .05)",
    "right_verdict": "Share in which the verdict is the planted one",
}


def write_power(
    folder: Path, question: PowerQuestion, rows: Sequence[PowerRow]
) -> tuple[Path, Path]:
    """Write power.tsv and power.svg.

    Parameters
    ----------
    folder : Path
    question : PowerQuestion
    rows : sequence of PowerRow

    Returns
    -------
    table, figure : Path
    """
    table, figure = folder / "power.tsv", folder / "power.svg"
    sidecar: dict[str, object] = {k: {"Description": v} for k, v in _COLUMNS.items()}
    asked = {name: getattr(question, name) for name in question.__slots__}
    columns = {name: [getattr(row, name) for row in rows] for name in _COLUMNS}
    write_table(table, columns, sidecar=sidecar | {"Question": asked})
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
        ("the right verdict", "right_verdict", "^"),
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
    ax.set(xlabel="people per arm", ylabel="share of studies that find it", ylim=(0, 1.02))
    ax.legend(frameon=False)
    buffer = StringIO()
    with mpl.rc_context({"svg.hashsalt": "circuitshift", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
