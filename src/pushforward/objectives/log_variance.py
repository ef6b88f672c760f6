r"""The log-variance loss: Var A over walkers, A the exact two-kernel weight along stored paths.

If every walker has the same weight, forward and backward path measures agree and the process
transports ρ_t. The paths x_0..x_N are constants, those of an older model included: only the two
kernels are differentiated, ξ being recomputed from the points. No divergence is taken, which makes
this the objective of choice for d >= 100.
"""

from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._errors import InputError
from .._typing import PRNGKey
from ..dynamics import AbstractTwoKernel, Trajectory
from .base import AbstractObjective


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
