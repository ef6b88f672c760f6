r"""Pictures of lattice systems: observables along a path with exact lines, and configurations."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .style import BLACK, FULL, captioned, line_styles, panels, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def observables_along(
    series: Mapping[str, Mapping[str, tuple]],
    exact: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    *,
    xlabel: str = "time $t$",
    caption: str | None = None,
) -> "Figure":
    """Draw weighted means along the path, one panel an observable, exact values as black lines.

    Parameters
    ----------
    series
        `{axis label: {sampler: (t, value)}}`.
    exact
        `{axis label: (t, value)}`, where known.
    """
    figure, axes = panels(1, len(series), width=FULL, height=3.4)
    for axis, (name, curves) in zip(axes[0], series.items(), strict=True):
        if exact and name in exact:
            axis.plot(*exact[name], color=BLACK, lw=1.2, label="exact")
        for label, style in line_styles(curves).items():
            t, value = curves[label]
            axis.plot(t, value, "o", ms=3.6, color=style["color"], label=label)
        axis.set(xlabel=xlabel, ylabel=name)
    axes[0, 0].legend()
    text = "Weighted means of the walkers along the path."
    return captioned(figure, "Observables along the path", text if caption is None else caption)


@styled
def configurations(
    rows: Mapping[str, Sequence[tuple[float, np.ndarray]]], *, caption: str | None = None
) -> "Figure":
    """Draw spin configurations, dark for +1: one row a sampler, one block of them a time.

    Parameters
    ----------
    rows
        `{label: [(t, array of shape (n, L, M)), ...]}`, the same times in each row.
    """
    columns = max(len(row) for row in rows.values())
    figure, axes = panels(len(rows), columns, width=FULL, height=0.4 + 1.4 * len(rows))
    for r, (label, row) in enumerate(rows.items()):
        for axis, (t, x) in zip(axes[r], row, strict=True):
            axis.imshow(_tiled(np.asarray(x)), cmap="gray_r", vmin=-1.6, vmax=1.3)
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
            if r == 0:
                axis.set_title(f"$t = {t:.3g}$")
        axes[r, 0].set_ylabel(label)
    text = "Configurations drawn in proportion to their weights."
    return captioned(figure, "Configurations", text if caption is None else caption)


def _tiled(x: np.ndarray, columns: int = 8) -> np.ndarray:
    """Return the configurations side by side, one white site between them."""
    num, height, width = x.shape
    rows = -(-num // columns)
    out = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1), np.nan)
    for k, one in enumerate(x):
        i, j = (k // columns) * (height + 1) + 1, (k % columns) * (width + 1) + 1
        out[i : i + height, j : j + width] = one
    return out
