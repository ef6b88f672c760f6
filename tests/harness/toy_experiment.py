"""A toy: the mean of uniform numbers is one half."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

import pushforward as pf
from pushforward.harness import Config as Base
from pushforward.harness import Group, at_least, exact, key, within


class Fit(Group):
    steps: int = key(10, "numbers drawn", ge=1, le=1000)
    schedule_steps: int | None = key(None, "span", ge=1, le=1000)
    rate: float = key(0.1, "rate", gt=0, le=1, unit="s")


class Simulate(Group):
    shape: tuple[int, ...] = key((8, 8), "lattice", min_length=1)
    pair: tuple[Annotated[int, Field(ge=1)], float] = key((1, 2.0), "two")
    names: tuple[str, ...] = key(("a", "b"), "labels")
    span: timedelta = key(timedelta(hours=6), "lead time")
    where: Path | None = key(None, "a file")
    ceiling: float = key(float("inf"), "bound", gt=0, allow_inf_nan=True)
    every: int | Literal["auto"] = key("auto", "when to record")
    kind: Literal["plain", "fancy"] = key("plain", "which")


class Config(Base):
    fit: Fit = Fit(rate=0.1)
    simulate: Simulate = Simulate()
    text: str = key("x", "a title", max_length=200)
    fail: Literal["", "bug", "nan", "stop", "interrupt", "disk", "sleep"] = key("", "how to fail")
    bias: float = key(0.0, "added to the mean", ge=-1, le=1)

    @model_validator(mode="after")
    def _rule(self):
        if self.fit.steps == 13:
            raise ValueError("fit.steps must not be 13")
        return self


PRESETS = {"smoke": {"fit": {"steps": 20}}, "laptop": {"fit": {"steps": 50}}}


def expected(config, preset):
    yield "mean", within(4.0, 0.5, exact("symmetry"))
    if preset == "smoke":
        yield "count", at_least(15, exact("counting"))


def run(config, lab):
    import warnings

    import jax
    import numpy as np

    _fail(config.fail)
    steps, stage = config.fit.steps, lab.folder.stage("draw")
    if not stage.finished or len(stage.metrics()) < steps:
        have = len(stage.metrics())
        keys = jax.vmap(lambda i: jax.random.fold_in(lab.key, i))(np.arange(have, steps))
        x = np.asarray(jax.vmap(jax.random.uniform)(keys))
        stage.append_metrics([{"step": have + i, "x": float(v)} for i, v in enumerate(x)])
        stage.append_draws({"x": x}, have)
        stage.finish({"steps": steps})
    if steps < 15:
        warnings.warn("only a few numbers", stacklevel=1)
    x = stage.draws()["x"]
    lab.done["draw"] = {"x": x}
    yield "mean", (float(np.mean(x)) + config.bias, 12**-0.5 / steps**0.5)
    yield "count", steps
    yield "extra", 1.5


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


def figures(config, done):
    with pf.report.plots.panels(title="Numbers", caption="All of them.") as (figure, axes):
        axes[0, 0].hist(done["draw"]["x"])
    yield "numbers", figure
