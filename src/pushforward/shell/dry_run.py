"""`run --dry-run`: how large a run is, found without running it."""

import time
from typing import Any

import equinox as eqx
import jax

from .._tree import named_leaves
from ..harness.config import Config
from ..harness.experiment import Experiment, root_key
from ..harness.record import Options, prepare_jax

SHOWN = 8


def dry_run(experiment: Experiment, config: Config, options: Options) -> dict[str, Any]:
    """Return shapes, parameter count, memory and compile time of an experiment.

    Parameters
    ----------
    experiment, config, options
        What would be run, and how.

    Returns
    -------
    dict
        `parameters`, `largest` leaves, `training_bytes` (weights, gradient, Adam's two moments
        and the EMA), and of one step of the sampler for one particle: `compile_seconds` and
        `bytes_per_particle`.
    """
    prepare_jax(config, options)
    recipe = experiment.recipe(config)
    model = recipe.model
    leaves = [(n, x) for n, x in named_leaves(model) if eqx.is_inexact_array(x)]
    leaves.sort(key=lambda item: -item[1].size)
    size = sum(x.size * x.dtype.itemsize for _, x in leaves)
    facts: dict[str, Any] = {
        "parameters": sum(x.size for _, x in leaves),
        "largest": [f"{n}: {x.dtype}{list(x.shape)}" for n, x in leaves[:SHOWN]],
        "training_bytes": 5 * size,
    }
    kernel, times, initial = recipe.kernel(model), recipe.times, recipe.initial
    facts["steps"] = times if isinstance(times, int) else len(times) - 1
    base = kernel.path.base if initial is None else initial
    start = time.perf_counter()

    def one_step(kernel: Any, key: Any) -> Any:
        t, t_next = jax.numpy.array(0.0), jax.numpy.array(0.5)
        state = kernel.init(base.sample(key=key), t, key=key)
        return kernel.step(state, t, t_next, key=key)

    arrays, static = eqx.partition(kernel, eqx.is_array)
    step = jax.jit(
        lambda arrays, key: eqx.filter(one_step(eqx.combine(arrays, static), key), eqx.is_array)
    )
    compiled = step.lower(arrays, root_key(config.seed)).compile()
    facts["compile_seconds"] = round(time.perf_counter() - start, 2)
    analysis = compiled.memory_analysis()
    if analysis is not None:
        facts["bytes_per_particle"] = analysis.temp_size_in_bytes + analysis.output_size_in_bytes
    return facts
