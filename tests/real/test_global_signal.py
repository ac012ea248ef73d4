"""Detection of regression of the global signal on real regional series, raw and regressed."""

from pathlib import Path

import numpy as np
import pytest

from circuitshift.pipeline.bids import select_runs as bids
from circuitshift.pipeline.edges import edges
from circuitshift.pipeline.io import tables
from circuitshift.pipeline.stats.global_signal import global_signal_was_removed

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
