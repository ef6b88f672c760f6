"""The self test: killed, stopped, extended or cut otherwise, the digests stay."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from pushforward.runs import RunFolder

RUN = "import sys; from pushforward.shell.cli import main; main(sys.argv[1:])"
SMALL = ("fit.steps=200", "simulate.steps=150", "simulate.side=16", "simulate.every=10")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("selftest")


def start(folder, *words):
    cache = str(folder / "cache")
    env = {**os.environ, "PUSHFORWARD_CACHE": cache, "JAX_PLATFORMS": "cpu"}
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", RUN, *words]
    return subprocess.Popen(command, cwd=folder, env=env, text=True, stdout=pipe, stderr=pipe)


def call(folder, *words):
    process = start(folder, *words)
    _, err = process.communicate(timeout=300)
    return process.returncode, err


def digests(folder, name):
    text = (folder / "runs" / name / "log.txt").read_text()
    return dict(re.findall(r"DIGEST (\w+) ([0-9a-f]{64})", text))


@pytest.fixture(scope="module")
def whole(folder):
    """The digests of an uninterrupted run."""
    code, err = call(folder, "run", "selftest", *SMALL, "--name", "whole")
    assert code == 0, err
    return digests(folder, "whole")


def wait_for(folder, name, job, step):
    """Wait until `job` of a run has a checkpoint at `step` or later."""
    checkpoints = folder / "runs" / name / "stages" / job / "checkpoints"
    for _ in range(2400):
        found = [int(p.stem) for p in checkpoints.glob("0*")] if checkpoints.exists() else []
        if max(found, default=-1) >= step:
            return
        time.sleep(0.05)


def interrupt(folder, words, job, number):
    """Start a slow run, send it `number` in the middle of `job`; return its exit status."""
    process = start(folder, *words)
    try:
        wait_for(folder, "torn", job, step=5)
        process.send_signal(number)
        process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode


@pytest.mark.slow  # tests/drivers/test_signals.py does the same to the verbs
def test_an_interrupted_run_ends_with_the_same_bits(folder, whole):
    torn = folder / "runs/torn"
    begin = ("run", "selftest", *SMALL, "sleep=0.2", "save_every=0", "--name", "torn")
    again = ("resume", "runs/torn")
    assert interrupt(folder, begin, "fit", signal.SIGTERM) == 75
    assert RunFolder.open(torn).status()["state"] == "preempted"
    assert digests(folder, "torn") == {}
    assert interrupt(folder, again, "simulate", signal.SIGKILL) == -9
    assert digests(folder, "torn") == {"fit": whole["fit"]}
    code, err = call(folder, *again)
    assert code == 0, err
    assert digests(folder, "torn") == whole
    assert RunFolder.open(torn).status()["restarts"] == 2


@pytest.mark.slow
def test_an_extension_equals_one_long_run(folder, whole):
    short = ("job=fit", "fit.steps=100", "fit.schedule_steps=200")
    assert call(folder, "run", "selftest", *short, "--name", "short")[0] == 0
    before = digests(folder, "short")
    assert before["fit"] != whole["fit"]
    assert call(folder, "resume", "runs/short", "--steps", "200")[0] == 0
    assert digests(folder, "short") == {"fit": whole["fit"]}


def test_another_seed_gives_other_bits(folder, whole):
    words = ("run", "selftest", *SMALL, "job=simulate", "seed=1", "--name", "other")
    assert call(folder, *words)[0] == 0
    assert digests(folder, "other")["simulate"] != whole["simulate"]


def test_sample_and_export_the_model(folder, whole):
    import numpy as np

    code, err = call(folder, "sample", "runs/whole", "-n", "200", "--to", "a.npz")
    assert code == 0, err
    assert call(folder, "sample", "runs/whole", "-n", "200", "--to", "b.npz", "seed=1")[0] == 0
    with np.load(folder / "a.npz") as a, np.load(folder / "b.npz") as b:
        assert a["x"].shape == (200, 8)
        assert a["log_weight"].shape == (200,)
        assert not np.array_equal(a["x"], b["x"])
    assert call(folder, "export", "runs/whole", "--to", "safetensors")[0] == 0
    assert (folder / "runs/whole/exports/model.safetensors").exists()
    assert call(folder, "export", "runs/whole", "--to", "npz", "--what", "draws")[0] == 0


def test_load_run_and_dry_run(folder, whole):
    import jax

    import pushforward as pf

    model = pf.load_run(folder / "runs/whole")
    assert sum(x.size for x in jax.tree.leaves(model) if hasattr(x, "size")) > 1000
    process = start(folder, "run", "selftest", "--dry-run", "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    facts = json.loads(out)
    assert facts["parameters"] > 1000
    assert facts["compile_seconds"] > 0
    assert not (folder / "runs" / "selftest-001").exists()


@pytest.mark.slow
def test_numbers_as_expected(folder):
    code, err = call(folder, "run", "selftest", "preset=smoke", "--check", "--name", "smoke")
    assert code == 0, err
    summary = json.loads((folder / "runs/smoke/summary.json").read_text())
    assert {"phi^2", "loss, last over first"} == set(summary["results"])
