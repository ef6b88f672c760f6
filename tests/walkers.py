"""What the statistical tests share: populations marched along a grid, read in NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pushforward.dynamics import march
from pushforward.paths import ParameterPath
from pushforward.targets import Energy


def path_of(fn, base):
    """Return the path U_t(x) = fn(t, x) from `base`."""
    return ParameterPath(lambda t: Energy(lambda x: fn(t, x), base.space), lambda t: t, base)


@eqx.filter_jit
def _run(kernel, times, index, seed):
    def walker(j):
        key = jax.random.fold_in(jax.random.key(seed), j)
        keys = [jax.random.fold_in(key, k) for k in range(3)]
        state = kernel.init(kernel.path.base.sample(key=keys[0]), times[0], key=keys[1])
        return march(kernel, state, times, key=keys[2])[1]

    return jax.vmap(walker)(index)


def run(kernel, times, num, seed=0):
    """Return `num` walkers' trajectories in NumPy: x (num, n, ...), log_weight (num, n)."""
    paths = _run(kernel, jnp.asarray(times), jnp.arange(num), jnp.asarray(seed))
    return jax.tree.map(np.asarray, paths)


def log_z(log_weights):
    """Return log mean e^A."""
    top = log_weights.max()
    return top + np.log(np.mean(np.exp(log_weights - top)))


def ess(log_weights):
    """Return (Σ w)² / (n Σ w²)."""
    w = np.exp(log_weights - log_weights.max())
    return w.sum() ** 2 / (w.size * (w * w).sum())


def log_z_error(log_weights):
    """Return one standard error of `log_z` for independent walkers."""
    return np.sqrt((1 / ess(log_weights) - 1) / log_weights.size)


def weighted_mean(values, log_weights):
    """Return (Σ w f / Σ w, its error by the delta method)."""
    w = np.exp(log_weights - log_weights.max())
    w /= w.sum()
    centre = w @ values
    return centre, np.sqrt(np.sum((w * (values - centre)) ** 2))
