"""Conversion of pure functions to Nipype interfaces."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pytest
from nipype.pipeline import engine as pe

from circuitshift.pipeline.records import AnalysisSettings, Run
from circuitshift.workflows.engine import step as module
from circuitshift.workflows.engine.step import step


class Written(NamedTuple):
    """Output of the function."""

    text: Path


@dataclass(frozen=True)
class WithArray:
    """Nipype would hash this by its truncated text."""

    values: np.ndarray


def write_words(
    words: list[str],
    out_dir: Path,
    settings: AnalysisSettings,
    *,
    ending: Literal["!", "?"] = "!",
    times: int = 1,
    before: Path | None = None,
) -> Written:
    """Write words."""
    path = out_dir / "words.txt"
    path.write_text(
        ("" if before is None else before.name)
        + " ".join(words) * times
        + ending
        + settings.atlases[0]
    )
    return Written(path)


WriteWords = step(write_words)


@pytest.mark.parametrize("plugin", ["Linear", "MultiProc"])
def test_a_function_runs_as_a_node(tmp_path, plugin):
    node = pe.Node(
        WriteWords(
            words=["a", "b"], out_dir=str(tmp_path), settings=AnalysisSettings(), ending="?"
        ),
        name="write",
    )
    workflow = pe.Workflow("toy_wf", base_dir=str(tmp_path / "work"))
    workflow.add_nodes([node])
    workflow.run(plugin=plugin, plugin_args={"n_procs": 1} if plugin == "MultiProc" else {})
    assert (tmp_path / "words.txt").read_text() == "a b?seitzman300circuits"


def test_the_hash_covers_inputs_and_code(monkeypatch):
    def hashed(**more):
        inputs = WriteWords(words=["a"], out_dir="x", settings=AnalysisSettings(), **more).inputs
        return inputs.get_hashval(hash_method="content")[1]

    first = hashed()
    assert hashed() == first
    assert hashed(times=2) != first
    assert hashed(ending="?") != first
    other = WriteWords(words=["a"], out_dir="x", settings=AnalysisSettings(min_minutes=3.0)).inputs
    assert other.get_hashval(hash_method="content")[1] != first
    seen = []

    def edited_code(name):
        seen.append(name)
        return "edited"

    monkeypatch.setattr(module, "code_hash", edited_code)
    edited = step(write_words)(words=["a"], out_dir="x", settings=AnalysisSettings()).inputs
    assert edited.get_hashval(hash_method="content")[1] != first
    assert seen == [write_words.__module__]


def test_inputs_of_other_types_are_refused():
    def array_in(values: np.ndarray) -> Written: ...

    def record_in(values: WithArray) -> Written: ...

    def mapping_in(values: dict[str, int]) -> Written: ...

    for function in (array_in, record_in, mapping_in):
        with pytest.raises(TypeError, match="cannot be passed between nodes"):
            step(function)


def test_records_of_the_pipeline_can_be_inputs():
    def runs_in(runs: list[Run], settings: AnalysisSettings) -> Written: ...

    assert set(step(runs_in).input_spec().get()) == {"runs", "settings", "code"}


def test_an_optional_path_can_be_omitted(tmp_path):
    given = {"words": ["a"], "out_dir": str(tmp_path), "settings": AnalysisSettings()}
    WriteWords(**given).run()
    assert (tmp_path / "words.txt").read_text() == "a!seitzman300circuits"
    WriteWords(**given, before="x/y").run()
    assert (tmp_path / "words.txt").read_text() == "ya!seitzman300circuits"


def test_a_missing_input_is_named():
    with pytest.raises(ValueError, match="requires a value for input 'words'"):
        WriteWords(out_dir="x", settings=AnalysisSettings()).run()
