"""Laws of kernels that carry no weight: one dictionary, the same questions to each.

1. A step keeps structure, shapes and dtypes of the state, in float64 and in float32.
2. One trace serves all times and all numbers of the kernel.
3. Neither stationary nor weighted: the log-weight stays 0, the context is handed through.
4. A step is a function of its key alone.
5. No public transition is missing.
"""

import inspect

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pushforward.dynamics as dynamics
from pushforward._tree import scalar
from pushforward.dynamics import (
    ODE,
    AbstractTransition,
    EulerMaruyama,
    InterpolantSDE,
    density_flow,
    probability_flow,
)
from pushforward.dynamics.ode import Adaptive, Dense, VelocityField
from pushforward.paths import (
    Linear,
    LinearEpsilon,
    Noise,
    NoiseLevel,
    Predictor,
    ScoreSDE,
    Trigonometric,
    VariancePreserving,
)


class Net(eqx.Module):
    """A raw output without any symmetry that counts its traces."""

    slope: jax.Array
    traces: list = eqx.field(static=True)

    def __call__(self, t, x, *, context=None, key=None):
        self.traces.append(1)
        return self.slope * x + jnp.sin(x[::-1] + t) + 0.1 * context.astype(x.dtype)


def net():
    return Net(scalar(0.3), [])


def predictor(path=None, **options):
    return Predictor(net(), Linear() if path is None else path, **options)


X = jnp.array([0.7, -1.2])
TRANSITIONS = {
    "Heun": (probability_flow(predictor()), X),
    "Tsit5": (probability_flow(predictor(VariancePreserving()), diffrax.Tsit5()), X),
    "adaptive": (ODE(VelocityField(predictor()), diffrax.Tsit5(), Adaptive()), X),
    "density": (density_flow(predictor(Trigonometric())), Dense(X, scalar(0.2))),
    "SDE": (InterpolantSDE(predictor(), NoiseLevel(0.4)), X),
    "SDE, Euler": (InterpolantSDE(predictor(), ScoreSDE(), EulerMaruyama()), X),
    "SDE, noise": (InterpolantSDE(predictor(prediction=Noise()), LinearEpsilon()), X),
}
T, T_NEXT = scalar(0.3), scalar(0.4)
every = pytest.mark.parametrize("name", TRANSITIONS)


@eqx.filter_jit
def moved(kernel, x, t, t_next, key):
    start = kernel.init(x, t, context=jnp.arange(2), key=jax.random.fold_in(key, 0))
    return start, *kernel.step(start, t, t_next, key=jax.random.fold_in(key, 1))


def cast(tree, dtype):
    return jax.tree.map(lambda a: a.astype(dtype) if eqx.is_inexact_array(a) else a, tree)


def signature(tree):
    leaves = jax.tree.leaves(tree)
    return jax.tree.structure(tree), [(a.shape, a.dtype) for a in leaves]


@every
def test_a_step_keeps_shapes_and_dtypes(name):
    for dtype in (jnp.float64, jnp.float32):
        arguments = cast((*TRANSITIONS[name], T, T_NEXT), dtype)
        start, end, _ = eqx.filter_eval_shape(moved, *arguments, jax.random.key(0))
        assert signature(start) == signature(end)
        floats = {a.dtype for a in jax.tree.leaves(end) if a.dtype.kind == "f"}
        assert floats == {jnp.dtype(dtype)}


@every
def test_the_laws_of_a_step(name):
    kernel, x = TRANSITIONS[name]
    assert not kernel.stationary
    assert not kernel.weighted
    _, end, info = moved(kernel, x, T, T_NEXT, jax.random.key(0))
    assert end.log_weight.value == 0
    np.testing.assert_array_equal(end.context, [0, 1])
    assert not info.failed
    assert int(info.evaluations) >= 1
    _, again, _ = moved(kernel, x, T, T_NEXT, jax.random.key(0))
    _, other, _ = moved(kernel, x, T, T_NEXT, jax.random.key(1))
    assert eqx.tree_equal(end, again)
    assert bool(eqx.tree_equal(end, other)) != isinstance(kernel, InterpolantSDE)

    traces = jax.tree.leaves(kernel, is_leaf=lambda n: isinstance(n, Net))
    counter = next(n for n in traces if isinstance(n, Net)).traces
    before = len(counter)
    changed = jax.tree.map(lambda a: 0.9 * a if eqx.is_inexact_array(a) else a, kernel)
    moved(changed, x, 0.9 * T, 0.9 * T_NEXT, jax.random.key(1))
    moved(kernel, x, T_NEXT, T, jax.random.key(0))
    assert len(counter) == before


def test_no_public_transition_is_missing():
    public = {
        cls
        for _, cls in inspect.getmembers(dynamics, inspect.isclass)
        if issubclass(cls, AbstractTransition) and not inspect.isabstract(cls)
    }
    elsewhere = {dynamics.Lead, dynamics.PointForecast}  # tests/dynamics/test_forecasts.py
    assert public - elsewhere == {type(kernel) for kernel, _ in TRANSITIONS.values()}
