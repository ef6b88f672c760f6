r"""How far a two-time map is from the flow of a drift: three defects, each zero iff it is.

Given v_{t,t} = b_t and a map continuous in (s, t), X_{s,t} is the flow of b iff one of

- Lagrangian  ∂_t X_{s,t}(x) − b_t(X_{s,t}(x)) = 0,
- Eulerian    ∂_s X_{s,t}(x) + ∇X_{s,t}(x) b_s(x) = 0,
- semigroup   X_{u,t}(X_{s,u}(x)) − X_{s,t}(x) = 0.

(v = b on the diagonal and 0 off it has no semigroup defect and is no flow: continuity matters.)
Objectives square them, estimators read them. Derivatives are of the whole map, by one JVP.
Boffi, Albergo and Vanden-Eijnden 2025 (arXiv 2505.18825), section 2.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from .._typing import Context, Time, V, X
from ..networks.flow_map import AbstractFlowMap, extra_arguments


def end_tangent(
    flow: AbstractFlowMap, s: Time, t: Time, x: X, *, context: Context = None
) -> tuple[X, V]:
    """Return X_{s,t}(x) and ∂_t X_{s,t}(x)."""
    extra = extra_arguments(context)
    return jax.jvp(lambda u: flow(s, u, x, **extra), (t,), (jnp.ones_like(t),))


def start_tangent(
    flow: AbstractFlowMap, s: Time, t: Time, x: X, direction: V, *, context: Context = None
) -> tuple[X, V]:
    """Return X_{s,t}(x) and ∂_s X_{s,t}(x) + ∇X_{s,t}(x) w, w the direction."""
    extra = extra_arguments(context)
    tangents = (jnp.ones_like(s), direction)
    return jax.jvp(lambda u, y: flow(u, t, y, **extra), (s, x), tangents)


def lagrangian_defect(
    flow: AbstractFlowMap,
    s: Time,
    t: Time,
    x: X,
    *,
    drift: Callable | None = None,
    context: Context = None,
) -> V:
    """Return ∂_t X_{s,t}(x) − b_t(X_{s,t}(x)), b the map's own drift unless given."""
    b = flow.drift if drift is None else drift
    y, tangent = end_tangent(flow, s, t, x, context=context)
    return tangent - b(t, y, **extra_arguments(context))


def eulerian_defect(
    flow: AbstractFlowMap,
    s: Time,
    t: Time,
    x: X,
    *,
    drift: Callable | None = None,
    context: Context = None,
) -> V:
    """Return ∂_s X_{s,t}(x) + ∇X_{s,t}(x) b_s(x), b the map's own drift unless given."""
    b = flow.drift if drift is None else drift
    direction = b(s, x, **extra_arguments(context))
    return start_tangent(flow, s, t, x, direction, context=context)[1]


def semigroup_defect(
    flow: AbstractFlowMap, s: Time, u: Time, t: Time, x: X, *, context: Context = None
) -> V:
    """Return X_{u,t}(X_{s,u}(x)) − X_{s,t}(x)."""
    extra = extra_arguments(context)
    return flow(u, t, flow(s, u, x, **extra), **extra) - flow(s, t, x, **extra)
