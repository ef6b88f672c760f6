r"""Two-dimensional gauge fields from coarse to fine, with exact weights.

1. One site: p(U, V) of a single plaquette (`OnePlaquette`).
2. Double the lattice K times, drawing new links from a conditional of each level.
3. Weigh: log w = −S − log q. With the exact conditional the weights are constant; the matched one
   is the untrained start of a conditional that learns.
4. Anneal from the flow to the action where its weights are not good enough:
   `smc(Annealing(flow, action), step_size)`.
"""

import math
from collections.abc import Callable

from jaxtyping import ArrayLike

from .._errors import InputError
from ..flows import AbstractLinkConditional, CharacterConditional, DoublingLayer, MultiscaleFlow
from ..spaces import AbstractGroup
from ..targets import OnePlaquette


def multiscale(
    shape: tuple[int, int],
    beta: ArrayLike,
    group: AbstractGroup,
    conditional: Callable[..., AbstractLinkConditional] = CharacterConditional,
) -> MultiscaleFlow:
    """Return the flow from one site to a torus of `shape`.

    ```python
    flow = multiscale((8, 8), 4.0, U1(), MatchedConditional)
    samples = pf.simulate(Transport(Annealing(flow, action)), 1000, times=[0, 1], key=key)
    ```

    Parameters
    ----------
    shape, beta
        Two powers of two, and β, 0 < β <= 16.
    group
        `U1()`, or SU(2), whose links cannot be drawn yet (`log_prob` alone).
    conditional
        Makes the conditional of level k from (beta, k, group): `CharacterConditional` (exact) or
        `MatchedConditional` (untrained).

    References
    ----------
    arXiv 2404.10819 (multiscale flows); the exact conditional is derived.
    """
    axes = _doublings(shape)
    layers = [
        DoublingLayer(nu, conditional(beta, len(axes) - 1 - k, group)) for k, nu in enumerate(axes)
    ]
    return MultiscaleFlow(OnePlaquette(beta, len(axes), group), tuple(layers))


def _doublings(shape: tuple[int, int]) -> list[int]:
    """Return the directions to double, in order: the one with more doublings left first."""
    powers = [math.log2(n) if n > 0 else -1.0 for n in shape]
    if len(shape) != 2 or any(p < 0 or p % 1 for p in powers):
        raise InputError(
            f"shape is {shape}, expected two powers of two such as (8, 8): a multiscale flow "
            "doubles one site"
        )
    left, axes = [int(p) for p in powers], []
    while any(left):
        axes.append(0 if left[0] >= left[1] else 1)
        left[axes[-1]] -= 1
    return axes
