"""Where particles start: drawn or given, one kernel or a stack, with global indices for keys."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._errors import InputError
from ..dynamics import AbstractKernel
from .checks import check_positive
from .keys import sample_keys, stream


def split_members(kernel: AbstractKernel, stacked: bool | Callable):
    """Return ((leaves with a member axis or None, the others), leading shape (members,) or ())."""
    if stacked is False:
        return (None, kernel), ()
    if stacked is True:
        mask = jax.tree.map(eqx.is_array, kernel)
    else:
        mask = jax.tree.map(lambda _: False, kernel)
        chosen = stacked(kernel)
        mask = eqx.tree_at(stacked, mask, jax.tree.map(eqx.is_array, chosen))
    with_axis, shared = eqx.partition(kernel, mask)
    sizes = {leaf.shape[:1] for leaf in jax.tree.leaves(with_axis)}
    if len(sizes) != 1 or () in sizes:
        raise InputError(
            f"stacked leaves need one common leading axis, got {sorted(sizes)}: give each member's "
            "value, as in eqx.tree_at(lambda k: k.epsilon, kernel, jnp.array([.1, 1., 10.]))"
        )
    return (with_axis, shared), next(iter(sizes))


def start_particles(kernel, x0, initial, index, stack, populations: int, key):
    """Return the starting points (members, n, *sample) and their global indices (.., k).

    `stack` is what `split_members` returned; each member draws from its own base.
    """
    members, path = stack[1], getattr(kernel, "path", None)
    if isinstance(x0, (int, np.integer)) and not isinstance(x0, bool):
        x, index = _drawn(path, int(x0), initial, index, stack, key)
    else:  # without a space, the kernel checks its samples
        x, index = _given(getattr(path, "space", None), x0, index, members)
    num = index.shape[len(members)]
    if num % populations:
        raise InputError(f"populations = {populations} does not divide {num} particles")
    return x, index


def _drawn(path, num: int, initial, index, stack, key):
    (stacked, shared), members = stack
    check_positive(x0=num)
    index = _index(index, (*members, num))
    source = getattr(path, "base", None) if initial is None else initial
    if not hasattr(source, "sample"):
        raise InputError(
            "an integer x0 needs a distribution to draw from: initial=Normal(shape, scale=1.), "
            "or hand over the samples themselves"
        )
    keys = sample_keys(stream(key, "x0"), index)
    if members and initial is None:
        return _draw_own(stacked, shared, keys), index
    return _draw_from(source, keys), index


def _given(space, x0, index, members):
    leaves = jax.tree.leaves(x0)
    if not leaves:
        raise InputError("x0 is empty: expected samples with a leading particle axis, or a number")
    axes = len(members) + 1
    shapes = {np.shape(leaf)[:axes] for leaf in leaves}
    if len(shapes) != 1 or len(next(iter(shapes))) < axes:
        raise InputError(f"the leaves of x0 have different particle axes {sorted(shapes)}")
    shape = next(iter(shapes))
    if shape[: len(members)] != members:
        raise InputError(f"x0 has leading axes {shape}, expected {members} members first")
    if space is not None:
        try:
            one = jax.tree.map(lambda a: jnp.asarray(a)[(0,) * axes], x0)
            space.check(one, "a sample of x0")
        except InputError as error:
            raise InputError(
                f"{error}. x0 has shape {jax.tree.map(jnp.shape, x0)}: particles come first, "
                "(n, *sample); one sample alone is x0[None], and vmap is applied for you"
            ) from error
    return jax.tree.map(jnp.asarray, x0), _index(index, shape)


@eqx.filter_jit
def _draw_from(source, keys):
    def draw(key):
        return source.sample(key=key)

    for _ in range(keys.ndim):
        draw = jax.vmap(draw)
    return draw(keys)


@eqx.filter_jit
def _draw_own(stacked, shared, keys):
    def member(stacked, keys):
        return _draw_from(eqx.combine(stacked, shared).path.base, keys)

    return eqx.filter_vmap(member)(stacked, keys)


def _index(index, shape):
    if index is None:
        index = jnp.arange(int(np.prod(shape)), dtype=jnp.int32).reshape(shape)
    index = jnp.asarray(index)
    if index.shape == shape:
        index = index[..., None]
    if index.shape[:-1] != shape or not jnp.issubdtype(index.dtype, jnp.integer):
        raise InputError(
            f"index has shape {index.shape}, expected integers {shape} or {shape}+(k,)"
        )
    return index
