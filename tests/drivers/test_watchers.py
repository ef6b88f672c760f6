"""Progress on terminals, in notebooks and in pipes; the status of a run; how a limit is told."""

import io
import json
import sys

import driver_jobs as jobs
import jax
import pytest

from pushforward._errors import Stopped
from pushforward.drivers import Jsonl, Progress, RunStatus, fit, simulate
from pushforward.mcmc import HMC
from pushforward.runs import RunFolder
from pushforward.targets import Normal

KEY = jax.random.key(0)


class Screen(io.StringIO):
    """A terminal, or a pipe, of some encoding."""

    encoding = "ascii"

    def __init__(self, terminal=True):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal

    def write(self, text):
        return super().write(text.encode(self.encoding).decode(self.encoding))


def chain(**options):
    options = {"initial": Normal((2,), 0.0, 1.0), "steps": 40, "key": KEY} | options
    return simulate(HMC(Normal((2,), 0.0, 1.0), 0.3, 1), 4, **options)


def test_a_terminal_shows_compiling_and_then_one_line(monkeypatch, cut):
    cut(10)
    monkeypatch.setattr(sys, "stderr", Screen())
    chain()
    shown = sys.stderr.getvalue()
    assert shown.startswith("\rsimulate compiling ...")
    assert "40/40" in shown
    assert shown.count("\n") == 1
    assert shown.endswith("\n")


def test_a_pipe_is_silent_unless_asked(monkeypatch, cut):
    cut(10)
    monkeypatch.setattr(sys, "stderr", Screen(terminal=False))
    chain()
    assert sys.stderr.getvalue() == ""
    chain(progress=True)
    lines = sys.stderr.getvalue().splitlines()
    assert lines[0].startswith("simulate 10/40")
    assert lines[-1].startswith("simulate 40/40")
    assert "\r" not in "".join(lines)


def test_there_is_one_line_only(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Screen())
    chain(progress=False)
    chain(watchers=[Progress(quiet=True)], progress=True)
    assert sys.stderr.getvalue() == ""


def test_a_notebook_is_a_terminal(monkeypatch):
    notebook = type("OutStream", (Screen,), {"__module__": "ipykernel.iostream"})(terminal=False)
    monkeypatch.setattr(sys, "stderr", notebook)
    fit(jobs.Linear(), jobs.Regression(), jobs.Lines(), steps=5, batch=4, key=KEY)
    assert "fit 5/5" in notebook.getvalue()


def test_what_a_stream_cannot_show_is_replaced():
    screen = Screen()
    progress = Progress(stream=screen, headline=("⟨x⟩",))
    for state, step in (("compiling", 0), ("running", 1), ("running", 2)):
        progress.log(step, {"phase": "größe", "total": 2, "state": state, "⟨x⟩": 1.0})
    assert "gr??e 2/2" in screen.getvalue()
    assert "?x? 1" in screen.getvalue()


def test_an_error_does_not_begin_in_the_middle_of_a_line(monkeypatch, cut):
    cut(10)
    monkeypatch.setattr(sys, "stderr", Screen())

    def broken(step, values):
        if step == 20:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        chain(watchers=[jobs.Watch(broken)])
    assert sys.stderr.getvalue().endswith("\n")


def test_the_status_of_a_run_is_written_after_every_chunk(tmp_path, cut):
    cut(10)
    seen = []
    with RunFolder.create(tmp_path / "run", config="", environment={}) as run:
        status = RunStatus(run, every=0.0)
        look = jobs.Watch(lambda step, values: seen.append(run.status()))
        chain(folder=run.stage("burn"), watchers=[status, look])
    assert [(s["state"], s["step"]) for s in seen] == [
        ("compiling", 0), *(("running", step) for step in (10, 20, 30, 40))
    ]  # fmt: skip
    assert {(s["stage"], s["total"]) for s in seen} == {("burn", 40)}
    assert seen[0]["eta"] is None
    assert seen[2]["eta"] > seen[-1]["eta"] == 0


def test_the_status_is_not_written_too_often(tmp_path, monkeypatch):
    run = type("Run", (), {"count": 0})()
    run.set_status = lambda **fields: setattr(run, "count", run.count + 1)
    status = RunStatus(run, every=100.0)
    for step in range(1, 11):
        status.log(step, {"phase": "a", "state": "running", "total": 10, "rate": 1.0})
    assert run.count == 2  # the first and the last


def test_lines_of_json(tmp_path):
    lines = Jsonl(tmp_path / "log")
    chain(watchers=[lines], observe=lambda x: {"zero": x[0] / 0.0})
    lines.close()
    rows = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert rows[0]["state"] == "compiling"
    assert rows[-1]["step"] == rows[-1]["total"] == 40


def test_a_time_limit_says_so_and_how_to_go_on(handlers, tmp_path):
    handlers.install(time_limit=0.0)
    limit = "the time limit of 0s was reached in simulate after step 1 of 40; everything is saved: "
    with RunFolder.create(tmp_path / "run", config="", environment={}) as run:
        with pytest.raises(Stopped, match=rf"{limit}`pushforward resume {tmp_path}/run` goes on"):
            chain(folder=run.stage("a"))
        handlers.install(time_limit=0.0, resume="pushforward resume it")
        with pytest.raises(Stopped, match="saved: `pushforward resume it` goes on from here"):
            chain(folder=run.stage("b"))
    handlers.install(time_limit=0.0)
    with pytest.raises(Stopped, match=f"{limit}the same call with the same folder goes on"):
        chain(folder=tmp_path / "c")
    handlers.install(time_limit=3600 * 3.5 + 7)
    assert handlers._duration(3600 * 3.5 + 7) == "3h30m7s"
    assert jobs.digest(chain(folder=tmp_path / "c").x) == jobs.digest(chain().x)
