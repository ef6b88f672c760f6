"""Run folders as an experiment leaves them: finished, running, failed, empty, hostile."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pushforward import report
from pushforward.runs import RunFolder

CONFIG = """\
seed = 0
walkers = 2000

[pushforward]
version = "0.1.0"
experiment = "nets-gmm40"
preset = "laptop"
format = 1

[geometric]
base_scale = 80.0
warp = 8.5

[fit]
steps = 2000
batch = 1024
learning_rate = 3e-3
"""
ENVIRONMENT = {
    "started": "2026-01-05T10:12:13+00:00",
    "command": ["pushforward", "run", "nets-gmm40", "preset=laptop", "fit.steps=2000"],
    "python": "3.11.9",
    "versions": {"pushforward": "0.1.0", "jax": "0.10.2"},
    "devices": {"kind": "cpu", "platform": "cpu", "count": 2, "processes": 1},
    "git": {"commit": "27b901e4c0ffee", "dirty": True},
    "cores": 2,
    "memory": "8.3 GB",
    "dtype": "float32",
}
SUMMARY = {
    "results": {
        "ESS, geometric path": {
            "value": 0.9083,
            "error": None,
            "expected": 0.9,
            "source": "goal",
            "deviation": "+0.0083",
            "comparison": "at least",
            "verdict": "within",
            "unit": "",
            "note": "Transport, 100 steps, 2,000 walkers",
        },
        "log Z, geometric path": {
            "value": 0.00121,
            "error": 0.0071,
            "expected": 0.0,
            "source": "exact",
            "deviation": "+0.2 sigma",
            "comparison": "within 4 sigma",
            "verdict": "within",
            "note": "4 populations of 500",
        },
        "log Z, mixture path": {
            "value": -0.000213,
            "error": 0.00070,
            "expected": 0.0,
            "source": "exact",
            "verdict": "within",
            "note": "knows the means of the target",
        },
        "E |x|²": {
            "value": 1118.25,
            "error": 9.31,
            "expected": 1071.369916283017,
            "source": "exact, from the 40 means",
            "deviation": 5.04,
            "verdict": "MISSED",
            "unit": "length²",
        },
        "modes found": {"value": 40, "expected": 40, "source": "exact", "verdict": "within"},
        "ESS, untrained SMC": {
            "value": 0.524,
            "error": 0.011,
            "expected": None,
            "source": "measured here, at equal gradient calls",
            "verdict": "none",
        },
    },
    "diagnostics": {
        "geometric": {"ESS/n": 0.9083, "n": 2000, "largest weight": 0.00173, "ELBO": -0.0503},
        "mixture": {"ESS/n": 0.9991, "n": 2000, "largest weight": 0.00061, "ELBO": -0.0004},
        "SMC": {"ESS/n": 0.524, "n": 2000, "largest weight": 0.00411, "ELBO": -0.37},
    },
    "findings": [],
    "notices": ["stage train-geometric: step 1200 was damaged, it went on from step 800"],
    "warnings": ["The mixture path uses the means of the target: a check, not an achievement."],
    "seconds": {"total": 176.0, "compile": 21.4, "train": 131.2, "sample": 14.9, "evaluate": 8.3},
    "cost": [
        {"method": "geometric, training", "energies": 0, "gradients": 5_120_000},
        {"method": "geometric, sampling", "energies": 202_000, "s per effective sample": 0.00231},
        {"method": "SMC", "energies": 300_000, "gradients": 305_000},
    ],
    "references": "@article{nets, title={NETS}, url={https://arxiv.org/abs/2410.02711}}",
    "notes": ["Break-even against SMC: 61 000 effective samples."],
}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202e\x1b[31m$\\frac{&amp;"


def every_figure() -> dict:
    """Every verb of `plots` on numbers that look like an experiment's."""
    rng, grid = np.random.default_rng(0), np.linspace(0, 1, 101)
    x = rng.normal(size=(5, 400, 2)) * np.array([9, 7, 5, 3, 1.0])[:, None, None]
    log_weight = 0.4 * rng.normal(size=(5, 400))
    run = SimpleNamespace(
        record={"t": grid, "ess": 1 - 0.3 * grid, "log_z": -0.1 * grid},
        draws={"x": x, "log_weight": log_weight},
        x=x[-1],
        log_weight=log_weight[-1],
    )
    spins = {"x": np.sign(rng.normal(size=(5, 60, 8, 8))), "log_weight": log_weight[:, :60]}
    steps = np.arange(1, 401)
    history = SimpleNamespace(
        metrics={"step": steps, "loss": np.exp(-steps / 90) * (1 + 0.3 * rng.random(400))},
        evaluations=[{"step": s, "ess": s / 400, "log_z": 0.1} for s in (100, 200, 300)],
    )
    charges, noise = rng.integers(-3, 4, (300, 4)), rng.normal(size=(2000, 2))
    plots, normal = report.plots, np.exp(-((6 * grid - 3) ** 2) / 2) / np.sqrt(2 * np.pi)
    runs = {"geometric": run, "mixture": run}
    return {
        "curves": plots.curves(history),
        "curves, evaluations": plots.curves({"geometric": history}, ("ess", "log_z"), exact=0.1),
        "curves, arrays": plots.curves({"a": {"SMC": grid}}, xlabel="$N$", caption="Lines."),
        "along_time": plots.along_time(runs, exact=-0.1),
        "chains": plots.chains({"β = 2": charges, "β = 6": charges}),
        "autocorrelation": plots.autocorrelation({"Q": noise}),
        "against_exact": plots.against_exact({"plaquette": (0.7, 0.01, 0.69)}),
        "weights": plots.weights(runs),
        "histogram": plots.histogram({"exact": (6 * grid - 3, normal), "SMC": noise}),
        "integers": plots.integers({"β = 2": charges}, {"β = 2": np.full(7, 1 / 7)}),
        "bars": plots.bars({"plain": [0.1, 0.2]}, ["a", "b"], caption="Swap rates."),
        "modes": plots.modes({"SMC": rng.multinomial(500, np.full(40, 1 / 40)) / 500}, 1 / 40),
        "scatter": plots.scatter(runs, limits=5, density=lambda x: -x @ x / 2),
        "particles": plots.particles(runs, density=lambda label, t, x: -x @ x / 2),
        "trajectories": plots.trajectories({"ODE": x[:, :20]}, limits=20),
        "images": plots.images({"real": rng.random((3, 4, 8, 8))}, caption="Digits."),
        "configurations": plots.configurations(
            {"trained": SimpleNamespace(record={"t": grid}, draws=spins)}
        ),
    }


def metrics(steps: int = 2000, every: int = 4) -> list[dict]:
    random, rows = np.random.RandomState(3), []
    for step in range(every, steps + 1, every):
        loss = 900 * np.exp(-step / 300) * random.lognormal(0, 0.4) + 2.0
        row = {
            "step": step,
            "seconds": 0.065 * step,
            "loss": loss,
            "objective.loss": loss,
            "skipped": 0,
            "dimension": 2.0,
            "grad_norm": 40 * np.exp(-step / 500) * random.lognormal(0, 0.5),
            "learning_rate": 1.5e-3 * (1 + np.cos(np.pi * step / 2000)),
        }
        rows.append(row | ({"loss": np.nan, "objective.loss": np.nan} if step == 400 else {}))
    return rows


def write_run(path: Path, *, config=CONFIG, summary=None, rows=(), done=None, **status) -> Path:
    """Write a run as the harness does: one training stage, a status, perhaps a summary."""
    with RunFolder.create(path, config=config, environment=ENVIRONMENT) as run:
        stage = run.stage("train-geometric")
        stage.append_metrics(list(rows))
        if done is not None:
            stage.finish(done)
        if summary is not None:
            run.write_summary(summary)
        run.set_status(**status)
    return path


def finished_run(path: Path, **changes) -> Path:
    done, live = {"steps": 2000, "seconds": 131.2}, {"stage": "train-geometric", "step": 2000}
    summary = SUMMARY | changes
    write_run(path, summary=summary, rows=metrics(), done=done, **live, state="finished")
    with RunFolder.open(path, write=True) as run:
        run.add_environment(ENVIRONMENT | {"started": "2026-01-06T10:12:13+00:00"})
    return path


def running_run(path: Path) -> Path:
    live = {"stage": "train-geometric", "step": 2000, "total": 5000, "eta": 190.0}
    write_run(path, rows=metrics(), **live, state="running")
    with (path / "stages" / "train-geometric" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2004, "lo')  # torn: the process is in the middle of a line
    return path


def failed_run(path: Path) -> Path:
    error = "NonFinite: the loss is nan at step 1201\nfirst leaf: .drift.layers[0].weight\n"
    error += "last good checkpoint: step 1200"
    live = {"stage": "train-geometric", "step": 1201, "total": 2000, "error": error}
    write_run(path, summary={"seconds": {"total": 80.0}}, rows=metrics(), **live, state="failed")
    (path / "crash.txt").write_text("Traceback (most recent call last):\n  ...\nNonFinite")
    return path


def hostile_run(path: Path) -> Path:
    text = json.dumps(HOSTILE)
    entry = dict.fromkeys(("value", "error", "expected", "source", "deviation"), HOSTILE)
    entry |= dict.fromkeys(("verdict", "unit", "note"), HOSTILE)
    finding = dict.fromkeys(("severity", "subject", "text", "stage"), HOSTILE)
    summary = {
        "results": {HOSTILE: entry, "list": [1, 2], "nan": {"value": "nan", "error": "inf"}},
        "diagnostics": {HOSTILE: {HOSTILE: {HOSTILE: HOSTILE}}},
        "findings": [finding, HOSTILE],
        "notices": [HOSTILE],
        "warnings": [HOSTILE, {"text": HOSTILE}],
        "seconds": {HOSTILE: 1.0, "x": HOSTILE, "y": 1e300, "total": HOSTILE},
        "cost": [{HOSTILE: HOSTILE}],
        "references": HOSTILE,
        "notes": [HOSTILE],
    }
    write_run(
        path,
        config=f"seed = 1\n{text} = {text}\n[pushforward]\nexperiment = {text}\npreset = {text}\n",
        summary=summary,
        rows=[{"step": i, HOSTILE: i * i} for i in range(9)],
        state="failed",
        stage=HOSTILE,
        error=HOSTILE,
        step=HOSTILE,
        total=-1,
        eta=[],
    )
    with RunFolder.open(path, write=True) as run:
        run.add_environment({HOSTILE: HOSTILE, "command": HOSTILE})
    (path / "figures").mkdir()
    (path / "figures" / "evil.svg").write_text('<svg width="9" height="9"><script>1</script></svg>')
    (path / "figures" / "fake.png").write_text("no picture")
    (path / "figures" / "captions.json").write_text(json.dumps({HOSTILE: {"title": HOSTILE}}))
    (path.parent / "secret.svg").write_text("<svg><text>secret</text></svg>")
    (path / "figures" / "link.svg").symlink_to(path.parent / "secret.svg")
    (path.parent / "secret.txt").write_text("secret")
    (path / "crash.txt").symlink_to(path.parent / "secret.txt")
    return path


BUILDERS = {
    "finished": finished_run,
    "running": running_run,
    "failed": failed_run,
    "hostile": hostile_run,
    "empty": lambda path: (path.mkdir(parents=True), path)[1],
}


@pytest.fixture(params=sorted(BUILDERS))
def any_run(request, tmp_path):
    """One run folder of every kind, in turn."""
    return BUILDERS[request.param](tmp_path / "runs" / request.param)


@pytest.fixture
def make_run(tmp_path):
    """Build a run folder of a named kind."""
    return lambda kind: BUILDERS[kind](tmp_path / "runs" / kind)


@pytest.fixture(scope="session")
def figures():
    """Every verb's figure, drawn once."""
    return {name.replace(", ", "-"): figure for name, figure in every_figure().items()}
