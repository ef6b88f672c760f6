r"""Training a bridge on its work: ⟨W⟩ − ΔF ≥ 0, with equality for the exact transport.

E_a W_f = ΔF + KL(p_a ∥ bridge back from p_b), so the mean work of a bridge is a loss whose gradient
needs no normalisation. Both directions together are the mean work D of a swap: the symmetric KL,
which also punishes what the forward direction never visits.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from .._typing import PRNGKey, X
from ..mcmc import AbstractBridge, backward_works, forward_works
from ..targets import Ladder
from .base import AbstractObjective


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
