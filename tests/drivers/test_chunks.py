"""P1, P11, P14: how a run is cut, extended or repeated changes no bit and compiles nothing."""

import driver_jobs as jobs
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.drivers import EMA, Keep, compilations, fit, simulate
from pushforward.dynamics import Langevin
from pushforward.mcmc import HMC
from pushforward.paths import uniform_times
from pushforward.targets import Normal

CUTS = (1, 2, 3, 5, 20, 10**6)
ALL = {
    "train": lambda: jobs.train(steps=40),
    "transport": jobs.transport,
    "chains": lambda: jobs.chains(steps=43),
    "walkers": jobs.walkers,
}


@pytest.mark.parametrize("name", ALL)
def test_one_digest_for_every_way_of_cutting(name, cut):
    digests = set()
    for n in CUTS:
        cut(n)
        digests.add(jobs.digest(ALL[name]()))
    assert len(digests) == 1


@pytest.mark.parametrize("name", ["train", "walkers"])
def test_twin_keys_from_the_chunk_index_are_seen(name, cut, monkeypatch):
    import sys

    module = sys.modules["pushforward.drivers.advance"]
    real = module.advance
    digests = set()
    for n in (3, 5):
        cut(n)
        count = iter(range(1000))

        def twin(fixed, carry, count=count):
            step, bound = fixed
            key = jax.random.fold_in(step.key, next(count))
            return real((eqx.tree_at(lambda s: s.key, step, key), bound), carry)

        monkeypatch.setattr(module, "advance", twin)
        digests.add(jobs.digest(ALL[name]()))
    assert len(digests) == 2


def test_a_folder_changes_no_number(tmp_path):
    for name, job in jobs.JOBS.items():
        assert jobs.digest(job()) == jobs.digest(job(tmp_path / name)), name


def test_fit_extends_bit_for_bit(tmp_path):
    whole = jobs.train(steps=120, schedule_steps=60)
    jobs.train(tmp_path / "a", steps=60, schedule_steps=60)
    extended = jobs.train(tmp_path / "a", steps=120, schedule_steps=60)
    assert jobs.digest(extended) == jobs.digest(whole)
    with pytest.raises(
        InputError, match="holds 120 steps, asked for 60: a run cannot be shortened"
    ):
        jobs.train(tmp_path / "a", steps=60, schedule_steps=60)
    again = jobs.train(tmp_path / "a", steps=120, schedule_steps=60)  # loaded, not run
    assert jobs.digest(again) == jobs.digest(whole)


def test_chains_extend_bit_for_bit(tmp_path):
    whole = jobs.chains(steps=80)
    jobs.chains(tmp_path / "a", steps=37)
    extended = jobs.chains(tmp_path / "a", steps=80)
    assert jobs.digest(extended) == jobs.digest(whole)
    with pytest.raises(InputError, match="a run cannot be shortened"):
        jobs.chains(tmp_path / "a", steps=37)


def test_metrics_on_disk_do_not_depend_on_chunks(tmp_path, cut):
    for name, job in jobs.JOBS.items():
        rows = []
        for n in (7, 50):
            cut(n)
            job(tmp_path / f"{name}{n}")
            rows.append(jobs.metrics_on_disk(tmp_path / f"{name}{n}"))
        assert rows[0] == rows[1], name
        assert len(rows[0]) >= 40


class Counted:
    """Asserts how many chunks were traced inside the block."""

    def __init__(self, expected: int):
        self.expected = expected

    def __enter__(self):
        self.before = compilations()

    def __exit__(self, kind, *_):
        if kind is None:
            assert compilations() - self.before == self.expected


def test_fits_of_equal_structure_compile_once():
    evaluate = {"evaluate": lambda m, *, key: {"w": m.weight[0]}, "evaluate_every": 4}
    objective, seen = jobs.Regression(), []
    with Counted(1):
        for seed, steps, beta in ((0, 20, 1.0), (1, 21, 2.0), (2, 33, 3.0)):
            _, history = fit(
                eqx.tree_at(lambda m: m.bias, jobs.Linear(), jnp.asarray(beta)), objective,
                jobs.Lines(), steps=steps, batch=5, optimiser=jobs.ADAM,
                ema=EMA(0.5 + 0.1 * seed, ramp=True), clip=beta, key=jax.random.key(seed),
                **evaluate,
            )  # fmt: skip
            seen.append(len(history.evaluations))
    assert seen == [5, 5, 8]


def test_weak_types_compile_once():
    model = {"w": jnp.asarray(1.0), "b": jnp.zeros(()) * 1.0}

    class Weak(jobs.AbstractObjective):
        def __call__(self, model, sample, *, key):
            return (model["w"] * sample[1] - model["b"]) ** 2, jobs.NoInfo()

    with Counted(1):
        fit(model, Weak(), jobs.Lines(), steps=20, batch=5, key=jax.random.key(0))


def test_simulations_of_equal_structure_compile_once():
    with Counted(1):
        for seed, epsilon in enumerate((0.5, 2, 8.0)):
            for scale in (0.5, 1.0):
                kernel = Langevin(jobs.bumps(scale), epsilon=epsilon)
                simulate(
                    kernel, 8, times=uniform_times(11), observe=jobs.first, key=jax.random.key(seed)
                )
    with Counted(1):
        for step, steps in ((0.1, 3), (0.2, 40), (0.3, 70)):
            simulate(
                HMC(Normal((1,), 0.0, 1.0), step, jnp.asarray(1 + steps % 3)), 4, steps=steps,
                burn_in=steps % 2, initial=Normal((1,), 0.0, 2.0), keep=Keep(2, jobs.first),
                key=jax.random.key(0),
            )  # fmt: skip
    with Counted(2):  # once per shape of times
        for num in (5, 6, 5, 6):
            simulate(Langevin(jobs.bumps()), 8, times=uniform_times(num), key=jax.random.key(0))


def test_the_callers_arrays_survive():
    model, kernel = jobs.Linear(), HMC(Normal((2,), 0.0, 1.0), 0.3, 2)
    data = (jnp.ones((6, 2)), jnp.arange(6.0))
    x0, context = jnp.arange(8.0).reshape(4, 2), jnp.arange(4.0)
    from pushforward.sources import Arrays

    source = Arrays(data)
    before = jax.tree.map(np.array, (model, kernel, data, x0, context))
    fit(
        model,
        jobs.Regression(),
        source,
        steps=9,
        batch=4,
        ema=EMA(0.5, ramp=True),
        key=jax.random.key(0),
    )
    simulate(kernel, x0, steps=9, context=context, key=jax.random.key(0))
    after = jax.tree.map(np.array, (model, kernel, data, x0, context))
    assert jobs.digest(before) == jobs.digest(after)
