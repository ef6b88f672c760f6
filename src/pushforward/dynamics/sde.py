r"""The SDE of an interpolant with any noise: dX = (v + ε s) dt + √(2ε) dW, one step at a time.

Every ε has the same marginals, so it is a number of the sampler and not of the training. The drift
is v − (ε/α) e/s0² from ONE evaluation of the network. Marched down the grid a step is that of the
backward SDE, which has the same laws: x + h v + |h| ε s + √(2ε|h|) ξ.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Context, PRNGKey, Scalar, Time, X
from ..paths.decoding import Predictor
from ..paths.epsilon import Epsilon, NoiseLevel
from .base import AbstractTransition, Info, State

Drift = Callable[[Time, X], X]


class AbstractSDEStep(eqx.Module):
    """How one step of dX = drift dt + √(2ε) dW is taken, given its noise ξ ~ N(0, 1)."""

    evaluations: ClassVar[int]

    @abstractmethod
    def __call__(self, drift: Drift, epsilon, t: Time, t_next: Time, x: X, noise: X) -> X:
        """Return X at t_next from x at t; `epsilon` is a function of t."""


class EulerMaruyama(AbstractSDEStep):
    """x + h drift(t, x) + √(2 ε(t) |h|) ξ: weak order 1, one evaluation.

    Good values: 250 steps; on `Trigonometric` its mean is off by O(h) too.
    """

    evaluations: ClassVar[int] = 1

    def __call__(self, drift: Drift, epsilon, t: Time, t_next: Time, x: X, noise: X) -> X:
        step = t_next - t
        return x + step * drift(t, x) + jnp.sqrt(2 * epsilon(t) * jnp.abs(step)) * noise


class StochasticHeun(AbstractSDEStep):
    r"""Weak order 2, two evaluations (default).

    n = √(2 ε(t + h/2) |h|) ξ, k1 = drift(t, x), k2 = drift(t + h, x + h k1 + n), and the step is
    x + h (k1 + k2)/2 + n: the SAME ξ in both stages. Good values: 25 to 50 steps.
    """

    evaluations: ClassVar[int] = 2

    def __call__(self, drift: Drift, epsilon, t: Time, t_next: Time, x: X, noise: X) -> X:
        step = t_next - t
        kick = jnp.sqrt(2 * epsilon(t + 0.5 * step) * jnp.abs(step)) * noise
        first = drift(t, x)
        second = drift(t_next, x + step * first + kick)
        return x + (0.5 * step) * (first + second) + kick


class InterpolantSDE(AbstractTransition):
    r"""dX = (v + ε s) dt + √(2ε) dW along the path of a trained `Predictor`.

    Parameters
    ----------
    predictor
        What was trained, its path and what its output means.
    epsilon
        ε_t. `NoiseLevel()` (default, finite at both ends) runs on [0, 1]; `ScoreSDE` is infinite
        at t = 0 and `ConstantEpsilon` at t = 1. A scan over noise is one stacked kernel:
        `eqx.tree_at(lambda k: k.epsilon.scale, kernel, scales)` with
        `simulate(..., stacked=lambda k: k.epsilon)`.
    solver
        `StochasticHeun()` or `EulerMaruyama()`.

    References
    ----------
    Albergo, Boffi and Vanden-Eijnden 2023 (arXiv 2303.08797), eq. 2.33; Ma et al. 2024
    (arXiv 2401.08740), eq. 4.
    """

    references: ClassVar[tuple[str, ...]] = ("interpolants2023", "sit")
    predictor: Predictor
    epsilon: Epsilon = eqx.field(default_factory=NoiseLevel)
    solver: AbstractSDEStep = StochasticHeun()

    def drift(
        self, t: Time, x: X, sign: Scalar, *, context: Context = None, key: PRNGKey | None = None
    ) -> X:
        """Return v + sign·ε s, from one evaluation; sign −1 is the backward SDE."""
        path = self.predictor.path
        found = self.predictor(t, x, context=context, key=key)
        rate = self.epsilon.over_alpha(path, t) / path.base_scale**2
        return found.velocity - (sign * rate) * found.noise

    def begin(self, x: X, t: Time, energy: Any, key: PRNGKey):
        return None, None

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        path, sign = self.predictor.path, jnp.sign(t_next - t)

        def drift(s: Time, x: X) -> X:
            return self.drift(s, x, sign, context=state.context)

        def epsilon(s: Time) -> Scalar:
            return self.epsilon.value(path, s)

        noise = jax.random.normal(key, state.x.shape, state.x.dtype)
        x = self.solver(drift, epsilon, t, t_next, state.x, noise)
        here = epsilon(t)
        bad = ~jnp.all(jnp.isfinite(x)) | ~(here >= 0)
        evaluations = jnp.asarray(self.solver.evaluations, jnp.int32)
        return state.moved(x), Info(evaluations=evaluations, epsilon=here, t=t, failed=bad)

    def reversed(self) -> "InterpolantSDE":
        """Return itself: down the grid it is the backward SDE, with the same marginals."""
        return self

    def failure(self, info: Info) -> str:
        """Name the noise and the end of time that it does not reach."""
        name, t = self.epsilon.name, float(np.asarray(info.t))
        return (
            f"a step of {type(self.solver).__name__} from t = {t:.6g} with {name}, epsilon = "
            f"{float(np.asarray(info.epsilon)):.4g}, gave a sample that is not finite. epsilon "
            "must be >= 0 and finite, and epsilon/alpha finite at every grid point: begin at "
            "t = 1e-3 (ScoreSDE), end at t = .995 (ConstantEpsilon), or use NoiseLevel()"
        )
