"""Templates: the embedded one, and those of TemplateFlow with and without cache or network."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.errors import InputError
from circuitshift.pipeline.io import images
from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc.template import EMBEDDED, load_template, template_files

NAME = "MNI152NLin2009cAsym"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path))
    load_template.cache_clear()
    yield tmp_path
    load_template.cache_clear()


def fill(home: Path, *kinds: str) -> None:
    """Write a head of 6 x 6 x 6 voxels with a brain in its middle into the cache."""
    brain = np.zeros((6, 6, 6), np.uint8)
    brain[1:5, 1:5, 1:5] = 1
    for kind in kinds:
        data = np.full((6, 6, 6), 100, np.int16) if kind == "T1w" else brain
        path = home / f"tpl-{NAME}" / f"tpl-{NAME}_res-01_{kind}.nii.gz"
        images.write(path, Image(data, np.diag([1.0, 1.0, 1.0, 1.0])))


ALL = ("T1w", "desc-brain_mask", *(f"label-{t}_probseg" for t in ("CSF", "GM", "WM")))


def test_the_embedded_template_needs_no_cache() -> None:
    template = load_template()
    assert template.name == EMBEDDED
    assert np.array_equal(template.mask, np.asarray(template.brain.data) > 0)
    total = sum(np.asarray(p.data)[template.mask] for p in template.priors)
    assert np.abs(total - 1).max() < 0.02
    litres = template.mask.sum() * np.prod(template.brain.zooms) / 1e6
    assert 1.6 < litres < 2.1  # the ICBM average is larger than most brains
    # the template is symmetric
    mirrored = template.brain.data[::-1]
    assert np.corrcoef(mirrored.ravel(), template.brain.data.ravel())[0, 1] > 0.999


def test_a_filled_cache_is_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(home, *ALL)
    monkeypatch.setattr("socket.socket.connect", None)  # a connection would fail
    template = load_template(NAME)
    assert template.name == NAME
    assert len(template.priors) == 3
    assert template.mask.sum() == 64
    assert np.all(np.asarray(template.brain.data)[~template.mask] == 0)
    assert np.all(np.asarray(template.brain.data)[template.mask] == 100)


def test_files_missing_in_the_cache_are_fetched(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from templateflow.client import TemplateFlowClient
    requested = []

    def get(_client: object, template: str, **entities: object) -> None:
        requested.append((template, entities))
        fill(home, *ALL)

    monkeypatch.setattr(TemplateFlowClient, "get", get)
    placeholder = home / f"tpl-{NAME}" / f"tpl-{NAME}_res-01_T1w.nii.gz"
    placeholder.parent.mkdir(parents=True, exist_ok=True)
    placeholder.touch()
    assert load_template(NAME).mask.sum() == 64
    assert {template for template, _ in requested} == {NAME}
    assert {entities["suffix"] for _, entities in requested} == {"T1w", "mask", "probseg"}
    assert {entities["resolution"] for _, entities in requested} == {1}


def test_a_template_without_tissue_maps_has_no_priors(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("circuitshift.pipeline.preproc.template._download", lambda _: None)
    fill(home, *ALL[:2])
    assert load_template(NAME).priors == ()


def test_without_network_the_error_lists_the_files_and_the_embedded_template(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from templateflow.client import TemplateFlowClient

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(TemplateFlowClient, "get", refuse)
    with pytest.raises(InputError) as caught:
        load_template(NAME)
    message = str(caught.value)
    assert f"tpl-{NAME}_res-01_T1w.nii.gz" in message
    assert str(home) in message
    assert EMBEDDED in message


def test_files_of_a_template_are_those_that_are_there(home: Path) -> None:
    assert [path.name.split("_")[2] for path in template_files(EMBEDDED)] == ["t1", "gm", "wm"]
    assert template_files(NAME) == []
    fill(home, "T1w", "desc-brain_mask")
    assert [path.name for path in template_files(NAME)] == [
        f"tpl-{NAME}_res-01_T1w.nii.gz",
        f"tpl-{NAME}_res-01_desc-brain_mask.nii.gz",
    ]
