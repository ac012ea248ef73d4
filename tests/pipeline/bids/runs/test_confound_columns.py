"""Columns of confounds tables: equal to those of nilearn, without importing it."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.bids.runs.confound_columns import select_columns
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.measure import denoise

REAL = Path(__file__).resolve().parents[5] / "shared" / "data" / "confounds"
STRATEGIES = denoise.load_strategies()
N = 70
AXES = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
ENDS = ("", "_derivative1", "_power2", "_derivative1_power2")
MODELS = ("basic", "derivatives", "power2", "full")
#: Components of each mask in the JSON file; fMRIPrep lists more than the table contains.
MASKS = {"a": "combined", "w": "WM", "c": "CSF"}


@pytest.fixture(scope="module")
def confounds(tmp_path_factory):
    """A table with every type of regressors, in an order other than that of nilearn."""
    rng = np.random.default_rng(11)
    names = [
        *("cosine00", "cosine01", "aroma_motion_02", "aroma_motion_11"),
        *(name + end for name in ("white_matter", "global_signal", "csf") for end in ENDS),
        *(axis + end for axis in reversed(AXES) for end in ENDS),
        *(f"{mask}_comp_cor_{k:02d}" for mask in "cawt" for k in range(7)),
        *("framewise_displacement", "std_dvars", "non_steady_state_outlier00"),
    ]
    columns = {name: rng.standard_normal(N) * 10.0 ** rng.integers(-6, 4) for name in names}
    columns["framewise_displacement"] = rng.uniform(0.05, 0.3, N)
    columns["std_dvars"] = rng.uniform(0.8, 1.2, N)
    for name, values in columns.items():
        if "derivative1" in name or name in ("framewise_displacement", "std_dvars"):
            values[0] = np.nan
    columns["non_steady_state_outlier00"] = (np.arange(N) == 0).astype(int)
    path = tmp_path_factory.mktemp("confounds") / "sub-01_task-rest_desc-confounds_timeseries.tsv"
    tables.write_table(path, columns)
    about = {
        f"{prefix}_comp_cor_{k:02d}": {"Method": "aCompCor", "Mask": mask}
        for prefix, mask in MASKS.items()
        for k in range(7)
    } | {f"t_comp_cor_{k:02d}": {"Method": "tCompCor"} for k in range(7)}
    tables.write_json(path.with_suffix(".json"), about)
    return path


def both(path, load):
    """Return the columns by name of our function, or None, and of nilearn."""
    sidecar = path.with_suffix(".json")
    own = select_columns(tables.read_table(path), sidecar, load)
    names, values = denoise._load_by_nilearn(path, sidecar, load)
    expected = dict(zip(names, values.T, strict=True))
    return own and dict(zip(own[0], own[1].T, strict=True)), expected


def assert_equal(path, load):
    own, expected = both(path, load)
    assert own is not None
    assert set(own) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(own[name], values, rtol=1e-14, atol=0)


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "none"])
def test_columns_of_every_strategy_are_those_of_nilearn(confounds, name):
    assert_equal(confounds, dict(STRATEGIES[name].load))


@pytest.mark.skipif(not REAL.is_dir(), reason="the real confounds are not on this machine")
@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "none"])
def test_columns_of_a_real_table_are_those_of_nilearn(name):
    assert_equal(REAL / "test_desc-confounds_regressors.tsv", dict(STRATEGIES[name].load))


@pytest.mark.parametrize(("motion", "wm_csf"), list(itertools.product(MODELS, MODELS)))
def test_all_models_of_parameters_are_those_of_nilearn(confounds, motion, wm_csf):
    load = {
        "strategy": ("wm_csf", "motion", "global_signal"),
        "motion": motion,
        "wm_csf": wm_csf,
        "global_signal": MODELS[MODELS.index(motion) - 1],
    }
    assert_equal(confounds, load)


def test_defaults_are_those_of_nilearn(confounds):
    strategy = ("motion", "wm_csf", "global_signal", "high_pass", "compcor")
    assert_equal(confounds, {"strategy": strategy})


@pytest.mark.parametrize("n", [1, 3, 50, "all"])
@pytest.mark.parametrize(
    "kind",
    [
        "anat_combined",
        "anat_separated",
        "temporal",
        "temporal_anat_combined",
        "temporal_anat_separated",
    ],
)
def test_components_are_those_of_nilearn(confounds, kind, n):
    load = {"strategy": ("high_pass", "compcor"), "compcor": kind, "n_compcor": n}
    assert_equal(confounds, load)


@pytest.mark.parametrize(
    "load",
    [
        {"strategy": ("motion", "scrub"), "scrub": 5},
        {"strategy": ("motion", "non_steady_state")},
        {"strategy": ("compcor",)},  # nilearn requires high_pass
        {"strategy": ("high_pass", "compcor"), "n_compcor": 2.5},
        {"strategy": ("high_pass", "compcor"), "compcor": "anat"},
        {"strategy": ("ica_aroma",)},
        {"strategy": ("motion",), "motion": "some"},
        {"strategy": ("motion", "motion")},
        {"strategy": ("motion",), "demean": True},
    ],
)
def test_other_arguments_are_left_to_nilearn(confounds, load):
    assert (
        select_columns(tables.read_table(confounds), confounds.with_suffix(".json"), load) is None
    )


@pytest.mark.parametrize("change", ["a column", "text", "camel case", "a mask", "one row"])
def test_tables_that_cannot_be_used_are_left_to_nilearn(confounds, tmp_path, change):
    columns = dict(tables.read_table(confounds).columns)
    about = tables.read_json(confounds.with_suffix(".json"))
    if change == "a column":
        del columns["w_comp_cor_01"]
    elif change == "text":
        columns["cosine00"] = ["text", *columns["cosine00"][1:]]
    elif change == "camel case":
        columns["FramewiseDisplacement"] = columns["trans_x"]
    elif change == "a mask":
        del about["a_comp_cor_00"]["Mask"]
    else:
        columns = {name: values[:1] for name, values in columns.items()}
    path = tmp_path / "confounds.tsv"
    tables.write_table(path, columns)
    tables.write_json(path.with_suffix(".json"), about)
    load = {"strategy": ("high_pass", "compcor"), "compcor": "anat_separated", "n_compcor": 5}
    assert select_columns(tables.read_table(path), path.with_suffix(".json"), load) is None


def test_packaged_strategies_do_not_import_nilearn(confounds):
    code = (
        "import sys; from pathlib import Path; from circuitshift.pipeline.measure import denoise\n"
        "for strategy in denoise.load_strategies().values():\n"
        "    denoise.load_regressors(Path(sys.argv[1]), strategy)\n"
        "print([m for m in ('nilearn', 'pandas', 'sklearn', 'scipy') if m in sys.modules])"
    )
    words = [sys.executable, "-c", code, str(confounds)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
