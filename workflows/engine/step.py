"""Convert typed, pure functions to Nipype interfaces.

A step is a function ``f(inputs...) -> NamedTuple[Path, ...]``. Only paths, scalars, Literals,
frozen dataclasses of these, and lists of any of them may be passed between nodes. Nipype hashes
all other objects by their (truncated) text, so that two different arrays can have the same hash.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from circuitshift.pipeline.io.provenance import code_hash

__all__ = ["step"]

_SCALARS = {int: traits.Int, float: traits.Float, bool: traits.Bool, str: traits.Str}


def step(func: Callable[..., Any]) -> type[SimpleInterface]:
    """Create a ``SimpleInterface`` class from a function.

    Nipype's hash of a node covers its inputs but not its code, so that a previous result would be
    reused after the function was edited (nipy/nipype#3399). The hash of all code that the
    function's module imports, directly or indirectly, is therefore added as an input.

    Parameters
    ----------
    func : callable
        Function with type annotations for all parameters, which returns a NamedTuple of paths.

    Returns
    -------
    type
        Interface class named after the function: ``measure_participant`` becomes
        ``MeasureParticipant``.

    Raises
    ------
    TypeError
        If values of an annotated type cannot be passed between nodes.
    """
    hints = get_type_hints(func)
    outputs = hints.pop("return")._fields
    parameters = inspect.signature(func).parameters
    name = "".join(word.title() for word in func.__name__.split("_"))
    module = _caller_module()

    def spec(base: type, attribute: str, members: dict[str, Any]) -> type:
        # the qualified name allows workers to unpickle the class
        location = {"__module__": module, "__qualname__": f"{name}.{attribute}"}
        return type(name + attribute, (base,), members | location)

    inputs = {
        key: _trait(kind, mandatory=parameters[key].default is inspect.Parameter.empty)
        for key, kind in hints.items()
    }
    inputs["code"] = traits.Str(code_hash(func.__module__), usedefault=True)

    def _run_interface(self: SimpleInterface, runtime: Any) -> Any:  # noqa: ANN401 - Nipype's
        values = {key: getattr(self.inputs, key) for key in hints}
        result = func(**{k: _native(v, hints[k]) for k, v in values.items() if isdefined(v)})
        self._results = {key: str(path) for key, path in result._asdict().items()}
        return runtime

    members = {
        "__module__": module,
        "__doc__": func.__doc__,
        "_run_interface": _run_interface,
        "input_spec": spec(BaseInterfaceInputSpec, "input_spec", inputs),
        "output_spec": spec(TraitedSpec, "output_spec", {n: File(exists=True) for n in outputs}),
    }
    return type(name, (SimpleInterface,), members)


def _caller_module() -> str:
    """Return the name of the module that calls `step`, from which workers import the class."""
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None and frame.f_back.f_back is not None  # noqa: S101, PT018 - CPython has frames
    return str(frame.f_back.f_back.f_globals["__name__"])


def _trait(kind: Any, **meta: Any) -> Any:  # noqa: ANN401 - any annotation, any trait
    """Return the trait for an annotation."""
    kind = _required_type(kind)
    origin = get_origin(kind)
    if kind is Path:
        return traits.Str(**meta)  # not File: new files in a folder must not change the hash
    if kind in _SCALARS:
        return _SCALARS[kind](**meta)
    if origin is Literal:
        return traits.Enum(*get_args(kind), **meta)
    if origin is not None and issubclass(origin, Sequence):
        return traits.List(_trait(get_args(kind)[0]), **meta)
    if is_dataclass(kind) and _is_passable(kind):
        return traits.Instance(kind, **meta)
    raise TypeError(
        f"{kind!r} cannot be passed between nodes; use a path, a scalar, a frozen dataclass of "
        "these, or a list"
    )


def _required_type(kind: Any) -> Any:  # noqa: ANN401 - any annotation
    """Return X for ``X | None``; an optional input that is undefined is not passed at all."""
    parts = [part for part in get_args(kind) if part is not type(None)]
    is_optional = get_origin(kind) in (Union, UnionType) and len(parts) == 1
    return parts[0] if is_optional else kind


def _is_passable(kind: Any) -> bool:  # noqa: ANN401 - any annotation
    """Return whether different values of a type always have different text representations."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind in (*_SCALARS, Path, type(None), Any) or origin is Literal:
        return True  # Any denotes the scalars of a TOML table
    if origin is tuple:
        return all(_is_passable(part) for part in parts if part is not Ellipsis)
    if origin in (Union, UnionType):
        return all(_is_passable(part) for part in parts)
    if is_dataclass(kind) and _is_frozen(kind):
        types = get_type_hints(kind)
        return all(_is_passable(types[field.name]) for field in fields(kind))
    return False


def _is_frozen(kind: Any) -> bool:  # noqa: ANN401 - any dataclass
    return bool(kind.__dataclass_params__.frozen)


def _native(value: Any, kind: Any) -> Any:  # noqa: ANN401 - any input
    """Convert the value of a trait to the type that the function expects."""
    kind = _required_type(kind)
    if kind is Path:
        return Path(value)
    origin = get_origin(kind)
    if origin is not None and origin is not Literal and issubclass(origin, Sequence):
        return [_native(item, get_args(kind)[0]) for item in value]
    return value
