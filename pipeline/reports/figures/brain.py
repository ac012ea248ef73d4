"""Whole-brain figures: change by pairs of networks, and edges on a glass brain."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from circuitshift.pipeline.arrays import Floats
from circuitshift.pipeline.reports.figures.style import (
    INK,
    WIDTH,
    canvas,
    short_name,
    styled,
    to_svg,
)
from circuitshift.pipeline.words import with_minus_signs

__all__ = ["connectome", "network_matrix", "outline_mm"]

_MAP = "RdBu_r"  # legible with colour-vision deficiencies
_OUTLINE = 642  # vertices per hemisphere: those of the coarser sphere that fsaverage refines


@styled
def network_matrix(
    names: Sequence[str],
    change: Floats,
    corrected: Floats,
    *,
    alpha: float,
    key: str,
    alt: str,
) -> str:
    """Draw the mean change between and within networks as a matrix.

    Parameters
    ----------
    names : sequence of str
        Names of the networks.
    change, corrected : ndarray, shape (n_networks, n_networks)
        Change by treatment, Fisher z, and its family-wise p; NaN where not available.
    alpha : float
        Pairs with a smaller corrected p get a star.
    key, alt : str
        Prefix of ids, and description.

    Returns
    -------
    str
        SVG.
    """
    n = len(names)
    side = min(5.2, 1.2 + 0.32 * n)
    figure = canvas(WIDTH, side + 1.75, (1.75, WIDTH - 1.75 - side, 0.15, 1.6))
    ax = figure.add_subplot()
    limit = float(np.nanmax(np.abs(change))) if np.isfinite(change).any() else 1.0
    scale = ScalarMappable(Normalize(-limit, limit), _MAP)
    lower = np.where(np.tri(n, dtype=bool), change, np.nan)
    ax.imshow(lower, cmap=_MAP, vmin=-limit, vmax=limit, interpolation="none")
    size = float(np.clip(90 * side / 5.2 / max(n, 1), 5, 8))
    for row, column in zip(*np.nonzero(np.isfinite(lower)), strict=True):
        value = lower[row, column]
        star = "*" if corrected[row, column] < alpha else ""
        dark = abs(value) > 0.6 * limit
        # pixel colours do not follow the light or dark mode of the page, so neither does the text
        ax.text(
            column, row, _signed(value) + star, ha="center",
            va="center", fontsize=size, color="#ffffff" if dark else "#111111",
        )  # fmt: skip
    labels = [short_name(name, 22) for name in names]
    ax.set_xticks(range(n), labels, rotation=45, ha="right", rotation_mode="anchor", fontsize=7.5)
    ax.set_yticks(range(n), labels, fontsize=7.5)
    ax.tick_params(length=0)
    ax.spines[["left", "bottom"]].set_visible(False)
    bar = figure.add_axes((1 - 1.0 / WIDTH, 0.45, 0.14 / WIDTH, 0.42))
    figure.colorbar(scale, cax=bar)
    bar.set_title("Fisher z", fontsize=8)
    bar.tick_params(labelsize=7)
    return to_svg(figure, key=key, alt=alt)


def _signed(value: float) -> str:
    text = with_minus_signs(f"{value:+.2f}")
    return text[1:] if float(text[1:]) == 0 else text


@styled
def connectome(
    centres_mm: Floats, edges: Sequence[tuple[int, int, float]], *, key: str, alt: str
) -> str:
    """Draw edges on the glass brain of nilearn, from the left, the front and above.

    Parameters
    ----------
    centres_mm : ndarray, shape (n_regions, 3)
        Centres of the regions in MNI space, mm.
    edges : sequence of (int, int, float)
        Positions of two regions with available centres, and the change of their edge. At least
        one edge.
    key, alt : str
        Prefix of ids, and description.

    Returns
    -------
    str
        SVG.
    """
    import matplotlib.pyplot as plt  # noqa: PLC0415 - nilearn draws with it
    from nilearn.plotting import plot_connectome  # noqa: PLC0415 - two seconds of import

    used = sorted({k for i, j, _ in edges for k in (i, j)})
    place = {region: k for k, region in enumerate(used)}
    matrix = np.zeros((len(used), len(used)))
    for i, j, value in edges:
        matrix[place[i], place[j]] = matrix[place[j], place[i]] = value
    limit = float(np.abs(matrix).max()) or 1.0
    figure = plt.figure(figsize=(WIDTH, 2.6))
    try:
        plot_connectome(
            matrix,
            centres_mm[used],
            node_color=INK,
            node_size=6,
            edge_cmap=_MAP,
            edge_vmin=-limit,
            edge_vmax=limit,
            edge_kwargs={"linewidth": 1.1},
            figure=figure,
            axes=(0, 0, 0.88, 1),
            annotate=False,
            colorbar=False,
        )
        bar = figure.add_axes((0.92, 0.2, 0.015, 0.6))
        figure.colorbar(ScalarMappable(Normalize(-limit, limit), _MAP), cax=bar)
        bar.set_title("Fisher z", fontsize=8)
        bar.tick_params(labelsize=7)
        svg = to_svg(figure, key=key, alt=alt)
    finally:
        plt.close(figure)
    # the black and grey outlines of nilearn would be invisible in dark mode
    return svg.replace("#000000", "var(--soft)").replace("#a6a6a6", "var(--grid)")


def outline_mm() -> list[list[int]]:
    """Return points on the surface of a brain, for orientation in the 3D view.

    Returns
    -------
    list of [x, y, z]
        Regular subset of the vertices of the pial surface of fsaverage, rounded to mm.
    """
    import nilearn.datasets  # noqa: PLC0415 - two seconds of import

    surfaces: Mapping[str, str] = nilearn.datasets.fetch_surf_fsaverage("fsaverage5")
    from nilearn.surface import load_surf_mesh  # noqa: PLC0415 - two seconds of import

    points = [
        np.asarray(load_surf_mesh(surfaces[name]).coordinates)[:_OUTLINE]
        for name in ("pial_left", "pial_right")
    ]
    out: list[list[int]] = np.round(np.concatenate(points)).astype(int).tolist()
    return out
