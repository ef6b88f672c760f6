"""A stage belongs to what made it, and a finished one is read back without compiling anything."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import driver_jobs as jobs
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pushforward._errors import InputError, StageMismatch, StorageError
from pushforward.drivers import EMA, History, Keep, Samples, compilations, fit, simulate
from pushforward.drivers.plan import fingerprints
from pushforward.dynamics import Langevin
from pushforward.estimators import Systematic
from pushforward.mcmc import HMC
from pushforward.paths import uniform_times
from pushforward.runs import RunFolder, as_stage
from pushforward.sources import Arrays
from pushforward.targets import Normal

KEY = jax.random.key(0)


def untraced(monkeypatch):
    """From now on nothing can be traced: chunks, starts, draws of x0."""

    def refuse(*_, **__):
        raise AssertionError("traced")

    for name in ("start_simulation", "start_particles"):
        monkeypatch.setattr(sys.modules["pushforward.drivers.simulate"], name, refuse)
    monkeypatch.setattr(sys.modules["pushforward.drivers.fit"], "start_training", refuse)
    monkeypatch.setattr(sys.modules["pushforward.drivers.advance"], "advance", refuse)


@pytest.mark.parametrize("name", jobs.JOBS)
def test_a_finished_stage_is_loaded_without_a_trace(name, tmp_path, monkeypatch):
    job, before = jobs.JOBS[name], compilations()
    digest = jobs.digest(job(tmp_path / "a"))
    assert compilations() > before or digest
    untraced(monkeypatch)
    assert jobs.digest(job(tmp_path / "a")) == digest


def test_results_are_read_from_a_run(tmp_path):
    chain = HMC(Normal((70,), 0.0, 1.0), 0.3, 2)
    with RunFolder.create(tmp_path / "run", config="", environment={}) as folder:
        made = simulate(
            chain, jnp.ones((3, 70)), steps=9, observe=jobs.whole, keep=Keep(2), key=KEY,
            folder=folder.stage("chain"),
        )  # fmt: skip
        model, history = fit(
            jobs.Linear(), jobs.Regression(), jobs.Lines(), steps=7, batch=4, ema=EMA(0.5, True),
            evaluate=jobs.norm, evaluate_every=3, folder=folder.stage("train"), key=KEY,
        )  # fmt: skip
    chain, train = RunFolder.open(tmp_path / "run").stages()
    read = Samples.load(chain)
    assert jobs.digest(jobs.everything(read)) == jobs.digest(jobs.everything(made))
    assert jobs.digest(read.info) == jobs.digest(made.info)
    assert isinstance(read.x, jax.Array)
    assert not isinstance(made.draws, dict)  # read from the disk when asked for
    found = History.load(train, jobs.Linear())
    assert jobs.digest((found.model, found.raw)) == jobs.digest((model, history.raw))
    assert found.evaluations == history.evaluations
    assert history.model is model
    np.testing.assert_array_equal(found.metrics["loss"], history.metrics["loss"])
    assert History.load(train).model is None
    assert (chain.done()["verb"], train.done()["verb"]) == ("simulate", "fit")


def test_samples_come_back_as_the_trees_they_were(tmp_path):
    rest = {"record": {}, "draws": {}, "moments": {}, "weighted": True, "stacked": False}
    x = {"a": jnp.ones((4, 2)), "b": (jnp.zeros(4, jnp.bfloat16), [np.arange(4)], None)}
    stage = as_stage(tmp_path / "a", "simulate")
    samples = Samples(x, jnp.arange(4.0), populations=2, **rest)
    samples.save(stage)
    stage.finish({})
    read = Samples.load(stage)
    assert jobs.digest((read.x, read.log_weight)) == jobs.digest((x, samples.log_weight))
    assert jax.tree.structure(read.x) == jax.tree.structure(x)
    assert read.ess == samples.ess
    stage.close()


def widest(x):
    return {"x": jnp.max(x)}


CHAIN = {
    "kernel": HMC(Normal((2,), 0.0, 1.0), 0.3, 1),
    "x0": 4,
    "steps": 3,
    "initial": Normal((2,), 0.0, 1.0),
    "observe": jobs.first,
    "key": KEY,
}
MARCH = {"kernel": Langevin(jobs.bumps()), "x0": 4, "times": uniform_times(4), "key": KEY}
CALLS = {
    "energy": (CHAIN, {"kernel": HMC(Normal((2,), 0.5, 1.0), 0.3, 1)}, "kernel.path.mean"),
    "step size": (CHAIN, {"kernel": HMC(Normal((2,), 0.0, 1.0), 0.2, 1)}, "kernel.step_size"),
    "kernel": (CHAIN, {"kernel": Langevin(jobs.bumps())}, "kernel"),
    "initial": (CHAIN, {"initial": Normal((2,), 0.0, 2.0)}, "initial.scale"),
    "number": (CHAIN, {"x0": 5}, "x0"),
    "samples": (CHAIN | {"x0": jnp.ones((4, 2))}, {"x0": 2 * jnp.ones((4, 2))}, "x0"),
    "observe": (CHAIN, {"observe": widest}, "observe"),
    "burn-in": (CHAIN, {"burn_in": 1}, "burn_in"),
    "keep": (CHAIN | {"keep": Keep(2)}, {"keep": Keep(3)}, "keep.every"),
    "key": (CHAIN, {"key": jax.random.key(9)}, "key"),
    "times": (MARCH, {"times": uniform_times(5)}, "times"),
    "index": (MARCH, {"index": jnp.arange(4) + 1}, "index"),
    "populations": (MARCH, {"populations": 2}, "populations"),
    "resample": (MARCH, {"resample": Systematic(0.9)}, "resample"),
    "context": (MARCH | {"context": jnp.arange(4)}, {"context": jnp.arange(4) + 1}, "context"),
}


@pytest.mark.parametrize("case", CALLS)
def test_another_call_does_not_continue_a_stage(case, tmp_path):
    options, change, name = CALLS[case]
    run(simulate, options | {"folder": tmp_path / "a"})
    with pytest.raises(StageMismatch, match="was begun with another") as caught:
        run(simulate, options | {"folder": tmp_path / "a"} | change)
    assert name in caught.value.differs
    assert caught.value.exit_code == 2


def test_a_limit_at_infinity_is_equal_to_itself(tmp_path):
    observe = eqx.Partial(clipped, float("inf"), float("nan"))
    first = run(simulate, CHAIN | {"observe": observe, "folder": tmp_path / "a"})
    again = run(simulate, CHAIN | {"observe": observe, "folder": tmp_path / "a"})
    assert jobs.digest(again.x) == jobs.digest(first.x)


def clipped(limit, fill, x):
    return {"x": jnp.where(x[0] > limit, fill, x[0])}


def run(verb, options):
    names = {simulate: ("kernel", "x0"), fit: ("model", "objective", "source")}[verb]
    return verb(
        *(options[n] for n in names), **{k: v for k, v in options.items() if k not in names}
    )


DATA = (jnp.arange(12.0).reshape(6, 2), jnp.arange(6.0))
TRAIN = {
    "model": jobs.Linear(),
    "objective": jobs.Regression(),
    "source": Arrays(DATA),
    "steps": 3,
    "batch": 4,
    "optimiser": optax.adam(1e-3),
    "key": KEY,
}
FITS = {
    "model": ({"model": eqx.tree_at(lambda m: m.bias, jobs.Linear(), 1.0)}, "model.bias"),
    "objective": ({"objective": jobs.Regression(noise=0.2)}, "objective.noise"),
    "source": ({"source": Arrays((DATA[0], DATA[1] + 1))}, "source.data._value[1]"),
    "optimiser": ({"optimiser": optax.adam(2e-3)}, "optimiser[1].update_fns[1].tx[1].step_size"),
    "average": ({"ema": EMA(0.5, ramp=True)}, "ema.decay"),
    "batch": ({"batch": 2}, "batch"),
    "schedule": ({"schedule_steps": 8}, "schedule_steps"),
}


@pytest.mark.parametrize("case", FITS)
def test_another_training_does_not_continue_a_stage(case, tmp_path):
    change, name = FITS[case]
    run(fit, TRAIN | {"folder": tmp_path / "a"})
    with pytest.raises(StageMismatch, match="to begin anew, choose a new folder") as caught:
        run(fit, TRAIN | {"folder": tmp_path / "a"} | change)
    assert name in caught.value.differs


def test_what_differs_is_shown_with_both_values(tmp_path):
    run(simulate, CHAIN | {"folder": tmp_path / "a"})
    other = {"kernel": HMC(Normal((2,), 0.5, 1.0), 0.2, 1), "folder": tmp_path / "a"}
    sentence = r"kernel.path.mean \(float64 0.0, now float64 0.5\); kernel.step_size \(float64 0.3,"
    with pytest.raises(StageMismatch, match=sentence):
        run(simulate, CHAIN | other)


def test_a_stage_without_a_checkpoint_may_become_another(tmp_path):
    def broken(step, values):
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run(simulate, CHAIN | {"folder": tmp_path / "a", "watchers": [jobs.Watch(broken)]})
    samples = run(simulate, CHAIN | {"folder": tmp_path / "a", "x0": 5})
    assert len(samples) == 5
    (tmp_path / "a" / "plan.json").write_text("{")
    with pytest.raises(StorageError, match=r"cannot read .*plan.json"):
        run(simulate, CHAIN | {"folder": tmp_path / "a", "x0": 5})


SCRIPT = """
import sys; sys.path.insert(0, {here!r})
import jax, json, optax, driver_jobs as jobs
from pushforward.drivers.plan import fingerprints
jax.config.update("jax_enable_x64", True)
print(json.dumps(fingerprints(key=jax.random.key(1), energy=jobs.bumps(), job=jobs.train,
    optimiser=optax.adam(optax.cosine_decay_schedule(1e-3, 9)), objective=jobs.Regression(),
    own=lambda x: x in {{"a", "b", "c"}} and jobs.first(x))))
"""


def test_fingerprints_are_equal_in_every_process():
    here = str(Path(jobs.__file__).parent)
    command, texts = [sys.executable, "-c", SCRIPT.format(here=here)], set()
    for seed in ("1", "2"):
        found = subprocess.run(
            command, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        )
        texts.add(found.stdout.decode())
    assert len(texts) == 1
    assert "0x" not in texts.pop()


SCALE = 2.0


def energy(scale, shift=0.0):
    return lambda x: shift + scale * SCALE * jnp.sum(x**2)


def test_functions_are_compared_by_code_constants_closures_and_globals(monkeypatch):
    first = fingerprints(f=energy(1.0))
    assert fingerprints(f=energy(1.0)) == first
    assert fingerprints(f=energy(2.0)) != first
    assert fingerprints(f=energy(jnp.ones(5))) != fingerprints(f=energy(jnp.zeros(5)))
    assert fingerprints(f=eqx.Partial(energy, 1.0)) != fingerprints(f=eqx.Partial(energy, 2.0))
    first, longer, wider = (
        observer(Settings(3, 8)),
        observer(Settings(9, 8)),
        observer(Settings(3, 9)),
    )
    assert fingerprints(f=first) == fingerprints(f=longer) != fingerprints(f=wider)
    kinds = [make_class(1), make_class(1), make_class(2)]
    texts = [fingerprints(m=kind()) for kind in kinds]
    assert texts[0] == texts[1] != texts[2]
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 3.0)
    assert fingerprints(f=energy(1.0)) != first
    loop = {}
    loop["self"] = loop
    assert fingerprints(x=loop) == {}


class Settings:
    def __init__(self, steps, side):
        self.run, self.size = SimpleNamespace(steps=steps), SimpleNamespace(side=side)


def observer(settings):
    return lambda x: {"mean": jnp.sum(x) / settings.size.side}


def make_class(added):
    class Made(eqx.Module):
        if added == 1:

            def __call__(self, x):
                return x + 1

        else:

            def __call__(self, x):
                return x + 2

    return Made


@pytest.mark.parametrize("name", ["info.mine", "step", "state", "t", "ess", "log_z", "resampled"])
def test_an_observable_called_like_a_column_is_refused(name):
    sentence = f"an observable is called '{name}', a column of the driver.*call it 'my_{name}'"
    with pytest.raises(InputError, match=sentence):
        run(simulate, CHAIN | {"observe": lambda x: {name: x[0]}})


@pytest.mark.parametrize("name", ["loss", "grad_norm", "seconds", "evaluation", "objective.mine"])
def test_an_evaluation_called_like_a_column_is_refused(name):
    with pytest.raises(InputError, match=f"a number of evaluate is called '{name}', a column of"):
        run(fit, TRAIN | {"evaluate": lambda m, *, key: {name: 1.0}, "evaluate_every": 1})


def test_a_schedule_is_the_same_before_and_after_it_was_traced():
    """optax turns the integers of its closure into floats when a step is traced."""
    rule = optax.adam(optax.warmup_cosine_decay_schedule(0.0, 1.0, 3, 10))
    before = fingerprints(optimiser=rule)
    jax.eval_shape(rule.update, jnp.ones(2), rule.init(jnp.ones(2)))
    assert fingerprints(optimiser=rule) == before
