r"""The next time of an annealing, such that one step loses a fixed share of the walkers.

With current weights W_i and the log increments δ_i(t') that a step t -> t' would add, the
conditional effective sample size

    CESS(t') = (Σ W_i e^{δ_i})² / (Σ W_i · Σ W_i e^{2δ_i})     in (0, 1]

is 1 at t' = t and measures this step alone, however uneven W already is (Zhou, Johansen and Aston,
*Toward automatic model comparison*, J. Comput. Graph. Stat. 25, 2016). The next time is where it
crosses `ess`, found by bisection. Taking the ESS of the total weights instead would shrink the
steps to nothing whenever no resampling has just happened.

The increments must not depend on where the walkers will move: a reweight-then-move kernel, whose
`increment(state, t, t_next)` the driver hands in.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._fields import checked, integer
from .._typing import Array, Float, Scalar, Time
from .weights import relative_weights

TOLERANCE = 2e-4  # of the conditional ESS; no step needs more
BISECTIONS = 60

Increment = Callable[[Time], Float[Array, " n"]]


def conditional_ess(increments: Float[Array, " n"], log_weights: Float[Array, " n"]) -> Scalar:
    """Return CESS of log increments δ given log weights; 0 if the step leaves no weight at all.

    1 if no walker carried weight before it.
    """
    before = relative_weights(log_weights)
    joint = jnp.where(before > 0, log_weights + increments, -jnp.inf)
    twice = jnp.where(before > 0, log_weights + 2 * increments, -jnp.inf)
    shift = jnp.max(jnp.where(before > 0, increments, -jnp.inf))
    shift = jnp.where(shift == -jnp.inf, 0, shift)
    top = jnp.where(jnp.max(log_weights) == -jnp.inf, 0, jnp.max(log_weights))
    first = jnp.sum(jnp.exp(joint - top - shift))
    second = jnp.sum(jnp.exp(twice - top - 2 * shift))
    ratio = first**2 / (jnp.sum(before) * jnp.where(second == 0, 1, second))
    return jnp.where(jnp.sum(before) == 0, 1, jnp.minimum(ratio, 1))


def next_time(
    increment: Increment,
    t: Time,
    log_weights: Float[Array, " n"],
    *,
    ess: Scalar,
    smallest: Scalar,
) -> Time:
    r"""Return the latest t' in (t, 1] found with CESS(t') >= `ess`, to `TOLERANCE` in CESS.

    At a hard wall (energies +inf) every t' > t kills the walkers behind it, so no t' would do:
    CESS is measured among the walkers still alive at t + `smallest`. If even that step loses more
    than allowed, it is taken: the smallest step.

    Parameters
    ----------
    increment
        t' -> log increments (n,) of a step from t to t'.
    t
        Present time.
    log_weights
        Present log weights (n,).
    ess
        Conditional ESS to keep at each step.
    smallest
        Smallest step; at least four units in the last place of t are taken.
    """
    one = jnp.ones_like(t)
    ess, smallest = ess.astype(log_weights.dtype), smallest.astype(t.dtype)
    step = jnp.maximum(smallest, 4 * jnp.finfo(t.dtype).eps * t)
    low = jnp.minimum(t + step, one)
    alive = jnp.where(increment(low) == -jnp.inf, -jnp.inf, log_weights)

    def measure(time: Time) -> Scalar:
        return conditional_ess(increment(time), alive)

    def unfinished(carry) -> Array:
        low, high, value, i = carry
        middle = (low + high) / 2
        room = (low < middle) & (middle < high)
        return (i < BISECTIONS) & (value > ess + TOLERANCE) & room

    def halve(carry):
        low, high, value, i = carry
        middle = (low + high) / 2
        at_middle = measure(middle)
        keep = at_middle >= ess
        return (
            jnp.where(keep, middle, low),
            jnp.where(keep, high, middle),
            jnp.where(keep, at_middle, value),
            i + 1,
        )

    # If the whole rest is one step, low = high = 1 leaves the loop no room.
    done = measure(one) >= ess
    start = (jnp.where(done, one, low), one, measure(low), jnp.int32(0))
    return jax.lax.while_loop(unfinished, halve, start)[0]


def _inside(default: float) -> Any:
    return checked(
        holds=lambda x: (0 < x) & (x < 1) & (x.ndim == 0),
        expected="one number in (0, 1)",
        example=default,
        default=default,
    )


class AdaptiveTimes(eqx.Module):
    """A time grid made while walking: each step keeps the conditional ESS at `ess`.

    Parameters
    ----------
    ess
        Conditional ESS of a step, in (0, 1). Good values: 0.9 with resampling at 0.5; 0.99 for a
        careful log Z. The number of steps grows as 1/(1 − ess)^½.
    max_steps
        The driver gives up after so many.
    smallest
        Smallest step in t. Good value: 1e-6; smaller for a target 10⁶ times narrower than its base.
    """

    ess: Float[Array, ""] = _inside(0.9)
    max_steps: int = integer(default=1000, least=1)
    smallest: Float[Array, ""] = _inside(1e-6)

    def __call__(self, increment: Increment, t: Time, log_weights: Float[Array, " n"]) -> Time:
        """Return the next time after t; see `next_time`."""
        return next_time(increment, t, log_weights, ess=self.ess, smallest=self.smallest)
