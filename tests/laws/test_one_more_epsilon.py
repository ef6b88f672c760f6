"""One more member, counted: a law of ε is a function of (path, t, n), and passes the laws of all.

1. ε >= 0 on [0, 1]. 2. (ε/α) α = ε where α > 0 (limits: `tests/paths/test_affine.py`). 3. A scan
over the factor n compiles once. 4. A negative factor is refused. 5. It runs in its sampler, which
names it in messages.
"""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pushforward as pf
from pushforward import paths
from pushforward._errors import InputError
from pushforward._tree import scalar
from pushforward.paths import Epsilon, Linear, LinearPoint, Trigonometric, VariancePreserving


def half_cosine(path, t, n):
    return n * jnp.sin(0.5 * jnp.pi * (1 - t)) ** 2


def HalfCosine(scale=1.0):
    """ε = n cos²(πt/2)."""
    return Epsilon("HalfCosine", half_cosine, scalar(scale))


def of_time(t):
    return half_cosine(None, t, 1.0)


NAMES = "NoiseLevel ScoreSDE ConstantEpsilon LinearEpsilon DecreasingEpsilon SinSquaredEpsilon"
AFFINE = {name: getattr(paths, name) for name in NAMES.split()} | {
    "HalfCosine": HalfCosine,
    "EpsilonFunction": lambda scale=1.0: paths.EpsilonFunction(of_time, scale),
}
POINT = {"MatchedEpsilon": paths.MatchedEpsilon, "FollmerEpsilon": paths.FollmerEpsilon}
LAWS = AFFINE | POINT
every = pytest.mark.parametrize("name", LAWS)


def path_of(name):
    return LinearPoint(0.8) if name in POINT else Linear(1.3)


def test_a_law_costs_at_most_ten_lines():
    text = inspect.getsource(half_cosine) + inspect.getsource(HalfCosine)
    assert text.count("\n") <= 10


def test_no_law_is_missing():
    made = {
        name for name, value in vars(paths).items()
        if inspect.isfunction(value) and value.__annotations__.get("return") is Epsilon
    }  # fmt: skip
    assert made == set(LAWS) - {"HalfCosine"} | {"ZeroEpsilon"}


@every
def test_it_is_not_negative_and_knows_its_name(name):
    epsilon, path = LAWS[name](0.7), path_of(name)
    values = jax.vmap(lambda t: epsilon.value(path, t))(jnp.linspace(0.01, 1, 100))
    assert (values >= 0).all()
    assert epsilon.name == name
    with pytest.raises(InputError, match="number >= 0"):
        LAWS[name](-0.1)


@pytest.mark.parametrize("name", AFFINE)
@pytest.mark.parametrize("path", [Linear(), Trigonometric(0.6), VariancePreserving()])
def test_the_quotient_by_alpha(name, path):
    epsilon = AFFINE[name]()
    for t in (0.1, 0.5, 0.9):
        t = scalar(t)
        over = epsilon.over_alpha(path, t)
        np.testing.assert_allclose(over * path.alpha(t), epsilon.value(path, t), rtol=1e-14)


@every
def test_a_scan_over_the_factor_compiles_once(name):
    traces = []

    @eqx.filter_jit
    def value(epsilon, t):
        traces.append(1)
        return epsilon.value(path_of(name), t)

    found = [float(value(LAWS[name](n), scalar(0.3))) for n in (0.5, 1.0, 2.0)]
    assert len(traces) == 1
    assert found[0] < found[1] < found[2]


def test_the_new_law_runs_in_the_sampler():
    mixture = pf.targets.asymmetric_mixture()
    predictor = paths.Predictor(paths.ExactVelocity(Linear(), mixture), Linear())
    kernel = pf.dynamics.InterpolantSDE(predictor, HalfCosine())
    base, times = pf.targets.Normal(2), paths.uniform_times(50)
    samples = pf.simulate(kernel, 2000, times=times, initial=base, key=jax.random.key(0))
    mean = samples.mean(mixture)
    assert abs(mean.value - 1.8629379501) < 4.5 * mean.error
    endless = eqx.tree_at(lambda k: k.epsilon, kernel, Epsilon("Endless", endless_law))
    with pytest.raises(pf.errors.NonFinite, match="Endless"):
        pf.simulate(endless, 8, times=times, initial=base, key=jax.random.key(0))


def endless_law(path, t, n):
    return n * jnp.ones_like(t)
