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

from .._errors import InputError
from .._tree import concrete, scalar_or_law
from .._typing import Context, Count, Flag, PRNGKey, Scalar, Time, X
from ..dynamics import AbstractStationary, Cost, State, no_weight
from ..paths import AbstractAnnealing, at_time
from ..spaces import as_manifold
from ..targets import AbstractEnergy, energy_and_gradient, energy_difference, gradient_and_terms
from .mass import AbstractMass, IdentityMass


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


class HMCInfo(eqx.Module):
    """Info of a trajectory: min(1, e^{−ΔH}), ΔH, whether |ΔH| > 1000, and the cost."""

    acceptance: Scalar
    delta_energy: Scalar
    diverged: Flag
    cost: Cost


def _count(n: Any) -> Count | int:
    if not jnp.issubdtype(getattr(n, "dtype", type(n)), jnp.integer):
        raise InputError(f"num_steps must be an integer, got {n!r}: HMC(action, 0.1, 10)")
    return int(n) if isinstance(n, int | np.integer) else jnp.asarray(n, jnp.int32)


class HMC(AbstractStationary):
    r"""One trajectory of `num_steps` steps of size `step_size`, then Metropolis.

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
    path: AbstractAnnealing | AbstractEnergy
    step_size: Scalar | Callable[[Time], Scalar] = eqx.field(converter=scalar_or_law)
    num_steps: Count | int = eqx.field(default=1, converter=lambda n: _count(n))
    integrator: Splitting = Leapfrog()
    mass: AbstractMass = IdentityMass()

    def __check_init__(self):
        step = None if callable(self.step_size) else concrete(self.step_size)
        if step is not None and not (step > 0).all():
            raise InputError(f"step_size must be positive, got {step}")
        count = concrete(self.num_steps)
        if count is not None and not (count >= 1).all():
            raise InputError(f"num_steps must be at least 1, got {count}")

    def init(
        self, x: X, t: Time, *, context: Context = None, energy: Any = None, key: PRNGKey
    ) -> State:
        """Return the state with U and ∇U at x."""
        held, gradient = energy_and_gradient(self.path.at(t), x)
        return State(x, no_weight(x), context, held if energy is None else energy, gradient)

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        """Run one trajectory at the later of the two times and accept it or stay."""
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
        acceptance = jnp.where(jnp.isnan(delta), 0, jnp.exp(jnp.minimum(-delta, 0)))
        accept = jax.random.uniform(accept_key, (), acceptance.dtype) < acceptance

        new, old = (x, energy, gradient), (state.x, state.energy, state.memory)
        x, energy, gradient = jax.tree.map(lambda a, b: jnp.where(accept, a, b), new, old)
        gradients = self.num_steps * len(self.integrator.drifts)
        diverged = ~(jnp.abs(delta) < 1000)
        info = HMCInfo(acceptance, delta, diverged, Cost.of(gradient=gradients))
        return State(x, state.log_weight, state.context, energy, gradient), info

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

    def reversed(self) -> "HMC":
        """Return itself: detailed balance."""
        return self

    def explain(self, info: HMCInfo) -> str:
        """Return the sentence for a failed trajectory."""
        return "an HMC trajectory failed: reduce step_size"
