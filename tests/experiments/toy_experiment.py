"""A toy: the mean of uniform numbers is one half."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

import pushforward as pf
from pushforward.experiments import Config as Base
from pushforward.experiments import Estimate, Exact, Expected, Group, at_least, within


class Fit(Group):
    steps: int = Field(default=10, ge=1, le=1000, description="numbers drawn")
    schedule_steps: int | None = Field(default=None, ge=1, le=1000, description="span")
    rate: float = Field(
        default=0.1, gt=0, le=1, description="rate", json_schema_extra={"unit": "s"}
    )


class Simulate(Group):
    shape: tuple[int, ...] = Field(default=(8, 8), min_length=1, description="lattice")
    pair: tuple[Annotated[int, Field(ge=1)], float] = Field(default=(1, 2.0), description="two")
    names: tuple[str, ...] = Field(default=("a", "b"), description="labels")
    span: timedelta = Field(default=timedelta(hours=6), description="lead time")
    where: Path | None = Field(default=None, description="a file")
    ceiling: float = Field(default=float("inf"), gt=0, allow_inf_nan=True, description="bound")
    every: int | Literal["auto"] = Field(default="auto", description="when to record")
    kind: Literal["plain", "fancy"] = Field(default="plain", description="which")


class Config(Base):
    fit: Fit = Fit()
    simulate: Simulate = Simulate()
    text: str = Field(default="x", max_length=200, description="a title")
    fail: Literal["", "bug", "nan", "stop", "interrupt", "disk", "sleep"] = Field(
        default="", description="how to fail"
    )
    bias: float = Field(default=0.0, ge=-1, le=1, description="added to the mean")

    @model_validator(mode="after")
    def _rule(self):
        if self.fit.steps == 13:
            raise ValueError("fit.steps must not be 13")
        return self


PRESETS = {"smoke": {"fit": {"steps": 20}}, "laptop": {"fit": {"steps": 50}}}
EXPECTED = (
    Expected("mean", 0.5, within(4.0), Exact("symmetry")),
    Expected("count", 15, at_least(), Exact("counting"), presets=("smoke",)),
)
REFERENCES = ("nets",)
EXTENDS = "draw"


def run(config, folder, *, key):
    import warnings

    import jax
    import numpy as np

    _fail(config.fail)
    steps = config.fit.steps
    stage = folder.stage("draw")
    if not stage.finished:
        have = len(stage.metrics())
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(np.arange(have, steps))
        x = np.asarray(jax.vmap(jax.random.uniform)(keys))
        stage.append_metrics([{"step": have + i, "x": float(v)} for i, v in enumerate(x)])
        stage.append_draws({"x": x}, have)
        stage.finish({"steps": steps})
    later = folder.stage("mean")
    if not later.finished:
        later.append_metrics([{"step": 0, "mean": float(np.mean(stage.draws()["x"]))}])
        later.finish({})
    if steps < 15:
        warnings.warn("only a few numbers", stacklevel=1)
    mean, error = later.metrics()[0]["mean"], 12**-0.5 / steps**0.5
    return {"mean": Estimate(mean + config.bias, error), "count": Estimate(steps), "extra": 1.5}


def _fail(how):
    if how == "bug":
        raise TypeError("boom")
    if how == "nan":
        raise pf.errors.NonFinite("loss is nan at step 3")
    if how == "disk":
        raise pf.errors.DiskFull("no space")
    if how in ("stop", "interrupt"):
        error = pf.errors.Stopped("stopped on request, everything saved")
        error.signal = 15 if how == "stop" else 2
        raise error
    if how == "sleep":
        import time

        from pushforward.drivers import signals

        for _ in range(600):
            time.sleep(0.05)
            if (number := signals.requested()) is not None:
                raise signals.stopped(number, "in a dream")


def figures(folder):
    import matplotlib.pyplot as plt

    x = folder.stage("draw").draws()["x"]
    figure, axes = plt.subplots()
    axes.hist(x)
    plt.close(figure)
    return {"numbers": figure}
