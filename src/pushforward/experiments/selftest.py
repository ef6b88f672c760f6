"""Self test: two small jobs on which the promises about bits are tested.

`fit` trains a NETS drift (64-64 MLP in 8 dimensions, AdamW, EMA 0.99, a replay buffer of 64
walkers); `simulate` runs 4 chains of HMC on the free field of a 64 x 64 lattice with a series,
kept draws and streaming moments. Each writes `DIGEST job sha256` of everything it computed to
log.txt: it must not change when the run is killed and resumed, cut into other chunks, or extended.
`sleep` slows the job down, so that a test can interrupt it where it likes.

<phi^2> of the free field is (1/V) sum_k 1/(2 w_k), w_k = m^2 + sum_mu 4 sin^2(k_mu/2).
"""

import hashlib
import time
from typing import Any, Literal

from pydantic import Field

import pushforward as pf
from pushforward.experiments._config import Config as Base
from pushforward.experiments._config import Fit, Group
from pushforward.experiments._expected import Estimate, Exact, Expected, Measured, at_most, within

DIM, M2 = 8, 1.0


class Simulate(Group):
    """The chains; a mode whose phase turns by pi in a trajectory would keep its phi^2 for ever.

    The frequencies are sqrt(2 w_k), 1.4 to 4.2: a trajectory of 0.63 turns them by at most 2.7.
    """

    steps: int = Field(default=200, ge=1, le=10**6, description="trajectories of each chain")
    side: int = Field(default=64, ge=2, le=512, description="sites along each side")
    chains: int = Field(default=4, ge=1, le=1024, description="independent chains")
    step_size: float = Field(default=0.07, gt=0, le=1, description="step of the leapfrog")
    leapfrog: int = Field(default=9, ge=1, le=1000, description="leapfrog steps a trajectory")
    every: int = Field(default=20, ge=1, le=10**6, description="trajectories between kept draws")


class Config(Base):
    """The keys of the self test."""

    job: Literal["both", "fit", "simulate"] = Field(default="both", description="what to run")
    fit: Fit = Fit(
        steps=600, batch=64, optimiser="adamw", weight_decay=1e-4, learning_rate=2e-3, warm_up=20
    )
    simulate: Simulate = Simulate()
    sleep: float = Field(
        default=0.0,
        ge=0,
        le=60,
        description="pause between chunks",
        json_schema_extra={"unit": "s"},
    )
    save_every: float = Field(
        default=60.0,
        ge=0,
        le=3600,
        description="time between checkpoints",
        json_schema_extra={"unit": "s"},
    )


TEN_TIMES = {"fit": {"steps": 6000}, "simulate": {"steps": 2000}}
PRESETS: dict[str, dict[str, Any]] = {"smoke": {}, "laptop": TEN_TIMES, "paper": TEN_TIMES}
EXPECTED = (
    Expected(
        "phi^2", 0.12702492001213228, within(4.5), Exact("sum over the modes of the free field")
    ),
    Expected("loss, last over first", 0.5, at_most(), Measured("2 CPU cores, seeds 0 to 2")),
)
REFERENCES = ("nets", "duane1987", "wolff2004")
EXTENDS = "fit"


def build(config: Config) -> Any:
    """Return the untrained sampler."""
    return _recipe(config).model


def sampler(config: Config, model: Any) -> tuple[Any, Any, Any]:
    """Return kernel, times and initial law of the trained sampler."""
    recipe = _recipe(config)
    return recipe.kernel(model), recipe.times, recipe.initial


def run(config: Config, folder: Any, *, key: Any) -> dict[str, Estimate]:
    """Run the jobs and log their digests."""
    results: dict[str, Estimate] = {}
    if config.job != "simulate":
        results |= _fit(config, folder, key)
    if config.job != "fit":
        results |= _simulate(config, folder, key)
    return results


def figures(folder: Any) -> dict[str, Any]:
    """Return the training curve, if there was a training."""
    metrics = folder.stage("fit").metrics()
    return {"training": pf.report.training_curves(metrics)} if metrics else {}


def _pause(seconds: float) -> Any:
    """Return a watcher that sleeps between chunks."""

    class Pause(pf.drivers.AbstractWatcher):
        def log(self, step: int, values: dict[str, Any]) -> None:
            time.sleep(seconds)

        def figure(self, step: int, name: str, figure: Any) -> None:
            """Ignore figures."""

        def close(self) -> None:
            """Nothing is open."""

    return Pause()


def _recipe(config: Config) -> Any:
    import jax

    base = pf.targets.Normal(DIM, 0.0, 3.0)
    target = pf.targets.gaussian_mixture(DIM, modes=2, spread=1.5)
    warp = pf.paths.ExponentialWarp(2.2)
    drift = pf.networks.DriftMLP(
        DIM, width=64, depth=2, scale=3.0, out_scale=1.7, key=jax.random.key(config.seed % 2**32)
    )
    return pf.recipes.nets(
        target,
        base,
        path=pf.paths.Annealing(base, target, warp),
        variance=pf.paths.LocalVariance(warp, 3.0, 1.0),
        drift=drift,
        walkers=64,
        refresh=20,
    )


def _fit(config: Config, folder: Any, key: Any) -> dict[str, Estimate]:
    from pushforward.experiments._choices import optimiser

    recipe = _recipe(config)
    model, history = pf.fit(
        recipe.model,
        recipe.objective,
        recipe.source,
        steps=config.fit.steps,
        schedule_steps=config.fit.schedule_steps,
        optimiser=optimiser(config.fit),
        batch=config.fit.batch,
        ema=pf.drivers.EMA(0.99, ramp=True),
        folder=folder.stage("fit"),
        watchers=(_pause(config.sleep),),
        save_every=config.save_every,
        key=key,
    )
    pf.save(folder.path / "model.safetensors", model)
    folder.log(f"DIGEST fit {_digest((model, history.raw, history.metrics['loss']))}")
    loss = history.metrics["loss"]
    tenth = max(1, len(loss) // 10)
    return {"loss, last over first": Estimate(loss[-tenth:].mean() / loss[:tenth].mean())}


def _simulate(config: Config, folder: Any, key: Any) -> dict[str, Estimate]:
    import jax.numpy as jnp

    how = config.simulate
    shape = (how.side, how.side)
    energy = pf.targets.Phi4(shape, M2, 0.0)
    samples = pf.simulate(
        pf.mcmc.HMC(energy, jnp.asarray(how.step_size), jnp.asarray(how.leapfrog)),
        how.chains,
        steps=how.steps,
        initial=pf.targets.FreeField(shape, M2),
        observe=lambda x: {"phi2": jnp.mean(x**2), "field": x},
        keep=pf.drivers.Keep(how.every),
        folder=folder.stage("simulate"),
        watchers=(_pause(config.sleep),),
        save_every=config.save_every,
        key=key,
    )
    series = samples.record["phi2"]
    folder.log(f"DIGEST simulate {_digest((samples.x, samples.draws, series, samples.moments))}")
    found = pf.estimators.gamma_method(series, name="phi^2")
    return {"phi^2": Estimate(found.mean, found.error)}


def _digest(tree: Any) -> str:
    """Return the sha256 of all arrays of a tree, in the order of their paths."""
    import jax
    import numpy as np

    total = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        if hasattr(leaf, "dtype"):
            total.update(np.ascontiguousarray(leaf).tobytes())
    return total.hexdigest()
