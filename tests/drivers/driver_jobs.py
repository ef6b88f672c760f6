"""Small jobs on which the drivers are tested; as a script, the three jobs that get killed (P2)."""

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from pushforward.drivers import EMA, Keep, fit, simulate
from pushforward.drivers.advance import Controller
from pushforward.dynamics import Langevin, Transport, compose
from pushforward.estimators import Systematic
from pushforward.mcmc import HMC
from pushforward.networks import DriftAndFreeEnergy, DriftMLP, FreeEnergy
from pushforward.objectives import AbstractObjective, Continuity
from pushforward.paths import Annealing, uniform_times
from pushforward.sources import AbstractSource, NoInfo, Rollout
from pushforward.targets import Normal, Phi4

ADAM = optax.adam(3e-3)
SGD = optax.sgd(1.0)


class Watch:
    """A watcher that calls a function."""

    def __init__(self, function):
        self.log = function

    def figure(self, step, name, figure):
        """Ignore."""

    def close(self):
        """Nothing is open."""


class Residual(eqx.Module):
    residual: jax.Array


class Regression(AbstractObjective):
    """(model(x) − y − noise)²."""

    noise: float = 0.1

    def __call__(self, model, sample, *, key):
        x, y = sample
        residual = model(x) - y - self.noise * jax.random.normal(key, y.shape)
        return jnp.mean(residual**2), Residual(jnp.mean(jnp.abs(residual)))


class Lines(AbstractSource):
    """x ~ N(0, 1)², y = x_0 − 2 x_1; the state counts draws."""

    def init(self, model, *, key):
        return jnp.zeros((), jnp.int32)

    def draw(self, state, model, size, *, progress, key):
        keys = jax.vmap(lambda j: jax.random.fold_in(key, j))(jnp.arange(size))
        x = jax.vmap(lambda k: jax.random.normal(k, (2,)))(keys)
        return (x, x @ jnp.array([1.0, -2.0])), state + 1, NoInfo()


class Linear(eqx.Module):
    weight: jax.Array
    bias: jax.Array

    def __init__(self, dtype=None):
        self.weight, self.bias = jnp.zeros(2, dtype), jnp.zeros((), dtype)

    def __call__(self, x):
        return jnp.dot(self.weight, x) + self.bias


def first(x):
    """An observable."""
    return {"x": x[0]}


def whole(x):
    """A small observable, and one too large for a series."""
    return {"m": jnp.mean(x), "field": x}


def corner(x):
    """What is kept of a field."""
    return x[:2]


def bumps(scale: float = 1.0) -> Annealing:
    """An asymmetric one-dimensional path with known answers: N(0, 2²) to N(1.5, s²)."""
    return Annealing(Normal((1,), 0.0, 2.0), Normal((1,), 1.5, scale))


def norm(model, *, key):
    """An evaluation."""
    return {"norm": optax.tree.norm(eqx.filter(model, eqx.is_array))}


def walk(path: Annealing, epsilon: jax.Array, model: DriftAndFreeEnergy) -> Langevin:
    """The process of a sampler."""
    return Langevin(path, model.drift, epsilon)


def smc(path: Annealing, step_size: float, num_steps: int = 2):
    """Reweight, then move."""
    return compose(Transport(path), HMC(path, step_size, num_steps))


def train(folder: Any = None, steps: int = 120, **options: Any):
    """NETS in two dimensions: a replay source whose buffer is too large to be guarded."""
    path = Annealing(Normal((2,), 0.0, 2.0), Normal((2,), 1.0, 0.5))
    process = eqx.Partial(walk, path, jnp.asarray(2.0))
    drift = DriftMLP(2, width=8, depth=1, scale=1.0, key=jax.random.key(1))
    model = DriftAndFreeEnergy(drift, FreeEnergy(width=8, depth=1, key=jax.random.key(2)))
    source = Rollout(process, walkers=64, num_times=12, refresh=7, capacity=3)
    options = {
        "schedule_steps": 120,
        "evaluate": norm,
        "evaluate_every": 25,
        "ema": EMA(0.9, ramp=True),
        "optimiser": ADAM,
        "log_every": 3,
    } | options
    model, history = fit(
        model, Continuity(process), source, steps=steps, batch=16, folder=folder,
        key=jax.random.key(3), **options,
    )  # fmt: skip
    metrics = {k: v for k, v in history.metrics.items() if k != "seconds"}
    return model, history.raw, metrics, history.evaluations


def transport(folder: Any = None, **options: Any):
    """SMC with resampling in four populations, observables and draws."""
    options = {"times": uniform_times(60), "resample": Systematic(0.9)} | options
    samples = simulate(
        smc(bumps(0.3), 0.3, num_steps=2), 32, populations=4, observe=first,
        keep=Keep(7, particles=3), folder=folder, key=jax.random.key(4), **options,
    )  # fmt: skip
    return everything(samples)


def chains(folder: Any = None, steps: int = 130, **options: Any):
    """HMC on a lattice: series, draws, streaming moments, burn-in."""
    samples = simulate(
        HMC(Phi4((9, 9), 1.0, 0.5), 0.1, 3), 4, steps=steps, initial=Normal((9, 9), 0.0, 0.5),
        observe=whole, keep=Keep(3, corner),
        burn_in=20, folder=folder, key=jax.random.key(5), **options,
    )  # fmt: skip
    return everything(samples)


def walkers(folder: Any = None, **options: Any):
    """Langevin with weights and no resampling: every kernel keeps a memory."""
    options = {"times": uniform_times(40)} | options
    kernel = Langevin(bumps(0.5), epsilon=3.0)
    samples = simulate(kernel, 16, folder=folder, key=jax.random.key(6), **options)
    return everything(samples)


def chunks_of(n: int, original=Controller.bound):
    """Return a `Controller.bound` for chunks of n steps; boundaries and buffers still count."""

    def bound(self, i, total):
        self._length = n
        return original(self, i, total)

    return bound


JOBS = {"train": train, "transport": transport, "chains": chains}


def everything(samples: Any):
    """All numbers of `Samples`."""
    moments = {k: (m.count, m.mean, m.M2) for k, m in samples.moments.items()}
    return samples.x, samples.log_weight, samples.record, dict(samples.draws), moments


def digest(tree: Any) -> str:
    """sha256 of all leaves in path order."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        total.update(str(path).encode())
        if not callable(leaf):
            total.update(np.ascontiguousarray(leaf).tobytes())
    return total.hexdigest()


def metrics_on_disk(folder: Path) -> list[dict]:
    """The rows of metrics.jsonl without times."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def main(root: Path, names: list[str]) -> None:
    """Run the jobs in small chunks, saving after each; print their digests."""
    from pushforward.runs import enable_compile_cache

    jax.config.update("jax_enable_x64", True)
    enable_compile_cache()
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    Controller.bound = chunks_of(2)
    pause = Watch(lambda step, values: time.sleep(0.002))
    for name in names or list(JOBS):
        print("BEGIN", name, flush=True)
        result = JOBS[name](root / name, save_every=0.0, watchers=[pause])
        print("DIGEST", name, digest(result), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
