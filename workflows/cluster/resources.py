"""What a batch job asks of a cluster: memory and time, from the measured table beside this file."""

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
    """What one job asks for.

    Parameters
    ----------
    mib : int
        Memory, MiB.
    minutes : int
        Wall time.
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
    """Estimate what a job takes on the machine of the table.

    Parameters
    ----------
    kind : {"person", "raw", "group"}
        A person with preprocessed images, series or matrices; with raw images; the group level.
    size : mapping of str to float
        The quantities that the rule of the kind names (``volumes``, ``regions``, ...).

    Returns
    -------
    seconds : float
        Of processor time.
    mib : float
        Peak resident memory, MiB.
    """
    rule = _table()["rule"][kind]
    seconds, mib = (
        sum(t["each"] * math.prod(size[name] for name in t["of"]) for t in rule[what])
        for what in ("seconds", "mib")
    )
    return seconds, mib


def request(kind: Kind, size: Mapping[str, float]) -> Request:
    """Say what to ask for: the estimate with the margins of the table, rounded up.

    Parameters
    ----------
    kind, size
        As for `estimate`.

    Returns
    -------
    Request
        Memory in steps of 512 MiB, time in steps of 15 minutes.
    """
    margin = _table()["margin"]
    seconds, mib = estimate(kind, size)
    return Request(
        mib=max(int(margin["least_mib"]), 512 * math.ceil(margin["mib"] * mib / 512)),
        minutes=15 * math.ceil(margin["seconds"] * seconds / 60 / 15),
    )
