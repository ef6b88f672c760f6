"""Pictures of `forecast-jump`, drawn from a run folder alone, finished or not."""

from typing import Any

import numpy as np

import pushforward as pf

from ..report.style import BLACK, FULL, GREY, HALF, captioned, line_styles, markers, panels, styled

LIMIT, BINS = 8.0, 20


def draw(folder) -> dict[str, Any]:
    """Return the figures that the stages on disk allow."""
    from ._load import config_of, find
    from .forecast_jump import angle_kl, forecasts, stage_name

    config = config_of(folder.path, find("forecast-jump")).config
    done = {stage.name: stage for stage in folder.stages() if stage.finished}
    paths, kl = {}, {}
    for label in forecasts(config, None):
        stage = done.get(f"forecast-{stage_name(label)}")
        if stage is not None:
            paths[label] = np.asarray(stage.draws()["x"], float)
            counts = config.samples * stage.series()["sectors"][-1]
            kl[label] = angle_kl(_law(), counts)
    figures: dict[str, Any] = {}
    if paths:
        figures["density"] = _density(paths, kl)
        figures["trajectories"] = _trajectories(paths)
    if {"truth", "ensemble-learned", "ensemble-perfect-ensemble"} <= set(done):
        figures["scores"] = _scores(config, done)
    if (folder.path / "model.safetensors").exists():
        figures["drift-error"] = _drift_error(folder, config)
    if rows := folder.stage("train").metrics():
        figures["training"] = pf.report.training_curves(rows)
    return figures


def _law():
    from .forecast_jump import system

    law = system().exact_conditional
    return law(law.centre)


def _density(paths, kl) -> Any:
    import jax
    import jax.numpy as jnp

    axis = np.linspace(-LIMIT, LIMIT, 180)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    density = np.asarray(jax.jit(jax.vmap(_law().log_prob))(jnp.asarray(grid, float)))
    shown = {
        f"{label}, KL = {kl[label]:.3f}": paths[label][-1]
        for label in ("learned, Föllmer", "learned, matched", "exact drift, Föllmer")
        if label in paths
    }
    return pf.report.density_with_samples(
        density.reshape(axis.size, axis.size), (-LIMIT, LIMIT, -LIMIT, LIMIT), shown,
        caption="States one lag after the one at (5, 0), over the exact law; KL: relative entropy "
        "of 64 sectors of the plane, of all samples (about .002 for exact ones).",
    )  # fmt: skip


@styled
def _trajectories(paths) -> Any:
    labels = [label for label in paths if label.startswith("learned")]
    figure, axes = panels(1, len(labels), width=FULL, height=3.5, sharex=True, sharey=True)
    styles = line_styles(labels)
    for axis, label in zip(axes[0], labels, strict=True):
        x = paths[label][:, :40]
        for member in range(x.shape[1]):
            axis.plot(x[:, member, 0], x[:, member, 1], color=styles[label]["color"],
                      lw=0.5, alpha=0.45)  # fmt: skip
        axis.plot(x[-1, :, 0], x[-1, :, 1], ".", ms=4, color=BLACK)
        axis.plot(*x[0, 0], "o", ms=6, mfc="white", mec=BLACK, zorder=5)
        axis.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT), xlabel="$x_1$", title=label)
        axis.set_aspect("equal")
        axis.locator_params(nbins=5)
    axes[0, 0].set_ylabel("$x_2$")
    return captioned(
        figure,
        "Trajectories of the forecast",
        "Forty members from the present state (circle) to the law of the future (dots), with the "
        "same drift and three noises: the laws agree at every time, the paths do not.",
    )


@styled
def _scores(config, done) -> Any:
    import jax

    members, truth = config.ensemble.members, np.asarray(done["truth"].series()["x"])
    leads, cases = truth.shape[:2]
    crps = jax.jit(jax.vmap(jax.vmap(pf.estimators.fair_crps)))
    x0 = np.asarray(done["truth"].series()["start"])
    curves = {}
    for label, name in (("learned", "learned"), ("exact law", "perfect-ensemble")):
        x = np.asarray(done[f"ensemble-{name}"].series()["x"]).reshape(leads, cases, members, 2)
        curves[label] = _mean_and_error(crps(x, truth))
    curves["persistence"] = _mean_and_error(np.abs(x0 - truth))
    figure, axes = panels(width=HALF, height=3.5)
    styles = line_styles(curves)
    for label, (mean, error) in curves.items():
        axes[0, 0].errorbar(
            1 + np.arange(leads), mean, error, marker=markers(styles)[label], label=label,
            capsize=2, **styles[label],
        )  # fmt: skip
    axes[0, 0].set(xlabel="lead in lags", ylabel="fair CRPS", xticks=1 + np.arange(leads))
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 0].legend()
    return captioned(
        figure,
        "Scores against lead",
        f"Mean over {cases} stationary states and both coordinates, {members} members; the exact "
        "law is an ensemble of the simulator itself, persistence forecasts the present state.",
    )


def _mean_and_error(values) -> tuple[np.ndarray, np.ndarray]:
    each = np.asarray(values, float).mean(-1)
    return each.mean(1), each.std(1) / np.sqrt(each.shape[1])


@styled
def _drift_error(folder, config) -> Any:
    from .forecast_jump import path, recipe

    model = pf.load(folder.path / "model.safetensors", recipe(config).model)
    t, error = _binned_error(config, model)
    figure, axes = panels(1, 2, width=FULL, height=3.5)
    edges = np.linspace(0, 1, BINS + 1)
    axes[0, 0].stairs(error, edges, color=BLACK, lw=1.2)
    axes[0, 0].set(xlabel="time $t$", ylabel=r"$E|\hat b - b|^2$", xlim=(0, 1))
    styles = line_styles(["Föllmer", "matched"])
    for label, noise in (
        ("Föllmer", pf.paths.FollmerEpsilon()),
        ("matched", pf.paths.MatchedEpsilon()),
    ):
        import jax

        weight = jax.vmap(lambda s, n=noise: path(config).kl_weight(s, n.value(path(config), s)))(t)
        rate = 0.5 * np.asarray(weight) * error
        share = float(rate.mean())
        axes[0, 1].stairs(
            rate, edges, baseline=None, label=f"{label}, mean {share:.2g}", **styles[label]
        )
    axes[0, 1].set(xlabel="time $t$", ylabel=r"$\frac{1}{2}\, w\, E|\hat b - b|^2$", xlim=(0, 1))
    axes[0, 1].set_yscale("log")
    axes[0, 1].legend()
    axes[0, 0].axhline(0, color=GREY, lw=0.6)
    return captioned(
        figure,
        "Error of the drift",
        "Squared distance of the learned from the exact drift at the middle of each bin of time, "
        "and times half the weight of each noise: the integral of that is the path-space KL. It "
        "diverges at t = 1 unless the error vanishes there; shown is its mean over the bins.",
    )


def _binned_error(config, model) -> tuple[Any, np.ndarray]:
    """Return middles of bins and E|b̂ − b|² there, all components together."""
    import jax
    import jax.numpy as jnp

    from .forecast_jump import exact, path, system

    source, num = pf.sources.PairSimulator(system()), 2000
    t = (jnp.arange(BINS) + 0.5) / BINS

    @jax.jit
    def errors(key):
        pairs, _, _ = source.draw((), None, num, progress=jnp.zeros(()), key=key)
        z = jax.random.normal(key, pairs.x0.shape)

        def at(s):
            x = jax.vmap(lambda a, b, z: path(config).state(s, a, b, z))(pairs.x0, pairs.x1, z)
            gaps = jax.vmap(lambda y, a: model(s, y, a) - exact(config)(s, y, a))(x, pairs.x0)
            return jnp.mean(jnp.sum(gaps**2, axis=1))

        return jax.lax.map(at, t)

    return t, np.asarray(errors(jax.random.key(0)), float)
