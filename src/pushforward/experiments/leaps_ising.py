r"""LEAPS on the Ising torus at the critical coupling (arXiv 2502.10843), against exact numbers.

A network of jump rates is trained on walkers that cool from the uniform law; samples have the exact
weight of event-driven simulation. Beside it the untrained sampler, annealed heat bath, on the same
grid. log Z and the energy at every temperature are Kaufman's (any size); |m| is enumerated up to
4 x 4. Goals of a prototype: ESS .997 at 4 x 4 after 1,000 steps, .957 at 8 x 8 after 4,000.
"""

from typing import Any, Literal

from pydantic import Field

import pushforward as pf

from ._config import Config as Base
from ._config import Fit, Group
from ._expected import Estimate, Exact, Expected, Goal, Measured, Paper, at_least, within


class Network(Group):
    """The rates."""

    channels: int = Field(default=6, ge=1, le=256, description="channels of the convolution")
    layers: int = Field(default=2, ge=1, le=20, description="layers after the first convolution")
    kernel: int | None = Field(
        default=None, ge=3, le=129, description="extent of the kernels, odd (none: the torus)"
    )


class Training(Fit):
    """How it is trained."""

    steps: int = Field(default=4000, ge=1, le=10**8, description="optimiser steps")
    batch: int = Field(default=400, ge=1, le=2**20, description="samples per step")
    learning_rate: float = Field(default=2e-3, gt=0, le=1, description="peak learning rate")
    schedule: Literal["constant", "cosine", "warmup_cosine", "sqrt_decay", "exponential"] = Field(
        default="cosine", description="learning rate along the steps"
    )
    walkers: int = Field(default=200, ge=8, le=10**6, description="walkers of a rollout")
    refresh: int = Field(default=20, ge=1, le=10**6, description="steps between rollouts")
    ema: float = Field(default=0.99, ge=0, lt=1, description="decay of the averaged weights")


class Config(Base):
    """All keys of the experiment."""

    side: int = Field(default=8, ge=2, le=256, description="extent L of the torus")
    beta: float = Field(default=0.4407, gt=0, le=10, description="coupling K = βJ at t = 1")
    samples: int = Field(
        default=2000, ge=64, le=10**7, multiple_of=8, description="walkers of a sampling run"
    )
    intervals: int = Field(
        default=24, ge=2, multiple_of=2, le=10**5, description="intervals of the sampler"
    )
    delta: float = Field(default=1.0, ge=0, le=1e4, description="heat-bath redraws of a site")
    network: Network = Network()
    fit: Training = Training()


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"side": 4, "fit": {"steps": 360, "learning_rate": 6e-3}},
    "laptop": {},
    "paper": {
        "side": 15,
        "samples": 5000,
        "intervals": 100,
        "network": {"channels": 20, "layers": 4},
        "fit": {"steps": 400_000, "ema": 0.999},
    },
}

_SMOKE, _LAPTOP, _PAPER = ("smoke",), ("laptop",), ("paper",)
_KAUFMAN, _SUM = Exact("Kaufman 1949"), Exact("sum over all states")
_PROTOTYPE = Measured("prototype of this network, 2 CPU cores")
EXPECTED = (
    Expected("ESS", 0.97, at_least(), Goal(), presets=_SMOKE),
    Expected("ESS", 0.95, at_least(), _PROTOTYPE, presets=_LAPTOP),
    Expected("ESS", 0.6577, at_least(), Paper("leaps", "notebook of the code"), presets=_PAPER),
)
REFERENCES = ("leaps", "kaufman1949", "gillespie1977", "neal2001")
EXTENDS = "train"


def expected(config: Config) -> list[Expected]:
    """Return Kaufman's numbers, and |m| where the states can be enumerated."""
    exact = exact_along(config, [1.0])
    sources = {"log_z": ("log Z", _KAUFMAN), "energy": ("energy per site", _KAUFMAN)}
    sources |= {"m": ("|m|", _SUM)}
    return [
        Expected(name, exact[key][0], within(4), source)
        for key, (name, source) in sources.items()
        if key in exact
    ]


def run(config: Config, folder: Any, *, key: Any) -> dict[str, Estimate]:
    """Train the rates, sample with them, and sample without."""
    recipe = _recipe(config)
    model, _ = _train(config, recipe, folder, key)
    pf.save(folder.path / "model.safetensors", model, metadata={"experiment": "leaps-ising"})
    results: dict[str, Estimate] = {}
    for label, one in (("trained", model), ("untrained", recipe.model)):
        samples = pf.simulate(
            recipe.kernel(one),
            config.samples,
            times=recipe.times,
            observe=observables,
            keep=pf.drivers.Keep(config.intervals // 2, pf.drivers.OfState(_kept)),
            folder=folder.stage(f"sample-{label}"),
            key=key,
        )
        results |= _numbers(samples, "" if label == "trained" else ", untrained")
    return results


def build(config: Config) -> Any:
    """Return the untrained model."""
    return _recipe(config).model


def sampler(config: Config, model: Any) -> tuple[Any, Any, Any]:
    """Return kernel, times and base of the sampler."""
    recipe = _recipe(config)
    return recipe.kernel(model), recipe.times, recipe.initial


def figures(folder: Any) -> dict[str, Any]:
    """Draw the figures of a run, finished or not, from its folder alone."""
    from ._leaps_figures import draw

    return draw(folder)


def observables(x: Any) -> dict[str, Any]:
    """Return −Σ x_i x_j/N over bonds, |Σ x_i|/N, and the sign of Σ x_i."""
    import jax.numpy as jnp

    energy = -0.5 * jnp.mean(x * pf.targets.neighbour_sum(x))
    return {"energy": energy, "m": jnp.abs(jnp.mean(x)), "sign": jnp.sign(jnp.mean(x))}


def exact_along(config: Config, times: Any) -> dict[str, Any]:
    """Return log Z_t of the path, the energy, and |m| up to 4 x 4."""
    import numpy as np

    from pushforward.targets import exact

    side = config.side
    sites, couplings = side**2, [float(t) * config.beta for t in times]
    curves = {
        "log_z": [
            exact.kaufman_log_z(side, side, k) - (1 - t) * sites * np.log(2) if t > 0 else 0.0
            for t, k in zip(times, couplings, strict=True)
        ],
        "energy": [exact.kaufman_energy(side, side, k) if k > 0 else 0.0 for k in couplings],
    }
    if sites <= 16:
        shape = (side, side)
        laws = [exact.enumerate_states(pf.targets.Ising(shape, k)) for k in couplings]
        curves["m"] = [float(law.mean(observables)["m"]) for law in laws]
    return {name: np.array(values) for name, values in curves.items()}


def _recipe(config: Config) -> Any:
    import jax

    key = jax.random.fold_in(jax.random.key(config.seed % 2**32), config.seed // 2**32)
    shape, how = (config.side, config.side), config.network
    kernel = 2 * (config.side // 2) + 1 if how.kernel is None else how.kernel
    network = pf.networks.LocallyEquivariantConv(
        (kernel,) * (1 + how.layers), channels=how.channels, key=jax.random.fold_in(key, 0)
    )
    return pf.recipes.leaps(
        pf.targets.Ising(shape, config.beta),
        network=network,
        delta=config.delta,
        walkers=config.fit.walkers,
        refresh=config.fit.refresh,
        steps=config.intervals,
        key=jax.random.fold_in(key, 1),
    )


def _train(config: Config, recipe: Any, folder: Any, key: Any) -> Any:
    from ._choices import train

    return train(config.fit, recipe, folder.stage("train"), key=key)


def _kept(state: Any) -> dict[str, Any]:
    return {"x": state.x, "log_weight": state.log_weight.value}


def _numbers(samples: Any, suffix: str) -> dict[str, Estimate]:
    count, record = len(samples), samples.record
    rows = {"ESS": Estimate(samples.ess), "log Z": Estimate(*samples.log_z)}
    means = samples.mean(observables, force=True)
    for name, label in (("energy", "energy per site"), ("m", "|m|"), ("sign", "sign of m")):
        rows[label] = Estimate(means.value[name], means.error[name])
    for name in ("passes", "jumps"):
        rows[f"{name} a sample"] = Estimate(record[f"info.{name}"].sum() / count)
    return {name + suffix: value for name, value in rows.items()}
