r"""Adaptive Monte Carlo on a double well in ten dimensions (arXiv 2105.12603, 2310.11232).

U = 8 (x1² − 1)² + x1/2 + ½ Σ_{i>=2} (x_i − x1²/2)²: the right well holds 27.4 % of the mass. Half
the walkers start in it, the wrong share. HMC alone keeps that share for thousands of trajectories;
with jumps proposed by a map that learns from the walkers the loop repairs it. Measured with the
map frozen, from the wrong start again. Given x1 the others are normal, so quadrature is exact.
"""

import dataclasses

import pushforward as pf

from ..harness import GOAL, Fit, Group, at_least, exact, key, within
from ..harness import Config as Base
from ..harness.lazy import eqx, jax, jnp, np

DIM, SHARE = 10, 0.2743785466  # of the right well


class Network(Group):
    """The map: spline couplings."""

    layers: int = key(8, "couplings", ge=1, le=64)
    knots: int = key(8, "inner knots of a spline", ge=2, le=64)
    width: int = key(64, "hidden units", ge=4, le=4096)


class Measure(Group):
    """The chains with the map frozen."""

    steps: int = key(5000, "iterations, all walkers", ge=100, le=10**8)
    burn_in: int = key(200, "iterations before them", ge=0, le=10**8)
    draws: int = key(20000, "weighted draws of the map", ge=100, le=10**8)


class Config(Base):
    """All keys of the experiment; a step of `fit` moves the chains, then the map."""

    step_size: float = key(0.1, "step of the local leapfrog", gt=0, le=1)
    local_steps: int = key(10, "leapfrog steps between jumps", ge=1, le=1000)
    # `batch` is the number of walkers; the learning rate goes to zero, or nothing settles
    fit: Fit = Fit(steps=2000, batch=100, learning_rate=5e-3, schedule="cosine")
    network: Network = Network()
    measure: Measure = Measure()


PRESETS = {
    "smoke": {
        "fit": {"steps": 500, "batch": 32},
        "measure": {"steps": 1500, "burn_in": 100, "draws": 4000},
    },
    "laptop": {},
    "paper": {"fit": {"steps": 10000}, "measure": {"steps": 20000, "draws": 100000}},
}


def recipe(config, key):
    """Return the map, how it is trained, and the kernel that weighs its draws."""
    chains, base = adaptive(config), pf.targets.Normal(DIM)
    kernel = eqx.Partial(pf.recipes.importance, target(), base)
    return dataclasses.replace(chains, kernel=kernel, times=[0.0, 1.0], initial=base)


def adaptive(config):
    """Return the parts of adaptive Monte Carlo: its kernel is the chain, from the wrong start."""
    num, network = config.fit.batch, config.network
    side = jnp.where(jnp.arange(num) < num // 2, -1.0, 1.0)
    flow = pf.flows.spline_couplings(
        DIM, layers=network.layers, knots=network.knots, width=network.width,
        key=jax.random.key(config.seed % 2**32),
    )  # fmt: skip
    return pf.recipes.adaptive_mc(
        target(),
        jnp.zeros((num, DIM)).at[:, 0].set(side),
        bijection=flow,
        step_size=config.step_size,
        num_steps=config.local_steps,
    )


def expected(config, preset):
    """Yield the moments by quadrature of the marginal of x1."""
    source = exact("quadrature of the marginal of x1")
    yield "P(x1 > 0)", within(4, SHARE, source)
    yield "<x1>", within(4, -0.4480667881, source)
    yield "<x1^2>", within(4, 0.9720448198, source)
    yield "log Z", within(4, 7.9470196116, source)
    yield "jump acceptance", at_least(0.3, GOAL)


def run(config, lab):
    """Train the map along the chains; measure with it frozen, without it, and by its weights."""
    model, parts, how = lab.train("train", lab.recipe, config.fit), adaptive(config), config.measure
    steps, kernel = how.steps + how.burn_in, parts.kernel(model)
    chains, local = (
        lab.simulate(
            name, one, parts.initial, steps=steps, observe=observables,
            keep=pf.drivers.Keep(max(1, steps // 100), plane), baseline=name == "local",
        )
        for name, one in (("chains", kernel), ("local", kernel.members[0]))
    )  # fmt: skip
    for name, column in (("P(x1 > 0)", "right"), ("<x1>", "x1"), ("<x1^2>", "x1^2")):
        found = pf.estimators.gamma_method(chains.record[column][how.burn_in :], name=name)
        yield name, (found.mean, found.error)
        if column == "right":
            yield "autocorrelation time of the well", (found.tau_int, found.tau_int_error)
    weighted = lab.simulate(
        "weighted", lab.recipe.kernel(model), how.draws, times=lab.recipe.times,
        keep=pf.drivers.Keep(what=plane),
    )  # fmt: skip
    yield "log Z", weighted.log_z
    yield "ESS of the map", weighted.ess
    yield "jump acceptance", chains.record["info[1].acceptance"][how.burn_in :].mean()
    yield "HMC acceptance", local.record["info.acceptance"].mean()
    yield "HMC alone: P(x1 > 0)", local.record["right"][how.burn_in :].mean()


def figures(config, done):
    """Draw training, the share of the right well, the marginal of x1, draws in the plane."""
    plots = pf.report.plots
    if "train" in done:
        names = {
            "loss": "−mean log q at the walkers",
            "source.kernel[1].acceptance": "acceptance of the jump",
        }
        text = "The map learns where the walkers are, and its jumps are accepted more often."
        yield "training", plots.curves(done["train"], names, caption=text)
    names = {"HMC and jumps": "chains", "HMC alone": "local"}
    runs = {label: done[name] for label, name in names.items() if name in done}
    if not runs:
        return
    right = {label: samples.record["right"].mean(1) for label, samples in runs.items()}
    shares = {label: np.cumsum(p) / np.arange(1, len(p) + 1) for label, p in right.items()}
    yield "share", plots.curves(
        {"share in the right well, running mean": shares}, exact=SHARE, xlabel="iteration", log="x",
        title="The wrong start repaired",
        caption="Half the walkers start in the right well, which holds 27 % of the mass. Local "
        "moves keep the wrong share; jumps of the frozen map repair it.",
    )  # fmt: skip
    draws = {label: samples.draws["x"] for label, samples in runs.items()}
    points = {label: x[len(x) // 10 :].reshape(-1, 2) for label, x in draws.items()}
    if "weighted" in done:
        points["the map, unweighted"] = done["weighted"].draws["x"][-1]
    x = np.linspace(-1.8, 1.8, 721)
    weight = np.exp(-8 * (x**2 - 1) ** 2 - 0.5 * x)
    curves = {"exact": (x, weight / np.trapezoid(weight, x))}
    curves |= {label: p[:, 0] for label, p in points.items() if label != "HMC alone"}
    text = "Marginal of x1: chains with the frozen map, and the map's own draws without weights."
    yield "marginal", plots.histogram({"$x_1$": curves}, caption=text)
    box, text = (-1.8, 1.8, -3, 4), "Draws in the plane of x1 and x2 over the exact density."
    yield "samples", plots.scatter(points, limits=box, density=lambda x: -energy(x), caption=text)


def energy(x):
    """Return U at one point of R^d."""
    return 8 * (x[0] ** 2 - 1) ** 2 + 0.5 * x[0] + 0.5 * ((x[1:] - 0.5 * x[0] ** 2) ** 2).sum()


def target():
    """Return the double well."""
    return pf.targets.Energy(energy, pf.spaces.Euclidean(DIM))


def observables(x):
    """Return which well a point is in, x1 and its square."""
    return {"right": (x[0] > 0).astype(x.dtype), "x1": x[0], "x1^2": x[0] ** 2}


def plane(x):
    """Return the two coordinates that are drawn."""
    return x[:2]
