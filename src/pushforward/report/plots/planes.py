r"""Planes: clouds of particles over densities, trajectories, lattice configurations, pictures."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import BLUE, FULL, GREEN, GREY, HALF, drawn, line_styles, panels, tiles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEPTH = 9.0  # contours reach down to e^-9 of the highest density
MOST = 2000  # particles shown in a panel
SIZE = 160  # points of a grid along each axis


def scatter(
    clouds: Mapping[str, Any],
    *,
    limits: float | Sequence[float],
    density: Any = None,
    title: str = "Samples",
    caption: str = "Samples over contours of the exact log-density, one unit of log-density apart.",
) -> "Figure":
    """Draw clouds in the plane over contours of a density, one panel per label.

    Parameters
    ----------
    clouds
        `{label: array of shape (n, 2)}`, or `{label: Samples}`, which are drawn in proportion to
        their weights; at most 2,000 points are shown.
    limits
        Half the width of a square about 0, or `(x_min, x_max, y_min, y_max)`.
    density
        Log-density as a function of one point, or on a regular grid over `limits`, shape (y, x).
    """
    box = _box(limits)
    grid = on_grid(density, box) if callable(density) else density
    styles = line_styles(clouds)
    with _squares(len(clouds), title, caption) as (figure, axes):
        for axis, (label, cloud) in zip(axes, clouds.items(), strict=True):
            x = _points(cloud)
            if grid is not None:
                _contours(axis, grid, box)
            _cloud(axis, x[:: -(-len(x) // MOST) or 1], styles[label]["color"], size=4.5)
            axis.set_title(f"{label}, $n = {len(x)}$")
            axis.set_xlabel("$x_1$")
            _frame(axis, box)
        for axis in axes[::3]:
            axis.set_ylabel("$x_2$")
    return figure


def particles(
    rows: Mapping[str, Any],
    *,
    limits: Any = None,
    density: Callable[[str, float, Any], Any] | None = None,
    num: int = 5,
    title: str = "Walkers along the path",
    caption: str = "Walkers at some times of the path over contours of the density at that time.",
) -> "Figure":
    """Draw the walkers at a few times: one row per label, one column per time.

    Parameters
    ----------
    rows
        `{label: Samples}`, whose kept draws are shown (unweighted) at `num` of their times, or
        `{label: [(t, array of shape (n, 2)), ...]}`.
    limits
        As for `scatter`; a list of them (or None) has one for each column. None: 2.6 standard
        deviations of the walkers.
    density
        Log-density `density(label, t, x)` of one point x, or None.
    """
    kept = {}
    for label, row in rows.items():
        every = _kept(row)
        chosen = np.linspace(0, len(every) - 1, min(num, len(every))).round().astype(int)
        kept[label] = [every[k][:2] for k in chosen]
    columns = max((len(row) for row in kept.values()), default=1)
    same_times = len({tuple(t for t, _ in row) for row in kept.values()}) == 1
    side = (FULL - 0.5) / columns
    height = (side + (0.0 if same_times else 0.25)) * len(rows) + 0.35
    styles = line_styles(rows)
    with panels(
        len(rows), columns, width=FULL, height=height, title=title, caption=caption
    ) as (figure, axes):  # fmt: skip
        figure.set_layout_engine("compressed")
        for i, (label, row) in enumerate(kept.items()):
            before = None
            for j, (t, x) in enumerate(row):
                axis = axes[i, j]
                limit = limits[j] if isinstance(limits, list) else limits
                box = _box(2.6 * float(np.std(x)) if limit is None else limit)
                if density is not None:
                    grid = on_grid(lambda y, label=label, t=t: density(label, t, y), box)
                    _contours(axis, grid, box)
                _cloud(axis, x[:: -(-len(x) // MOST) or 1], styles[label]["color"], size=2.4)
                _frame(axis, box)
                if i == 0 or not same_times:
                    axis.set_title(f"$t = {t:.3g}$", loc="center")
                axis.tick_params(labelleft=box != before)
                before = box
            for axis in axes[i, len(row) :]:
                axis.remove()
            axes[i, 0].set_ylabel(f"{label}\n$x_2$")
        for axis in axes[-1, :]:
            axis.set_xlabel("$x_1$")
    return figure


def trajectories(
    paths: Mapping[str, Any],
    *,
    limits: float | Sequence[float],
    density: Any = None,
    title: str = "Trajectories",
    caption: str = "The same starting points (grey) carried to the end of the path (green).",
) -> "Figure":
    """Draw paths in the plane, `{label: (times, n, 2)}`, one panel per label; else as `scatter`."""
    box = _box(limits)
    grid = on_grid(density, box) if callable(density) else density
    with _squares(len(paths), title, caption) as (figure, axes):
        for axis, (label, path) in zip(axes, paths.items(), strict=True):
            if grid is not None:
                _contours(axis, grid, box)
            path = np.asarray(path, dtype=float)
            axis.plot(path[:, :, 0], path[:, :, 1], color=BLUE, lw=0.7, alpha=0.6)
            axis.plot(*path[0].T, "o", color=GREY, ms=3, label="start")
            axis.plot(*path[-1].T, "o", color=GREEN, ms=3.5, label="end")
            axis.set(title=label, xlabel="$x_1$")
            _frame(axis, box)
        axes[0].set_ylabel("$x_2$")
        axes[0].legend(loc="lower left")
    return figure


def images(
    pictures: Mapping[str, Any],
    *,
    extent: Sequence[float] | None = None,
    bar: str | None = None,
    cmap: str | None = None,
    xlabel: str = "",
    ylabel: str = "",
    xticks: Sequence[str] | None = None,
    yticks: Sequence[str] | None = None,
    title: str = "Pictures",
    caption: str = "",
) -> "Figure":
    """Draw heat maps, or grids of small pictures, all on one scale of colours.

    Parameters
    ----------
    pictures
        `{title: array}`: of shape (y, x), a heat map whose first row is the lowest; of shape
        (rows, columns, h, w), pictures side by side; of shape (n, h, w), eight pictures a row.
    extent
        `(x_min, x_max, y_min, y_max)` of heat maps.
    bar
        What the colours of a heat map mean, beside a colour bar.
    xticks, yticks
        Names of the columns and rows of pictures.
    """
    arrays = {k: np.asarray(a, dtype=float) for k, a in pictures.items()}
    is_map = all(a.ndim == 2 for a in arrays.values())
    low = min(float(np.nanmin(a)) for a in arrays.values())
    high = max(float(np.nanmax(a)) for a in arrays.values())
    width = FULL / min(len(arrays), 3) if len(arrays) > 1 else HALF
    height = 0.9 * width * max(_ratio(a) for a in arrays.values())
    image: Any = None
    with tiles(len(arrays), side=height, extra=0.5, title=title, caption=caption) as (figure, axes):
        for axis, (name, a) in zip(axes, arrays.items(), strict=True):
            axis.set(title=name, xlabel=xlabel, ylabel=ylabel)
            if is_map:
                image = axis.imshow(
                    a, origin="lower", extent=extent, vmin=low, vmax=high, cmap=cmap or "viridis"
                )
                continue
            height, width = a.shape[-2] + 1, a.shape[-1] + 1
            _mosaic(axis, a, cmap=cmap or "gray", vmin=low, vmax=high)
            for letter, names, step in (("x", xticks, width), ("y", yticks, height)):
                if names is not None:
                    places = [step * (i + 0.5) - 0.5 for i in range(len(names))]
                    axis.set(**{f"{letter}ticks": places, f"{letter}ticklabels": list(names)})
        if bar is not None and image is not None:
            figure.colorbar(image, ax=axes, shrink=0.85, label=bar)
    return figure


def configurations(
    rows: Mapping[str, Any],
    *,
    num: int = 24,
    title: str = "Configurations",
    caption: str = "Configurations drawn in proportion to their weights.",
) -> "Figure":
    """Draw spin configurations, dark for +1: one row a label, one block of them a time.

    `rows` is `{label: Samples}`, of whose kept draws `num` are drawn in proportion to their
    weights, or `{label: [(t, array of shape (n, L, M)), ...]}` with the same times in each row.
    """
    blocks = {label: _kept(row) for label, row in rows.items()}
    columns = max(len(row) for row in blocks.values())
    with panels(
        len(rows), columns, width=FULL, height=0.4 + 1.4 * len(rows), title=title, caption=caption
    ) as (figure, axes):  # fmt: skip
        for r, (label, row) in enumerate(blocks.items()):
            for axis, (t, x, log_weight) in zip(axes[r], row, strict=True):
                shown = x if log_weight is None else drawn(x, log_weight, num)
                _mosaic(axis, shown.astype(float), cmap="gray_r", vmin=-1.6, vmax=1.3)
                if r == 0:
                    axis.set_title(f"$t = {t:.3g}$")
            axes[r, 0].set_ylabel(label)
    return figure


def on_grid(function: Callable[[Any], Any], limits: Any, size: int = SIZE) -> np.ndarray:
    """Return a function of one point of the plane on a regular grid over `limits`, shape (y, x)."""
    import jax
    import jax.numpy as jnp

    x_min, x_max, y_min, y_max = _box(limits)
    x, y = np.meshgrid(np.linspace(x_min, x_max, size), np.linspace(y_min, y_max, size))
    points = jnp.asarray(np.stack([x, y], axis=-1).reshape(-1, 2), float)
    return np.asarray(jax.jit(jax.vmap(function))(points), dtype=float).reshape(size, size)


def _kept(row: Any) -> list[tuple[float, np.ndarray, Any]]:
    """Return (t, x, log-weights) of the draws that a simulation kept; pairs have no weights."""
    if not hasattr(row, "draws"):
        return [(t, np.asarray(x), None) for t, x in row]
    x, times = row.draws["x"], np.asarray(row.record["t"], dtype=float)
    at = times[np.linspace(0, len(times) - 1, len(x)).round().astype(int)]
    log_weight = row.draws.get("log_weight", [None] * len(x))
    return list(zip(map(float, at), map(np.asarray, x), log_weight, strict=True))


def _points(cloud: Any) -> np.ndarray:
    """Return equally weighted points (n, 2) of an array or of Samples."""
    if hasattr(cloud, "log_weight"):
        return drawn(cloud.x, cloud.log_weight, len(cloud.log_weight))
    return np.asarray(cloud, dtype=float).reshape(-1, 2)


def _contours(axis: Any, log_density: Any, box: Sequence[float]) -> None:
    height = np.asarray(log_density, dtype=float)
    height = height - np.max(height, initial=-np.inf, where=np.isfinite(height))
    # below the last contour everything is white: far tails would otherwise fill the panel
    height = np.where(np.isfinite(height), np.maximum(height, -2 * DEPTH), -2 * DEPTH)
    x = np.linspace(box[0], box[1], height.shape[1])
    y = np.linspace(box[2], box[3], height.shape[0])
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


def _mosaic(axis: Any, pictures: np.ndarray, **colours: Any) -> None:
    """Show pictures (rows, columns, h, w), or (n, h, w) eight a row, one white pixel between."""
    if pictures.ndim == 3:
        missing = -len(pictures) % 8
        padded = np.pad(pictures, ((0, missing), (0, 0), (0, 0)), constant_values=np.nan)
        pictures = padded.reshape(-1, 8, *pictures.shape[1:])
    padded = np.pad(pictures, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    rows, columns, h, w = padded.shape
    mosaic = padded.transpose(0, 2, 1, 3).reshape(rows * h, columns * w)[:-1, :-1]
    axis.imshow(mosaic, interpolation="nearest", **colours)
    axis.set(xticks=[], yticks=[])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def _squares(count: int, title: str, caption: str) -> Any:
    """Give axes of equal scale that share their ranges."""
    side = 3.35 if count > 1 else 4.6
    width = min(FULL, min(count, 3) * side + 0.55)
    return tiles(
        count, side=side, width=width, title=title, caption=caption, sharex=True, sharey=True
    )


def _ratio(a: np.ndarray) -> float:
    """Return height over width of a heat map or of a grid of pictures."""
    rows, columns = (1, 1) if a.ndim == 2 else a.shape[:2] if a.ndim == 4 else (-(-len(a) // 8), 8)
    return rows * a.shape[-2] / (columns * a.shape[-1])


def _box(limits: Any) -> tuple[float, float, float, float]:
    if np.ndim(limits) == 0:
        return (-limits, limits, -limits, limits)
    x_min, x_max, y_min, y_max = (float(entry) for entry in limits)
    return (x_min, x_max, y_min, y_max)


def _frame(axis: Any, box: Sequence[float]) -> None:
    axis.set(xlim=box[:2], ylim=box[2:])
    axis.set_aspect("equal")
    axis.locator_params(nbins=4)
