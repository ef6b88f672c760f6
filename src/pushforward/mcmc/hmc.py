r"""Hybrid (Hamiltonian) Monte Carlo: H = ½⟨p, M⁻¹p⟩ + U(x), a symmetric splitting, accept or stay.

One kernel for R^n, angles and groups: the space draws momenta, retracts and differentiates; on a
group dU/dt = (M⁻¹p) U. MALA is HMC with one leapfrog step. ΔH is summed term by term, in float32
with compensation; ΔK = ½⟨p' − p, M⁻¹(p' + p)⟩ is a difference from the start.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._fields import checked, positive
from .._tree import scalar_or_law
from .._typing import Count, PRNGKey, Scalar, Time, X
from ..dynamics import AbstractStationary, Cost, Info, State
from ..paths import AbstractAnnealing, at_time
from ..spaces import as_manifold
from ..targets import AbstractEnergy, energy_and_gradient, energy_difference, gradient_and_terms
from .mass import AbstractMass, IdentityMass
from .metropolis import accept_or_stay


class Splitting(eqx.Module):
    """A palindromic splitting: kick k_0, drift d_0, kick k_1, ..., drift, kick k_n.

    The last kick of a step and the first of the next share one gradient, so a step costs as many
    gradients as it has drifts.
    """

    kicks: tuple[float, ...] = eqx.field(static=True)
    drifts: tuple[float, ...] = eqx.field(static=True)


def Leapfrog() -> Splitting:  # noqa: N802 - named as the method
    """Return the leapfrog B½ A B½: order 2, one gradient a step."""
    return Splitting((0.5, 0.5), (1.0,))


def Omelyan2() -> Splitting:  # noqa: N802
    """Return the minimum-norm splitting 2MN, B λ A½ B(1−2λ) A½ B λ: order 2, two gradients.

    λ = 0.1931833275037836 (Omelyan, Mryglod and Folk 2003; Takaishi and de Forcrand 2006); ΔH is
    about ten times below the leapfrog's at equal step.
    """
    lam = 0.1931833275037836
    return Splitting((lam, 1 - 2 * lam, lam), (0.5, 0.5))


def _count(n: Any) -> Any:
    """Return an int as one of Python, an array as int32, anything else as it is."""
    if not jnp.issubdtype(getattr(n, "dtype", type(n)), jnp.integer):
        return n
    return int(n) if isinstance(n, int | np.integer) else jnp.asarray(n, jnp.int32)


class HMC(AbstractStationary):
    r"""One trajectory of `num_steps` steps of size `step_size`, then Metropolis.

    The info holds the `acceptance` min(1, e^{−ΔH}), `delta_energy` ΔH, and `diverged`, whether
    |ΔH| > 1000.

    Parameters
    ----------
    path
        An energy, or an annealing, whose law at the present time is left invariant.
    step_size
        A number or a function of t, in units of length. Good value: acceptance .65 to .9. Along an
        annealing the width changes: use √ of a `LocalVariance`.
    num_steps
        Steps of a trajectory; 1 is MALA. An `int` is part of the program, which a GPU likes (no
        question after every step whether to go on); `jnp.asarray(10)` is a count that may change
        and compiles nothing.
    integrator
        `Leapfrog()` or `Omelyan2()`.
    mass
        `IdentityMass()`, or `FourierMass(spectrum)` for fields on a periodic lattice; its numbers
        are leaves, like the step: a new value compiles nothing.

    References
    ----------
    Duane, Kennedy, Pendleton and Roweth 1987; MALA: Roberts and Tweedie 1996.
    """

    references: ClassVar[tuple[str, ...]] = ("duane1987",)
    start_gradients: ClassVar[int] = 1
    failure: ClassVar[str] = "an HMC trajectory failed: reduce step_size"
    path: AbstractAnnealing | AbstractEnergy
    step_size: Scalar | Callable[[Time], Scalar] = positive(
        of_time=True, converter=scalar_or_law, example=0.1
    )
    num_steps: Count | int = checked(
        holds=lambda n: jnp.issubdtype(n.dtype, jnp.integer) and n >= 1,
        expected="an integer >= 1", example=10, default=1, converter=_count,
    )  # fmt: skip
    integrator: Splitting = Leapfrog()
    mass: AbstractMass = IdentityMass()

    def begin(self, x: X, t: Time, energy: Any, key: PRNGKey):
        held, gradient = energy_and_gradient(self.path.at(t), x)
        return held if energy is None else energy, gradient

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        t = jnp.maximum(t, t_next)
        target = self.path.at(t)
        space = as_manifold(target.space)
        momentum_key, accept_key = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        p = self.mass.momentum(space, state.x, key=momentum_key)
        start = (state.x, p, state.energy, state.memory)
        x, p_end, energy, gradient = self._trajectory(target, at_time(self.step_size, t), start)

        change, total = jax.tree.map(jnp.subtract, p_end, p), jax.tree.map(jnp.add, p_end, p)
        kinetic = 0.5 * space.inner(change, self.mass.velocity(total))
        delta = kinetic + energy_difference(energy, state.energy)
        proposal = (x, energy, gradient)
        state, acceptance = accept_or_stay(state, proposal, delta, accept_key)
        return state, Info(
            acceptance=acceptance,
            delta_energy=delta,
            diverged=~(jnp.abs(delta) < 1000),
            cost=Cost.of(gradient=self.num_steps * len(self.integrator.drifts)),
        )

    def _trajectory(self, target: AbstractEnergy, step: Scalar, start: tuple) -> tuple:
        space = as_manifold(target.space)
        first, *between, last = self.integrator.kicks

        def times(c, v):
            return jax.tree.map(lambda a: (c * step).astype(a.dtype) * a, v)

        def kick(p, c, gradient):
            return jax.tree.map(jnp.subtract, p, times(c, gradient))

        def one(_, carry):
            x, p, energy, gradient = carry
            for d, c in zip(self.integrator.drifts, (*between, last + first), strict=True):
                x = space.retract(x, times(d, self.mass.velocity(p)))
                gradient, energy = gradient_and_terms(target, x)
                p = kick(p, c, gradient)
            return x, p, energy, gradient

        x, p, energy, gradient = start
        start = (x, kick(p, first, gradient), energy, gradient)
        x, p, energy, gradient = jax.lax.fori_loop(0, self.num_steps, one, start)
        p = kick(p, -first, gradient)
        return space.project(x), p, energy, gradient
