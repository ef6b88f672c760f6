"""A `Fit` becomes an optax object: the only place where a string of a config chooses an algorithm.

Equal settings give the identical object (`lru_cache`), so that a second fit of equal structure
finds its compiled step again. Each schedule is a function of the absolute step and keeps its last
value beyond its span, so that an extended run continues on it.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax.numpy as jnp
import optax

from .config import Fit


def optimiser(fit: Fit) -> optax.GradientTransformation:
    """Return the optimiser with the schedule that a `Fit` describes.

    The schedule spans `fit.schedule_steps`, or `fit.steps` where that is none: extending the
    run then changes the number of steps but not the learning rate of any step already made.
    """
    span = fit.schedule_steps or fit.steps
    return _optimiser(
        fit.optimiser, fit.schedule, fit.learning_rate, span, fit.warm_up, fit.decay,
        fit.weight_decay,
    )  # fmt: skip


@lru_cache(maxsize=64)
def _optimiser(
    name: str, along: str, peak: float, span: int, warm_up: int, decay: float, weight_decay: float
) -> optax.GradientTransformation:
    rules: dict[str, Callable[..., optax.GradientTransformation]] = {
        "adam": optax.adam,
        "adamw": partial(optax.adamw, weight_decay=weight_decay),
        "radam": optax.radam,
        "sgd": optax.sgd,
        "lion": partial(optax.lion, weight_decay=weight_decay),
    }
    return rules[name](schedule(along, peak, span, warm_up, decay))


def schedule(name: str, peak: float, span: int, warm_up: int, decay: float) -> optax.Schedule:
    r"""Return the learning rate as a function of the step $i$.

    `constant`; `cosine` (to 0 at `span`); `warmup_cosine` (linear over `warm_up` steps, at most
    half of `span`, then cosine to 0 at `span`); `sqrt_decay` (peak / sqrt(max(i / decay, 1)));
    `exponential` (peak exp(-i / decay)).
    """

    def clamped(of_step: Callable[[Any], Any]) -> optax.Schedule:
        return lambda i: of_step(jnp.minimum(i, span))

    match name:
        case "constant":
            return optax.constant_schedule(peak)
        case "cosine":
            return optax.cosine_decay_schedule(peak, span)
        case "sqrt_decay":
            return clamped(lambda i: peak / jnp.sqrt(jnp.maximum(i / decay, 1.0)))
        case "exponential":
            return clamped(lambda i: peak * jnp.exp(-i / decay))
    ramp = min(warm_up, span // 2)
    return optax.warmup_cosine_decay_schedule(0.0 if ramp else peak, peak, ramp, span)
