r"""Laws of quenched disorder; a draw is leaves of the model, many draws are one stacked model.

Sample s is drawn from fold_in(key, s): it is the same sample whatever the number of samples, the
temperature and the order in which they run.
"""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp

from pushforward._errors import InputError
from pushforward._fields import non_negative
from pushforward._tree import scalar
from pushforward._typing import Array, Float, PRNGKey, Scalar

from .model import DisorderFields, SpinFermion


class AbstractDisorder(eqx.Module):
    """A law of the fields λ_r, v_r and r_r."""

    @abstractmethod
    def draw(self, model: SpinFermion, *, key: PRNGKey) -> DisorderFields:
        """Draw the fields of one sample; what the law leaves alone is the model's own."""


class GaussianDisorder(AbstractDisorder):
    r"""Independent at every site: λ_r = g + g' ξ_r, v_r -> v_r + v ξ'_r, r_r -> r_r + r ξ''_r.

    ξ, ξ', ξ'' ~ N(0, 1); the potential is the same in both bands.

    Parameters
    ----------
    g, g_prime
        Mean and width of the coupling. Good values: 0 and 1 for interaction disorder alone.
    potential, mass
        Widths of the noise on v and r.
    """

    g: Float[Array, ""] = eqx.field(converter=scalar, default=0.0)
    g_prime: Scalar = non_negative(default=1.0, converter=scalar)
    potential: Scalar = non_negative(default=0.0, converter=scalar)
    mass: Scalar = non_negative(default=0.0, converter=scalar)

    def draw(self, model: SpinFermion, *, key: PRNGKey) -> DisorderFields:
        noise = jax.random.normal(key, (3, *model.shape), model.coupling.dtype)
        coupling = self.g + self.g_prime * noise[0]
        potential = model.potential + (self.potential * noise[1])[None]
        return DisorderFields(coupling, potential, model.mass + self.mass * noise[2])


def disorder_samples(
    law: AbstractDisorder, model: SpinFermion, num: int, *, key: PRNGKey
) -> SpinFermion:
    """Return `num` samples as ONE model whose disorder leaves have a leading sample axis.

    `simulate(kernel, x0, stacked=lambda k: k.path.model.disorder)` runs all of them in one vmap.
    """
    if num < 1:
        raise InputError(f"num is {num}, expected at least one sample")

    def one(s: Array) -> DisorderFields:
        return law.draw(model, key=jax.random.fold_in(key, s))

    return model.with_disorder(jax.vmap(one)(jnp.arange(num)))
