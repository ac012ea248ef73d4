"""Denoising: comparison with nilearn, degrees of freedom, and messages for invalid tables."""

import tempfile
import tomllib
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.errors import (
    ConfoundsError,
    InputError,
    InputProblemsError,
    TableError,
    TooLittleDataError,
)
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.measure import denoise

REAL = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "confounds"
STRATEGIES = denoise.load_strategies()
PACKAGED = Path(denoise.__file__).with_name("strategies.toml")


def nilearn_clean(series, regressors, strategy, t_r_s):
    from nilearn.signal import clean

    has_filter = strategy.low_pass_hz is not None or strategy.high_pass_hz is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return clean(
            series.copy(),
            confounds=regressors.values if regressors.values.shape[1] else None,
            sample_mask=None if regressors.keep.all() else np.flatnonzero(regressors.keep),
            t_r=t_r_s,
            detrend=True,
            standardize="zscore_sample",
            filter="butterworth" if has_filter else False,
            low_pass=strategy.low_pass_hz,
            high_pass=strategy.high_pass_hz,
        )


def regressors(n, k, rng, keep=None, n_dummy=0):
    keep = np.ones(n, bool) if keep is None else keep
    values = rng.standard_normal((n, k)).cumsum(axis=0)
    return denoise.Regressors(values, tuple(f"c{i}" for i in range(k)), keep, np.zeros(n), n_dummy)


@pytest.mark.parametrize("band", [(None, None), (0.1, None), (None, 0.01), (0.1, 0.01)])
@pytest.mark.parametrize("k", [0, 12])
def test_clean_equals_nilearn(band, k):
    rng = np.random.default_rng(1)
    strategy = replace(STRATEGIES["24p"], low_pass_hz=band[0], high_pass_hz=band[1])
    given = regressors(200, k, rng)
    series = rng.standard_normal((200, 7)).cumsum(axis=0) + 1000
    cleaned, _ = denoise.clean(series, given, strategy, 2.0)
    np.testing.assert_allclose(cleaned, nilearn_clean(series, given, strategy, 2.0), atol=1e-8)


def test_the_deviation_is_that_before_standardisation():
    rng = np.random.default_rng(2)
    given = regressors(120, 3, rng)
    series = rng.standard_normal((120, 4)) * [1, 2, 3, 0] + 1000
    series[:, 2] = np.nan
    strategy = STRATEGIES["24p"]
    cleaned, deviation, _ = denoise.clean_and_scale(series, given, strategy, 2.0)
    np.testing.assert_array_equal(cleaned, denoise.clean(series, given, strategy, 2.0)[0])
    both = np.column_stack([np.ones(120), np.arange(120), given.values])  # detrended as well
    left = series[:, :2] - both @ np.linalg.lstsq(both, series[:, :2], rcond=None)[0]
    np.testing.assert_allclose(deviation[:2], left.std(axis=0, ddof=1), rtol=0.02)
    assert np.isnan(deviation[2:]).all()


def test_clean_equals_nilearn_after_dummies_without_a_filter():
    rng = np.random.default_rng(2)
    given = regressors(120, 8, rng, keep=np.arange(120) >= 4, n_dummy=4)
    series = rng.standard_normal((120, 5)).cumsum(axis=0)
    cleaned, kept = denoise.clean(series, given, STRATEGIES["24p"], 2.0)
    expected = nilearn_clean(series, given, STRATEGIES["24p"], 2.0)
    np.testing.assert_allclose(cleaned, expected, atol=1e-8)
    assert (kept.n_dummy, kept.n_censored, kept.n_retained) == (4, 0, 116)


def test_censored_volumes_are_filled_before_a_filter_and_dropped_after_it():
    """Compare with a direct computation: spline, detrend, filter, censor, project out."""
    from scipy.interpolate import CubicSpline
    from scipy.signal import butter, detrend, sosfiltfilt

    rng = np.random.default_rng(3)
    keep = np.ones(150, bool)
    keep[[0, 20, 21, 22, 80, 149]] = False
    given = regressors(150, 6, rng, keep=keep)
    series = rng.standard_normal((150, 4)).cumsum(axis=0)
    strategy = replace(STRATEGIES["24p"], low_pass_hz=0.1, high_pass_hz=0.01)
    cleaned, kept = denoise.clean(series, given, strategy, 2.0)
    parts = []
    sos = butter(5, [0.01, 0.1], btype="band", output="sos", fs=0.5)
    for x in (series, given.values):
        filled = x.copy()
        filled[~keep] = CubicSpline(np.flatnonzero(keep), x[keep])(np.flatnonzero(~keep))
        parts.append(sosfiltfilt(sos, detrend(filled, axis=0), axis=0)[keep])
    design = parts[1] - parts[1].mean(axis=0)
    left = parts[0] - design @ np.linalg.lstsq(design, parts[0], rcond=None)[0]
    left = left - left.mean(axis=0)
    np.testing.assert_allclose(cleaned, left / left.std(axis=0, ddof=1), atol=1e-8)
    assert kept.n_censored == 6
    assert kept.residual_dof == pytest.approx(144 * 0.09 / 0.25 - 6)


def test_a_missing_region_remains_a_column_of_nan():
    rng = np.random.default_rng(4)
    given = regressors(100, 3, rng)
    series = rng.standard_normal((100, 4))
    series[:, 2] = np.nan
    cleaned, _ = denoise.clean(series, given, STRATEGIES["24p"], 2.0)
    assert np.isnan(cleaned[:, 2]).all()
    others, _ = denoise.clean(series[:, [0, 1, 3]], given, STRATEGIES["24p"], 2.0)
    np.testing.assert_allclose(cleaned[:, [0, 1, 3]], others, atol=1e-12)


def test_repeated_and_constant_regressors_count_once():
    rng = np.random.default_rng(5)
    given = regressors(100, 3, rng)
    doubled = np.hstack([given.values, given.values[:, :2] * 3, np.ones((100, 1))])
    _, kept = denoise.clean(
        rng.standard_normal((100, 2)), replace(given, values=doubled), STRATEGIES["24p"], 2.0
    )
    assert kept.n_regressors == 3


@pytest.mark.parametrize("band", [(None, None), (0.1, 0.01)])
def test_degrees_of_freedom_predict_the_spread_of_z(band):
    """The variance of Fisher z of white noise is 1 / (dof - 3) for all regressors."""
    rng = np.random.default_rng(6)
    strategy = replace(STRATEGIES["24p"], low_pass_hz=band[0], high_pass_hz=band[1])
    z, dofs = [], []
    for _ in range(12):
        given = regressors(240, 10, rng)
        cleaned, kept = denoise.clean(rng.standard_normal((240, 40)), given, strategy, 2.0)
        r = np.corrcoef(cleaned.T)[np.triu_indices(40, 1)]
        z.append(np.arctanh(r))
        dofs.append(kept.residual_dof)
    ratio = np.var(z) * (np.mean(dofs) - 3)
    assert 0.85 < ratio < 1.15


def columns(names, n=60, **more):
    rng = np.random.default_rng(7)
    return {name: rng.standard_normal(n) for name in names} | more


AXES = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
ENDS = ("", "_derivative1", "_power2", "_derivative1_power2")
FULL = [
    *(axis + end for axis in AXES for end in ENDS),
    *(name + end for name in ("csf", "white_matter", "global_signal") for end in ENDS),
    *("cosine00", "cosine01", "aroma_motion_1"),
    *(f"{mask}_comp_cor_0{k}" for mask in "wc" for k in range(6)),
]


def write(folder, table, *, sidecar=True):
    path = folder / "sub-01_task-rest_desc-confounds_timeseries.tsv"
    tables.write_table(path, table)
    if sidecar:
        tables.write_json(
            path.with_suffix(".json"),
            {
                f"{mask}_comp_cor_0{k}": {"Method": "aCompCor", "Retained": True, "Mask": name}
                for mask, name in (("w", "WM"), ("c", "CSF"))
                for k in range(6)
            },
        )
    return path


EXPECTED = {
    "none": 0,
    "24p": 26,
    "24p+acompcor": 36,
    "36p": 38,
    "scrubbing": 34,
    "aroma": 5,
    "none+gsr": 1,
    "24p+gsr": 27,
    "24p+acompcor+gsr": 37,
    "scrubbing+gsr": 35,
    "aroma+gsr": 6,
}


#: Number of columns of each part of a strategy in the table of this test, and multiplicity.
PARTS = {"motion": 6, "wm_csf": 2, "global_signal": 1, "high_pass": 2, "ica_aroma": 1}
TIMES = {"basic": 1, "derivatives": 2, "power2": 2, "full": 4}


def n_columns(name):
    """Return the number of regressors that follows from the table of a strategy."""
    load = tomllib.loads(PACKAGED.read_text())[name.removesuffix("+gsr")]["load"]
    n = 1 if name.endswith("+gsr") else 0
    for part in load.get("strategy", ()):
        if part == "compcor":
            n += load["n_compcor"] * (2 if load["compcor"] == "anat_separated" else 1)
        else:
            n += PARTS[part] * TIMES[load.get(part, "basic")]
    return n


def test_numbers_of_columns_follow_from_the_tables():
    assert {name: n_columns(name) for name in EXPECTED} == EXPECTED
    assert set(EXPECTED) <= set(STRATEGIES)


@pytest.mark.parametrize("name", STRATEGIES)
def test_columns_of_every_strategy(tmp_path, name):
    fd = np.r_[np.nan, np.full(59, 0.1)]
    fd[10] = 0.7
    path = write(tmp_path, columns(FULL, framewise_displacement=fd))
    found = denoise.load_regressors(path, STRATEGIES[name], n_volumes=60)
    assert found.values.shape == (60, n_columns(name))
    assert STRATEGIES[name].gsr == ("global_signal" in found.names)
    limit = STRATEGIES[name].fd_threshold_mm
    assert (~found.keep).sum() == (limit is not None and limit < 0.7)
    table = tables.read_table(path)
    for column, values in zip(found.names, found.values.T, strict=True):
        np.testing.assert_allclose(values, table.numbers(column))
    assert STRATEGIES[name].prose.endswith(".")
    assert STRATEGIES[name].reference or name.startswith("none")


def test_dummies_come_from_fmriprep_or_the_user(tmp_path):
    marks = np.zeros((60, 2))
    marks[0, 0] = marks[1, 1] = 1
    path = write(
        tmp_path,
        columns(
            FULL, non_steady_state_outlier00=marks[:, 0], non_steady_state_outlier01=marks[:, 1]
        ),
    )
    assert denoise.load_regressors(path, STRATEGIES["24p"]).n_dummy == 2
    found = denoise.load_regressors(path, STRATEGIES["24p"], dummy_scans=5)
    assert (found.n_dummy, found.keep.sum()) == (5, 55)


def test_volumes_above_the_threshold_are_censored_and_no_others(tmp_path):
    fd = np.r_[np.nan, np.full(59, 0.1)]
    fd[[7, 30]] = 0.6, 2.0
    fd[20] = 0.5  # not above the threshold
    path = write(tmp_path, columns(FULL, framewise_displacement=fd))
    found = denoise.load_regressors(path, STRATEGIES["scrubbing"], dummy_scans=2)
    assert np.flatnonzero(~found.keep).tolist() == [0, 1, 7, 30]
    kept = denoise.clean(np.random.default_rng(0).standard_normal((60, 3)),
                         replace(found, values=found.values[:, :4]), STRATEGIES["scrubbing"],
                         2.0)[1]  # fmt: skip
    assert (kept.n_dummy, kept.n_censored, kept.n_retained) == (2, 2, 56)
    assert kept.mean_fd_mm == pytest.approx((55 * 0.1 + 0.5) / 56)
    assert kept.minutes == pytest.approx(56 * 2 / 60)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real confounds are not on this machine")
@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("table", ["test", "nonss", "missing"])
def test_real_tables_load_or_name_what_is_missing(table, name):
    path = REAL / f"{table}_desc-confounds_regressors.tsv"
    strategy = STRATEGIES[name]
    if table == "missing":
        with pytest.raises(ConfoundsError) as caught:
            denoise.load_regressors(path, strategy)
        message = str(caught.value)
        assert str(path) in message
        if "motion" in dict(strategy.load).get("strategy", ()):
            assert "trans_y, trans_x_derivative1, rot_z_power2" in message
    elif table == "nonss" and "acompcor" in name:  # this table has no JSON file
        with pytest.raises(ConfoundsError, match=r"nonss_desc-confounds_regressors\.json"):
            denoise.load_regressors(path, strategy)
    else:
        found = denoise.load_regressors(path, strategy, n_volumes=30)
        assert found.values.shape[0] == 30
        assert np.isfinite(found.values).all()
        assert found.n_dummy == (1 if table == "test" else 0)


def lacking(*gone):
    return columns([name for name in FULL if name not in gone])


BROKEN = {
    "one motion column": (lacking("trans_y"), "24p", "columns trans_y are missing;"),
    "derivatives": (lacking("rot_z_derivative1"), "24p", "columns rot_z_derivative1 are missing"),
    "cosines": (lacking("cosine00", "cosine01"), "24p", "columns cosine00"),
    "components": (
        columns([n for n in FULL if "comp_cor" not in n]),
        "24p+acompcor",
        "a_comp_cor*",
    ),
    "aroma": (lacking("aroma_motion_1"), "aroma", "columns aroma_motion*"),
    "global signal": (lacking("global_signal"), "24p+gsr", "columns global_signal are missing"),
    "no motion estimate": (columns(FULL), "scrubbing", "column framewise_displacement is missing"),
    "n/a inside": (
        columns(FULL) | {"trans_x": np.where(np.arange(60) == 30, np.nan, 1.0)},
        "24p",
        "columns trans_x contain n/a after the first volume",
    ),
    "cut": (columns(FULL, n=50), "24p", "the table has 50 rows, but the image has 60 volumes"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_unusable_tables_raise_an_error_that_names_file_and_reason(tmp_path, name):
    table, strategy, sentence = BROKEN[name]
    path = write(tmp_path, table)
    with pytest.raises(ConfoundsError) as caught:
        denoise.load_regressors(path, STRATEGIES[strategy], n_volumes=60)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)


def test_components_without_their_json_file_raise_an_error(tmp_path):
    path = write(tmp_path, columns(FULL), sidecar=False)
    with pytest.raises(ConfoundsError, match=r"timeseries\.json, is missing"):
        denoise.load_regressors(path, STRATEGIES["24p+acompcor"])


def test_the_name_of_the_temporary_folder_does_not_matter(tmp_path, monkeypatch):
    """nilearn would search the JSON file of .../tmptsv1/x.tsv as .../tmpjson1/x.json."""
    path = write(tmp_path, columns(FULL))
    monkeypatch.setattr(denoise, "select_columns", lambda *_: None)  # as for rare arguments
    names = iter(["xtsvx", "plain"])
    monkeypatch.setattr(tempfile, "_get_candidate_names", lambda: names)
    assert denoise.load_regressors(path, STRATEGIES["24p+acompcor"]).names
    assert next(names, None) is None
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tsv"))
    with pytest.raises(ConfoundsError, match="set TMPDIR to another folder"):
        denoise.load_regressors(path, STRATEGIES["24p+acompcor"])


def test_too_little_data_raises_an_error(tmp_path):
    rng = np.random.default_rng(8)
    given = regressors(45, 38, rng)
    with pytest.raises(TooLittleDataError, match=r"leaves 7 degrees of freedom .*1\.5 min, 38"):
        denoise.clean(rng.standard_normal((45, 3)), given, STRATEGIES["24p+acompcor"], 2.0)
    band = replace(STRATEGIES["24p"], low_pass_hz=0.1, high_pass_hz=0.01)
    with pytest.raises(TooLittleDataError, match="30 volumes are too few for the filter"):
        denoise.clean(rng.standard_normal((30, 3)), regressors(30, 1, rng), band, 2.0)
    path = write(tmp_path, columns(FULL, framewise_displacement=np.linspace(2, 3, 60)))
    with pytest.raises(TooLittleDataError, match="leaves none of 60 volumes"):
        denoise.load_regressors(path, STRATEGIES["scrubbing"])


def test_strategies_of_additional_files_are_loaded(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        '["6p"]\nprose = "Six."\nreference = "me"\nlow_pass_hz = 0.1\n'
        'load = {strategy = ["motion"], motion = "basic"}\n'
    )
    found = denoise.load_strategies([path])
    assert found["6p"].low_pass_hz == 0.1
    assert found["6p+gsr"].gsr
    assert found["6p+gsr"].desc == "6pGsr"
    with pytest.raises(InputError, match=r"'24q' is unknown; did you mean '24p'\? Choose"):
        denoise.get_strategy("24q", found)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[x]\nprose = 'a'\nreference = 'b'\n", "key 'load' is missing"),
        ("[x]\nload = {}\nprose = 'a'\nreference = 'b'\nlowpass_hz = 1\n", "'low_pass_hz'"),
        ("[x]\nload = 3\nprose = 'a'\nreference = 'b'\n", "load = 3"),
        ("x = 3\n", "it is not a table"),
    ],
)
def test_invalid_strategy_files_raise_an_error(tmp_path, text, sentence):
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(InputProblemsError, match=sentence):
        denoise.load_strategies([tmp_path / "s.toml"])


def test_a_strategy_file_that_is_not_toml_raises_an_error(tmp_path):
    (tmp_path / "s.toml").write_text("[x\n")
    with pytest.raises(TableError, match="the file is not TOML"):
        denoise.load_strategies([tmp_path / "s.toml"])
