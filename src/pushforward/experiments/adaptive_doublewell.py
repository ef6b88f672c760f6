r"""Adaptive Monte Carlo on a double well in ten dimensions (arXiv 2105.12603, 2310.11232).

U = 8 (x1² − 1)² + x1/2 + ½ Σ_{i>=2} (x_i − x1²/2)²: the right well holds 27.4 % of the mass. Half
the walkers start in it, the wrong share. HMC alone keeps that share for thousands of trajectories;
with jumps proposed by a map that learns from the walkers the loop repairs it. Measured with the
map frozen, from the wrong start again. Given x1 the others are normal, so quadrature is exact.
"""

from typing import Any, Literal

from pydantic import Field

import pushforward as pf

from ._config import Config as Base
from ._config import Fit, Group
from ._expected import Estimate, Exact, Expected, Goal, at_least, within

DIM = 10


class Training(Fit):
    """Training of the map along the chains."""

    steps: int = Field(default=2000, ge=1, le=10**8, description="iterations: chains, then map")
    batch: int = Field(default=100, ge=2, le=2**20, description="walkers")
    learning_rate: float = Field(default=5e-3, gt=0, le=1, description="peak learning rate")
    schedule: Literal["constant", "cosine", "warmup_cosine", "sqrt_decay", "exponential"] = Field(
        default="cosine", description="learning rate along the steps: to zero, or nothing settles"
    )


class Network(Group):
    """The map: spline couplings."""

    layers: int = Field(default=8, ge=1, le=64, description="couplings")
    knots: int = Field(default=8, ge=2, le=64, description="inner knots of a spline")
    width: int = Field(default=64, ge=4, le=4096, description="hidden units")


class Measure(Group):
    """The chains with the map frozen."""

    steps: int = Field(default=5000, ge=100, le=10**8, description="iterations, all walkers")
    burn_in: int = Field(default=200, ge=0, le=10**8, description="iterations before them")
    draws: int = Field(default=20000, ge=100, le=10**8, description="weighted draws of the map")


class Config(Base):
    """All keys of the experiment; `fit.batch` is the number of walkers."""

    step_size: float = Field(default=0.1, gt=0, le=1, description="step of the local leapfrog")
    local_steps: int = Field(default=10, ge=1, le=1000, description="leapfrog steps between jumps")
    fit: Training = Training()
    network: Network = Network()
    measure: Measure = Measure()


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "fit": {"steps": 500, "batch": 32},
        "measure": {"steps": 1500, "burn_in": 100, "draws": 4000},
    },
    "laptop": {},
    "paper": {"fit": {"steps": 10000}, "measure": {"steps": 20000, "draws": 100000}},
}
_QUADRATURE = Exact("quadrature of the marginal of x1")
EXPECTED = (
    Expected("P(x1 > 0)", 0.2743785466, within(4), _QUADRATURE),
    Expected("<x1>", -0.4480667881, within(4), _QUADRATURE),
    Expected("<x1^2>", 0.9720448198, within(4), _QUADRATURE),
    Expected("log Z", 7.9470196116, within(4), _QUADRATURE),
    Expected("jump acceptance", 0.3, at_least(), Goal()),
)
REFERENCES = ("gabrie2022", "tierney1994", "duane1987")
EXTENDS = "train"


def energy(x):
    """Return U at one point of R^d."""
    return 8 * (x[0] ** 2 - 1) ** 2 + 0.5 * x[0] + 0.5 * ((x[1:] - 0.5 * x[0] ** 2) ** 2).sum()


def run(config: Config, folder, *, key) -> dict[str, Estimate]:
    """Train the map along the chains; measure with it frozen, without it, and by its weights."""
    from ._choices import train

    recipe = _recipe(config)
    model, _ = train(config.fit, recipe, folder.stage("train"), key=key)
    pf.save(folder.path / "model.safetensors", model)
    kernel = recipe.kernel(model)
    chains = _measure(config, kernel, recipe.initial, folder.stage("chains"), key)
    local = _measure(config, kernel.members[0], recipe.initial, folder.stage("local"), key)
    weighted = pf.simulate(
        sampler(config, model)[0],
        config.measure.draws,
        times=[0.0, 1.0],
        keep=pf.drivers.Keep(what=lambda x: x[:2]),
        folder=folder.stage("weighted"),
        key=key,
    )
    return _numbers(config, chains, local, weighted)


def build(config: Config):
    """Return the untrained map."""
    return _recipe(config).model


def sampler(config: Config, model):
    """Return the kernel that weighs draws of the map, its two times and its base."""
    kernel = pf.recipes.importance(_target(), pf.targets.Normal(DIM), model)
    return kernel, [0.0, 1.0], kernel.path.base


def figures(folder) -> dict[str, Any]:
    """Draw the figures of a run, finished or not, from its folder alone."""
    from ._adaptive_figures import draw

    return draw(folder)


def _target():
    return pf.targets.Energy(energy, pf.spaces.Euclidean(DIM))


def _recipe(config: Config):
    import jax
    import jax.numpy as jnp

    num, network = config.fit.batch, config.network
    side = jnp.where(jnp.arange(num) < num // 2, -1.0, 1.0)
    flow = pf.flows.spline_couplings(
        DIM, layers=network.layers, knots=network.knots, width=network.width,
        key=jax.random.key(config.seed % 2**32),
    )  # fmt: skip
    return pf.recipes.adaptive_mc(
        _target(),
        jnp.zeros((num, DIM)).at[:, 0].set(side),
        bijection=flow,
        step_size=config.step_size,
        num_steps=config.local_steps,
    )


def _observe(x):
    return {"right": (x[0] > 0).astype(x.dtype), "x1": x[0], "x1^2": x[0] ** 2}


def _measure(config: Config, kernel, walkers, stage, key):
    how = config.measure
    return pf.simulate(
        kernel,
        walkers,
        steps=how.steps + how.burn_in,
        observe=_observe,
        keep=pf.drivers.Keep(max(1, (how.steps + how.burn_in) // 100), lambda x: x[:2]),
        folder=stage,
        key=key,
    )


def _numbers(config: Config, chains, local, weighted) -> dict[str, Estimate]:
    first = config.measure.burn_in
    results = {}
    for name, column in (("P(x1 > 0)", "right"), ("<x1>", "x1"), ("<x1^2>", "x1^2")):
        found = pf.estimators.gamma_method(chains.record[column][first:], name=name)
        results[name] = Estimate(found.mean, found.error)
        if column == "right":
            results["autocorrelation time of the well"] = Estimate(
                found.tau_int, found.tau_int_error
            )
    results["log Z"] = Estimate(*weighted.log_z)
    results["ESS of the map"] = Estimate(weighted.ess)
    results["jump acceptance"] = Estimate(chains.record["info[1].acceptance"][first:].mean())
    results["HMC acceptance"] = Estimate(local.record["info.acceptance"].mean())
    results["HMC alone: P(x1 > 0)"] = Estimate(local.record["right"][first:].mean())
    return results
