"""Find runs whose files have identical content although they are different scans."""

from collections.abc import Iterable, Mapping, Sequence

from circuitshift.pipeline.records import Run

__all__ = ["copies_among"]


def copies_among(contents: Iterable[tuple[Run, str]]) -> dict[Run, str]:
    """Return the runs of one participant that have the content of another run.

    Parameters
    ----------
    contents : iterable of (Run, str)
        Runs of one participant, and the digest of the content of each; empty if it is unknown.

    Returns
    -------
    dict of Run to str
        For each run with a copy, the sentence that names all runs with this content. No scan is
        repeated exactly, so that it is unknown to which of them the data belong.
    """
    by_content: dict[str, list[Run]] = {}
    for run, digest in contents:
        if digest:
            by_content.setdefault(digest, []).append(run)
    groups = (runs for runs in by_content.values() if len(runs) > 1)
    return {run: _sentence(runs) for runs in groups for run in runs}


def _sentence(runs: Sequence[Run]) -> str:
    """Name the runs by the entities in which they differ, and state what to do."""
    entities = [dict(run.entities) for run in runs]
    keys = list(dict.fromkeys(key for pairs in entities for key in pairs))
    differing = [key for key in keys if len({pairs.get(key) for pairs in entities}) > 1]
    common = [f"{key}-{runs[0].session}" for key in ("ses",) if runs[0].session]
    if "ses" in differing:
        differing, common = _first(differing, "ses", entities), []
    where = ", ".join([f"sub-{runs[0].participant}", *common])
    named = [_label(pairs, differing) for pairs in entities]
    files = ", ".join(run.path.name for run in runs)
    return (
        f"{where}: {', '.join(named[:-1])} and {named[-1]} have identical data ({files}); replace "
        "each copy by the scan that its name states, or remove the files whose scan is not "
        "available"
    )


def _first(differing: Sequence[str], key: str, entities: Sequence[Mapping[str, str]]) -> list[str]:
    """Return only one key if it distinguishes all runs, otherwise all keys that differ."""
    return [key] if len({e.get(key) for e in entities}) == len(entities) else list(differing)


def _label(pairs: Mapping[str, str], keys: Sequence[str]) -> str:
    return " ".join(f"{key}-{pairs[key]}" if key in pairs else f"no {key}-" for key in keys)
