r"""Kullback–Leibler divergences of a normalised model q from a target p = e^{−U}/Z, either way.

- **Forward**, E_p[−log q] + const: needs points of p (data, or walkers of a chain); covers every
  mode that has points.
- **Reverse**, E_q[log q + U] = KL(q‖p) − log Z: needs no data, but may drop modes, and a rising
  ESS on what is left is a lie.

Both are in nats, not divided by the dimension: the reverse one is −E log w, an upper bound of
−log Z. The **path gradient** of the reverse one drops the score E_q[∂ log q] = 0: with x = f_θ(z),

    ∇_θ [ U(x) + log q_θ(x) ] = ∂_x (U + log q_θ)·∂_θ x + (∂_θ log q_θ)(x),

only the first term is kept, which vanishes sample by sample when q = p.
"""

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
from jaxtyping import PyTree

from .._tree import Frozen
from .._typing import PRNGKey, Scalar, X
from ..flows import sample_with_energy
from ..targets import AbstractDistribution, AbstractEnergy
from .base import AbstractObjective


class ForwardKL(AbstractObjective):
    """The loss −log q(x) of a point x of the target.

    Parameters
    ----------
    distribution
        Maps the model to q (a Module or `eqx.Partial`): `eqx.Partial(Pushforward, base)` for a
        bijection.
    """

    distribution: Callable[[PyTree], AbstractDistribution]

    def __call__(self, model: PyTree, sample: X, *, key: PRNGKey) -> tuple[Scalar, None]:
        return self.distribution(model)(sample), None


class ReverseKL(AbstractObjective):
    r"""The loss U(x) + log q(x) at a sample x ~ q of the model, drawn here.

    The source has nothing to give: `NoData()`.

    Parameters
    ----------
    distribution
        Maps the model to q, whose `sample` is differentiable in the model.
    target
        U.
    path_gradient
        Keep only the gradient through x (default): no variance where q = p, at the price of one
        density evaluation more. The value of the loss is the same.

    References
    ----------
    Roeder, Wu and Duvenaud 2017; Vaitl, Nicoli, Nakajima and Kessel 2022.
    """

    references: ClassVar[tuple[str, ...]] = ("roeder2017",)
    distribution: Callable[[PyTree], AbstractDistribution]
    target: AbstractEnergy
    path_gradient: bool = eqx.field(static=True, default=True)

    def __call__(self, model: PyTree, sample: PyTree, *, key: PRNGKey) -> tuple[Scalar, None]:
        q = self.distribution(model)
        x, energy = sample_with_energy(q, key=key)
        log_q = Frozen(q).value.log_prob(x) if self.path_gradient else -energy.sum()
        return self.target(x) + log_q, None
