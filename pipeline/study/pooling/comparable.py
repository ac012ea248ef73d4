"""Compare the settings and designs of finished analyses before their results are pooled.

A difference is refused if estimates would answer different questions, a warning if they answer the
same question in another way, and otherwise only listed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from circuitshift.pipeline.errors import InputProblem
from circuitshift.pipeline.study.pooling.finished import FinishedStudy

__all__ = ["Comparison", "Difference", "compare", "contrast_of", "has_amplitude"]

Consequence = Literal["refused", "warning", "listed"]


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting of which the studies have different values.

    Parameters
    ----------
    setting : str
        Name of the setting.
    values : tuple of str
        Value in each study.
    consequence : {"refused", "warning", "listed"}
        What follows for the meta-analysis.
    meaning : str
        Why, as a sentence; empty for a difference that is only listed.
    """

    setting: str
    values: tuple[str, ...]
    consequence: Consequence
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between the studies of a meta-analysis.

    Parameters
    ----------
    differences : tuple of Difference
        Settings that differ.
    problems : tuple of InputProblem
        Reasons why the studies cannot be pooled, with folders.
    warnings : tuple of str
        Reasons for caution, as sentences.
    """

    differences: tuple[Difference, ...]
    problems: tuple[InputProblem, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Setting:
    """A setting that is compared, and what a difference means."""

    name: str
    value: Callable[[FinishedStudy], str]
    consequence: Consequence
    meaning: str = ""
    fix: str = ""


def _setting_of(key: str) -> Callable[[FinishedStudy], str]:
    return lambda study: _text((study.verdict.get("settings") or {}).get(key))


def _design(key: str) -> Callable[[FinishedStudy], str]:
    return lambda study: _text((study.verdict.get("design") or {}).get(key))


def _top(key: str) -> Callable[[FinishedStudy], str]:
    return lambda study: _text(study.verdict.get(key))


def _text(value: object) -> str:
    """Return a setting as text; lists are joined, and missing values are "not stated"."""
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not stated" if value is None or value == "" else str(value)


def contrast_of(study: FinishedStudy) -> str:
    """Return which change a study estimates.

    Parameters
    ----------
    study : FinishedStudy

    Returns
    -------
    str
        ``treated minus control``, ``treatment minus control within participants`` (crossover), or
        ``follow-up minus baseline, without a control arm``.
    """
    if (study.verdict.get("design") or {}).get("control_baseline"):
        return "treatment minus control within participants"
    if (study.verdict.get("n") or {}).get("control"):
        return "treated minus control"
    return "follow-up minus baseline, without a control arm"


def _has_control(study: FinishedStudy) -> str:
    return "none" if contrast_of(study).startswith("follow-up") else "with a control condition"


def _global_signal(study: FinishedStudy) -> str:
    removed = (study.verdict.get("global_signal") or {}).get("removed")
    if removed is None:
        return "unknown"
    return "regressed out" if removed else "kept"


def _known_global_signal(study: FinishedStudy) -> str:
    return "regressed out" if _global_signal(study) == "regressed out" else "kept or unknown"


def _adjusted(study: FinishedStudy) -> str:
    rows = (*study.family("specific").values(), *study.family("global").values())
    method = next((row.method for row in rows if row.is_tested), "")
    return "yes" if "adjusted for the baseline" in method else "no"


def _circuit_unit(study: FinishedStudy) -> str:
    rows = (*study.family("specific").values(), *study.family("secondary").values())
    return next((row.unit for row in rows if row.is_tested), "not tested")


def _with_w(study: FinishedStudy) -> str:
    return "part of the model" if has_amplitude(study) else "not part of the model"


def has_amplitude(study: FinishedStudy) -> bool:
    """Return whether the amplitude of the global signal is a term of the fitted model.

    Parameters
    ----------
    study : FinishedStudy

    Returns
    -------
    bool
        Shift and gain of a model without this term are the average and the proportional change of
        a model with it.
    """
    row = study.family("global").get("global_signal")
    return row is not None and row.is_tested


def _has_reference(study: FinishedStudy) -> str:
    return "yes" if (study.verdict.get("n") or {}).get("reference") else "no"


def _program(study: FinishedStudy) -> str:
    version = (study.verdict.get("versions") or {}).get("circuitshift")
    return f"{_text(version)}, code {_text(study.verdict.get('code_hash'))}"


_SAME = "run the group level of all studies with the same setting, or pool them separately"

_SETTINGS = (
    _Setting(
        "unit of circuits",
        _circuit_unit,
        "refused",
        "Effects in different units have no common mean.",
        "pool studies of the same feature",
    ),
    _Setting(
        "estimator",
        _setting_of("estimator"),
        "refused",
        "Partial and full correlations are different quantities.",
        _SAME,
    ),
    _Setting(
        "global signal",
        _known_global_signal,
        "refused",
        "Regression of the global signal removes global changes and alters all correlations.",
        "use a strategy with or without global signal regression in all studies",
    ),
    _Setting(
        "control condition",
        _has_control,
        "refused",
        "A change without a control condition includes the effects of time and placebo, which a "
        "difference between arms does not.",
        "pool one-arm studies and controlled studies separately",
    ),
    _Setting(
        "atlas",
        _top("atlas"),
        "warning",
        "A circuit consists of other regions in each atlas, and larger regions give stronger "
        "correlations; differences between atlases are part of the heterogeneity.",
    ),
    _Setting(
        "denoising strategy",
        _top("strategy"),
        "warning",
        "Differences between denoising strategies are part of the heterogeneity.",
    ),
    _Setting(
        "whether the global signal is known to be kept",
        _global_signal,
        "warning",
        "Studies in which the global signal may have been regressed out should be checked.",
    ),
    _Setting(
        "contrast",
        contrast_of,
        "warning",
        "Parallel arms and crossovers estimate the same difference, but carry-over affects "
        "crossovers only.",
    ),
    _Setting(
        "adjustment for the baseline",
        _adjusted,
        "warning",
        "Adjusted values and changes estimate the same effect only if arms were randomised.",
    ),
    _Setting(
        "amplitude of the global signal",
        _with_w,
        "warning",
        "Without this term, the shift and the gain include its effect. They are pooled as average "
        "and proportional change, and are missing from the laws shift and gain.",
    ),
    _Setting(
        "reference group",
        _has_reference,
        "warning",
        "Normalisation is part of the global model only in studies with a reference group.",
    ),
    _Setting(
        "background",
        _design("background"),
        "warning",
        "The global model was fitted to other edges.",
    ),
    _Setting(
        "program",
        _program,
        "warning",
        "Results were computed with different versions of the code; repeat the group level with "
        "one version.",
    ),
    _Setting("covariates", _top("covariates"), "listed"),
    _Setting("baseline visit", _design("baseline"), "listed"),
    _Setting("follow-up visit", _design("followup"), "listed"),
    _Setting("combination of runs", _setting_of("combine_runs"), "listed"),
    _Setting("minutes of each visit", _setting_of("visit_minutes"), "listed"),
    _Setting("smallest retained scan time", _setting_of("min_minutes"), "listed"),
    _Setting("largest mean framewise displacement", _setting_of("max_mean_fd_mm"), "listed"),
    _Setting("harmonisation over sites", _design("harmonise"), "listed"),
    _Setting("weighting of participants", _design("weighted"), "listed"),
    _Setting("smallest effect, circuits in the unit", _design("sesoi_z"), "listed"),
    _Setting("smallest effect, circuits in SD", _design("sesoi_d"), "listed"),
    _Setting("smallest effect, gain", _design("sesoi_gain"), "listed"),
    _Setting("smallest effect, normalisation", _design("sesoi_share"), "listed"),
)


def compare(studies: Sequence[FinishedStudy]) -> Comparison:
    """Compare studies that are to be pooled.

    Parameters
    ----------
    studies : sequence of FinishedStudy
        Studies of the meta-analysis.

    Returns
    -------
    Comparison
    """
    differences, problems = [], []
    for setting in _SETTINGS:
        values = tuple(setting.value(study) for study in studies)
        compared = {v for v in values if v != "not tested"}
        if len(compared) > 1:
            differences.append(
                Difference(setting.name, values, setting.consequence, setting.meaning)
            )
            if setting.consequence == "refused":
                problems.append(_problem(setting, studies, values))
    problems += [*_other_units(studies), *_other_circuits(studies), *_reversed(studies)]
    warnings = [
        f"{_capital(d.setting)} differs: {_by_value(studies, d.values)}. {d.meaning}"
        for d in differences
        if d.consequence == "warning"
    ]
    warnings += _few(studies) + _same_participants(studies)
    return Comparison(tuple(differences), tuple(problems), tuple(warnings))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _by_value(
    studies: Sequence[FinishedStudy], values: Sequence[str], *, folders: bool = False
) -> str:
    """List each value with the studies that have it."""
    groups: dict[str, list[str]] = {}
    for study, value in zip(studies, values, strict=True):
        groups.setdefault(value, []).append(str(study.folder) if folders else study.name)
    return "; ".join(f"{value} ({', '.join(names)})" for value, names in groups.items())


def _problem(
    setting: _Setting, studies: Sequence[FinishedStudy], values: Sequence[str]
) -> InputProblem:
    text = _by_value(studies, values, folders=True)
    return InputProblem(f"{setting.name} differs", f"{text}. {setting.meaning}", setting.fix)


def _other_units(studies: Sequence[FinishedStudy]) -> list[InputProblem]:
    """Refuse global terms that have different units."""
    setting = _SETTINGS[0]
    terms = dict.fromkeys(term for study in studies for term in study.family("global"))
    found = []
    for term in terms:
        rows = [study.family("global").get(term) for study in studies]
        having = [
            (s, row.unit)
            for s, row in zip(studies, rows, strict=True)
            if row is not None and row.is_tested
        ]
        if len({unit for _, unit in having}) > 1:
            of, units = zip(*having, strict=True)
            text = _by_value(of, units, folders=True)
            found.append(
                InputProblem(
                    f"unit of the global term {term} differs",
                    f"{text}. {setting.meaning}",
                    setting.fix,
                )
            )
    return found


def _definitions(study: FinishedStudy) -> Mapping[str, str]:
    """Return the title, the expected direction and the source of each circuit."""
    rows = {**study.verdict.get("circuits", {}), **study.verdict.get("secondary_circuits", {})}
    keys = ("title", "predicted", "reference")
    return {name: " / ".join(_text(row.get(key)) for key in keys) for name, row in rows.items()}


def _other_circuits(studies: Sequence[FinishedStudy]) -> list[InputProblem]:
    """Refuse circuits that have one name and several definitions."""
    definitions = [_definitions(study) for study in studies]
    found = []
    for name in dict.fromkeys(name for own in definitions for name in own):
        having = [
            (s, own[name]) for s, own in zip(studies, definitions, strict=True) if name in own
        ]
        of, values = zip(*having, strict=True)
        if len(set(values)) > 1:
            found.append(
                InputProblem(
                    f"definition of the circuit {name} differs",
                    f"{_by_value(of, values, folders=True)}. Different circuits have no common "
                    "mean",
                    "give them different names, or use one definition",
                )
            )
    return found


def _labels(study: FinishedStudy) -> dict[str, str]:
    """Return what the study calls baseline, follow-up, treated and control."""
    design = study.verdict.get("design") or {}
    names = {key: str(design.get(key) or "").lower() for key in ("baseline", "followup")}
    names |= {role: str(name).lower() for role, name in design.get("labels") or ()}
    return names


def _reversed(studies: Sequence[FinishedStudy]) -> list[InputProblem]:
    """Refuse studies in which the visits or the arms have each other's names."""
    found = []
    for k, one in enumerate(studies):
        for other in studies[k + 1 :]:
            for first, second, what in (
                ("baseline", "followup", "the order of the visits"),
                ("treated", "control", "the roles of the arms"),
            ):
                a, b = _labels(one), _labels(other)
                pair = a.get(first), a.get(second)
                if all(pair) and pair == (b.get(second), b.get(first)) and pair[0] != pair[1]:
                    found.append(
                        InputProblem(
                            "direction of the contrast differs",
                            f"{what} is reversed: {first} {pair[0]!r} and {second} {pair[1]!r} in "
                            f"{one.folder}, and the reverse in {other.folder}",
                            "correct the study file of one of them, and run its group level again",
                        )
                    )
    return found


def _few(studies: Sequence[FinishedStudy]) -> list[str]:
    k = len(studies)
    if k > 4:
        return []
    return [
        f"Only {k} studies are pooled. The variation between studies is hardly known, the "
        f"intervals use a t distribution with {k - 1} degree{'s' * (k > 2)} of freedom and are "
        "wide, and a test that is not significant is no evidence that an effect is absent."
    ]


def _same_participants(studies: Sequence[FinishedStudy]) -> list[str]:
    """Warn if tables of participants are identical."""
    by_digest: dict[str, list[str]] = {}
    for study in studies:
        digest = (study.verdict.get("made_from") or {}).get("participants")
        if digest:
            by_digest.setdefault(digest, []).append(study.name)
    return [
        f"The tables of participants of {' and '.join(names)} are identical. If the participants "
        "are the same, they count more than once: keep one of these studies."
        for names in by_digest.values()
        if len(names) > 1
    ]
