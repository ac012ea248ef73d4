"""The one adapter: a typed, pure function becomes a Nipype interface.

A step is ``f(inputs...) -> NamedTuple[Path, ...]``. Only paths, scalars, Literals, frozen
dataclasses of those, and lists of any of them may cross a node boundary: Nipype hashes everything
else by its (truncated) text, so that two different arrays can count as the same input.
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
    """Make a ``SimpleInterface`` class of a function.

    Nipype's hash of a node covers its inputs and not the code behind them, so that an edited
    function would answer with yesterday's result (nipy/nipype#3399). The hash of the code that
    the function's module can reach by its imports is therefore a hidden input.

    Parameters
    ----------
    func : callable
        Every parameter annotated; returns a NamedTuple of paths.

    Returns
    -------
    type
        Named after the function: ``measure_participant`` becomes ``MeasureParticipant``.

    Raises
    ------
    TypeError
        If an annotation may not cross a node boundary.
    """
    hints = get_type_hints(func)
    outputs = hints.pop("return")._fields
    parameters = inspect.signature(func).parameters
    name = "".join(word.title() for word in func.__name__.split("_"))
    module = _caller_module()

    def spec(base: type, attribute: str, members: dict[str, Any]) -> type:
        # nested names, so that workers can unpickle the classes
        where = {"__module__": module, "__qualname__": f"{name}.{attribute}"}
        return type(name + attribute, (base,), members | where)

    inputs = {
        key: _trait(kind, mandatory=parameters[key].default is inspect.Parameter.empty)
        for key, kind in hints.items()
    }
    inputs["code"] = traits.Str(code_hash(func.__module__), usedefault=True)

    def _run_interface(self: SimpleInterface, runtime: Any) -> Any:  # noqa: ANN401 - Nipype's
        given = {key: getattr(self.inputs, key) for key in hints}
        result = func(**{k: _native(v, hints[k]) for k, v in given.items() if isdefined(v)})
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
    """Name of the module that calls `step`, where workers will look for the class."""
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None and frame.f_back.f_back is not None  # noqa: S101, PT018 - CPython has frames
    return str(frame.f_back.f_back.f_globals["__name__"])


def _trait(kind: Any, **meta: Any) -> Any:  # noqa: ANN401 - any annotation, any trait
    """Return the trait for an annotation."""
    kind = _given(kind)
    origin = get_origin(kind)
    if kind is Path:
        return traits.Str(**meta)  # not File: a folder that fills up must not change the hash
    if kind in _SCALARS:
        return _SCALARS[kind](**meta)
    if origin is Literal:
        return traits.Enum(*get_args(kind), **meta)
    if origin is not None and issubclass(origin, Sequence):
        return traits.List(_trait(get_args(kind)[0]), **meta)
    if is_dataclass(kind) and _crosses(kind):
        return traits.Instance(kind, **meta)
    raise TypeError(
        f"{kind!r} cannot cross a node boundary: pass a path, a scalar, a frozen dataclass of "
        "those, or a list"
    )


def _given(kind: Any) -> Any:  # noqa: ANN401 - any annotation
    """Return X for ``X | None``: an input that is left out is simply not passed."""
    parts = [part for part in get_args(kind) if part is not type(None)]
    is_optional = get_origin(kind) in (Union, UnionType) and len(parts) == 1
    return parts[0] if is_optional else kind


def _crosses(kind: Any) -> bool:  # noqa: ANN401 - any annotation
    """Tell whether values of a type are told apart by their text."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind in (*_SCALARS, Path, type(None), Any) or origin is Literal:
        return True  # Any stands for the scalars of a TOML table
    if origin is tuple:
        return all(_crosses(part) for part in parts if part is not Ellipsis)
    if origin in (Union, UnionType):
        return all(_crosses(part) for part in parts)
    if is_dataclass(kind) and _is_frozen(kind):
        types = get_type_hints(kind)
        return all(_crosses(types[field.name]) for field in fields(kind))
    return False


def _is_frozen(kind: Any) -> bool:  # noqa: ANN401 - any dataclass
    return bool(kind.__dataclass_params__.frozen)


def _native(value: Any, kind: Any) -> Any:  # noqa: ANN401 - any input
    """Turn a trait's value back into what the function expects."""
    kind = _given(kind)
    if kind is Path:
        return Path(value)
    origin = get_origin(kind)
    if origin is not None and origin is not Literal and issubclass(origin, Sequence):
        return [_native(item, get_args(kind)[0]) for item in value]
    return value
