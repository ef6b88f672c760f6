"""How a jump process steps through an interval of time; the exact way is in `event_driven`."""

from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp

from .._typing import Count, Flag, PRNGKey, Scalar, Time
from ..targets import energy_terms
from .base import State
from .rate import jump_rate


class AbstractJumpMethod(eqx.Module):
    """How a jump process is simulated and weighted over one interval."""

    exact: ClassVar[bool]

    @abstractmethod
    def step(
        self, process, state: State, t: Time, t_next: Time, *, key: PRNGKey
    ) -> tuple[State, Any]:
        """Return the state at t_next and an info."""

    @abstractmethod
    def explain(self, info: Any) -> str:
        """Return the sentence for a step that failed."""


class LeapInfo(eqx.Module):
    """Info of a leap: jumps, the largest probability that a site jumped, what went wrong."""

    passes: Count
    jumps: Count
    probability: Scalar
    failed: Flag


class TauLeaping(AbstractJumpMethod):
    """All sites jump by themselves in a step, weighted by dA = r dt at its start; biased by O(D).

    Its log Z is too low (−.33 on the critical 3 x 3 torus with 10 steps) while its ESS looks fine:
    for walkers that a network is trained on, where any law with full support serves. Results made
    with it are called "continuous-time".
    """

    exact: ClassVar[bool] = False

    def step(self, process, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        """Leap from t to t_next."""
        moves, length = process.moves(t, state.x), t_next - t
        increment = length * jump_rate(process.path, moves, t, state.x)
        x, probability, jumped = process.space.leap(state.x, moves.out, jnp.abs(length), key=key)
        energy = energy_terms(process.path.at(t_next), x)
        weight = state.log_weight.add(increment)
        one = jnp.ones((), jnp.int32)
        jumps = jnp.sum(jumped, dtype=jnp.int32)
        info = LeapInfo(one, jumps, jnp.max(probability), moves.overflow)
        return State(x, weight, state.context, energy, state.memory), info

    def explain(self, info: LeapInfo) -> str:
        """Return what went wrong."""
        return "a reverse rate needs e^{−ΔU} > 1e30 and is never clipped: use EventDriven()"
