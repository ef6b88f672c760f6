r"""Replica exchange, plain and with flows (T-REX).

1. Stack the local kernel over the couplings: ONE kernel, its arrays with a leading replica axis.

   ```python
   def local(beta, step):
       return pf.mcmc.HMC(pf.targets.WilsonAction(beta, lattice, pf.spaces.U1()), step, 8)

   kernel = eqx.filter_vmap(local)(betas, steps)
   ```

2. Plain: `simulate(ReplicaExchange(kernel), 64, steps=1000, ...)`. A sample is the whole ladder.
3. T-REX: a flow for every pair of neighbours, trained on the work of its crossings at the running
   replicas (`BridgeKL`, `RunningChains`), then frozen; swaps stay exact however bad it is.

Untrained, a flow is the identity and step 3 is step 2, bit for bit.
"""

import equinox as eqx
import jax.numpy as jnp

from .._typing import X
from ..dynamics import AbstractKernel
from ..flows import AbstractBijection
from ..mcmc import FlowBridge, ReplicaExchange
from ..objectives import BridgeKL
from ..sources import RunningChains
from .base import Recipe


def trex(
    kernel: AbstractKernel,
    flow: AbstractBijection,
    walkers: X,
    *,
    updates_per_swap: int = 1,
    decorrelate: int = 1,
    symmetric: bool = True,
) -> Recipe:
    """Return the parts of replica exchange with flows; its model is the bridge of all pairs.

    ```python
    walkers = pf.simulate(ReplicaExchange(kernel), 64, steps=500, key=key).x
    r = trex(kernel, residual_flow(space), walkers)
    ```

    Parameters
    ----------
    kernel
        The local kernel stacked over R replicas.
    flow
        One untrained bijection of a configuration; every pair gets a copy.
    walkers
        Equilibrated ladders, (n, R, *sample). Good value: 64 of them.
    updates_per_swap, decorrelate
        Local updates before each half of the swaps; steps of the exchange between training
        batches, 1 to 10.
    symmetric
        Train on both directions (one inverse a sample more), or on the forward one.

    References
    ----------
    Abbott et al. 2024 (arXiv 2404.11674).
    """
    plain = ReplicaExchange(kernel, updates_per_swap=updates_per_swap)
    pairs = jnp.arange(plain.num_replicas - 1)
    model = eqx.filter_vmap(lambda _: FlowBridge(flow))(pairs)
    exchange = eqx.Partial(ReplicaExchange, kernel, updates_per_swap=updates_per_swap)
    objective = BridgeKL(plain.path, symmetric)
    source = RunningChains(exchange, walkers, decorrelate)
    return Recipe(model, exchange, objective, source, None, walkers)
