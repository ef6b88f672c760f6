r"""Independence Metropolis: propose y ~ q wherever x is, accept with min(1, w(y)/w(x)), w = e^−U/q.

The move that carries a flow's knowledge into a chain: a walker may jump to any mode the flow
knows, and a bad flow costs acceptance, never correctness. If log w is Gaussian with variance s²
under q, the acceptance is erfc(s/2) and the effective sample size e^{−s²}.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from .._errors import InputError
from .._typing import PRNGKey, Scalar, Time, X
from ..dynamics import AbstractStationary, Cost, Info, State
from ..flows import sample_with_energy
from ..paths import AbstractAnnealing
from ..targets import AbstractDistribution, AbstractEnergy, energy_difference, energy_terms


def accept_or_stay(
    state: State, proposal: tuple[X, Any, Any], loss: Scalar, key: PRNGKey
) -> tuple[State, Scalar]:
    """Move to `proposal` = (x, energy, memory) with probability min(1, e^{−loss}), else stay.

    Returns the state and the probability; a loss that is NaN is never accepted.
    """
    acceptance = jnp.where(jnp.isnan(loss), 0, jnp.exp(jnp.minimum(-loss, 0)))
    accept = jax.random.uniform(key, (), acceptance.dtype) < acceptance
    present = (state.x, state.energy, state.memory)
    chosen = jax.tree.map(lambda a, b: jnp.where(accept, a, b), proposal, present)
    return state.moved(*chosen), acceptance


class IndependenceMetropolis(AbstractStationary):
    r"""Propose from a fixed law, accept with min(1, w(y)/w(x)).

    The weight of the present point is cached: U in `State.energy`, −log q in `State.memory`. The
    info holds the `acceptance` and counts proposals without a weight, which are rejected
    (`not_finite`).

    Parameters
    ----------
    path
        An energy, or an annealing, whose law at the present time is left invariant.
    proposal
        q, normalised, with tails no lighter than the target's: a `Pushforward`, say. Mix it with
        a local kernel: `compose(HMC(target, step_size, 10), IndependenceMetropolis(target, q))`.

    References
    ----------
    Tierney 1994; with a flow that learns from the chain: Gabrié, Rotskoff and Vanden-Eijnden 2022.
    """

    references: ClassVar[tuple[str, ...]] = ("tierney1994", "gabrie2022")
    failure: ClassVar[str] = (
        "an independence Metropolis move failed: the proposal left the finite numbers"
    )
    path: AbstractAnnealing | AbstractEnergy
    proposal: AbstractDistribution

    def __check_init__(self):
        if not isinstance(self.proposal, AbstractDistribution):
            raise InputError(
                f"proposal is {type(self.proposal).__name__}, expected an AbstractDistribution: "
                "IndependenceMetropolis(target, Pushforward(Normal(shape), bijection))"
            )
        if self.proposal.space != self.path.space:
            raise InputError(
                f"the target lives on {self.path.space}, the proposal on {self.proposal.space}"
            )

    def begin(self, x: X, t: Time, energy: Any, key: PRNGKey):
        held = energy_terms(self.path.at(t), x) if energy is None else energy
        return held, energy_terms(self.proposal, x)

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        target = self.path.at(jnp.maximum(t, t_next))
        draw_key, accept_key = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        y, proposed = sample_with_energy(self.proposal, key=draw_key)
        energy = energy_terms(target, y)

        # log w(x) − log w(y), each difference summed term by term
        loss = energy_difference(energy, state.energy) - energy_difference(proposed, state.memory)
        state, acceptance = accept_or_stay(state, (y, energy, proposed), loss, accept_key)
        lost = jnp.isnan(loss).astype(jnp.int32)
        return state, Info(acceptance=acceptance, not_finite=lost, cost=Cost.of(energy=1))
