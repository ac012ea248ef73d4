"""Labels of the tissue segmentation, which `derivatives` writes under the names of BIDS."""

import numpy as np

from circuitshift.pipeline.io.images import Image
from circuitshift.pipeline.preproc.derivatives import _labels


def test_tissue_labels_follow_bids() -> None:
    """1 grey matter, 2 white matter, 3 cerebrospinal fluid, 0 where no tissue is likely."""
    shares = {"CSF": [0.8, 0.1, 0.1, 0.1], "GM": [0.1, 0.7, 0.2, 0.1], "WM": [0.1, 0.2, 0.6, 0.2]}
    tissues = [Image(np.array(v).reshape(4, 1, 1), np.eye(4)) for v in shares.values()]
    assert _labels(tissues).ravel().tolist() == [3, 1, 2, 0]
