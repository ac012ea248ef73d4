"""Validation recipes: data sets, study file, and what was published of them, as TOML."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from circuitshift.pipeline.errors import InputError, InputProblem, InputProblemsError, TableError
from circuitshift.pipeline.io.tables import read_text
from circuitshift.pipeline.validation.opendata.needed_files import Wanted

__all__ = ["Published", "Recipe", "RecipeData", "Replica", "load_recipe", "recipe_names"]

#: Data files that this module reads, relative to its folder (`io.provenance.code_hash`).
PACKAGE_DATA = ("recipes/*.toml",)
_FOLDER = Path(__file__).with_name("recipes")
_STUDY = ".study.toml"
_RULES = ("", "equal", "at most", "increase", "decrease", "none")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Replica:
    """What an offline replica of a data set holds: small simulated images under its names.

    Parameters
    ----------
    groups : mapping of str to int
        People of each group, in the order of their labels.
    label : str
        Format of a label from the number of the person, counted from 1.
    sessions : mapping of str to float
        Session -> share of people who have it; empty for none.
    stem : str
        What stands in a name between session and space: ``task-rest``.
    space : str
        ``space-`` with what belongs to it; empty when the names tell nothing of preprocessing.
    column : str
        Column of participants.tsv that names the group; empty: there is no such table.
    score : str
        Score by session; a column of ``phenotype/phenotype.tsv``, or empty.
    t_r_s : float
    """

    groups: Mapping[str, int]
    label: str = "{:02d}"
    sessions: Mapping[str, float] | None = None
    stem: str = "task-rest"
    space: str = "space-MNI152NLin2009cAsym_res-2"
    column: str = "group"
    score: str = ""
    t_r_s: float = 2.0


@dataclass(frozen=True, slots=True)
class RecipeData:
    """One data set of a recipe.

    Parameters
    ----------
    accession, tag : str
        Number and version on OpenNeuro.
    replica : Replica
    derivatives : str
        Name of the derivative to fetch; empty: raw images, or such as were preprocessed by
        those who published them.
    series_space : str
        Template space of images that were preprocessed elsewhere and whose names do not say so;
        their regional series are taken as they are. Empty for others.
    participants, sessions, tasks, runs : tuple of str
        What is needed of it; empty for all.
    """

    accession: str
    tag: str
    replica: Replica
    derivatives: str = ""
    series_space: str = ""
    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()

    @property
    def wanted(self) -> Wanted:
        """What to fetch."""
        return Wanted(self.participants, self.sessions, self.tasks, self.runs)


@dataclass(frozen=True, slots=True)
class Published:
    """One thing that was published about these data.

    Parameters
    ----------
    quantity : str
    value : str or float
        As published, a number or words.
    source : str
        ``doi:...``.
    where : str
        Where it stands there.
    ours : str
        What it is compared with: a name in verdict.json, such as ``n.control``, or
        ``FAMILY/TERM`` of tests.tsv; empty when there is nothing to compare.
    rule : str
        When they agree: ``equal``; ``at most`` (people may be lost to quality); ``increase`` or
        ``decrease`` (sign of an estimate whose interval is off zero); ``none`` (the interval
        holds zero). Empty: both are shown, the reader judges.
    """

    quantity: str
    value: str | float
    source: str
    where: str
    ours: str = ""
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A validation on published data.

    Parameters
    ----------
    name : str
    title, about : str
        About: the design, and what could not be known without the data.
    data_sets : tuple of RecipeData
        The first holds the study; a second one the healthy reference.
    study : Path
        Study file.
    published : tuple of Published
    """

    name: str
    title: str
    about: str
    data_sets: tuple[RecipeData, ...]
    study: Path
    published: tuple[Published, ...] = ()


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes of this package."""
    names = [path.name for path in _FOLDER.glob("*.toml") if not path.name.endswith(_STUDY)]
    return tuple(sorted(name.removesuffix(".toml") for name in names))


def load_recipe(name: str) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    name : str
        One of `recipe_names`, or the path of a TOML file; its study file lies beside it, as
        ``NAME.study.toml``.

    Returns
    -------
    Recipe

    Raises
    ------
    InputError
        If there is no such recipe, or no study file beside it.
    TableError
        If it is no TOML.
    FaultsError
        If keys are missing or unknown; names all.
    """
    path = Path(name) if name.endswith(".toml") else _FOLDER / f"{name}.toml"
    if not path.is_file():
        raise InputError(f"there is no recipe {name}; there are {', '.join(recipe_names())}")
    study = path.with_name(path.name.removesuffix(".toml") + _STUDY)
    if not study.is_file():
        raise InputError(f"{path}: its study file {study.name} is not beside it; write one")
    try:
        content = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise TableError(f"{path}: it is not TOML ({error})") from None
    problems: list[InputProblem] = []
    where = str(path)
    data_sets = [_data_set(where, table, problems) for table in content.pop("dataset", ())]
    published = [_made(Published, where, table, problems) for table in content.pop("published", ())]
    problems += [
        InputProblem(
            where, f"rule {row.rule!r} of {row.quantity!r} is unknown", f"give one of {_RULES}"
        )
        for row in published
        if row is not None and row.rule not in _RULES
    ]
    more = {
        "name": path.name.removesuffix(".toml"),
        "study": study,
        "data_sets": tuple(data_sets),
        "published": tuple(published),
    }
    recipe = _made(Recipe, where, content | more, problems)
    if not data_sets:
        problems.append(InputProblem(where, "it names no data set", "write [[dataset]]"))
    if problems or recipe is None:
        raise InputProblemsError(f"{path.name} cannot be used", problems)
    return recipe


def _data_set(where: str, table: dict[str, Any], problems: list[InputProblem]) -> RecipeData | None:
    replica = _made(Replica, where, table.pop("replica", {}), problems)
    return _made(RecipeData, where, table | {"replica": replica}, problems)


def _made(
    kind: type[_T], where: str, table: Mapping[str, Any], problems: list[InputProblem]
) -> _T | None:
    """Make a record of a table; unknown and missing keys are faults."""
    available = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    what = kind.__name__
    before = len(problems)
    problems += _key_faults(where, what, table, available)
    if len(problems) > before:
        return None
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in table.items()}
    try:
        return kind(**values)
    except TypeError as error:
        missing = str(error).partition(": ")[2] or str(error)
        problems.append(InputProblem(where, f"a {what} lacks {missing}", "write it"))
        return None


def _key_faults(
    where: str, what: str, table: Mapping[str, Any], available: Mapping[str, Any]
) -> Iterable[InputProblem]:
    for key, value in table.items():
        if key not in available:
            yield InputProblem(
                where, f"key {key!r} of a {what} is unknown", f"known: {', '.join(available)}"
            )
        elif available[key].type is str and not isinstance(value, str):
            yield InputProblem(
                where, f"{key} = {value!r} of a {what} is no text", "write it in quotes"
            )
