"""Every experiment runs, draws, resumes, extends, samples and exports: the contract as a whole.

Two are asked in the fast tests, at a size that takes seconds; all of them at their smoke size in
the slow ones.
"""

import json
import re
import tomllib

import numpy as np
import pytest

from pushforward.estimators.findings import Finding
from pushforward.experiments import REGISTRY
from pushforward.harness import record
from pushforward.harness.experiment import find, of_run, steps_key
from pushforward.harness.lab import done_of
from pushforward.report.facts import READ
from pushforward.runs import RunFolder
from pushforward.shell import export, sample

HOW = record.Options(cache=False, quiet=True)
SMALL = {
    "gauge-u1-2d": ("side=4", "chains=8", "steps=100", "burn_in=10"),
    "leaps-ising": ("side=2", "samples=64", "fit.steps=10", "fit.batch=16", "walkers=8"),
}
CASES = [
    *(pytest.param(name, (*words, "preset=smoke"), id=name) for name, words in SMALL.items()),
    *(
        pytest.param(name, ("preset=smoke",), id=f"{name}-smoke", marks=pytest.mark.slow)
        for name in REGISTRY
    ),
]


@pytest.fixture(autouse=True)
def _precision():
    import jax

    x64 = jax.numpy.result_type(float) == jax.numpy.float64
    yield
    jax.config.update("jax_enable_x64", x64)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "words"), CASES)
def test_the_contract(name, words, tmp_path):
    experiment, path = find(name, REGISTRY), tmp_path / "a"
    first = record.execute(experiment, experiment.resolve(overrides=words), path, HOW)
    assert first.rows
    page = (path / "report.html").read_text()
    assert "could not be drawn" not in page
    assert re.search(r"numbers?( as expected|, none)[^<]*; finished in ", page), "not 'running'"
    every_key_of_the_page_is_written(path)
    figures = {p.stem for p in (path / "figures").glob("*") if p.suffix in (".svg", ".png")}
    assert figures

    _, resolved = of_run(path, REGISTRY)
    done = done_of(path, experiment, resolved.config)
    assert set(experiment.figures(resolved.config, done)) >= figures  # drawn again from the disk

    again = record.resume(experiment, resolved, path, HOW)
    assert again.already
    assert [r["value"] for r in again.rows] == [r["value"] for r in first.rows]

    key = steps_key(type(resolved.config))
    have = _value(resolved.config, key)
    longer = record.resume(experiment, resolved, path, HOW, steps=have + max(1, have // 10))
    assert [r["name"] for r in longer.rows] == [r["name"] for r in first.rows]
    _, resolved = of_run(path, REGISTRY)
    assert _value(resolved.config, key) > have
    assert RunFolder.open(path).status()["state"] == "finished"

    facts = sample.draw(experiment, resolved.config, path, 8, HOW)
    with np.load(facts["path"], allow_pickle=False) as drawn:
        assert len(drawn["log_weight"]) == 8
    for to, what in (("safetensors", "model"), ("npz", "series"), ("nc", "series")):
        assert all(file.exists() for file in export.export(path, to, what=what))


def every_key_of_the_page_is_written(path):
    """Law: whatever the page reads, a run writes (`error` of a status where it failed)."""
    run = RunFolder.open(path)
    documents = {
        "status": run.status() | {"error": None},
        "summary": run.summary(),
        "result": next(iter(run.summary()["results"].values())),
        "finding": {**Finding("red", "Q", "frozen")._asdict(), "stage": "hmc"},
        "start": run.environment()[0],
        "header": tomllib.loads(run.config())["pushforward"],
        "done": run.stages()[0].done(),
        "caption": {
            key: 0
            for note in json.loads((path / "figures" / "captions.json").read_text()).values()
            for key in [*note, "error"]
        },
    }
    assert documents.keys() == READ.keys()
    for name, written in documents.items():
        assert set(READ[name]) <= set(written), name
    for found in run.summary()["findings"]:
        assert set(found) == set(READ["finding"])


def _value(config, key):
    for part in key.split("."):
        config = getattr(config, part)
    return config
