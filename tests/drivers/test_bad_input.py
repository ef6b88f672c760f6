"""Bad input of both verbs: each is refused with a sentence that says what to write instead."""

import shutil
import sys
from collections import namedtuple

import driver_jobs as jobs
import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from pushforward._errors import DiskFull, InputError
from pushforward._tree import Frozen
from pushforward.drivers import EMA, Keep, fit, simulate
from pushforward.dynamics import AbstractStationary, Langevin
from pushforward.estimators import AdaptiveTimes, Systematic
from pushforward.mcmc import HMC
from pushforward.objectives import AbstractObjective
from pushforward.paths import uniform_times
from pushforward.sources import AbstractSource, NoInfo
from pushforward.spaces import Euclidean
from pushforward.targets import Energy, Normal

KEY = jax.random.key(0)


class Returns(AbstractObjective):
    """An objective with a mistake."""

    what: str = eqx.field(static=True)

    def __call__(self, model, sample, *, key):
        loss = model(sample[0])
        return {"bare": loss, "vector": (loss * jnp.ones(3), NoInfo())}[self.what]


class Restless(AbstractSource):
    """A source whose state changes its structure or its shape in a draw."""

    how: str = eqx.field(static=True)

    def init(self, model, *, key):
        return {"n": jnp.zeros((), jnp.int32)}

    def draw(self, state, model, size, *, progress, key):
        new = {"structure": (state["n"], state["n"]), "dtype": {"n": state["n"] + 0.5}}[self.how]
        return (jnp.zeros((size, 2)), jnp.zeros(size)), new, NoInfo()


FIT = {
    "steps": ({"steps": 0}, "steps = 0, expected an integer of at least 1"),
    "steps float": ({"steps": 2.5}, "steps = 2.5, expected an integer"),
    "steps bool": ({"steps": True}, "steps = True, expected an integer"),
    "batch": ({"batch": -1}, "batch = -1, expected an integer"),
    "micro": ({"batch": 10, "micro_batch": 4}, "micro_batch = 4 does not divide batch = 10"),
    "optimiser": ({"optimiser": "adam"}, r"optimiser is 'adam', expected.*optax.adam\(1e-3\)"),
    "clip": ({"clip": 0.0}, "clip = 0.0, expected a positive number, or None"),
    "ema": ({"ema": 0.99}, r"ema is 0.99, expected EMA\(.99\)"),
    "source": ({"source": jnp.ones(3)}, r"expected an AbstractSource.*Arrays\(data\)"),
    "objective": ({"objective": 3}, "objective is 3, expected an AbstractObjective"),
    "key": ({"key": 0}, r"key is int 0, expected key=jax.random.key\(0\)"),
    "old key": ({"key": jnp.zeros(2, jnp.uint32)}, r"expected key=jax.random.key\(0\)"),
    "keys": ({"key": jax.random.split(KEY)}, r"expected key=jax.random.key\(0\)"),
    "frozen": ({"model": Frozen(jobs.Linear())}, "the model has no trainable leaf"),
    "evaluate": ({"evaluate_every": 3}, "give both evaluate and evaluate_every"),
    "bare loss": ({"objective": Returns("bare")}, r"expected \(loss, info\)"),
    "vector": (
        {"objective": Returns("vector")},
        r"a loss of shape \(3,\) for ONE sample, expected a scalar.*fit averages",
    ),
    "structure": (
        {"source": Restless("structure")},
        r"source's state changed structure:.*\{'n': \*\}.*->.*\(\*, \*\)",
    ),
    "dtype": (
        {"source": Restless("dtype")},
        r"source's state\['n'\] changed from int32\[\] to float64\[\]",
    ),
}


@pytest.mark.parametrize("case", FIT)
def test_fit_refuses(case, tmp_path):
    change, sentence = FIT[case]
    options = {"model": jobs.Linear(), "objective": jobs.Regression(), "source": jobs.Lines()}
    options |= {"steps": 3, "batch": 4, "key": KEY, "folder": tmp_path / "a"} | change
    with pytest.raises(InputError, match=sentence):
        fit(options.pop("model"), options.pop("objective"), options.pop("source"), **options)
    assert_unlocked(tmp_path / "a")


def assert_unlocked(folder):
    """The folder, if it was made at all, can be used at once."""
    shutil.rmtree(folder, ignore_errors=True)
    fit(jobs.Linear(), jobs.Regression(), jobs.Lines(), steps=1, batch=4, key=KEY, folder=folder)


def test_an_average_that_would_sample_the_start_warns():
    with pytest.warns(UserWarning, match=r"EMA\(0.99\) remembers 100 of 50 steps.*EMA\(0.8\)"):
        fit(
            jobs.Linear(),
            jobs.Regression(),
            jobs.Lines(),
            steps=50,
            ema=EMA(0.99),
            key=KEY,
            batch=2,
        )


def wall(x):
    return jnp.where(x[0] > 0, 0.5 * jnp.sum(x**2), jnp.inf)


class Widening(AbstractStationary):
    """A kernel whose State changes in a step."""

    path: Normal
    how: str = eqx.field(static=True)

    def begin(self, x, t, energy, key):
        return None, jnp.zeros(2)

    def step(self, state, t, t_next, *, key):
        memory = {"shape": jnp.zeros(3), "dtype": jnp.zeros(2, jnp.float32), "none": None}[self.how]
        return state.moved(state.x, memory=memory), NoInfo()


TIMES = uniform_times(3)
CHAIN = HMC(Normal((2,), 0.0, 1.0), 0.3, 1)
WALK = Langevin(jobs.bumps())
X0 = jnp.ones((4, 2))
MARCH = {"kernel": WALK, "x0": 4, "times": TIMES, "steps": None}
SIMULATE = {
    "kernel": ({"kernel": lambda x: x}, "kernel is function, expected an AbstractKernel"),
    "neither": ({"steps": None}, "give exactly one of times .*uniform_times.* and steps"),
    "both": ({"times": TIMES}, "give exactly one of times"),
    "unsorted": (MARCH | {"times": [0.0, 0.5, 0.5, 1.0]}, "times must be strictly increasing"),
    "no times": (
        MARCH | {"times": AdaptiveTimes(0.9)},
        r"times is AdaptiveTimes, expected numbers in \[0, 1\]: uniform_times",
    ),
    "outside": (MARCH | {"times": [0.0, 1.5]}, r"times must lie in \[0, 1\]"),
    "one time": (MARCH | {"times": [0.0]}, r"times has shape \(1,\), expected \(n,\) with n >= 2"),
    "stationary": (MARCH | {"kernel": CHAIN}, r"write compose\(Transport\(path\), HMC"),
    "burn-in": (MARCH | {"burn_in": 2}, "burn_in belongs to steps="),
    "negative burn-in": ({"burn_in": -1}, "burn_in = -1, expected an integer of at least 0"),
    "steps": ({"steps": 0}, "steps = 0, expected an integer of at least 1"),
    "resample": ({"resample": Systematic()}, "resample belongs to times="),
    "populations": ({"populations": 3}, "populations = 3 does not divide 4 particles"),
    "no populations": ({"populations": 0}, "populations = 0, expected an integer"),
    "batch_size": ({"batch_size": 0}, "batch_size = 0, expected an integer"),
    "no particles": ({"x0": 0}, "x0 = 0, expected an integer of at least 1"),
    "no initial": ({"x0": 5}, "an integer x0 needs a distribution to draw from: initial="),
    "empty": ({"x0": ()}, "x0 is empty: expected samples"),
    "one sample": ({"x0": jnp.ones(2)}, r"one sample alone is x0\[None\], and vmap is applied"),
    "shape": ({"x0": jnp.ones((4, 3))}, r"has shape \(3,\), expected \(2,\)"),
    "integers": ({"x0": jnp.ones((4, 2), int)}, r"dtype int64, expected a real floating dtype"),
    "index": ({"index": jnp.arange(5)}, r"index has shape \(5, ?\d*\)?.*expected integers \(4,\)"),
    "float index": ({"index": jnp.arange(4.0)}, r"expected integers \(4,\)"),
    "context": ({"context": {"label": jnp.ones(3)}}, r"context\['label'\] has shape \(3,\), exp"),
    "stack": ({"stacked": lambda k: k.step_size}, "stacked leaves need one common leading axis"),
    "stack x0": (
        {
            "kernel": eqx.tree_at(lambda k: k.step_size, CHAIN, jnp.ones(3)),
            "stacked": lambda k: k.step_size,
        },
        r"x0 has leading axes \(4, 2\), expected \(3,\) members first",
    ),
    "observe": ({"observe": lambda x: x}, "observe returned .*expected a dict of arrays"),
    "key": ({"key": 3}, "key is int 3"),
    "wall": (
        {"kernel": HMC(Energy(wall, Euclidean((2,))), 0.1, 1), "x0": X0.at[2].set(-1.0)},
        r"not finite at 1 of 4 starting points, the first is particle \[2\] with U = inf",
    ),
    "state shape": (
        {"kernel": Widening(CHAIN.path, "shape")},
        r"State.memory changed from float64\[4, 2\] to float64\[4, 3\]",
    ),
    "state dtype": (
        {"kernel": Widening(CHAIN.path, "dtype")},
        r"State.memory changed from float64\[4, 2\] to float32\[4, 2\].*one floating dtype",
    ),
    "state structure": ({"kernel": Widening(CHAIN.path, "none")}, "State changed structure"),
}  # fmt: skip


@pytest.mark.parametrize("case", SIMULATE)
def test_simulate_refuses(case, tmp_path):
    change, sentence = SIMULATE[case]
    options = {"kernel": CHAIN, "x0": X0, "steps": 3, "key": KEY, "folder": tmp_path / "a"} | change
    with pytest.raises(InputError, match=sentence):
        simulate(options.pop("kernel"), options.pop("x0"), **options)
    assert_unlocked(tmp_path / "a")


def test_leaves_of_different_lengths_are_refused():
    with pytest.raises(InputError, match=r"the leaves of x0 have different particle axes"):
        simulate(CHAIN, {"a": jnp.ones((4, 2)), "b": jnp.ones((3, 2))}, steps=2, key=KEY)


def test_keep_refuses_nonsense():
    for bad in ({"every": 0}, {"particles": 0}):
        with pytest.raises(InputError, match="is 0, expected an integer >= 1"):
            Keep(**bad)
    few = simulate(CHAIN, X0, steps=4, keep=Keep(2, particles=100), key=KEY)
    assert few.draws["x"].shape == (2, 4, 2)  # more than there are is all


def test_draws_larger_than_the_disk_are_refused(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    checks = sys.modules["pushforward.drivers.checks"]
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: usage(10**9, 0, 500_000))
    sentence = r"keep would write 10000 draws of 64 bytes, 0.00064 GB, and .* has 0.0005 GB free"
    with pytest.raises(DiskFull, match=sentence):
        simulate(CHAIN, X0, steps=20_000, keep=Keep(2), folder=tmp_path / "a", key=KEY)


def test_out_of_memory_says_what_to_halve(monkeypatch):
    module = sys.modules["pushforward.drivers.advance"]

    def full(fixed, carry):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory allocating 1 TB")

    monkeypatch.setattr(module, "advance", full)
    with pytest.raises(InputError, match=r"batch=12, micro_batch=12: write micro_batch=6"):
        fit(jobs.Linear(), jobs.Regression(), jobs.Lines(), steps=3, batch=12, key=KEY)
    with pytest.raises(InputError, match=r"4 particles, 4 at once: write batch_size=2"):
        simulate(CHAIN, X0, steps=3, key=KEY)
    monkeypatch.setattr(module, "advance", lambda *_: broken())
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        simulate(CHAIN, X0, steps=3, key=KEY)


def broken():
    raise jax.errors.JaxRuntimeError("INTERNAL: something else")
