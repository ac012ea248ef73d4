"""Steps of preprocessing are done once: what makes a step be done again, and what does not."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from circuitshift.pipeline.bids.raw_records import RawAnat, RawBold, RawParticipant
from circuitshift.pipeline.errors import ImageError, OutputError
from circuitshift.pipeline.io import digests, tables
from circuitshift.pipeline.preproc import derivatives, person
from circuitshift.pipeline.preproc.output_names import structure_record
from circuitshift.pipeline.preproc.structure import products
from circuitshift.pipeline.records import AnalysisSettings

TEMPLATE = AnalysisSettings().template


@pytest.fixture
def raw(tmp_path):
    """One participant with two images."""
    paths = [tmp_path / "raw" / f"sub-01_{suffix}.nii.gz" for suffix in ("T1w", "task-rest_bold")]
    paths[0].parent.mkdir()
    for path in paths:
        path.write_bytes(path.name.encode())
    anat = RawAnat("01", "", paths[0], (("sub", "01"),))
    entities = (("sub", "01"), ("task", "rest"))
    bold = RawBold(
        "01", "", "rest", "", paths[1], entities, 2.0, (9, 9, 9), (3.0, 3.0, 3.0), 100, notes=("a",)
    )
    return RawParticipant("01", (anat,), (bold,))


@pytest.fixture
def done(monkeypatch, tmp_path):
    """Names of the steps that were done; each writes one small file."""
    monkeypatch.setattr(digests, "_SETTLED_NS", -1)
    monkeypatch.setattr(person, "template_files", lambda name: [tmp_path / name])
    (tmp_path / TEMPLATE).write_text("a template")
    names = []

    def step(name):
        def work(*args):
            names.append(name)
            out_dir = args[-1]
            tables.write_text(out_dir / name, name)
            return {"files": [name], "n_dummy": 0}

        return work

    for name in ("write_anatomy", "write_motion", "write_coregistration", "write_preprocessed_run"):
        monkeypatch.setattr(derivatives, name, step(name.removeprefix("write_")))

    def structure(*_, out_dir, **__):
        return step("structure")(out_dir)

    monkeypatch.setattr(products, "write_structure", structure)
    return names


def preprocess(raw, out, settings=AnalysisSettings()):  # noqa: B008 - frozen
    """Do every step as the workflow does; return the last record."""
    anatomy = person.prepare_participant_anatomy(
        raw.anats, participant="01", template=settings.template, out_dir=out
    )
    if settings.structure:
        person.measure_participant_structure(
            raw.anats, anatomy.record, participant="01", settings=settings, out_dir=out
        )
    (bold,) = raw.bolds
    motion = person.estimate_run_motion(bold, dummy_scans=settings.dummy_scans, out_dir=out)
    registered = person.coregister_runs(
        raw.bolds, anatomy.record, [motion.record], participant="01", out_dir=out
    )
    return person.preprocess_run(
        bold,
        anatomy.record,
        motion.record,
        registered.record,
        template=settings.template,
        voxel_mm=person.voxel_size(raw.bolds),
        slice_timing=settings.slice_timing,
        out_dir=out,
    ).record


def is_done(raw, out, settings=AnalysisSettings(), *, read=True):  # noqa: B008 - frozen
    return person.is_preprocessed(raw, settings, out, digests.Digests("sub-01", out, read=read))


def stated(path):
    return {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in path.rglob("*") if p.is_file()}


ALL = ["anatomy", "motion", "coregistration", "preprocessed_run"]


def test_steps_are_done_once(raw, tmp_path, done):
    out = tmp_path / "out"
    assert not is_done(raw, out)
    preprocess(raw, out)
    assert done == ALL
    before = stated(out)
    assert is_done(raw, out, read=False)
    preprocess(raw, out)
    assert done == ALL
    assert stated(out) == before
    for path in tmp_path.rglob("*"):
        os.utime(path)
    assert not is_done(raw, out, read=False)  # it cannot be known without reading
    assert is_done(raw, out)
    preprocess(raw, out)
    assert done == ALL


def edited(raw, name):
    """The content of an image, of equal size."""
    image = {"anat": raw.anats[0], "bold": raw.bolds[0]}[name].path
    image.write_bytes(image.read_bytes().swapcase())
    return raw


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (lambda raw: edited(raw, "anat"), ["anatomy", "coregistration", "preprocessed_run"]),
        (lambda raw: edited(raw, "bold"), ["motion", "coregistration", "preprocessed_run"]),
        (lambda raw: replace_bold(raw, t_r_s=2.5), ["preprocessed_run"]),
        (lambda raw: replace_bold(raw, slice_times_s=(0.0, 1.0)), ["preprocessed_run"]),
        (lambda raw: replace_bold(raw, zooms_mm=(2.0, 2.0, 2.0)), ["preprocessed_run"]),
        (
            lambda raw: replace_bold(raw, sbref=(raw.anats[0].path,)),
            ["motion", "coregistration", "preprocessed_run"],
        ),
        (lambda raw: replace_bold(raw, notes=("b",)), []),
        (lambda raw: replace_bold(raw, phase_encoding="j"), []),
    ],
)
def test_a_change_of_an_input_repeats_what_depends_on_it(raw, tmp_path, done, change, again):
    out = tmp_path / "out"
    preprocess(raw, out)
    done.clear()
    raw = change(raw)
    preprocess(raw, out)
    assert done == again
    assert is_done(raw, out)


def replace_bold(raw, **more):
    return replace(raw, bolds=(replace(raw.bolds[0], **more),))


def test_notes_are_brought_up_to_date_without_preprocessing(raw, tmp_path, done):
    out = tmp_path / "out"
    assert tables.read_json(preprocess(raw, out))["notes"] == ["a"]
    noted = replace_bold(raw, notes=("b", "c"))
    assert not is_done(noted, out)
    assert tables.read_json(preprocess(noted, out))["notes"] == ["b", "c"]
    assert done == ALL


@pytest.mark.parametrize(
    ("more", "again"),
    [
        ({"dummy_scans": 3}, ["motion", "coregistration", "preprocessed_run"]),
        ({"slice_timing": False}, ["preprocessed_run"]),
        ({"template": "MNI152NLin2009cAsym"}, ["anatomy", "coregistration", "preprocessed_run"]),
        ({"min_minutes": 3.0, "strategies": ("24p",)}, []),
    ],
    ids=str,
)
def test_settings_count_for_the_steps_that_they_change(raw, tmp_path, done, more, again):
    out = tmp_path / "out"
    (tmp_path / "MNI152NLin2009cAsym").write_text("another template")
    preprocess(raw, out)
    done.clear()
    settings = AnalysisSettings(**more)
    assert is_done(raw, out, settings) == (not again)
    preprocess(raw, out, settings)
    assert done == again


def test_another_content_of_the_template_counts(raw, tmp_path, done):
    out = tmp_path / "out"
    preprocess(raw, out)
    done.clear()
    (tmp_path / TEMPLATE).write_text("another one")
    preprocess(raw, out)
    assert done == ["anatomy", "coregistration", "preprocessed_run"]


def test_other_code_and_lost_files_count(raw, tmp_path, done, monkeypatch):
    out = tmp_path / "out"
    preprocess(raw, out)
    done.clear()
    (out / "motion").unlink()
    assert not is_done(raw, out)
    preprocess(raw, out)
    assert done == ["motion"]
    done.clear()
    seen = []

    def other_code(module):
        seen.append(module)
        return "other"

    monkeypatch.setattr(person, "code_hash", other_code)
    assert not is_done(raw, out)
    preprocess(raw, out)
    assert done == ALL
    assert set(seen) == {derivatives.__name__}


def test_a_step_that_fails_is_tried_again_and_a_full_disk_ends_the_run(
    raw, tmp_path, done, monkeypatch
):
    out = tmp_path / "out"

    def fails(*_):
        raise ImageError("x.nii.gz: it is empty; fetch it again")

    with monkeypatch.context() as patch:
        patch.setattr(derivatives, "write_motion", fails)
        record = preprocess(raw, out)
    assert tables.read_json(record) == {"fault": "x.nii.gz: it is empty; fetch it again"}
    assert not is_done(raw, out)
    assert tables.read_json(preprocess(raw, out))["notes"] == ["a"]
    # the registration of the other runs does not wait for the run that failed
    assert done == ["anatomy", "coregistration", "motion", "coregistration", "preprocessed_run"]

    def full(*_):
        raise OutputError("no space")

    edited(raw, "anat")
    monkeypatch.setattr(derivatives, "write_anatomy", full)
    with pytest.raises(OutputError):
        preprocess(raw, out)


def test_a_damaged_record_is_made_again(raw, tmp_path, done):
    out = tmp_path / "out"
    record = preprocess(raw, out)
    Path(record).write_text("{")
    assert not is_done(raw, out)
    done.clear()
    preprocess(raw, out)
    assert done == ["preprocessed_run"]


STRUCTURE = AnalysisSettings(structure="volumes")


def test_structure_is_measured_on_request_and_once(raw, tmp_path, done):
    out = tmp_path / "out"
    preprocess(raw, out)
    assert not is_done(raw, out, STRUCTURE)
    done.clear()
    preprocess(raw, out, STRUCTURE)
    assert done == ["structure"]
    assert is_done(raw, out, STRUCTURE)
    assert is_done(raw, out)  # what is not requested may be there
    preprocess(raw, out, STRUCTURE)
    assert done == ["structure"]


@pytest.mark.parametrize(
    ("more", "again"),
    [
        ({"atlases": ("seitzman300", "seitzman2018")}, ["structure"]),
        ({"min_minutes": 3.0}, []),
    ],
    ids=str,
)
def test_settings_count_for_structure(raw, tmp_path, done, more, again):
    out = tmp_path / "out"
    preprocess(raw, out, STRUCTURE)
    done.clear()
    settings = replace(STRUCTURE, **more)
    assert is_done(raw, out, settings) == (not again)
    preprocess(raw, out, settings)
    assert done == again


def test_structure_is_measured_again_with_another_anatomy(raw, tmp_path, done):
    out = tmp_path / "out"
    preprocess(raw, out, STRUCTURE)
    done.clear()
    preprocess(edited(raw, "anat"), out, STRUCTURE)
    assert done == ["anatomy", "structure", "coregistration", "preprocessed_run"]
    done.clear()
    (tmp_path / TEMPLATE).write_text("another one")
    preprocess(raw, out, STRUCTURE)
    assert done == ["anatomy", "structure", "coregistration", "preprocessed_run"]


def test_structure_fails_with_its_anatomy(raw, tmp_path, done, monkeypatch):
    def fails(*_):
        raise ImageError("x.nii.gz: it is empty; fetch it again")

    monkeypatch.setattr(derivatives, "write_anatomy", fails)
    preprocess(raw, tmp_path, STRUCTURE)
    record = tables.read_json(tmp_path / structure_record("01"))
    assert record == {"fault": "x.nii.gz: it is empty; fetch it again"}
    assert "structure" not in done
