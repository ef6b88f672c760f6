r"""Annealed Langevin dynamics with a learned drift: NETS; untrained, AIS.

dX = [b_t(X) − ε_t ∇U_t(X)] dt + √(2ε_t) dW, and any observable of ρ_t is E[e^A h]/E[e^A] for ANY b.
`TwoKernel` weights the Euler–Maruyama step exactly: A sums the logs of the ratio of the backward to
the forward transition density, so E e^A = Z_1/Z_0 at every step size, and neither a divergence nor
∂_t U is needed. `ContinuousTime` integrates dA = r dt instead: its log Z is biased by O(step), and
its ESS does not show the bias.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp

from .._errors import InputError
from .._fields import non_negative
from .._tree import concrete, scalar_or_law
from .._typing import PRNGKey, Scalar, Time, V, X
from ..networks import Zero
from ..paths import AbstractAnnealing, at_time
from ..spaces import as_manifold
from ..targets import energy_and_gradient, energy_difference
from .base import AbstractTwoKernel, Cost, Info, State, zero_weight_behind_walls
from .rate import transport_rate


class _End(NamedTuple):
    """What is known at one end of a step: the energy's terms, the gradient (cut), the drift."""

    energy: Any
    score: V
    drift: V


class AbstractWeight(eqx.Module):
    """How a Langevin step changes the log-weight."""

    num_divergences: ClassVar[int]

    @abstractmethod
    def increment(self, kernel, t, x, left: _End, t_next, right: _End, noise) -> Scalar:
        """Return ΔA of one step."""


class TwoKernel(AbstractWeight):
    r"""Exact at every step size (default).

    ΔA = U_t(x) − U_t'(x') + ξ·δ − |δ|²/2, δ = √(|D|/2ε) [ sgn(D)(b' − b) + ε(g + g') ], D = t' − t:
    log[ e^{−U_t'(x')} N(x; x' − D b' − |D|ε g', 2ε|D|) ] − log[ e^{−U_t(x)} N(x'; ...) ] without
    the cancellation. Antisymmetric under reversal. Good values: 200 to 500 steps.
    """

    num_divergences: ClassVar[int] = 0

    def increment(self, kernel, t, x, left: _End, t_next, right: _End, noise) -> Scalar:
        step = t_next - t
        epsilon = kernel.epsilon_between(t, t_next)
        inner = as_manifold(kernel.path.space).inner
        delta = jnp.sqrt(jnp.abs(step) / (2 * epsilon)) * (
            jnp.sign(step) * (right.drift - left.drift) + epsilon * (left.score + right.score)
        )
        work = energy_difference(right.energy, left.energy)
        return inner(noise, delta) - 0.5 * inner(delta, delta) - work


class ContinuousTime(AbstractWeight):
    r"""The continuous formula ΔA = D r_t(x) at the state BEFORE the step; biased by O(D).

    Never the default: on forty modes a trained net showed ESS .60 with log Z = −.43 under it while
    its exact ESS was .07. Results made with it are called "continuous-time".
    """

    num_divergences: ClassVar[int] = 1

    def increment(self, kernel, t, x, left: _End, t_next, right: _End, noise) -> Scalar:
        return (t_next - t) * kernel.log_weight_rate(t, x)


class Langevin(AbstractTwoKernel):
    r"""Euler–Maruyama steps x' = x + D b − |D| ε g + √(2ε|D|) ξ along a path, with weights.

    A hard wall (U = +inf) absorbs the walkers that step behind it, while the backward kernel still
    comes from there: log Z is then too low at any step. `compose(Transport(path), HMC(path, ...))`
    is exact with walls.

    Parameters
    ----------
    path
        The annealing U_t.
    drift
        b(t, x, g), g = ∇U_t(x); `Zero()` gives AIS.
    epsilon
        ε > 0, a number or a function of t (taken at the midpoint of a step); units of length² a
        unit of t. Good value: 1 to 50 times the local variance, `lambda t: 30 * variance(t)`.
    weight
        `TwoKernel()` (exact) or `ContinuousTime()`.
    score
        What the steps use for g: None for g itself, or `ScoreCut(variance)`, which keeps walkers
        of steep energies from overshooting. The two-kernel weight is exact for any such field.

    References
    ----------
    Albergo and Vanden-Eijnden 2024 (arXiv 2410.02711), eqs. 8-10; two-kernel form derived.
    """

    references: ClassVar[tuple[str, ...]] = ("nets", "neal2001")
    start_gradients: ClassVar[int] = 1
    failure: ClassVar[str] = "a Langevin step gave a weight that is not a number: shorten the steps"
    path: AbstractAnnealing
    drift: Callable = Zero()
    epsilon: Scalar | Callable[[Time], Scalar] = non_negative(
        of_time=True, converter=scalar_or_law, default=1.0
    )
    weight: AbstractWeight = TwoKernel()
    score: Callable[[Time, V], V] | None = None

    def __check_init__(self):
        known = None if callable(self.epsilon) else concrete(self.epsilon)
        if known is not None and isinstance(self.weight, TwoKernel) and (known == 0).any():
            raise InputError(
                f"epsilon = {known} with TwoKernel, expected a positive number: without noise use "
                "Transport(path, drift), or weight=ContinuousTime()"
            )

    def epsilon_between(self, t: Time, t_next: Time) -> Scalar:
        """Return ε at the midpoint: one number a step, or forward and backward would differ."""
        return at_time(self.epsilon, 0.5 * (t + t_next))

    def begin(self, x: X, t: Time, energy: Any, key: PRNGKey):
        end = self._end(t, x)
        return end.energy if energy is None else energy, (end.score, end.drift)

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        x, space = state.x, as_manifold(self.path.space)
        left = _End(state.energy, *state.memory)
        step = t_next - t
        epsilon = self.epsilon_between(t, t_next)
        noise = space.noise(x, key=key)
        move = step * left.drift - (jnp.abs(step) * epsilon) * left.score
        x_next = space.retract(x, move + jnp.sqrt(2 * epsilon * jnp.abs(step)) * noise)

        right = self._end(t_next, x_next)
        increment = self.weight.increment(self, t, x, left, t_next, right, noise)
        increment = zero_weight_behind_walls(increment, left.energy, right.energy)
        memory = (right.score, right.drift)
        cost = Cost.of(gradient=1, divergence=self.weight.num_divergences)
        return state.moved(x_next, right.energy, memory, increment=increment), Info(cost=cost)

    def log_weight_between(self, t: Time, x: X, t_next: Time, x_next: X) -> Scalar:
        """Return the two-kernel ΔA of given points, ξ recomputed from them (for `LogVariance`)."""
        left, right = self._end(t, x), self._end(t_next, x_next)
        step, epsilon = t_next - t, self.epsilon_between(t, t_next)
        move = step * left.drift - (jnp.abs(step) * epsilon) * left.score
        noise = (x_next - x - move) / jnp.sqrt(2 * epsilon * jnp.abs(step))
        increment = TwoKernel().increment(self, t, x, left, t_next, right, noise)
        return zero_weight_behind_walls(increment, left.energy, right.energy)

    def log_weight_rate(self, t: Time, x: X, *, key: PRNGKey | None = None) -> Scalar:
        return transport_rate(self.path, self.drift, t, x, key)

    def reversed(self) -> "Langevin":
        if not isinstance(self.weight, TwoKernel):
            raise InputError("the continuous-time weight has no exact reversal: use TwoKernel()")
        return self

    def _end(self, t: Time, x: X) -> _End:
        energy, gradient = energy_and_gradient(self.path.at(t), x)
        score = gradient if self.score is None else self.score(t, gradient)
        return _End(energy, score, self.drift(t, x, gradient))
