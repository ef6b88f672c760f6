r"""Annealed jump processes with learned rates on finite spaces: LEAPS; untrained, heat-bath AIS.

A site jumps with rate Q_t(x→y) = [G_t]_+ + δ w (`rate.Moves`), and any observable of ρ_t is
E[e^A h]/E[e^A] for ANY such rates. The jumps themselves carry no weight: dA = r dt with
r = −∂_t U_t − K_t, the same rate that the objectives square. How time is cut is a method:
`EventDriven` is exact on any grid, `TauLeaping` is not.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import jax.numpy as jnp

from .._errors import InputError
from .._fields import non_negative
from .._tree import real_dtype, scalar_or_law
from .._typing import Array, Count, Float, PRNGKey, Scalar, Time, X
from ..networks import Zero
from ..paths import AbstractAnnealing, at_time
from ..spaces import AbstractFiniteSpace
from ..targets import energy_terms
from .base import AbstractEventProcess, Info, State, failure_of
from .event_driven import Clock, EventDriven
from .jump_methods import AbstractJumpMethod
from .rate import Moves, jump_rate, path_moves


class Jump(AbstractEventProcess):
    r"""A continuous-time Markov chain along an annealing, with weights.

    Parameters
    ----------
    path
        The annealing U_t of energies on a finite space.
    rates
        G(t, x, ΔU) of every one-site move, with G(move | x) = −G(move back | y) (local
        equivariance): `LocallyEquivariantConv`; `Zero()` gives annealed heat bath.
    delta
        δ_t >= 0, heat-bath redraws of a site in unit time: a number or a function of t (taken at
        the midpoint of an interval). Good values 0 to 10: free after training.
    method
        `EventDriven()` (exact) or `TauLeaping()`.

    References
    ----------
    Holderrieth, Albergo and Jaakkola 2025, arXiv 2502.10843; exact event-driven weight derived.
    """

    references: ClassVar[tuple[str, ...]] = ("leaps", "gillespie1977")
    path: AbstractAnnealing
    rates: Callable = Zero()
    delta: Scalar | Callable[[Time], Scalar] = non_negative(
        of_time=True, converter=scalar_or_law, default=1.0
    )
    method: AbstractJumpMethod = EventDriven()

    def __check_init__(self):
        if not isinstance(self.path.space, AbstractFiniteSpace):
            raise InputError(
                f"Jump needs a finite space such as Spins((8, 8)), the path lives on "
                f"{self.path.space}: there write Langevin(path, drift)"
            )

    @property
    def space(self) -> AbstractFiniteSpace:
        """Where the samples live."""
        space = self.path.space
        assert isinstance(space, AbstractFiniteSpace)
        return space

    def moves(self, t: Time, x: X) -> Moves:
        """Return rates and energy differences of all one-site moves out of x."""
        return path_moves(self.path, self.rates, at_time(self.delta, t), t, x)

    def begin(self, x: X, t: Time, energy: Any, key: PRNGKey):
        zero = jnp.zeros((), jnp.int32)
        clock = Clock(zero, jnp.zeros((), real_dtype(x)), zero)
        return energy_terms(self.path.at(t), x) if energy is None else energy, clock

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        return self.method.step(self, state, t, t_next, key=key)

    def advance(
        self, state: State, times: Float[Array, " n"], num_events: Count, *, key: PRNGKey
    ) -> tuple[State, Info]:
        if not isinstance(self.method, EventDriven):
            raise InputError(f"{type(self.method).__name__} has no events: use EventDriven()")
        return self.method.advance(self, state, times, num_events, key=key)

    def log_weight_rate(self, t: Time, x: X, *, key: PRNGKey | None = None) -> Scalar:
        return jump_rate(self.path, self.moves(t, x), t, x)

    def reversed(self) -> "Jump":
        """Return itself: down the grid it jumps with the rates of the time-reversed chain."""
        if not self.method.exact:
            raise InputError("the continuous-time weight has no exact reversal: use EventDriven()")
        return self

    def failure(self, info: Info) -> str:
        """Return the sentence of the method."""
        return failure_of(self.method, info)
