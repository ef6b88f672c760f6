"""Pictures of `adaptive-doublewell`, drawn from a run folder alone, finished or not."""

from typing import Any

import numpy as np

import pushforward as pf
from pushforward.report.style import BLACK, FULL, captioned, line_styles, panels, styled

from .adaptive_doublewell import energy

EXACT = 0.2743785466
LABELS = {"chains": "HMC and jumps", "local": "HMC alone"}


def draw(folder) -> dict[str, Any]:
    """Return the figures that the stages on disk allow."""
    done = {stage.name: stage for stage in folder.stages() if stage.finished}
    figures: dict[str, Any] = {}
    runs = {LABELS[name]: done[name].series() for name in LABELS if name in done}
    if "train" in done:
        figures["training"] = _training(done["train"].metrics())
    if runs:
        figures["share"] = _share(runs)
    draws = {LABELS[name]: done[name].draws()["x"] for name in LABELS if name in done}
    if draws:
        points = {label: x[len(x) // 10 :].reshape(-1, 2) for label, x in draws.items()}
        if "weighted" in done:
            points["the map, unweighted"] = done["weighted"].draws()["x"][-1]
        figures["marginal"] = _marginal(points)
        figures["samples"] = _clouds(points)
    return figures


def _training(metrics):
    names = {
        "loss": "−mean log q at the walkers",
        "source.kernel[1].acceptance": "acceptance of the jump",
    }
    renamed = [{names.get(str(k), str(k)): v for k, v in row.items()} for row in metrics]
    text = (
        "The map learns where the walkers are, and its jumps are accepted more often. Faint: "
        "every step. Full: running mean."
    )
    return pf.report.training_curves(renamed, tuple(names.values()), caption=text)


@styled
def _share(runs: dict[str, Any]):
    figure, axes = panels(width=FULL, height=3.4)
    styles = line_styles(runs)
    for label, series in runs.items():
        right = series["right"].mean(1)
        step = np.arange(1, len(right) + 1)
        axes[0, 0].plot(step, np.cumsum(right) / step, label=label, **styles[label])
    axes[0, 0].axhline(EXACT, color=BLACK, lw=0.9, zorder=0, label="exact")
    axes[0, 0].set(xscale="log", xlabel="iteration", ylabel="share in the right well, running mean")
    axes[0, 0].legend()
    text = (
        "Half the walkers start in the right well, which holds 27 % of the mass. Local moves keep "
        "the wrong share; jumps of the frozen map repair it."
    )
    return captioned(figure, "The wrong start repaired", text)


def _density(x):
    u = 8 * (x**2 - 1) ** 2 + 0.5 * x
    return np.exp(-u) / np.trapezoid(np.exp(-u), x)


def _marginal(points: dict[str, np.ndarray]):
    x = np.linspace(-1.8, 1.8, 721)
    panel = {label: p[:, 0] for label, p in points.items() if label != LABELS["local"]}
    text = "Marginal of x1: chains with the frozen map, and the map's own draws without weights."
    return pf.report.marginals({"$x_1$": {"exact": (x, _density(x))} | panel}, caption=text)


def _clouds(points: dict[str, np.ndarray]):
    x, y = np.linspace(-1.8, 1.8, 160), np.linspace(-3, 4, 160)
    grid = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    log_density = -np.array([float(energy(p)) for p in grid]).reshape(160, 160)
    shown = {label: p[:: max(1, len(p) // 2000)] for label, p in points.items()}
    text = "Draws in the plane of x1 and x2 over the exact density."
    return pf.report.density_with_samples(log_density, (-1.8, 1.8, -3, 4), shown, caption=text)
