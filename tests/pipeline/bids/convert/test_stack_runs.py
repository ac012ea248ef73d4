"""Arrays of matrices and series: order of axes, units, lost regions, and contradictions."""

import numpy as np
import pytest
from scipy.io import savemat

from circuitshift.pipeline.bids.convert.description import StackInput
from circuitshift.pipeline.bids.convert.stack_runs import (
    stack_regions,
    stack_runs,
    to_correlations,
)
from circuitshift.pipeline.errors import InputError

LABELS = tuple("abcde")
AXES = ("participant", "visit", "region", "region")


def correlations(n_participants=3, n_visits=2, seed=0):
    series = np.random.default_rng(seed).normal(size=(n_participants, n_visits, 5, 40))
    centred = series - series.mean(axis=-1, keepdims=True)
    centred /= np.linalg.norm(centred, axis=-1, keepdims=True)
    out = centred @ centred.swapaxes(-1, -2)
    out[..., np.arange(5), np.arange(5)] = 1
    return out


def stack(**fields):
    values = {
        "file": "fc.npy",
        "key": "",
        "content": "matrices",
        "axes": AXES,
        "values": "correlation",
        "participants": ("01", "02", "03"),
        "visits": ("pre", "post"),
        "groups": ("a", "a", "b"),
        "regions": 5,
    }
    return StackInput(**(values | fields))


def with_diagonal(values, diagonal):
    out = values.copy()
    out[..., np.arange(5), np.arange(5)] = diagonal
    return out


def test_each_matrix_is_a_run_with_its_place():
    values = correlations()
    runs, notes = stack_runs(values, stack(), LABELS, key="fcs")
    assert [(r.participant, r.session, r.run, r.group) for r in runs] == [
        ("01", "pre", "", "a"), ("01", "post", "", "a"), ("02", "pre", "", "a"),
        ("02", "post", "", "a"), ("03", "pre", "", "b"), ("03", "post", "", "b"),
    ]  # fmt: skip
    np.testing.assert_allclose(runs[3].values, values[1, 1], atol=1e-15)
    assert runs[3].source["Index"] == {"participant": 2, "visit": 2}
    assert runs[3].source["Key"] == "fcs"
    assert "diagonal 1" in notes[0]
    assert "read as correlations" in notes[0]


@pytest.mark.parametrize(
    ("axes", "order"),
    [
        (("region", "region", "participant", "visit"), (2, 3, 0, 1)),
        (("visit", "region", "participant", "region"), (1, 2, 0, 3)),
        (("visit", "participant", "region", "region"), (1, 0, 2, 3)),
    ],
)
def test_axes_may_have_any_order(axes, order):
    values = correlations()
    moved, _ = stack_runs(values.transpose(order), stack(axes=axes), LABELS, key="")
    plain, _ = stack_runs(values, stack(), LABELS, key="")
    for one, other in zip(moved, plain, strict=True):
        assert np.array_equal(one.values, other.values)
        assert one.session == other.session


def test_an_axis_of_one_participant_or_visit_may_be_absent():
    values = correlations()
    one_visit = stack(axes=("participant", "region", "region"), visits=("pre",))
    runs, _ = stack_runs(values[:, 0], one_visit, LABELS, key="")
    assert [run.session for run in runs] == ["pre"] * 3
    one = stack(axes=("visit", "region", "region"), participants=("07",), groups=())
    runs, _ = stack_runs(values[0], one, LABELS, key="")
    assert [(run.participant, run.session) for run in runs] == [("07", "pre"), ("07", "post")]


def test_repeated_visits_are_runs_of_one_visit():
    values = correlations(n_visits=4)
    runs, notes = stack_runs(values, stack(visits=("off", "off", "on", "on")), LABELS, key="")
    assert [(r.session, r.run) for r in runs[:4]] == [
        ("off", "1"), ("off", "2"), ("on", "1"), ("on", "2")
    ]  # fmt: skip
    assert "repeated visits are runs of one visit: off, on" in notes[-1]


def test_series_keep_their_values():
    series = np.random.default_rng(0).normal(size=(3, 5, 2, 30))  # region before visit and volume
    axes = ("participant", "region", "visit", "volume")
    runs, _ = stack_runs(series, stack(content="series", axes=axes), LABELS, key="")
    assert runs[3].content == "series"
    assert np.array_equal(runs[3].values, series[1, :, 1].T)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"participants": ("01", "02")}, r"axis 1 \(participant\) has length 3, and 2 are stated"),
        ({"visits": ("a", "b", "c")}, r"axis 2 \(visit\) has length 2, and 3"),
        ({"axes": ("visit", "participant", "region", "region")}, r"axis 1 \(visit\) has length 3"),
    ],
)
def test_other_sizes_than_stated_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        stack_runs(correlations(), stack(**fields), LABELS, key="")


@pytest.mark.parametrize(
    ("unit", "convert", "diagonal"),
    [
        ("correlation", lambda r: r, 1.0),
        ("correlation", lambda r: r, 0.0),
        ("correlation", lambda r: r, np.nan),
        ("fisher-z", np.arctanh, np.inf),
        ("fisher-z", np.arctanh, 0.0),
        ("fisher-z", np.arctanh, 18.4),  # arctanh of the largest float below 1
        ("angle", np.arccos, 0.0),
    ],
)
def test_every_unit_gives_the_same_correlations(unit, convert, diagonal):
    values = correlations()
    with np.errstate(divide="ignore"):
        given = with_diagonal(convert(values), diagonal)
    found, notes = to_correlations(given, stack(values=unit))
    np.testing.assert_allclose(found, values, atol=1e-12)
    assert np.array_equal(found, found.swapaxes(-1, -2))
    assert "as stated" in notes[0]


@pytest.mark.parametrize(
    ("unit", "given", "message"),
    [
        ("correlation", 8 * correlations(), "may be Fisher z: values = 'fisher-z'"),
        ("correlation", with_diagonal(correlations(), np.inf), "may be Fisher z"),
        ("correlation", with_diagonal(correlations(), 0.5), "diagonal of correlations is 1, 0"),
        ("fisher-z", correlations(), "these are correlations: values = 'correlation'"),
        ("fisher-z", with_diagonal(99 * correlations(), 0), "a Fisher z above 10"),
        ("angle", with_diagonal(correlations(), 0), "angles lie between 0 and pi"),
        ("angle", with_diagonal(np.abs(correlations()), 1), "angle of a region with itself is 0"),
    ],
)
def test_matrices_that_contradict_their_unit_are_refused(unit, given, message):
    with pytest.raises(InputError, match=message):
        to_correlations(given, stack(values=unit))


def test_asymmetric_matrices_are_refused():
    values = correlations()
    values[1, 1, 0, 3] += 0.01
    with pytest.raises(InputError, match=r"largest asymmetry 0\.01; connectivity matrices are sym"):
        to_correlations(values, stack())


def test_a_row_of_zeros_is_a_lost_region():
    values = correlations()
    values[2, 1, 3] = values[2, 1, :, 3] = 0
    found, notes = to_correlations(values, stack())
    assert np.isnan(found[2, 1, 3]).all()
    assert np.isnan(found[2, 1, :, 3]).all()
    assert np.isnan(found).sum() == 9
    assert "1 regions of a visit have no values" in notes[-1]


def test_zeros_on_the_diagonal_are_reported_as_undecidable():
    _, notes = to_correlations(with_diagonal(correlations(), 0), stack())
    assert "check values in [input]" in notes[1]


def test_a_visit_without_values_is_left_out_and_reported():
    values = correlations()
    values[1, 1] = np.nan
    runs, notes = stack_runs(values, stack(), LABELS, key="")
    assert len(runs) == 5
    assert any("no values, left out: 02 post" in note for note in notes)


def test_regions_are_counted_listed_or_read_from_a_table_or_the_file(tmp_path):
    assert stack_regions(tmp_path, stack(regions=12)).labels[:2] == ("region01", "region02")
    assert stack_regions(tmp_path, stack(regions=LABELS)).labels == LABELS
    (tmp_path / "labels.tsv").write_text(
        "index\tlabel\tnetwork\tx\ty\tz\n1\tA\tDefaultMode\t1\t2\t3\n2\tB\tn/a\tn/a\tn/a\tn/a\n"
    )
    table = stack_regions(tmp_path, stack(regions="labels.tsv"))
    assert table.labels == ("A", "B")
    assert table.networks == ("DefaultMode", "")
    assert table.centres_mm[0].tolist() == [1, 2, 3]
    assert np.isnan(table.centres_mm[1]).all()
    rois = {"rois": np.array([[3, 7]]), "mm": np.arange(6.0).reshape(2, 3)}
    savemat(tmp_path / "fc.mat", rois)
    keys = (("centres", "mm"), ("names", "rois"))
    found = stack_regions(tmp_path, stack(file="fc.mat", regions=0, region_keys=keys))
    assert found.labels == ("region3", "region7")
    assert found.centres_mm.tolist() == [[0, 1, 2], [3, 4, 5]]
