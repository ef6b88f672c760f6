"""How a jump process steps through an interval of time; the exact way is in `event_driven`."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp

from .._typing import PRNGKey, Time
from ..targets import energy_terms
from .base import Info, State
from .rate import jump_rate


class AbstractJumpMethod(eqx.Module):
    """How a jump process is simulated and weighted over one interval."""

    exact: ClassVar[bool]
    failure: ClassVar[str | Callable[[Any, Any], str]]

    @abstractmethod
    def step(
        self, process, state: State, t: Time, t_next: Time, *, key: PRNGKey
    ) -> tuple[State, Info]:
        """Return the state at t_next and an info."""


class TauLeaping(AbstractJumpMethod):
    """All sites jump by themselves in a step, weighted by dA = r dt at its start; biased by O(D).

    Its log Z is too low (−.33 on the critical 3 x 3 torus with 10 steps) while its ESS looks fine:
    for walkers that a network is trained on, where any law with full support serves. Results made
    with it are called "continuous-time". The info holds the largest `probability` of a jump.

    References
    ----------
    D. T. Gillespie, J. Chem. Phys. 115 (2001) 1716.
    """

    exact: ClassVar[bool] = False
    failure: ClassVar[str] = (
        "a reverse rate needs e^{−ΔU} > 1e30 and is never clipped: use EventDriven()"
    )

    def step(self, process, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        moves, length = process.moves(t, state.x), t_next - t
        increment = length * jump_rate(process.path, moves, t, state.x)
        x, probability, jumped = process.space.leap(state.x, moves.out, jnp.abs(length), key=key)
        energy = energy_terms(process.path.at(t_next), x)
        info = Info(
            passes=jnp.ones((), jnp.int32),
            jumps=jnp.sum(jumped, dtype=jnp.int32),
            probability=jnp.max(probability),
            failed=moves.overflow,
        )
        return state.moved(x, energy, state.memory, increment=increment), info
