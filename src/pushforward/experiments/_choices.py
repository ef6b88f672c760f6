"""Names become objects: the only place where a string of a config chooses an optax object.

Equal settings give the identical object (`lru_cache`), so that a second fit of equal structure
finds its compiled step again. Each schedule is a function of the absolute step and clamps
beyond its span, so that an extended run continues on the last value.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, get_args

from pushforward._errors import ConfigError
from pushforward.experiments._config import Fit

if TYPE_CHECKING:
    import optax

OPTIMISERS: tuple[str, ...] = get_args(Fit.model_fields["optimiser"].annotation)
SCHEDULES: tuple[str, ...] = get_args(Fit.model_fields["schedule"].annotation)


@lru_cache(maxsize=64)
def schedule(
    name: str, peak: float, steps: int, *, warm_up: int = 0, decay: float = 1000.0
) -> "optax.Schedule":
    r"""Return the learning rate as a function of the step $i$.

    Parameters
    ----------
    name
        `constant`; `cosine` (to 0 at `steps`); `warmup_cosine` (linear over `warm_up` steps,
        then cosine to 0 at `steps`); `sqrt_decay` (peak / sqrt(max(i / decay, 1)));
        `exponential` (peak exp(-i / decay)).
    peak
        The largest learning rate.
    steps
        Steps the schedule spans; it keeps its last value beyond.
    warm_up
        Linear warm-up, cut to half of `steps`.
    decay
        Scale in steps.
    """
    import jax.numpy as jnp
    import optax

    def clamped(of_step: Callable[[Any], Any]) -> "optax.Schedule":
        return lambda i: of_step(jnp.minimum(i, steps))

    match name:
        case "constant":
            return optax.constant_schedule(peak)
        case "cosine":
            return optax.cosine_decay_schedule(peak, steps)
        case "warmup_cosine":
            ramp = min(warm_up, steps // 2)
            return optax.warmup_cosine_decay_schedule(0.0 if ramp else peak, peak, ramp, steps)
        case "sqrt_decay":
            return clamped(lambda i: peak / jnp.sqrt(jnp.maximum(i / decay, 1.0)))
        case "exponential":
            return clamped(lambda i: peak * jnp.exp(-i / decay))
        case _:
            raise ConfigError(f"schedule {name!r}: must be one of {', '.join(SCHEDULES)}")


@lru_cache(maxsize=64)
def optimiser_of(
    name: str, rate: "float | optax.Schedule", *, weight_decay: float = 0.0
) -> "optax.GradientTransformation":
    """Return the optax object called `name`, at learning rate or schedule `rate`."""
    import optax

    match name:
        case "adam":
            return optax.adam(rate)
        case "adamw":
            return optax.adamw(rate, weight_decay=weight_decay)
        case "radam":
            return optax.radam(rate)
        case "sgd":
            return optax.sgd(rate)
        case "lion":
            return optax.lion(rate, weight_decay=weight_decay)
        case _:
            raise ConfigError(f"optimiser {name!r}: must be one of {', '.join(OPTIMISERS)}")


def optimiser(fit: Fit) -> "optax.GradientTransformation":
    """Return the optimiser with the schedule that a `Fit` group describes.

    The schedule spans `fit.schedule_steps`, or `fit.steps` where that is none: extending the
    run then changes the number of steps but not the learning rate of any step already made.
    """
    steps = fit.schedule_steps or fit.steps
    rate = schedule(fit.schedule, fit.learning_rate, steps, warm_up=fit.warm_up, decay=fit.decay)
    return optimiser_of(fit.optimiser, rate, weight_decay=fit.weight_decay)


def train(fit: Any, recipe: Any, stage: Any, *, key: Any, **options: Any) -> Any:
    """Return `pf.fit` of a recipe's parts as the group `fit` of a config says.

    A group with a key `ema` has its weights averaged, the start forgotten.
    """
    from pushforward.drivers import EMA
    from pushforward.drivers import fit as fitted

    if hasattr(fit, "ema"):
        options["ema"] = EMA(fit.ema, ramp=True)

    return fitted(
        recipe.model,
        recipe.objective,
        recipe.source,
        steps=fit.steps,
        schedule_steps=fit.schedule_steps,
        optimiser=optimiser(fit),
        batch=fit.batch,
        folder=stage,
        key=key,
        **options,
    )
