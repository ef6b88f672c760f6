r"""Kullback–Leibler divergences of a normalised model q from a target p = e^{−U}/Z, either way.

- **Forward**, E_p[−log q] + const: needs points of p (data, or walkers of a chain); covers every
  mode that has points.
- **Reverse**, E_q[log q + U] = KL(q‖p) − log Z: needs no data, but may drop modes, and a rising
  ESS then only describes the modes that are left.

Both are in nats, not divided by the dimension: the reverse one is −E log w, an upper bound of
−log Z. The **path gradient** of the reverse one drops the score E_q[∂ log q] = 0: with x = f_θ(z),

    ∇_θ [ U(x) + log q_θ(x) ] = ∂_x (U + log q_θ)·∂_θ x + (∂_θ log q_θ)(x),

only the first term is kept, which vanishes sample by sample when q = p.

**Bridges** train on their work, ⟨W⟩ − ΔF ≥ 0 with equality for the exact transport: E_a W_f = ΔF +
KL(p_a ∥ bridge back from p_b), so the mean work is a loss whose gradient needs no normalisation.
Both directions together are the mean work of a swap: the symmetric KL, which also punishes what
the forward direction never visits.
"""

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._tree import Frozen
from .._typing import PRNGKey, Scalar, X
from ..flows import sample_with_energy
from ..mcmc import AbstractBridge, backward_works, forward_works
from ..targets import AbstractDistribution, AbstractEnergy, Ladder
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


class BridgeKL(AbstractObjective):
    r"""The mean over pairs of W_f(x_r) + W_b(x_{r+1}), or of W_f(x_r) alone.

    The model is the bridge stacked over the pairs; a sample is the whole ladder, drawn from running
    replicas (`sources.RunningChains`) or from `Arrays` of them. All pairs train at once. Recorded:
    the mean works of both directions, and how many were not finite (these have no gradient).

    Parameters
    ----------
    ladder
        The rungs, never trained.
    symmetric
        Whether the way back counts: one inverse a sample more.

    References
    ----------
    Abbott et al. 2024 (arXiv 2404.11674).
    """

    ladder: Ladder
    symmetric: bool = eqx.field(static=True, default=True)

    def __call__(self, model: AbstractBridge, sample: X, *, key: PRNGKey):
        keys = [jax.random.fold_in(key, k) for k in range(2)]
        up = forward_works(model, self.ladder, sample, key=keys[0])
        down = jnp.zeros_like(up)
        if self.symmetric:
            down = backward_works(model, self.ladder, sample, key=keys[1])
        both = jnp.stack([up, down])
        finite = jnp.isfinite(both)
        up, down = jnp.mean(jnp.where(finite, both, 0), axis=1)
        lost = jnp.sum(~finite).astype(jnp.int32)
        return up + down, {"forward": up, "backward": down, "not_converged": lost}
