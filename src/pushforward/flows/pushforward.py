r"""Distributions that can be sampled with their density: what flows are to those who weigh them.

A **flow** (`AbstractFlow`) hands out a sample with its log-density from one pass; what a kernel
or a loss would otherwise pay twice. `Pushforward` is the flow of a bijection f: x = f(z), z ~ r,
log q(x) = log r(z) − log|det ∂f/∂z|.
"""

from abc import abstractmethod

from jaxtyping import Array, Float

from .._errors import InputError
from .._typing import PRNGKey, Scalar, X
from ..spaces import AbstractBijection, AbstractSpace
from ..targets import AbstractDistribution, energy_terms


class AbstractFlow(AbstractDistribution):
    """A distribution whose samples come with their log-density."""

    @abstractmethod
    def sample_with_log_prob(self, *, key: PRNGKey) -> tuple[X, Scalar]:
        """Draw x and return (x, log q(x))."""

    def sample(self, *, key: PRNGKey) -> X:
        return self.sample_with_log_prob(key=key)[0]


class Pushforward(AbstractFlow):
    r"""The law of f(z), z ~ base: U(x) = U_base(f^{-1}(x)) − log|det ∂f^{-1}/∂x|.

    As a model, train the bijection alone: `ForwardKL(eqx.Partial(Pushforward, base))`.

    Parameters
    ----------
    base
        A normalised law r on the space of the bijection.
    bijection
        f; where its inverse did not converge, U is NaN.
    """

    base: AbstractDistribution
    bijection: AbstractBijection
    space: AbstractSpace

    def __init__(self, base: AbstractDistribution, bijection: AbstractBijection):
        if not isinstance(base, AbstractDistribution):
            raise InputError(
                f"base is {type(base).__name__}, expected an AbstractDistribution: "
                "Pushforward(Normal(shape), bijection)"
            )
        if not isinstance(bijection, AbstractBijection):
            raise InputError(
                f"bijection is {type(bijection).__name__}, expected an AbstractBijection: "
                "FromFlowjax(flow.bijection) for one of flowjax"
            )
        self.base, self.bijection, self.space = base, bijection, base.space

    def sample_with_log_prob(self, *, key: PRNGKey) -> tuple[X, Scalar]:
        z = self.base.sample(key=key)
        x, log_det = self.bijection.forward(z)
        return x, self.base.log_prob(z) - log_det

    def __call__(self, x: X) -> Scalar:
        z, log_det = self.bijection.inverse(x)
        return self.base(z) - log_det


def sample_with_energy(
    distribution: AbstractDistribution, *, key: PRNGKey
) -> tuple[X, Float[Array, "..."]]:
    """Draw x and return it with the `energy_terms` of the distribution, in one pass for flows."""
    if isinstance(distribution, AbstractFlow):
        x, log_prob = distribution.sample_with_log_prob(key=key)
        return x, -log_prob
    x = distribution.sample(key=key)
    return x, energy_terms(distribution, x)
