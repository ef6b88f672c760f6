r"""A forecast: the SDE that starts exactly at the present state and ends in the law of the future.

`PointForecast` marches from (t = 0, x0) to t = 1; the drift b was learned by regression along the
path (or is exact), the noise ε is chosen afterwards. Members of an ensemble are particles that
start from one x0 and differ by their keys. Two steps are special:

- the first, t = 0, takes ε = ½σ² whatever ε is: the law it leaves is right to O(h), the score,
  which does not exist at a point, is not asked for, and the point spreads at once;
- the last, to t = 1 where the score is not finite, is an Euler step. Its noise is part of the law.
"""

import warnings
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from .._errors import InputError
from .._tree import concrete
from .._typing import Context, Flag, PRNGKey, Scalar, Time, V, X
from ..paths import AbstractPointMass, Epsilon, FollmerEpsilon
from .base import AbstractTransition, Info, State
from .sde import AbstractSDEStep, EulerMaruyama


class ForecastStart(NamedTuple):
    """The memory of a forecast: where it started, and whether that was at t = 0."""

    x0: X
    at_zero: Flag


class PointForecast(AbstractTransition):
    r"""dX = [b + (ε − ½σ²) s] dt + √(2ε) dW from X_0 = x0 to X_1 ~ ρ(·|x0).

    March it along times from 0 to 1, `simulate(kernel, x0, times=uniform_times(50), key=key)`; for
    roll-outs put it into `Lead`.

    Parameters
    ----------
    drift
        b: drift(t, x, x0, context=...), a trained `PointDrift` or an `ExactDrift`.
    path
        The point-mass path it was trained along.
    epsilon
        `FollmerEpsilon()` (default; uniform times, 50 steps and more), `MatchedEpsilon()`,
        or more or less of either, `MatchedEpsilon(4.0)`: any, after training. A scan is
        `stacked=lambda k: k.epsilon.scale`, one compilation.
    solver
        `EulerMaruyama()`: one evaluation of b a step, for 50 steps and more. `StochasticHeun()`:
        two a step, for few steps, with `MatchedEpsilon()` on the grid 1 − (1 − u)^1.5.

    References
    ----------
    Chen et al. 2024 (arXiv 2403.13724), theorem 2.1 and section 3.
    """

    references: ClassVar[tuple[str, ...]] = ("follmer2024",)
    failure: ClassVar[str] = (
        "a forecast was started inside (0, 1] or marched backwards, where its x0 is lost: give "
        "increasing times that begin at 0, uniform_times(50), and do not compose it with "
        "kernels that start it anew"
    )
    drift: Callable
    path: AbstractPointMass
    epsilon: Epsilon = eqx.field(default_factory=FollmerEpsilon)
    solver: AbstractSDEStep = EulerMaruyama()

    def begin(self, x: X, t: Time, energy: Any, key: PRNGKey):
        return None, ForecastStart(x, jnp.asarray(t) == 0)

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        """Take one step; the one that begins at t = 0 has ε = ½σ², the one to t = 1 is Euler's."""
        z = jax.random.normal(key, state.x.shape, state.x.dtype)
        x = self.move(state.memory.x0, t, t_next, state.x, z, state.context)
        num = jnp.where(t_next >= 1, 1, self.solver.evaluations).astype(jnp.int32)
        info = Info(evaluations=num, failed=~state.memory.at_zero | jnp.asarray(t_next <= t))
        return state.moved(x, memory=state.memory), info

    def move(self, x0: X, t: Time, t_next: Time, x: X, z: X, context: Context = None) -> X:
        """Return the point at t_next from x at t and the unit noise z: a step without its key."""
        first = jnp.asarray(t == 0)

        def drift(s: Time, y: X) -> V:
            b, path = self.drift(s, y, x0, context=context), self.path
            more = self.epsilon.value(path, s) - 0.5 * path.variance(s)
            plain = first | (more == 0)  # no score where none is needed, or none exists
            return jax.lax.cond(plain, lambda: b, lambda: b + more * path.score(s, y, x0, b))

        def epsilon(s: Time) -> Scalar:
            matched, chosen = 0.5 * self.path.variance(s), self.epsilon
            return jax.lax.cond(first, lambda: matched, lambda: chosen.value(self.path, s))

        def by(solver: AbstractSDEStep) -> X:
            return solver(drift, epsilon, t, t_next, x, z)

        if isinstance(self.solver, EulerMaruyama):
            return by(self.solver)
        return jax.lax.cond(t_next >= 1, lambda: by(EulerMaruyama()), lambda: by(self.solver))

    def reversed(self) -> "PointForecast":
        raise InputError(
            "a forecast has no reversal: its noise is not undone; march it along increasing times"
        )


def check_spread(kernel: PointForecast, t: Time) -> None:
    """Warn when ε at the first time after 0 is so small that a point cannot spread."""
    epsilon = concrete(kernel.epsilon.value(kernel.path, t))
    matched = concrete(0.5 * kernel.path.variance(t))
    if epsilon is None or matched is None or not (epsilon < 0.5 * matched).any():
        return
    warnings.warn(
        f"epsilon at t = {float(t):.3g} is {epsilon / matched} of ½σ²: a point spreads slowly "
        "without noise (variance wrong by 7 % at one half, 17 % at one quarter, with 25 steps); "
        "write MatchedEpsilon() or FollmerEpsilon(), or take more steps",
        stacklevel=4,
    )
