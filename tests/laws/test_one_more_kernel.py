"""One more member, counted: a kernel with its documentation in at most 75 lines.

`RandomWalk` is written against the contract of `dynamics/base.py` alone. `test_every_kernel.py` has
it among its members, on links, so it passes the laws of all kernels; here:

1. The class, its documentation included, has at most 75 lines.
2. It leaves an asymmetric law invariant (mean by quadrature); the twin that accepts all does not.
3. It composes with a process that hands it energies, and with the drivers: columns `info.NAME`.
4. A step out of range is refused by the field.
"""

import inspect
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward._fields import positive
from pushforward._tree import scalar
from pushforward._typing import PRNGKey, Scalar, Time, X
from pushforward.drivers import simulate
from pushforward.dynamics import AbstractStationary, Cost, Info, State, Transport, compose
from pushforward.mcmc import accept_or_stay
from pushforward.paths import Annealing, uniform_times
from pushforward.spaces import Euclidean, as_manifold
from pushforward.targets import (
    Energy,
    Normal,
    energy_difference,
    energy_terms,
)


class RandomWalk(AbstractStationary):
    r"""Random-walk Metropolis on a manifold: y = exp_x(h ξ), accepted with min(1, e^{U(x) − U(y)}).

    Needs no gradient. The info holds the `acceptance`.

    Parameters
    ----------
    path
        An energy, or an annealing, whose law at the present time is left invariant.
    step_size
        h > 0, in units of length. Good value: acceptance .2 to .5.

    References
    ----------
    Metropolis et al. 1953.
    """

    failure: ClassVar[str] = "a random walk left the finite numbers: reduce step_size"
    path: Any
    step_size: Scalar = positive(converter=scalar, example=0.5)

    def begin(self, x: X, t: Time, energy, key: PRNGKey):
        return energy_terms(self.path.at(t), x) if energy is None else energy, None

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        """Propose at the later of the two times and accept or stay."""
        target = self.path.at(jnp.maximum(t, t_next))
        space = as_manifold(target.space)
        move_key, accept_key = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        noise = space.noise(state.x, key=move_key)
        move = jax.tree.map(lambda a: self.step_size.astype(a.dtype) * a, noise)
        y = space.retract(state.x, move)
        energy = energy_terms(target, y)
        loss = energy_difference(energy, state.energy)
        state, acceptance = accept_or_stay(state, (y, energy, None), loss, accept_key)
        return state, Info(acceptance=acceptance, cost=Cost.of(energy=1))


SKEW = Energy(lambda x: jnp.sum(0.25 * x**4 - 0.5 * x**2 - 0.6 * x), Euclidean(1))


def moments(kernel):
    """Return the mean and the spread of the mean of x over 400 chains."""
    x0, key = jnp.zeros((400, 1)), jax.random.key(0)
    chains = simulate(kernel, x0, steps=120, burn_in=60, observe=lambda x: {"x": x[0]}, key=key)
    means = np.asarray(chains.record["x"]).mean(0)  # of each chain: steps come first
    return chains, means.mean(), means.std() / np.sqrt(means.size)


def test_a_kernel_costs_at_most_75_lines():
    assert inspect.getsource(RandomWalk).count("\n") <= 75


def test_the_law_stays_and_the_twin_does_not():
    grid = np.linspace(-5, 5, 20_001)
    law = np.exp(-(0.25 * grid**4 - 0.5 * grid**2 - 0.6 * grid))
    exact = np.sum(grid * law) / law.sum()
    chains, mean, error = moments(RandomWalk(SKEW, 1.5))
    assert abs(mean - exact) < 4.5 * error
    assert 0.2 < chains.record["info.acceptance"].mean() < 0.8
    flat = Energy(lambda x: 0.0 * jnp.sum(x), Euclidean(1))  # twin: every move is accepted
    _, twin, spread = moments(RandomWalk(flat, 1.5))
    assert abs(twin - exact) > 0.3
    assert spread > 2 * error


def test_it_composes():
    path = Annealing(Normal(1), SKEW)
    kernel = compose(Transport(path), RandomWalk(path, 1.0))
    samples = simulate(kernel, 500, times=uniform_times(10), key=jax.random.key(1))
    assert samples.ess > 0.3
    assert "info[1].acceptance" in samples.record


def test_a_step_out_of_range_is_refused():
    with pytest.raises(InputError, match="step_size is 0.0, expected a positive number: write"):
        RandomWalk(SKEW, 0.0)
