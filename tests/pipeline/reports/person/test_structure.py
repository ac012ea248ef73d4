"""Section on the structure of each session: order, warnings, methods text and faults."""

from dataclasses import replace

import numpy as np
import pytest

from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.reports.blocks import Box, Details, Figure, PageTable
from circuitshift.pipeline.reports.person.content import ParticipantReport
from circuitshift.pipeline.reports.person.preprocessing_inputs import (
    Overlay,
    SessionView,
    StructureView,
)
from circuitshift.pipeline.reports.person.structure import (
    structure_methods,
    structure_section,
    structure_warnings,
)

QUALITY = {"similarity": 0.98, "rms_mm": 0.2, "smallest": 0.9, "largest": 1.1}


def overlay():
    data = np.random.default_rng(0).uniform(0, 100, (12, 12, 12))
    mask = np.zeros((12, 12, 12))
    mask[3:9, 3:9, 3:9] = 1
    affine = np.diag([8.0, 8.0, 8.0, 1.0])
    return Overlay(Image(data, affine), (("brain mask", Image(mask, affine)),))


def session(label, hippocampus):
    head = {"intracranial": 1.5e6, "grey matter": 7e5}
    return SessionView(label, QUALITY, head, {"HIP-rh": hippocampus}, overlay(), overlay())


@pytest.fixture
def view():
    sessions = (session("post", 3900.0), session("pre", 4000.0))
    return StructureView(sessions, "sub-01/sub-01_structure.tsv", ("AAL",))


def blocks(view):
    empty = ParticipantReport("01", (), (), {}, (), (), {})
    return [b for b in structure_section(replace(empty, structure=view)) if b is not None]


def test_without_structure_there_is_no_section():
    assert blocks(None) == []


def test_sessions_are_shown_in_the_order_of_time(view):
    shown = blocks(view)
    (table,) = [b for b in shown if isinstance(b, PageTable)]
    assert table.rows == [
        ("ses-pre", "1500.0", "700.0", "0.980", "0.20"),
        ("ses-post", "1500.0", "700.0", "0.980", "0.20"),
    ]
    (deep,) = [b for b in shown if isinstance(b, Details)]
    assert deep.blocks[0].rows == [("HIP-rh", "4.000", "3.900")]
    captions = [b.caption for b in shown if isinstance(b, Figure)]
    assert [c.split(":")[0] for c in captions] == ["ses-pre"] * 2 + ["ses-post"] * 2
    assert not [b for b in shown if isinstance(b, Box)]


def test_a_session_that_is_not_aligned_is_a_warning(view):
    assert structure_warnings(view) == []
    bad = replace(view.sessions[0], quality=QUALITY | {"similarity": 0.62, "largest": 3.0})
    first, second = structure_warnings(replace(view, sessions=(bad, view.sessions[1])))
    assert first.startswith("ses-post: its image correlates with the average of all sessions by")
    assert "0.62" in first
    assert "between 0.90 and 3.00 times" in second


def test_the_only_session_has_no_alignment(view):
    one = replace(view.sessions[0], session="", quality={}, aligned=None, volume=None)
    single = replace(view, sessions=(one,))
    assert structure_warnings(single) == []
    shown = blocks(single)
    assert not [b for b in shown if isinstance(b, Figure)]
    assert "only T1-weighted session" in structure_methods(single)


def test_the_methods_text_cites_what_was_done(view):
    text = structure_methods(view)
    assert "AAL" in text
    assert "doi:10.3389/fnins.2012.00197" in text


def test_a_failure_is_shown_with_its_reason():
    (box,) = blocks(StructureView(fault="x.nii.gz: it is empty; fetch it again"))
    assert "The structure could not be measured: x.nii.gz" in box.blocks[0].words
