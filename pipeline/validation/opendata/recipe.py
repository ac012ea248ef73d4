"""Read validation recipes: data sets, study file and published values, in TOML files."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from circuitshift.pipeline.errors import InputError, InputProblem, InputProblemsError, TableError
from circuitshift.pipeline.io.tables import read_text
from circuitshift.pipeline.validation.opendata.git_source import GitSource
from circuitshift.pipeline.validation.opendata.needed_files import FileSelection

__all__ = ["Published", "Recipe", "RecipeData", "Replica", "load_recipe", "recipe_names"]

#: Data files that this module reads, relative to its folder (`io.provenance.code_hash`).
PACKAGE_DATA = ("recipes/*.toml",)
_FOLDER = Path(__file__).with_name("recipes")
_STUDY = ".study.toml"
_CIRCUITS = ".circuits.toml"
_RULES = ("", "equal", "at most", "increase", "decrease", "none")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Replica:
    """Layout of an offline replica, which contains simulated images under published file names.

    Parameters
    ----------
    groups : mapping of str to int
        Number of participants of each group, in the order of their labels.
    label : str
        Format of a participant label, applied to the number of the participant (from 1).
    sessions : mapping of str to float
        Proportion of participants that have each session; empty for data sets without sessions.
    stem : str
        Part of file names between session and space, for example ``task-rest``.
    space : str
        Entity ``space-`` and those that follow it; empty if file names do not state the space.
    column : str
        Column of participants.tsv that contains the group; empty if there is no such table.
    score : str
        Score by session in ``phenotype/phenotype.tsv``; may be empty.
    t_r_s : float
        Repetition time in s.
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
        Accession number and version on OpenNeuro. For data from a git repository, the name of their
        folder and the commit.
    replica : Replica or None
        Layout of the offline replica; None for data that enter by series or matrices.
    derivatives : str
        Name of the derivative to fetch. If empty, the images of the data set itself are fetched.
    series_space : str
        Template space of images that the authors preprocessed and whose names do not state this;
        regional time series are extracted from them without further denoising. Empty otherwise.
    participants, sessions, tasks, runs : tuple of str
        Labels that are needed; empty for all.
    include : tuple of str
        Patterns of the paths of series or matrices that are fetched instead of images.
    source : GitSource or None
        Repository of data that are not on OpenNeuro.
    """

    accession: str
    tag: str
    replica: Replica | None
    derivatives: str = ""
    series_space: str = ""
    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    source: GitSource | None = None

    @property
    def selection(self) -> FileSelection:
        """The files to fetch."""
        return FileSelection(
            self.participants, self.sessions, self.tasks, self.runs, include=self.include
        )


@dataclass(frozen=True, slots=True)
class Published:
    """A published value, and how it is compared with the results.

    Parameters
    ----------
    quantity : str
        Description of the quantity.
    value : str or float
        Published number, or published statement.
    source : str
        DOI of the publication, as ``doi:...``.
    where : str
        Place in the publication, for example ``abstract``.
    ours : str
        The result it is compared with: a key of verdict.json, for example ``n.control``, or
        ``FAMILY/TERM`` of tests.tsv. Empty if there is no corresponding result.
    rule : str
        Criterion of agreement: ``equal``; ``at most`` (for numbers of participants, some of whom
        may be excluded for quality); ``increase`` or ``decrease`` (for the sign of an estimate
        whose interval excludes zero); ``none`` (the interval includes zero). If empty, both are
        shown without a judgement.
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
        Name of the recipe.
    title : str
        Title of the validation page.
    about : str
        Description of the design and of unknown properties of the data.
    data_sets : tuple of RecipeData
        The data set of the study, optionally followed by that of the healthy reference group.
    study : Path
        Study file.
    published : tuple of Published
        Published values.
    circuits : Path or None
        File with further circuits.
    """

    name: str
    title: str
    about: str
    data_sets: tuple[RecipeData, ...]
    study: Path
    published: tuple[Published, ...] = ()
    circuits: Path | None = None


def recipe_names() -> tuple[str, ...]:
    """Return the names of the packaged recipes, sorted."""
    names = [path.name for path in _FOLDER.glob("*.toml")]
    recipes = [name for name in names if not name.endswith((_STUDY, _CIRCUITS))]
    return tuple(sorted(name.removesuffix(".toml") for name in recipes))


def load_recipe(name: str) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    name : str
        One of `recipe_names`, or the path of a TOML file. The study file ``NAME.study.toml`` must
        be in the same folder, as must the file of circuits that ``circuits`` names.

    Returns
    -------
    Recipe

    Raises
    ------
    InputError
        If the recipe or its study file does not exist.
    TableError
        If the recipe is not valid TOML.
    InputProblemsError
        If keys are missing or unknown. All of them are listed.
    """
    path = Path(name) if name.endswith(".toml") else _FOLDER / f"{name}.toml"
    if not path.is_file():
        raise InputError(f"unknown recipe {name}; choose from {', '.join(recipe_names())}")
    study = path.with_name(path.name.removesuffix(".toml") + _STUDY)
    if not study.is_file():
        raise InputError(
            f"{path}: its study file {study.name} is missing in the same folder; write one"
        )
    try:
        content = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise TableError(f"{path}: it is not valid TOML ({error}); correct it") from None
    problems: list[InputProblem] = []
    where = str(path)
    data_sets = [_data_set(where, table, problems) for table in content.pop("dataset", ())]
    if "source" in content:
        data_sets.insert(0, _source(where, content.pop("source"), problems))
    circuits = content.pop("circuits", "")
    if circuits and not (path.parent / str(circuits)).is_file():
        problems.append(
            InputProblem(where, f"there is no file {circuits} beside it", "correct circuits")
        )
    published = [
        _make_record(Published, where, table, problems) for table in content.pop("published", ())
    ]
    problems += [
        InputProblem(
            where, f"rule {row.rule!r} of {row.quantity!r} is unknown", f"use one of {_RULES}"
        )
        for row in published
        if row is not None and row.rule not in _RULES
    ]
    derived_fields = {
        "name": path.name.removesuffix(".toml"),
        "study": study,
        "data_sets": tuple(data_sets),
        "published": tuple(published),
        "circuits": path.parent / str(circuits) if circuits else None,
    }
    recipe = _make_record(Recipe, where, content | derived_fields, problems)
    if not data_sets:
        problems.append(InputProblem(where, "it has no data set", "add [source] or [[dataset]]"))
    if problems or recipe is None:
        raise InputProblemsError(f"{path.name} cannot be used", problems)
    return recipe


def _data_set(where: str, table: dict[str, Any], problems: list[InputProblem]) -> RecipeData | None:
    """Make the record of a data set."""
    replica = _make_record(Replica, where, table.pop("replica", {}), problems)
    return _make_record(RecipeData, where, table | {"replica": replica}, problems)


def _source(where: str, table: dict[str, Any], problems: list[InputProblem]) -> RecipeData | None:
    """Make the record of a data set that enters by series or matrices, from ``[source]``."""
    if "openneuro" in table:
        renamed = {"openneuro": "accession", "paths": "include"}
        values = {renamed.get(key, key): value for key, value in table.items()}
        return _make_record(RecipeData, where, values | {"replica": None}, problems)
    name = table.pop("name", "")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        fix = "add the name of the folder of its files, such as name = 'study'"
        problems.append(InputProblem(where, "[source] has no name", fix))
        return None
    source = _make_record(GitSource, where, table, problems)
    if source is not None and not (source.paths and source.licence.strip()):
        fix = "state the files that are needed and their terms of use"
        problems.append(InputProblem(where, "[source] has empty paths or licence", fix))
    return None if source is None else RecipeData(name, source.commit, None, source=source)


def _make_record(
    kind: type[_T], where: str, table: Mapping[str, Any], problems: list[InputProblem]
) -> _T | None:
    """Make a record from a table; None, and problems, if keys are unknown or missing."""
    available = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    what = kind.__name__
    before = len(problems)
    problems += _key_problems(where, what, table, available)
    if len(problems) > before:
        return None
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in table.items()}
    try:
        return kind(**values)
    except TypeError as error:
        missing = str(error).partition(": ")[2] or str(error)
        problems.append(InputProblem(where, f"a {what} lacks {missing}", "add it"))
        return None


def _key_problems(
    where: str, what: str, table: Mapping[str, Any], available: Mapping[str, Any]
) -> Iterable[InputProblem]:
    """Yield a problem for each unknown key, and for each value that should be text."""
    for key, value in table.items():
        if key not in available:
            yield InputProblem(
                where, f"key {key!r} of a {what} is unknown", f"use one of {', '.join(available)}"
            )
        elif available[key].type is str and not isinstance(value, str):
            yield InputProblem(
                where, f"{key} = {value!r} of a {what} is not text", "write it in quotes"
            )
