"""Files beside the verdict: normalisation, reliability, models, spatial null, influence, maps."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from circuitshift.pipeline.errors import DesignError
from circuitshift.pipeline.model.analyse import analyse
from circuitshift.pipeline.model.contrasts import questions_of
from circuitshift.pipeline.model.secondary.edge_maps import EdgeMap, EdgeMaps, change_maps
from circuitshift.pipeline.model.secondary.secondary import (
    CircuitReliability,
    SecondaryResults,
    secondary_analyses,
)
from circuitshift.pipeline.model.secondary.trajectories import Levels
from circuitshift.pipeline.model.verdict import Estimate
from circuitshift.pipeline.records import Background
from circuitshift.pipeline.stats.missing_values import circuit_means
from circuitshift.pipeline.stats.reliability import reliability
from circuitshift.pipeline.study import pairing as change
from circuitshift.pipeline.study import tables as group_tables
from circuitshift.pipeline.study.verdict_file import Context, Fitted, baseline_halves

__all__ = ["beside_verdict"]

_SPECIFICATION_PERMUTATIONS = 1000  # enough for p near .05; the verdict's own are in tests.tsv


def beside_verdict(
    context: Context, fitted: Fitted, folder: Path
) -> tuple[dict[str, Any], tuple[Estimate, ...], EdgeMaps | None]:
    """Look at what informs and decides nothing; write its tables.

    Parameters
    ----------
    context : Context
    fitted : Fitted
    folder : Path
        ``group/``.

    Returns
    -------
    content : dict
        For verdict.json; ``remarks`` holds what could not be looked at.
    estimates : tuple of Estimate
        For tests.tsv.
    maps : Maps or None
        For edges.tsv.
    """
    # streams of their own: what is beside must not move the verdict's random numbers
    rng, of_maps, of_rows = np.random.default_rng([context.design.seed, 1]).spawn(3)
    found = secondary_analyses(
        fitted.analysis,
        fitted.visits,
        rng=rng,
        rules=fitted.rules,
        levels=_levels(context, fitted),
    )
    remarks = list(found.remarks)
    maps = None
    try:
        maps = change_maps(
            fitted.visits.change,
            questions_of(fitted.visits)[0],
            [region.network for region in context.atlas.regions],
            features=context.features,
            rng=of_maps,
            n_permutations=fitted.rules.n_permutations,
        )
        remarks += maps.omitted
    except DesignError as error:
        remarks.append(f"Maps of edges: {error}.")
    _write_maps(folder, maps, context)
    specification = _specification(context, fitted, of_rows)
    group_tables.write_rows(folder / "specification.tsv", specification, _SPECIFICATION)
    participants = [group_tables.participant_id_of(m.participant) for m in fitted.cohort.pairs]
    content = _write(
        folder, found, participants, [*found.reliabilities, *_within_visit(context, fitted)]
    )
    content["components"] = _components(maps, context)
    content["specification"] = _agreement(specification)
    return content | {"remarks": remarks}, found.estimates, maps


def _levels(context: Context, fitted: Fitted) -> Levels | None:
    """Collect every visit of treated and control people, when the study file names the visits."""
    names = context.design.visits
    if not names:
        return None
    pool = [m.participant for m in (*fitted.cohort.pairs, *fitted.cohort.lone)]
    rows: list[tuple[change.Member, int, change.Measured]] = [
        (member, v, fitted.sessions[member.participant, name])
        for member in context.members
        if member.role in ("treated", "control")
        for v, name in enumerate(names)
        if (member.participant, name) in fitted.sessions
    ]
    members = [member for member, _, _ in rows]
    participants = sorted({m.participant for m in members})
    motion = np.array([measured.mean_fd_mm for _, _, measured in rows])
    treated = np.array([m.role == "treated" for m in members])
    sites = sorted({m.site for m in members})
    values = np.array(
        [(*m.covariates, *(float(m.site == site) for site in sites[1:])) for m in members]
    ).reshape(len(rows), -1)
    with np.errstate(invalid="ignore"):
        mean = np.nan_to_num(np.nanmean(values, axis=0)) if values.size else np.empty(0)
    days = dict(context.design.days)
    return Levels(
        z=np.array([measured.z for _, _, measured in rows]),
        person=np.array([participants.index(m.participant) for m in members]),
        owner=np.array(
            [pool.index(m.participant) if m.participant in pool else -1 for m in members]
        ),
        visit=np.array([v for _, v, _ in rows]),
        names=names,
        days=tuple(days[name] for name in names) if days else (),
        treated=None if treated.all() else treated,
        motion_mm=motion if np.isfinite(motion).all() and motion.std() > 0 else None,
        covariates=np.where(np.isfinite(values), values, mean) if values.size else values,
    )


_NORMALISATION = {
    "circuit": "Circuit",
    "change_z": "Change by treatment of its mean edge, Fisher z",
    "deviation_z": "Reference minus patients at baseline, Fisher z",
    "deviation_se": "Standard error of the deviation",
    "share": "Share of the deviation closed; n/a when withheld",
    "ci_low": "Lower end of the 95 % Fieller interval, with the reference's uncertainty",
    "ci_high": "Upper end of the 95 % Fieller interval",
    "identified": "Whether the deviation is reliable (p < .01)",
    "remark": "Why it is withheld, or that it went beyond the reference",
}
_RELIABILITY = {
    "circuit": "Circuit",
    "source": "Where the two measurements without treatment are from",
    "n": "People with both",
    "icc_agreement": "ICC(A,1) of the circuit's mean edge",
    "icc_consistency": "ICC(C,1)",
    "ci_low": "Lower end of the 95 % interval of ICC(C,1)",
    "ci_high": "Upper end of the 95 % interval of ICC(C,1)",
    "sem": "Standard error of measurement, Fisher z",
    "mdc": "Minimal detectable change of one person (95 %), Fisher z",
    "effect_d": "Change by treatment divided by its standard deviation between people",
    "reliability_of_change": "1 - 2 SEM^2 / variance of the change between people",
    "effect_d_disattenuated": "effect_d divided by its root: an extrapolation to measurement "
    "without noise; n/a where less than .2 of the variance is reliable",
}
_MODELS = {
    "model": "What treatment may change: nothing, global terms, specific responses, or both",
    "elpd": "Log predictive density of people left out, summed",
    "difference": "elpd minus that of the best model",
    "se": "Standard error of the difference, over people",
}
_SPATIAL = {
    "circuit": "Circuit",
    "value": "Mean change beyond the global law over its edges, Fisher z",
    "rank": "Share of matched random circuits whose mean is as far from 0; no p of the study: "
    "noise that the regions of a network share is not in it",
    "n_random": "Random circuits",
    "strength": "Mean baseline of its edges, Fisher z",
    "strength_random": "The same of the random circuits",
    "length_mm": "Mean length of its edges",
    "length_random_mm": "The same of the random circuits",
}
_INFLUENCE = {
    "family": "Family of the test",
    "term": "Global term or circuit",
    "participant_id": "The person without whom the estimate moves most",
    "estimate": "Least-squares estimate with everybody",
    "without": "Estimate without that person",
    "p": "Parametric p with everybody, for comparison",
    "p_without": "Parametric p without that person",
    "largest_p_without": "Largest parametric p over all people left out in turn",
}


def _within_visit(context: Context, fitted: Fitted) -> list[CircuitReliability]:
    """Reliability of the whole baseline from its halves, stepped up by Spearman and Brown.

    Within a visit a person's state does not change, so this is an upper bound of what two visits
    can agree in.
    """
    both = baseline_halves(context, fitted)
    if both is None:
        return []
    circuits = context.positions()
    first, second = (circuit_means(z, circuits) for z in both)
    out = []
    for k, name in enumerate(circuits):
        try:
            found = reliability(first[:, k], second[:, k])
        except DesignError:
            continue
        whole = replace(
            found,
            icc_agreement=_stepped_up(found.icc_agreement),
            icc_consistency=_stepped_up(found.icc_consistency),
            ci_low=_stepped_up(found.ci_low),
            ci_high=_stepped_up(found.ci_high),
            sem=found.sem / np.sqrt(2),
            mdc=found.mdc / np.sqrt(2),
        )
        nan = float("nan")
        out.append(
            CircuitReliability(name, "halves of the baseline, stepped up", whole, nan, nan, nan)
        )
    return out


def _stepped_up(icc: float) -> float:
    """Reliability of twice the length (Spearman 1910, Brown 1910)."""
    return 2 * icc / (1 + icc) if icc > -1 else float("nan")


def _write(
    folder: Path,
    found: SecondaryResults,
    participants: Sequence[str],
    reliable: Sequence[CircuitReliability],
) -> dict[str, Any]:
    shares = [asdict(row) for row in found.shares]
    reliabilities = [
        asdict(row.found)
        | {
            "circuit": row.circuit,
            "source": row.source,
            "effect_d": row.effect_d,
            "reliability_of_change": row.reliability_of_change,
            "effect_d_disattenuated": row.effect_d_disattenuated,
        }
        for row in reliable
    ]
    models = [asdict(row) for row in found.predictions]
    spatial = [asdict(row) for row in found.spatial]
    influences = [
        asdict(row.found)
        | {"family": row.family, "term": row.term, "participant_id": participants[row.person]}
        for row in found.influences
    ]
    for name, rows, about in (
        ("normalisation", shares, _NORMALISATION),
        ("reliability", reliabilities, _RELIABILITY),
        ("models", models, _MODELS),
        ("spatial", spatial, _SPATIAL),
        ("influence", influences, _INFLUENCE),
    ):
        group_tables.write_rows(folder / f"{name}.tsv", rows, about)
    words = "Change in units of untreated change; beyond about 2 is a reliable change"
    about = {"participant_id": "Participant"} | dict.fromkeys(found.circuits, words)
    index = [
        dict(zip(about, (person, *values), strict=True))
        for person, values in zip(participants, found.reliable.tolist(), strict=True)
    ]
    group_tables.write_rows(folder / "reliable_change.tsv", index, about)
    best = max(models, key=lambda row: row["elpd"], default=None)
    return {
        "normalisation_by_circuit": {row["circuit"]: _kept(row) for row in shares},
        "best_predicting_model": None if best is None else best["model"],
        "models": models,
        "spatial_rank": {row["circuit"]: row["rank"] for row in spatial},
        "icc": {row.circuit: row.found.icc_consistency for row in found.reliabilities},
    }


def _kept(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: row[k] for k in ("share", "ci_low", "ci_high", "identified", "remark")}


_REGIONS = {
    "region": "Region",
    "network": "Network of the region",
    "estimate_z": "Change by treatment of its mean edge, Fisher z; exploratory",
    "statistic": "t, or normal score of Welch's t",
    "p": "Permutation p, uncorrected",
    "p_corrected": "Permutation p, family-wise over regions",
}
_NETWORKS = {
    "network_a": "Network",
    "network_b": "Network; the same one for edges within it",
    "estimate_z": "Change by treatment of the mean edge between them, Fisher z; exploratory",
    "statistic": "t, or normal score of Welch's t",
    "p": "Permutation p, uncorrected",
    "p_corrected": "Permutation p, family-wise over pairs of networks",
}


def _write_maps(folder: Path, maps: EdgeMaps | None, context: Context) -> None:
    regions: list[dict[str, object]] = []
    networks: list[dict[str, object]] = []
    if maps is not None:
        regions = [
            {"region": region.label, "network": region.network or None, **values}
            for region, values in zip(context.atlas.regions, _rows(maps.regions), strict=True)
        ]
        networks = [
            {"network_a": a, "network_b": b, **values}
            for (a, b), values in zip(maps.network_pairs, _rows(maps.networks), strict=True)
        ]
    group_tables.write_rows(folder / "regions.tsv", regions, _REGIONS)
    group_tables.write_rows(folder / "networks.tsv", networks, _NETWORKS)


def _rows(found: EdgeMap) -> list[dict[str, object]]:
    names = ("estimate_z", "statistic", "p", "p_corrected")
    columns = (found.estimate, found.statistic, found.p, found.p_corrected)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _components(maps: EdgeMaps | None, context: Context, most: int = 20) -> list[dict[str, Any]]:
    """Describe the components of NBS, the clearest first."""
    if maps is None:
        return []
    first, second = context.features.ends
    labels = context.features.regions
    return [
        {
            "direction": c.direction,
            "n_edges": c.extent,
            "intensity": c.intensity,
            "p_extent": c.p_extent,
            "p_intensity": c.p_intensity,
            "threshold_t": maps.threshold,
            "regions": [labels[k] for k in sorted({*first[c.edges], *second[c.edges]})],
        }
        for c in maps.components[:most]
    ]


_SPECIFICATION = {
    "background": "Edges of the global law",
    "covariates": "Whether covariates of the study file and motion were regressed out",
    "family": "global or specific",
    "term": "Global term or circuit",
    "estimate": "Estimate",
    "p_corrected": "Permutation p, family-wise",
    "verdict": "Verdict of this specification",
}


def _specification(
    context: Context, fitted: Fitted, rng: np.random.Generator
) -> list[dict[str, object]]:
    """Analyse again with other backgrounds, and without covariates (specification curve).

    Simonsohn, Simmons & Nelson 2020, doi:10.1038/s41562-020-0912-z. Other denoising strategies are
    in tests.tsv as sensitivity twins, with all permutations.
    """
    out: list[dict[str, object]] = []
    has_nuisance = fitted.visits.covariates is not None or fitted.visits.motion_mm is not None
    bare = replace(fitted.visits, covariates=None, motion_mm=None)
    choices = [("with", fitted.visits), ("without", bare)] if has_nuisance else [("none", bare)]
    few = min(fitted.rules.n_permutations, _SPECIFICATION_PERMUTATIONS)
    for background in get_args(Background):
        for words, visits in choices:
            rules = replace(fitted.rules, background=background, n_permutations=few)
            given = {"background": background, "covariates": words}
            try:
                found = analyse(visits, context.positions(), rng=rng, rules=rules)
            except DesignError as error:
                nothing = {"family": None, "term": None, "estimate": None, "p_corrected": None}
                out.append({**given, **nothing, "verdict": f"could not be analysed: {error}"})
                continue
            out += [
                {
                    **given,
                    "family": e.family,
                    "term": e.term,
                    "estimate": e.estimate,
                    "p_corrected": e.p_corrected,
                    "verdict": found.verdict.verdict,
                }
                for e in found.estimates
                if e.family in ("global", "specific")
            ]
    return out


def _agreement(rows: Sequence[Mapping[str, object]]) -> dict[str, int]:
    """Count verdicts over specifications."""
    each = {(row["background"], row["covariates"]): str(row["verdict"]) for row in rows}
    verdicts = list(each.values())
    return {name: verdicts.count(name) for name in sorted(set(verdicts))}
