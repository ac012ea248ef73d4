"""Answer whether a treatment changed brain connectivity globally or in specific circuits.

This module is installed as ``circuitshift`` and is the public interface: what it lists in
``__all__`` keeps its name and meaning between versions. Everything else can be imported from
``circuitshift.pipeline``, ``circuitshift.workflows`` and ``circuitshift.atlases``, but may change.

Names are imported when they are first used, so that ``import circuitshift`` loads no library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from circuitshift.pipeline import __version__

if TYPE_CHECKING:
    from circuitshift.atlases.load import load_atlas
    from circuitshift.atlases.resolve import load_circuits
    from circuitshift.pipeline.features import FeatureSpace
    from circuitshift.pipeline.model.analyse import Rules, Visits, analyse

__all__ = [
    "FeatureSpace",
    "Rules",
    "Visits",
    "__version__",
    "analyse",
    "load_atlas",
    "load_circuits",
]

_MODULES = {
    "FeatureSpace": "circuitshift.pipeline.features",
    "Rules": "circuitshift.pipeline.model.analyse",
    "Visits": "circuitshift.pipeline.model.analyse",
    "analyse": "circuitshift.pipeline.model.analyse",
    "load_atlas": "circuitshift.atlases.load",
    "load_circuits": "circuitshift.atlases.resolve",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - functions and classes
    """Import a public name when it is first used (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
