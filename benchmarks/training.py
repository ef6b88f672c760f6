"""A training step of NETS on gmm40: width 128, batch 1,024, 128 Fourier features."""

import jax

import pushforward as pf
from pushforward.experiments import nets_gmm40 as experiment
from pushforward.harness.optimisers import optimiser

from ._timing import measure, show

STEPS = 50


def run() -> dict:
    config = experiment.Config()
    adam, key = optimiser(config.fit), jax.random.key(0)
    recipe = experiment.parts(config, "geometric", key)

    def fit():
        model, _ = pf.fit(
            recipe.model, recipe.objective, recipe.source, steps=STEPS, schedule_steps=2000,
            optimiser=adam, batch=1024, key=key,
        )  # fmt: skip
        return [leaf for leaf in jax.tree.leaves(model) if isinstance(leaf, jax.Array)]

    times = measure({f"{STEPS} steps of fit, one rollout of 512 x 100": fit}, repeats=5)
    (row,) = times.values()
    print(f"\n{1000 * row['run'] / STEPS:.1f} ms a step")
    title = "NETS training (goal <= 70 ms a step, compile < 15 s)"
    return show(title, times, next(iter(times)), {})
