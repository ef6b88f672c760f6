r"""Clouds of particles in the plane over contours of the density they should follow."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import FULL, captioned, line_styles, panels, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEPTH = 9.0  # contours reach down to e^-9 of the highest density


@styled
def density_with_samples(
    log_density: np.ndarray,
    extent: Sequence[float],
    samples: Mapping[str, np.ndarray],
    limits: float | Sequence[float] | None = None,
    *,
    caption: str | None = None,
) -> "Figure":
    """Draw samples over filled contours of the log-density, one panel per label.

    Parameters
    ----------
    log_density
        Log-density on a regular grid, shape (y, x).
    extent
        `(x_min, x_max, y_min, y_max)` of the grid.
    samples
        `{label: array of shape (n, 2)}`; weighted samples must be resampled before.
    limits
        What is shown: half the width of a square about 0, `(min, max)` of a square, or like
        `extent`. Default: `extent`.
    """
    columns = min(len(samples), 3)
    rows = -(-len(samples) // max(columns, 1))
    side = 3.35 if columns > 1 else 4.6
    width = columns * side + 0.55 if columns < 3 else FULL
    figure, axes = panels(
        rows, columns, width=width, height=side * rows + 0.25, sharex=True, sharey=True
    )
    styles = line_styles(samples)
    for axis, (label, x) in zip(axes.flat, samples.items(), strict=False):
        _contours(axis, log_density, extent)
        _cloud(axis, x, styles[label]["color"], size=4.5)
        axis.set_title(f"{label}, $n = {len(x)}$")
        _frame(axis, extent if limits is None else limits)
    for axis in axes.flat[len(samples) :]:
        axis.remove()
    for axis in axes[-1, :]:
        axis.set_xlabel("$x_1$")
    for axis in axes[:, 0]:
        axis.set_ylabel("$x_2$")
    text = "Samples over contours of the exact log-density, one unit of log-density apart."
    return captioned(figure, "Samples", text if caption is None else caption)


@styled
def particles_at_times(
    rows: Mapping[str, Sequence[tuple[float, np.ndarray]]],
    limits: float | Sequence[Any] | Mapping[str, Any],
    density_grids: Mapping[str, Sequence[np.ndarray | None]] | None = None,
    *,
    caption: str | None = None,
) -> "Figure":
    """Draw the walkers at a few times: one row per path, one column per time.

    Parameters
    ----------
    rows
        `{label: [(t, array of shape (n, 2)), ...]}`, the same number of times in each row.
    limits
        Half the width of a square about 0, `(min, max)` of a square, or `(x_min, x_max, y_min,
        y_max)`; a dict gives one per row, a list of pairs or fours one per column.
    density_grids
        `{label: [log-density (y, x) at that time, or None, ...]}`, each on a regular grid over
        exactly the square shown: the walkers are drawn over its contours.
    """
    columns = max((len(row) for row in rows.values()), default=1)
    same_times = len({tuple(t for t, _ in row) for row in rows.values()}) == 1
    side = (FULL - 0.5) / columns
    height = (side + (0.0 if same_times else 0.25)) * len(rows) + 0.35
    figure, axes = panels(len(rows), columns, width=FULL, height=height)
    figure.set_layout_engine("compressed")
    styles = line_styles(rows)
    boxes = {
        (i, j): _box(_chosen(limits, label, j, columns))
        for i, label in enumerate(rows)
        for j in range(columns)
    }
    for i, (label, row) in enumerate(rows.items()):
        for j, (t, x) in enumerate(row):
            axis = axes[i, j]
            box = boxes[i, j]
            grids = (density_grids or {}).get(label, ())
            grid = grids[j] if j < len(grids) else None
            if grid is not None:
                _contours(axis, grid, box)
            _cloud(axis, x, styles[label]["color"], size=2.4)
            _frame(axis, box)
            if i == 0 or not same_times:
                axis.set_title(f"$t = {t:.3g}$", loc="center")
            axis.tick_params(labelleft=box != boxes.get((i, j - 1)))
            axis.tick_params(labelbottom=box != boxes.get((i + 1, j)))
        for axis in axes[i, len(row) :]:
            axis.remove()
        axes[i, 0].set_ylabel(f"{label}\n$x_2$")
    for axis in axes[-1, :]:
        axis.set_xlabel("$x_1$")
    text = "Walkers at five times of the path over contours of the density at that time."
    return captioned(figure, "Walkers along the path", text if caption is None else caption)


def _contours(axis: Any, log_density: np.ndarray, extent: Sequence[float]) -> None:
    height = np.asarray(log_density, dtype=float)
    height = height - np.max(height, initial=-np.inf, where=np.isfinite(height))
    # below the last contour everything is white: far tails would otherwise fill the panel
    height = np.where(np.isfinite(height), np.maximum(height, -2 * DEPTH), -2 * DEPTH)
    x = np.linspace(extent[0], extent[1], height.shape[1])
    y = np.linspace(extent[2], extent[3], height.shape[0])
    levels = np.arange(-DEPTH, 0.5, 1.0)
    axis.contourf(x, y, height, levels, colors=_ramp(len(levels) - 1), extend="neither")
    axis.contour(x, y, height, levels[:1], colors="#b9bfc8", linewidths=0.5, linestyles="solid")


def _ramp(count: int) -> list[tuple[float, float, float]]:
    """Greys from almost white to middle: samples in any colour stand out on them."""
    return [(s, s * 1.005, min(s * 1.02, 1.0)) for s in np.linspace(0.965, 0.66, count)]


def _cloud(axis: Any, x: np.ndarray, colour: str, *, size: float) -> None:
    x = np.asarray(x, dtype=float).reshape(-1, 2)
    alpha = float(np.clip(600 / max(len(x), 1), 0.25, 0.8))
    axis.scatter(x[:, 0], x[:, 1], s=size, color=colour, alpha=alpha, lw=0, rasterized=True)


def _chosen(limits: Any, label: str, column: int, columns: int) -> Any:
    """Pick a panel's limits: by row from a dict, by column from a list of sequences."""
    if isinstance(limits, Mapping):
        limits = limits[label]
    nested = np.ndim(limits) > 0 and all(np.ndim(entry) > 0 for entry in limits)
    return limits[column] if nested and len(limits) == columns else limits


def _box(limits: Any) -> tuple[float, float, float, float]:
    if np.ndim(limits) == 0:
        return (-limits, limits, -limits, limits)
    flat = [float(entry) for entry in np.ravel(limits)]
    x_min, x_max, y_min, y_max = flat * 2 if len(flat) == 2 else flat
    return (x_min, x_max, y_min, y_max)


def _frame(axis: Any, limits: Any) -> None:
    x_min, x_max, y_min, y_max = _box(limits)
    axis.set(xlim=(x_min, x_max), ylim=(y_min, y_max))
    axis.set_aspect("equal")
    axis.locator_params(nbins=4)
