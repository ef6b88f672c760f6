"""Pictures of `interpolant-gmm`, drawn from a run folder alone, finished or not."""

from typing import Any

import numpy as np

import pushforward as pf

from ..report.style import BLACK, BLUE, FULL, GREEN, GREY, captioned, panels, styled

LIMITS, GRID = (-4.0, 3.4, -4.2, 3.2), 140


def draw(folder: Any) -> dict[str, Any]:
    """Return the figures that the stages on disk allow."""
    done = {stage.name: stage for stage in folder.stages() if stage.finished}
    figures: dict[str, Any] = {}
    clouds = {
        label: np.asarray(done[name].draws()["x"])
        for label, name in (
            ("exact velocity", "sample-exact-velocity-sde"),
            ("learned, SDE", "sample-learned-sde"),
            ("learned, ODE", "sample-learned-ode"),
        )
        if name in done
    }
    if clouds:
        density = -_energies(1.0)
        last = {label: x[-1][:2500] for label, x in clouds.items()}
        figures["samples"] = pf.report.density_with_samples(density, LIMITS, last)
        figures["along"] = _along({k: x for k, x in clouds.items() if "ODE" not in k})
    if "paths" in done:
        figures["paths"] = _trajectories(np.asarray(done["paths"].draws()["x"]))
    if "scan" in done:
        figures["noise"] = _scan(done["scan"], folder)
    if (folder.path / "densities.npz").exists():
        with np.load(folder.path / "densities.npz") as stored:
            figures["densities"] = _densities(dict(stored))
    rows = folder.stage("train").metrics() if "train" in {s.name for s in folder.stages()} else []
    if rows:
        figures["training"] = pf.report.training_curves(rows)
    return figures


def _energies(t: float) -> np.ndarray:
    """Return −log ρ_t on the grid: each Gaussian has mean t m_k and covariance t² C_k + (1−t)²."""
    import jax

    law = pf.targets.asymmetric_mixture()
    variances = t**2 * law.variances + (1 - t) ** 2
    here = type(law)(law.log_weights, t * law.means, variances, law.axes)
    points = np.stack(np.meshgrid(*_axes()), axis=-1).reshape(-1, 2).astype(law.means.dtype)
    return np.asarray(jax.jit(jax.vmap(here))(points)).reshape(GRID, GRID)


def _axes() -> tuple[np.ndarray, np.ndarray]:
    left, right, bottom, top = LIMITS
    return np.linspace(left, right, GRID), np.linspace(bottom, top, GRID)


def _along(clouds: dict[str, np.ndarray]) -> Any:
    times = np.linspace(0, 1, 5)
    rows = {k: [(t, x[i][:1200]) for i, t in enumerate(times)] for k, x in clouds.items()}
    grids = [-_energies(float(t)) for t in times]
    return pf.report.particles_at_times(
        rows, LIMITS, dict.fromkeys(rows, grids),
        caption="The cloud along the path over contours of the exact density of that time.",
    )  # fmt: skip


@styled
def _trajectories(x: np.ndarray) -> Any:
    """Draw the paths of the same starting points for every noise; x is (times, members, n, 2)."""
    from .interpolant_gmm import SHOWN

    figure, axes = panels(1, len(SHOWN), width=FULL, height=3.9, sharex=True, sharey=True)
    density = np.exp(-0.3 * _energies(1.0))  # flattened, so that all modes are seen
    for axis, scale, path in zip(axes[0], SHOWN, np.moveaxis(x, 1, 0), strict=True):
        axis.contourf(*_axes(), density, levels=12, cmap="Greys", alpha=0.55)
        axis.plot(path[:, :, 0], path[:, :, 1], color=BLUE, lw=0.7, alpha=0.75)
        axis.plot(*path[0].T, "o", color=GREY, ms=3, label="$t = 0$")
        axis.plot(*path[-1].T, "o", color=GREEN, ms=3.5, label="$t = 1$")
        name = "ODE" if scale == 0 else rf"$\varepsilon = {scale:g}\,\alpha$"
        axis.set(title=name, xlabel="$x_1$", xlim=LIMITS[:2], ylim=LIMITS[2:])
        axis.set_aspect("equal")
    axes[0, 0].set_ylabel("$x_2$")
    axes[0, 0].legend(loc="lower left")
    text = "The same starting points carried by the exact velocity, with three levels of noise."
    return captioned(figure, "Trajectories", text)


@styled
def _scan(stage: Any, folder: Any) -> Any:
    from ._load import config_of, find
    from .interpolant_gmm import EPSILONS

    config = config_of(folder.path, find("interpolant-gmm")).config
    series, num = stage.series(), config.sampling.walkers // len(EPSILONS)
    mean, second = (np.asarray(series[name][-1]) for name in ("energy", "energy2"))
    error = np.sqrt((second - mean**2) / num)
    figure, axes = panels(1, 1, width=FULL / 2, height=3.4)
    axis = axes[0, 0]
    axis.axhline(0, color=BLACK, lw=0.9, label="exact")
    axis.errorbar(
        np.arange(len(EPSILONS)), mean - 1.8629379501, error, fmt="o", color=BLUE, capsize=3
    )
    axis.set_xticks(np.arange(len(EPSILONS)), [f"{e:g}" for e in EPSILONS])
    axis.set(xlabel=r"$\varepsilon/\alpha$", ylabel=r"bias of $E[-\log p]$")
    axis.legend()
    text = (
        f"Every noise has the same law: {config.sampling.steps} steps of stochastic Heun with the "
        f"exact velocity, {num} samples each, one compilation."
    )
    return captioned(figure, "Any noise", text)


@styled
def _densities(stored: dict[str, np.ndarray]) -> Any:
    figure, axes = panels(1, 2, width=FULL, height=3.6)
    truth = stored["truth"]
    left, right = axes[0]
    span = (truth.min() - 0.3, truth.max() + 0.3)
    left.plot(span, span, color=BLACK, lw=0.9, label="exact")
    for name, colour in (("exact velocity", GREEN), ("learned", BLUE)):
        left.plot(truth, stored[name], "o", ms=2.6, color=colour, alpha=0.6, label=name)
        error = np.abs(stored[name] - truth)
        bins = np.geomspace(max(error.min(), 1e-12), max(error.max(), 1e-11), 30)
        right.hist(error, bins, color=colour, alpha=0.5, label=name)
    left.set(xlabel=r"$\log p(x)$", ylabel=r"$\log q(x)$ along the flow")
    right.set(xscale="log", xlabel=r"$|\log q - \log p|$", ylabel="points")
    left.legend()
    text = "Log densities of samples of the mixture by the flow, against the exact ones."
    return captioned(figure, "Densities", text)
