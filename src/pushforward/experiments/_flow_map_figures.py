"""Pictures of `flowmap-gaussian`, drawn from a run folder alone, finished or not."""

from typing import Any

import numpy as np

import pushforward as pf

from ..report.style import FULL, GREY, captioned, line_styles, markers, panels, styled

CELLS = 24  # of each time in the map of defects


def draw(folder) -> dict[str, Any]:
    """Return the figures that the stages on disk allow."""
    from ._load import config_of, find

    config = config_of(folder.path, find("flowmap-gaussian")).config
    runs = _runs(folder)
    curves = {m: folder.stage(f"train-{m}").metrics() for m in config.methods}
    curves = {m: rows for m, rows in curves.items() if rows}
    figures: dict[str, Any] = {}
    if runs:
        figures["error"] = _errors(config, runs)
        one = {f"{m}, one step": x[-1] for (m, n), x in runs.items() if n == 1 and m != "Euler"}
        figures["samples"] = _samples(config, one)
    if models := _models(folder, config):
        figures["defects"] = _defects(config, models)
    if curves:
        figures["training"] = _training(config, curves)
    return figures


def _runs(folder) -> dict[tuple[str, int], np.ndarray]:
    """Return {(label, N): first and last positions of all points}."""
    found = {}
    for stage in folder.stages():
        label, _, rest = stage.name.rpartition("-steps")[0].rpartition("-")
        if stage.finished and stage.name.endswith("-steps"):
            found[label, int(rest)] = np.asarray(stage.draws()["x"])
    return found


def _models(folder, config) -> dict[str, Any]:
    from .flowmap_gaussian import recipe

    files = {m: folder.path / f"{m}.safetensors" for m in config.methods}
    return {m: pf.load(f, recipe(config, m).model) for m, f in files.items() if f.exists()}


@styled
def _errors(config, runs):
    from .flowmap_gaussian import MEAN, WIDTH

    labels = list(dict.fromkeys(label for label, _ in runs))
    styles = _styles(labels)
    figure, axes = panels(1, 2, width=FULL, height=3.7)
    mean = np.tile(MEAN, config.dim // 2)
    for label in labels:
        numbers = sorted(n for other, n in runs if other == label)
        ends = [runs[label, n] for n in numbers]
        rms = [np.sqrt(((x[-1] - mean - WIDTH * x[0]) ** 2).sum(-1).mean()) for x in ends]
        dot = markers(styles)[label]
        axes[0, 0].plot(numbers, rms, marker=dot, label=label, **styles[label])
    axes[0, 0].axhline(WIDTH * config.dim**0.5, color=GREY, lw=0.8, zorder=0)
    axes[0, 0].text(8, WIDTH * config.dim**0.5 * 1.08, "width of the data", ha="right", color=GREY)
    axes[0, 0].set_xscale("log", base=2)
    axes[0, 0].set_yscale("log")
    low, _ = axes[0, 0].get_ylim()
    axes[0, 0].set_ylim(0.25 * low, WIDTH * config.dim**0.5 * 1.6)  # room for the legend
    axes[0, 0].set(xlabel="steps $N$", ylabel="distance from the exact map")
    axes[0, 0].set_xticks([1, 2, 4, 8], ["1", "2", "4", "8"])
    axes[0, 0].legend(loc="lower left", ncols=3)
    for label in labels:
        if (label, 1) not in runs:
            continue
        x = runs[label, 1]
        pick = np.argsort(x[0][:600, 0])
        gap = (x[-1] - mean - WIDTH * x[0])[:600, 0]
        axes[0, 1].plot(x[0][pick, 0], gap[pick], ".", ms=2.5, color=styles[label]["color"],
                        alpha=0.6, label=label)  # fmt: skip
    axes[0, 1].axhline(0, color="black", lw=0.9, label="exact")
    axes[0, 1].set(xlabel="start $x_1$", ylabel=r"$X_{0,1}(x)_1$ minus exact, one step")
    axes[0, 1].set_ylim(-0.45, 0.45)
    return captioned(
        figure,
        "Maps against the exact map",
        "Left: root mean square distance from the exact map, all coordinates together; Euler's "
        "method with the exact drift dashed. Right: first coordinate of one step, exact is 0.",
    )


def _styles(labels):
    styles = line_styles([label for label in labels if label != "Euler"])
    return styles | {"Euler": {"color": GREY, "linestyle": (0, (5, 1.8))}}


def _samples(config, samples):
    from .flowmap_gaussian import MEAN, WIDTH

    extent = (MEAN[0] - 1.7, MEAN[0] + 1.7, MEAN[1] - 1.7, MEAN[1] + 1.7)
    axes = [np.linspace(*extent[:2], 160), np.linspace(*extent[2:], 160)]
    grid = np.stack(np.meshgrid(*axes), -1)
    density = -0.5 * (((grid - MEAN) / WIDTH) ** 2).sum(-1)
    shown = {label: x[:1500, :2] for label, x in samples.items()}
    return pf.report.density_with_samples(
        density, extent, shown,
        caption="Samples of one step over the exact density, one unit of log-density apart.",
    )  # fmt: skip


@styled
def _defects(config, models):
    from .flowmap_gaussian import base, target

    columns = min(3, len(models))
    rows = -(-len(models) // columns)
    figure, axes = panels(
        rows, columns, width=FULL if columns > 1 else 4.95, height=0.4 + 3.4 * rows,
        sharex=True, sharey=True,
    )  # fmt: skip
    middle = (np.arange(CELLS) + 0.5) / CELLS
    values = {m: _relative_defect(model, base(config), target(config), middle)
              for m, model in models.items()}  # fmt: skip
    top = max(float(np.nanmax(v)) for v in values.values())
    image: Any = None
    for axis, (label, value) in zip(axes.flat, values.items(), strict=False):
        image = axis.imshow(
            value.T, origin="lower", extent=(0, 1, 0, 1), vmin=0, vmax=top, cmap="viridis"
        )
        axis.set_title(f"{label}: mean {100 * np.nanmean(value):.1f} %")
    for axis in axes.flat[len(values) :]:
        axis.remove()
    for axis in axes[-1, :]:
        axis.set_xlabel("from $s$")
    for axis in axes[:, 0]:
        axis.set_ylabel("to $t$")
    used = list(axes.flat[: len(values)])
    figure.colorbar(image, ax=used, shrink=0.85, label=r"$|\partial_t X - b_t(X)|$ over $|v|$")
    return captioned(
        figure,
        "Lagrangian defect",
        "Root mean square of the defect against the exact drift at x = I_s, relative to that of "
        "the velocity; zero at the exact map.",
    )


def _relative_defect(model, base, target, middle) -> np.ndarray:
    """Return RMS defect over RMS velocity on the grid (s, t), NaN below the diagonal."""
    import jax
    import jax.numpy as jnp

    path = pf.paths.Linear()
    truth = pf.flows.GaussianFlowMap(path, target.mean, target.scale)
    keys = jax.random.split(jax.random.key(0), 512)
    x0 = jax.vmap(lambda k: base.sample(key=k))(keys)
    x1 = jax.vmap(lambda k: target.sample(key=jax.random.fold_in(k, 1)))(keys)

    def cell(s, t):
        def one(x0, x1):
            x = path.state(s, x0, x1, x1)
            defect = pf.dynamics.lagrangian_defect(model, s, t, x, drift=truth.drift)
            return jnp.stack([jnp.sum(defect**2), jnp.sum(model.velocity(s, t, x) ** 2)])

        defect, size = jnp.mean(jax.vmap(one)(x0, x1), axis=0)
        return jnp.sqrt(defect / size)

    times = jnp.asarray(middle, x0.dtype)
    grid = jax.jit(jax.vmap(jax.vmap(cell, (None, 0)), (0, None)))(times, times)
    return np.where(middle[:, None] <= middle[None, :], np.asarray(grid, float), np.nan)


@styled
def _training(config, curves):
    from .flowmap_gaussian import WIDTH

    figure, axes = panels(1, 2, width=FULL, height=3.5)
    styles = line_styles(curves)
    for label, rows in curves.items():
        for axis, name in zip(
            axes[0], ("objective.diagonal", "objective.off_diagonal"), strict=True
        ):
            points = [(r["step"], r[name]) for r in rows if name in r]
            if points:
                step, value = np.asarray(points, float).T
                axis.plot(step, _smooth(value), label=label, **styles[label])
    floor = 0.5 * np.pi * WIDTH
    axes[0, 0].axhline(floor, color="black", lw=0.9, label=r"exact, $\frac{\pi}{2} s_0 s_1$")
    axes[0, 0].set(ylabel=r"diagonal loss $|v_{t,t} - \dot I_t|^2$", xlabel="training step")
    axes[0, 1].set(ylabel="off-diagonal loss", xlabel="training step")
    axes[0, 1].set_yscale("log")
    for axis in axes[0]:
        axis.legend()
    return captioned(
        figure,
        "Training",
        "Mean over a batch, per coordinate, running mean over a fiftieth of the run. The diagonal "
        "loss ends at the variance of the path's velocity (zero for a teacher: LMD), the "
        "off-diagonal one at zero.",
    )


def _smooth(value: np.ndarray) -> np.ndarray:
    width = max(1, value.size // 50)
    padded = np.pad(value, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, np.ones(width) / width, mode="valid")
