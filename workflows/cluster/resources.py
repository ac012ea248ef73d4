"""Memory and time requests of batch jobs, predicted from the measurements in resources.toml."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

__all__ = ["Kind", "Request", "estimate", "request"]

Kind = Literal["person", "raw", "group"]


@dataclass(frozen=True, slots=True)
class Request:
    """Describe the resources that one job requests.

    Parameters
    ----------
    mib : int
        Memory, MiB.
    minutes : int
        Time limit (wall time), minutes.
    """

    mib: int
    minutes: int


@cache
def _table() -> dict[str, Any]:
    text = (
        files("circuitshift.workflows.cluster")
        .joinpath("resources.toml")
        .read_text(encoding="utf-8")
    )
    return tomllib.loads(text)


def estimate(kind: Kind, size: Mapping[str, float]) -> tuple[float, float]:
    """Estimate processor time and memory of a job on the machine of the measurements.

    Parameters
    ----------
    kind : {"person", "raw", "group"}
        Kind of job: a participant with preprocessed images, series or matrices; a participant
        with raw images; or the group level.
    size : mapping of str to float
        Quantities that determine the resources of this kind of job, for example ``regions``. Their
        names and units are described in ``resources.toml``.

    Returns
    -------
    seconds : float
        Processor time, seconds.
    mib : float
        Peak resident memory, MiB.
    """
    rule = _table()["rule"][kind]
    seconds, mib = (
        sum(term["each"] * math.prod(size[name] for name in term["of"]) for term in rule[resource])
        for resource in ("seconds", "mib")
    )
    return seconds, mib


def request(kind: Kind, size: Mapping[str, float]) -> Request:
    """Return the resources to request: the estimate times the safety margins, rounded up.

    Parameters
    ----------
    kind : {"person", "raw", "group"}
        Kind of job, as described for `estimate`.
    size : mapping of str to float
        Quantities that determine the resources, as described for `estimate`.

    Returns
    -------
    Request
        Memory, rounded up to a multiple of 512 MiB, and time, rounded up to a multiple of
        15 minutes.
    """
    margin = _table()["margin"]
    seconds, mib = estimate(kind, size)
    return Request(
        mib=max(int(margin["min_mib"]), 512 * math.ceil(margin["mib"] * mib / 512)),
        minutes=15 * math.ceil(margin["seconds"] * seconds / 60 / 15),
    )
