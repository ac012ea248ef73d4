"""Detection of regression of the global signal on real regional series, raw and regressed."""

from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.edges import edges
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.stats.global_signal import global_signal_was_removed
from circuitshift.workflows.cli import main as cli
from circuitshift.workflows.cli.exit_status import EXIT_OK

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "psilocybin-aal90"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real series are not on this machine")


def regressed(series, signal):
    series, signal = series - series.mean(axis=0), signal - signal.mean()
    return series - np.outer(signal, signal @ series / (signal @ signal))


@pytest.mark.parametrize(
    "session", ["placebopre", "placebopost", "psilocybinpre", "psilocybinpost"]
)
def test_raw_and_regressed_series_of_nine_participants_are_told_apart(session):
    rng = np.random.default_rng(5)
    runs = bids.find_runs(DATA, bids.Query(sessions=(session,))).runs
    assert len(runs) == 9
    given = [tables.read_series(run.path)[1] for run in runs]
    raw = global_signal_was_removed(np.array([edges(values) for values in given]))
    assert raw.removed is False
    assert 0.5 < raw.mean < 0.9
    mean = [edges(regressed(values, values.mean(axis=1))) for values in given]
    assert global_signal_was_removed(np.array(mean)).removed is True
    whole = []  # regions weigh unequally in the mean of a brain, which has other tissue
    for values in given:
        centred = values - values.mean(axis=0)
        signal = (centred * rng.uniform(0.2, 2, values.shape[1])).mean(axis=1)
        signal = signal + 0.3 * signal.std() * rng.standard_normal(len(signal))
        whole.append(edges(regressed(values, signal)))
    found = global_signal_was_removed(np.array(whole))
    assert found.removed is True
    assert found.mean < 0.12


@pytest.mark.slow
def test_global_terms_are_refused_after_regression_of_the_global_signal(tmp_path):
    """Series whose global signal another program removed, from files to the verdict."""
    root = tmp_path / "in"
    for source in sorted(DATA.rglob("*")):
        target = root / source.relative_to(DATA)
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif source.name.endswith("_timeseries.tsv"):
            labels, values = tables.read_series(source)
            tables.write_series(target, labels, regressed(values, values.mean(axis=1)))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    study = tmp_path / "study.toml"
    study.write_text('[sessions]\nbaseline = "psilocybinpre"\nfollowup = "psilocybinpost"\n')
    words = (root, tmp_path / "out", "group", "-w", tmp_path / "work", "--study", study)
    with pytest.raises(SystemExit) as ended:
        cli.main([str(w) for w in (*words, "--atlas", DATA / "atlas-AAL90_dseg.tsv")])
    assert ended.value.code == EXIT_OK
    rows = tables.read_table(tmp_path / "out/group/tests.tsv")
    assert "global" not in rows.column("family")
    assert "specific" in rows.column("family")
    content = tables.read_json(tmp_path / "out/group/verdict.json")
    assert content["verdict"] not in ("global", "both")
    assert any("global signal was regressed out" in text for text in content["warnings"])
