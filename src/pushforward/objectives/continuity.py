r"""The continuity equation as a loss: E_{t, x~q_t} | r_t(x) + ∂_t F_t |², for ANY q_t.

A process along an annealing produces log-weight at the rate r. If r + ∂_t F = 0 everywhere, the
process transports ρ_t and the weights are constant: ESS = 1. The same loss serves SDEs and jump
processes, since each process computes its own r (NETS arXiv 2410.02711 eq. 14, LEAPS 2502.10843).

Over a group of walkers the variance takes the place of F: Var r at one t, or along stored paths
Var A, A the exact two-kernel weight. If every walker has the same weight, forward and backward path
measures agree. The paths x_0..x_N are constants, those of an older model included: only the two
kernels are differentiated, ξ being recomputed from the points. No divergence is taken, which makes
`LogVariance` the objective of choice for d >= 100.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._errors import InputError
from .._tree import scalar
from .._typing import PRNGKey, Scalar
from ..dynamics import AbstractProcess, AbstractTwoKernel, Trajectory
from .base import AbstractObjective


class AbstractDivergence(eqx.Module):
    """How the divergence in r is taken."""

    @abstractmethod
    def keys(self, key: PRNGKey) -> tuple[PRNGKey | None, PRNGKey | None]:
        """Return the keys of the two factors of |r + ∂F|²; None is the exact divergence."""


class ExactDivergence(AbstractDivergence):
    """Exact divergence, d JVPs: for d <= 64."""

    def keys(self, key: PRNGKey) -> tuple[PRNGKey | None, PRNGKey | None]:
        return None, None


class HutchinsonDivergence(AbstractDivergence):
    """Two independent probes and their product: unbiased, where one probe squared is not."""

    def keys(self, key: PRNGKey) -> tuple[PRNGKey | None, PRNGKey | None]:
        return jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)


class Continuity(AbstractObjective):
    r"""| r_t(x) + ∂_t F_t |² of a `DriftAndFreeEnergy` at one point (t, x).

    Parameters
    ----------
    process
        Maps the model to a process with a `log_weight_rate`. Only the model is trained.
    clip
        Largest residual² that counts; a cut in the LOSS only, against rare far walkers. Good
        values 1e3 to 1e4.
    divergence
        `ExactDivergence()`, or `HutchinsonDivergence()` for d > 64.
    """

    references: ClassVar[tuple[str, ...]] = ("nets",)
    process: Callable[[PyTree], AbstractProcess]
    clip: Scalar = eqx.field(default=1e4, converter=scalar)
    divergence: AbstractDivergence = ExactDivergence()

    def __call__(self, model: PyTree, sample: PyTree, *, key: PRNGKey):
        t, kernel = sample.t, self.process(model)
        rate = free_energy_rate(model, t)
        first, second = self.divergence.keys(key)
        residual = kernel.log_weight_rate(t, sample.x, key=first) + rate
        other = residual
        if second is not None:
            other = kernel.log_weight_rate(t, sample.x, key=second) + rate
        square = residual * other
        clip = self.clip.astype(square.dtype)
        clipped = (square > clip).astype(square.dtype)
        info = {"residual": jnp.abs(residual), "free_energy_rate": rate, "clipped": clipped}
        return jnp.minimum(square, clip), info


class ContinuityVariance(AbstractObjective):
    r"""Var_{x~q_t} r_t(x) over a group of walkers at ONE t: needs no free-energy network.

    For a given drift the best ∂_t F is −E r, so this is the minimum of `Continuity` over F. The
    sample variance is unbiased (ddof = 1); groups of 16 or more (`Rollout(..., group=16)`).

    Parameters
    ----------
    process
        Maps the model to a process with a `log_weight_rate`.
    """

    process: Callable[[PyTree], AbstractProcess]

    def __call__(self, model: PyTree, sample: PyTree, *, key: PRNGKey):
        kernel = self.process(model)
        num = [leaf.shape[:1] for leaf in jax.tree.leaves(sample.x)][0]
        if num in ((), (1,)):
            raise InputError(
                f"a group has {num[0] if num else 'no'} walkers, expected 2 or more at one t: "
                "Rollout(..., group=16)"
            )

        def rate(x):
            kernel.path.space.check(x, "a walker of the group (Rollout(..., group=16))")
            return kernel.log_weight_rate(sample.t, x)

        rates = jax.vmap(rate)(sample.x)
        return jnp.var(rates, ddof=1), {"free_energy_rate": -jnp.mean(rates)}


class LogVariance(AbstractObjective):
    r"""Var_j A_j (ddof = 1), A_j = Σ_k ΔA(t_k, x_k^j; t_{k+1}, x_{k+1}^j) over a group of paths.

    Needs `Rollout(..., group=16, trajectories=True)`; 16 to 64 paths of 50 to 100 steps. A sample
    costs N steps of every walker of its group: batches of 4 to 16. `elbo`, the mean of A, is a
    lower bound of log(Z_T/Z_0).

    Parameters
    ----------
    process
        Maps the model to a two-kernel process such as `Langevin`. Only the model is trained.

    References
    ----------
    Richter et al. 2020 (arXiv 2010.10436), eq. 11; for annealed paths derived.
    """

    references: ClassVar[tuple[str, ...]] = ("nets",)
    process: Callable[[PyTree], AbstractTwoKernel]

    def __call__(self, model: PyTree, sample: Trajectory, *, key: PRNGKey):
        kernel = self.process(model)
        if not isinstance(kernel, AbstractTwoKernel):
            raise InputError(
                f"LogVariance got a {type(kernel).__name__}, expected a process whose transition "
                "density is known: eqx.Partial(langevin_kernel, path, epsilon, None)"
            )
        shape = sample.log_weight.shape
        if len(shape) != 2 or shape[1] < 2:
            raise InputError(
                f"the log-weights of a sample have shape {shape}, expected (times, walkers >= 2): "
                "Rollout(..., group=16, trajectories=True)"
            )

        now = jax.tree.map(lambda a: a[:-1], (sample.t, sample.x))
        later = jax.tree.map(lambda a: a[1:], (sample.t, sample.x))
        walkers = jax.vmap(kernel.log_weight_between, (None, 0, None, 0))
        total = jnp.sum(jax.vmap(walkers)(*now, *later), axis=0)
        return jnp.var(total, ddof=1), {"elbo": jnp.mean(total)}


def free_energy_rate(model: PyTree, t: Scalar) -> Scalar:
    """Return ∂_t F_t of `model.free_energy` by one JVP."""
    return jax.jvp(model.free_energy, (t,), (jnp.ones_like(t),))[1]
