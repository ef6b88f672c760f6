"""Self test: two small jobs on which the promises about bits are tested.

`fit` trains a NETS drift (64-64 MLP in 8 dimensions, AdamW, EMA 0.99, a replay buffer of 64
walkers); `simulate` runs 4 chains of HMC [duane1987] on the free field of a 64 x 64 lattice with a
series, kept draws and streaming moments. Each writes `DIGEST job sha256` of everything it computed
to log.txt: it must not change when the run is killed and resumed, cut into other chunks, or
extended. `sleep` slows the job down, so that a test can interrupt it where it likes.

<phi^2> of the free field is (1/V) sum_k 1/(2 w_k), w_k = m^2 + sum_mu 4 sin^2(k_mu/2).
"""

import hashlib
import time
from typing import Literal

import pushforward as pf

from ..harness import Config as Base
from ..harness import Fit, Group, at_most, exact, key, measured, within
from ..harness.lazy import jax, jnp, np

DIM, M2 = 8, 1.0


class Simulate(Group):
    """The chains; a mode whose phase turns by pi in a trajectory would keep its phi^2 for ever.

    The frequencies are sqrt(2 w_k), 1.4 to 4.2: a trajectory of 0.63 turns them by at most 2.7.
    """

    steps: int = key(200, "trajectories of each chain", ge=1, le=10**6)
    side: int = key(64, "sites along each side", ge=2, le=512)
    chains: int = key(4, "independent chains", ge=1, le=1024)
    step_size: float = key(0.07, "step of the leapfrog", gt=0, le=1)
    leapfrog: int = key(9, "leapfrog steps a trajectory", ge=1, le=1000)
    every: int = key(20, "trajectories between kept draws", ge=1, le=10**6)


class Config(Base):
    """The keys of the self test."""

    job: Literal["both", "fit", "simulate"] = key("both", "what to run")
    fit: Fit = Fit(
        steps=600, batch=64, optimiser="adamw", weight_decay=1e-4, learning_rate=2e-3, warm_up=20,
        ema=0.99,
    )  # fmt: skip
    simulate: Simulate = Simulate()
    sleep: float = key(0.0, "pause between chunks", unit="s", ge=0, le=60)
    save_every: float = key(60.0, "time between checkpoints", unit="s", ge=0, le=3600)


TEN_TIMES = {"fit": {"steps": 6000}, "simulate": {"steps": 2000}}
PRESETS = {"smoke": {}, "laptop": TEN_TIMES, "paper": TEN_TIMES}


def recipe(config, key):
    """Return a small NETS sampler."""
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


def expected(config, preset):
    """Yield what the jobs find that are run."""
    if config.job != "simulate":
        yield "loss, last over first", at_most(0.5, measured("2 CPU cores, seeds 0 to 2"))
    if config.job != "fit" and config.simulate.side == 64:
        modes = exact("sum over the modes of the free field")
        yield "phi^2", within(4.5, 0.12702492001213228, modes)


def run(config, lab):
    """Run the jobs and log their digests."""
    how, options = config.simulate, {"watchers": (Pause(config.sleep),)}
    options["save_every"] = config.save_every
    if config.job != "simulate":
        model = lab.train("fit", lab.recipe, config.fit, **options)
        history = lab.done["fit"]
        loss = history.metrics["loss"]
        lab.folder.log(f"DIGEST fit {digest((model, history.raw, loss))}")
        tenth = max(1, len(loss) // 10)
        yield "loss, last over first", loss[-tenth:].mean() / loss[:tenth].mean()
    if config.job != "fit":
        shape = (how.side, how.side)
        samples = lab.simulate(
            "simulate",
            pf.mcmc.HMC(
                pf.targets.Phi4(shape, M2, 0.0),
                jnp.asarray(how.step_size),
                jnp.asarray(how.leapfrog),
            ),
            how.chains,
            steps=how.steps,
            initial=pf.targets.FreeField(shape, M2),
            observe=lambda x: {"phi2": jnp.mean(x**2), "field": x},
            keep=pf.drivers.Keep(how.every),
            **options,
        )
        series = samples.record["phi2"]
        found = (samples.x, dict(samples.draws), series, samples.moments)
        lab.folder.log(f"DIGEST simulate {digest(found)}")
        mean = pf.estimators.gamma_method(series, name="phi^2")
        yield "phi^2", (mean.mean, mean.error)


def figures(config, done):
    """Draw the training curve, if there was a training."""
    if "fit" in done:
        yield "training", pf.report.plots.curves(done["fit"])


class Pause:
    """A watcher that sleeps between chunks."""

    def __init__(self, seconds: float):
        self.seconds = seconds

    def log(self, step, values):
        """Sleep."""
        time.sleep(self.seconds)

    def figure(self, step, name, figure):
        """Ignore figures."""

    def close(self):
        """Nothing is open."""


def digest(tree):
    """Return the sha256 of all arrays of a tree, in the order of their paths."""
    total = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        if hasattr(leaf, "dtype"):
            total.update(np.ascontiguousarray(leaf).tobytes())
    return total.hexdigest()
