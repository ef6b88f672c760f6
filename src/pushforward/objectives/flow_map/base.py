r"""What two-time objectives share: the residual that is squared, and where gradients stop.

A residual compares something of the trained map at x = I_s with a target made by the same map, by a
teacher or by the path. Whether gradients run through the target is a policy, an object and never a
string: the papers' losses differ in little else.
"""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ..._errors import InputError
from ..._typing import PRNGKey, Scalar, X
from ...networks.flow_map import AbstractFlowMap
from ...paths.interpolants import AbstractInterpolant
from ..base import AbstractObjective


class AbstractStop(eqx.Module):
    """Where the gradient of a residual stops."""

    @abstractmethod
    def target(self, value: Any) -> Any:
        """Return the target, constant under differentiation or not."""


class StopNothing(AbstractStop):
    """Gradients run through everything."""

    def target(self, value: Any) -> Any:
        """Return the target as it is."""
        return value


class StopTarget(AbstractStop):
    """The whole target is a number: as a copy of the parameters that is not trained gives it."""

    def target(self, value: Any) -> Any:
        """Return the target behind `stop_gradient`."""
        return jax.lax.stop_gradient(value)


class MapInfo(eqx.Module):
    """Info: the squared residual."""

    square: Scalar


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

    def __call__(self, model: Any, pair: Any, *, key: PRNGKey) -> tuple[Scalar, MapInfo]:
        """Return the loss of one `MapPair` alone, and info."""
        loss = self.loss(model, pair, key=key)
        if self.needs_diagonal and not model.tied:
            name = type(self).__name__
            raise InputError(
                f"{name} alone leaves v_tt unconstrained (the identity has loss 0): write "
                f"WithDiagonal(Diagonal(path), {name}(path)), or tie the map to a drift, "
                "TiedFlowMap(drift, net)"
            )
        return loss, MapInfo(loss)

    def noise(self, x: X, key: PRNGKey) -> X:
        """Return z ~ N(0, 1) of the path, for affine ones unused."""
        return jax.random.normal(jax.random.fold_in(key, 0), x.shape, x.dtype)
