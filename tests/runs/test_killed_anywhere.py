"""A kill before any operation on the disk: the folder is continued, and ends equal."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from pushforward.formats import durable
from pushforward.runs import RunFolder, as_stage, folder, is_run, json_lines

CHANGES = ("replace", "rename", "unlink", "rmdir", "mkdir", "truncate")


class Killed(BaseException):
    """The process is gone: nothing it does from here on reaches the disk."""


class Disk:
    """Counts operations that change the disk; the one with the number `last` never happens.

    `torn`: if it is an append, half of it happens.
    """

    def __init__(self, monkeypatch, last=None, torn=False):
        self.count, self.last, self.torn = 0, last, torn
        for name in CHANGES:
            monkeypatch.setattr(os, name, self.guarded(getattr(os, name)))
        monkeypatch.setattr(os, "fsync", self.guarded(lambda descriptor: None))
        opening = os.open

        def guarded_open(path, flags, *args, **kwargs):
            if flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
                self.next()
            return opening(path, flags, *args, **kwargs)

        monkeypatch.setattr(os, "open", guarded_open)
        for module in (folder, json_lines):
            monkeypatch.setattr(module, "append_bytes", self.append)

    def next(self):
        self.count += 1
        if self.last is not None and self.count > self.last:
            raise Killed

    def guarded(self, operation):
        def call(*args, **kwargs):
            self.next()
            return operation(*args, **kwargs)

        return call

    def append(self, path, data):
        if self.torn and self.count + 1 == self.last:
            data = data[: len(data) // 2]
        durable.append_bytes(path, data)
        self.next()


def work(stage, steps, value=0):
    """Bring a stage to so many steps, as a driver does."""
    found = stage.restore({"n": 0})
    step = found[1] if found else 0
    if stage.finished and step < steps:
        stage.reopen()
        stage.restore({"n": 0})
    while step < steps:
        step += 1
        stage.append_metrics([{"step": step}])
        stage.append_draws({"x": np.full(2, step + value)}, 2 * (step - 1))
        stage.append_series({"e": np.array([step])}, step - 1)
        if step % 2 == 0:
            stage.save(step, {"n": step})
    if not stage.finished:
        stage.save(step, {"n": step})
        stage.finish({"steps": steps})


def run(path, steps=2, extended=False):
    """Start, continue or extend a run, as `--or-resume` and `resume --steps` do."""
    config = {"config": f"steps = {steps}\n", "values": {"steps": steps}}
    if not is_run(path):
        whole = RunFolder.create(path, environment={}, **config)
    else:
        whole = RunFolder.open(path, write=True)
    with whole:
        if extended and whole.config_values()["steps"] < steps:
            whole.extend(**config)
        if whole.status()["state"] == "finished":
            return
        whole.add_environment({})
        whole.set_status(state="running")
        work(whole.stage("train"), steps)
        if whole.extending and whole.stage("sample").finished:
            whole.discard_stage("sample")  # it was made from the shorter training
        work(whole.stage("sample"), 1, value=100 * steps)
        whole.write_summary({"steps": steps})
        whole.log("finished")
        whole.set_status(state="finished", step=steps)


def alone(path):
    """One stage of a library call."""
    with as_stage(path, "fit") as stage:
        work(stage, 3)


def stage_content(stage):
    arrays = {name: dict(getattr(stage, name)()) for name in ("draws", "series")}
    values = {n: {k: v.tolist() for k, v in a.items()} for n, a in arrays.items()}
    return stage.name, stage.metrics(), values, stage.done(), stage.restore({"n": 0})


def content(path):
    """Return all that a reader sees, without times."""
    whole = RunFolder.open(path)
    copy = path / "config.toml"
    text = copy.read_text() if copy.exists() else ""
    assert not list(path.rglob(".tmp-*"))
    assert whole.config() == text
    found = [whole.status()["state"], text, whole.config_values(), whole.summary()]
    return found + [stage_content(stage) for stage in whole.stages()]


STORIES = {
    "a run": (run, None),
    "its extension": (lambda path: run(path, 4, extended=True), run),
    "a library call": (alone, None),
}


def ends(tmp_path, story, torn):
    """Kill a story at each operation, twice, and continue it; yield how it ended and should."""
    tell, prepare = STORIES[story]
    (prepare or Path.mkdir)(tmp_path / "start")

    def interrupted(path, last=None):
        with pytest.MonkeyPatch.context() as patch, suppress(Killed):
            disk = Disk(patch, last, torn)
            tell(path)
        return disk.count

    whole = shutil.copytree(tmp_path / "start", tmp_path / "whole")
    total = interrupted(whole)
    assert total > 50
    for last in range(total):
        path = shutil.copytree(tmp_path / "start", tmp_path / "killed")
        for kill in (last, 3 * last % total, None):
            interrupted(path, kill)
        yield content(path), content(whole)
        shutil.rmtree(path)


@pytest.mark.parametrize(
    ("story", "torn"), [("a run", False), ("its extension", False), ("a library call", True)]
)
def test_killed_before_any_operation(tmp_path, story, torn):
    for found, whole in ends(tmp_path, story, torn):
        assert found == whole


def test_an_extension_that_is_forgotten_is_seen(tmp_path, monkeypatch):
    """Broken twin: a continued run does not know that it is longer, so old stages stay."""
    known = iter([False, True] + [False] * 10**6)  # the run that is not killed knows it
    monkeypatch.setattr(RunFolder, "extending", property(lambda run: next(known)))
    assert any(found != whole for found, whole in ends(tmp_path, "its extension", False))
