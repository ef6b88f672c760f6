r"""Two-time objectives: the residual that is squared, and where gradients stop.

A residual compares something of the trained map at x = I_s with a target made by the same map, by a
teacher or by the path; `dynamics.map_defects` has the defects. Whether gradients run through the
target is a policy: the papers' losses differ in little else.

- **Lagrangian** (`LSD`, `LMD`): the end point moves with the drift, ∂_t X_{s,t}(x) =
  b_t(X_{s,t}(x)). X and ∂_t X come from one JVP of the whole map, and the drift is taken where the
  map arrives, never at I_t.
- **Semigroup** (`PSD`): one jump equals two, X_{s,t} = X_{u,t} ∘ X_{s,u}. With u = g s + (1 − g) t
  and X = x + (t − s) v, dividing by t − s leaves
  v_{s,t}(x) = (1 − g) v_{s,u}(x) + g v_{u,t}(X_{s,u}(x)): no derivative is needed. Of the end
  points' distance, the factor (t − s)² is dropped on purpose: it only adds variance.
- **Direct** (`FMM`): without a drift, go back from I_t to time s and come forward again.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from .._errors import InputError
from .._typing import PRNGKey, Scalar, Time, X
from ..dynamics.map_defects import end_tangent
from ..networks.flow_map import AbstractFlowMap, extra_arguments
from ..paths.base import AbstractInterpolant
from .base import AbstractObjective


class AbstractStop(eqx.Module):
    """Where the gradient of a residual stops."""

    @abstractmethod
    def target(self, value: Any) -> Any:
        """Return the target, constant under differentiation or not."""


class StopNothing(AbstractStop):
    """Gradients run through everything."""

    def target(self, value: Any) -> Any:
        return value


class StopTarget(AbstractStop):
    """The whole target is a number: as a copy of the parameters that is not trained gives it."""

    def target(self, value: Any) -> Any:
        return jax.lax.stop_gradient(value)


class AbstractMapObjective(AbstractObjective):
    """The squared residual of one `MapPair`: mean over coordinates, summed over its parts."""

    path: eqx.AbstractVar[AbstractInterpolant]
    needs_diagonal: eqx.AbstractClassVar[bool]

    @abstractmethod
    def residual(self, model: Any, pair: Any, *, key: PRNGKey) -> tuple:
        """Return the vectors that are squared, most often one."""

    def loss(self, model: Any, pair: Any, *, key: PRNGKey) -> Scalar:
        """Return Σ over parts of the mean square."""
        if not isinstance(model, AbstractFlowMap):
            raise InputError(
                f"the model is {type(model).__name__}, expected an AbstractFlowMap: FlowMap(net)"
            )
        squares = [jnp.mean(part**2) for part in self.residual(model, pair, key=key)]
        return sum(squares[1:], start=squares[0])

    def __call__(self, model: Any, pair: Any, *, key: PRNGKey) -> tuple[Scalar, dict]:
        loss = self.loss(model, pair, key=key)
        if self.needs_diagonal and not model.tied:
            name = type(self).__name__
            raise InputError(
                f"{name} alone leaves v_tt unconstrained (the identity has loss 0): write "
                f"WithDiagonal(Diagonal(path), {name}(path)), or tie the map to a drift, "
                "TiedFlowMap(drift, net)"
            )
        return loss, {"square": loss}

    def noise(self, x: X, key: PRNGKey) -> X:
        """Return z ~ N(0, 1) of the path, for affine ones unused."""
        return jax.random.normal(jax.random.fold_in(key, 0), x.shape, x.dtype)


class LSD(AbstractMapObjective):
    r"""|∂_t X_{s,t}(x) − sg(v_{t,t}(X_{s,t}(x)))|², x = I_s: Lagrangian self-distillation.

    Add `Diagonal(path)`, as in `WithDiagonal(Diagonal(path), LSD(path))`, unless the map is tied to
    a drift: alone, it leaves v_{t,t} free, and the identity is a minimum too.

    Parameters
    ----------
    path
        The interpolant.
    stop
        `StopTarget()` (default: the drift and the point where it is taken are numbers) or
        `StopNothing()`.

    References
    ----------
    Boffi, Albergo and Vanden-Eijnden 2025 (arXiv 2505.18825v2), LSD: the best of its losses there.
    """

    references: ClassVar[tuple[str, ...]] = ("flowmaps2025",)
    needs_diagonal: ClassVar[bool] = True
    path: AbstractInterpolant
    stop: AbstractStop = StopTarget()

    def residual(self, model: Any, pair: Any, *, key: PRNGKey) -> tuple:
        x = self.path.state(pair.s, pair.x0, pair.x1, self.noise(pair.x1, key))
        y, tangent = end_tangent(model, pair.s, pair.t, x, context=pair.context)
        drift = model.drift(pair.t, y, **extra_arguments(pair.context))
        return (tangent - self.stop.target(drift),)


class LMD(AbstractMapObjective):
    r"""|∂_t X_{s,t}(x) − b_t(X_{s,t}(x))|², x = I_s: Lagrangian map distillation of a drift b.

    With a `FlowMap` add `Diagonal(path, drift)`; a `TiedFlowMap(drift, net)` needs nothing else.

    Parameters
    ----------
    path
        The interpolant, for the law of x only: any law that covers will do.
    drift
        b(t, x): an analytic drift or a frozen network.
    stop
        `StopNothing()` (default: gradients run through b's input) or `StopTarget()`.

    References
    ----------
    Boffi, Albergo and Vanden-Eijnden 2024 (arXiv 2406.07507), LMD.
    """

    references: ClassVar[tuple[str, ...]] = ("flowmaps2024",)
    needs_diagonal: ClassVar[bool] = False
    path: AbstractInterpolant
    drift: Callable
    stop: AbstractStop = StopNothing()

    def residual(self, model: Any, pair: Any, *, key: PRNGKey) -> tuple:
        x = self.path.state(pair.s, pair.x0, pair.x1, self.noise(pair.x1, key))
        y, tangent = end_tangent(model, pair.s, pair.t, x, context=pair.context)
        drift = self.drift(pair.t, y, **extra_arguments(pair.context))
        return (tangent - self.stop.target(drift),)


class AbstractFraction(eqx.Module):
    """A law of g in u = g s + (1 − g) t."""

    @abstractmethod
    def sample(self, t: Time, *, key: PRNGKey) -> Scalar:
        """Draw g in the dtype of t."""


class Half(AbstractFraction):
    """g = 1/2, half-way (PSD-M)."""

    def sample(self, t: Time, *, key: PRNGKey) -> Scalar:
        return jnp.full_like(t, 0.5)


class UniformFraction(AbstractFraction):
    """g ~ U(0, 1) (PSD-U)."""

    def sample(self, t: Time, *, key: PRNGKey) -> Scalar:
        return jax.random.uniform(key, (), t.dtype)


class PSD(AbstractMapObjective):
    r"""|v_{s,t}(x) − sg((1 − g) v_{s,u}(x) + g v_{u,t}(X_{s,u}(x)))|², x = I_s.

    Needs `Diagonal(path)` beside it. A map that is b on the diagonal and the identity off it makes
    this loss zero too: look at the Lagrangian defect before trusting a run.

    Parameters
    ----------
    path
        The interpolant.
    fraction
        `UniformFraction()` (default) or `Half()`.
    stop
        `StopTarget()` (default) or `StopNothing()`.
    endpoint
        True multiplies by (t − s)²: the distance of the end points.

    References
    ----------
    Boffi, Albergo and Vanden-Eijnden 2025 (arXiv 2505.18825v2), PSD.
    """

    references: ClassVar[tuple[str, ...]] = ("flowmaps2025",)
    needs_diagonal: ClassVar[bool] = True
    path: AbstractInterpolant
    fraction: AbstractFraction = UniformFraction()
    stop: AbstractStop = StopTarget()
    endpoint: bool = eqx.field(static=True, default=False)

    def residual(self, model: Any, pair: Any, *, key: PRNGKey) -> tuple:
        s, t, extra = pair.s, pair.t, extra_arguments(pair.context)
        g = self.fraction.sample(t, key=jax.random.fold_in(key, 1))
        u = g * s + (1 - g) * t
        x = self.path.state(s, pair.x0, pair.x1, self.noise(pair.x1, key))
        first = model.velocity(s, u, x, **extra)
        second = model.velocity(u, t, model(s, u, x, **extra), **extra)
        two = self.stop.target((1 - g) * first + g * second)
        apart = model.velocity(s, t, x, **extra) - two
        return ((t - s) * apart if self.endpoint else apart,)


class FMM(AbstractMapObjective):
    r"""|∂_t X_{s,t}(y) − İ_t|² + |X_{s,t}(y) − I_t|², y = X_{t,s}(I_t), (s, t) on the whole square.

    Needs no teacher and no diagonal term; gradients run through everything, y included. At the flow
    map the first term is E Var(İ_t | I_t), as that of `Diagonal`, and the second is zero.

    Parameters
    ----------
    path
        The interpolant. Times are `Square()`, the map is `FlowMap(net, both_ways=True)`.

    References
    ----------
    Boffi, Albergo and Vanden-Eijnden 2024 (arXiv 2406.07507), FMM.
    """

    references: ClassVar[tuple[str, ...]] = ("flowmaps2024",)
    needs_diagonal: ClassVar[bool] = False
    path: AbstractInterpolant

    def residual(self, model: Any, pair: Any, *, key: PRNGKey) -> tuple:
        if not model.both_ways:
            raise InputError(
                "FMM goes back and forth, and this map goes forward only: write "
                "FlowMap(net, both_ways=True) and MapPairs(pairs, Square())"
            )
        z = self.noise(pair.x1, key)
        x = self.path.state(pair.t, pair.x0, pair.x1, z)
        y = model(pair.t, pair.s, x, **extra_arguments(pair.context))
        back, tangent = end_tangent(model, pair.s, pair.t, y, context=pair.context)
        return tangent - self.path.target(pair.t, pair.x0, pair.x1, z), back - x
