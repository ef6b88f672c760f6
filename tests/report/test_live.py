"""The live page costs little and ends nothing."""

import logging

import pytest

from pushforward.report import LiveReport, live
from pushforward.runs import RunFolder


class Clock:
    """A clock that moves when told, and by `cost` with every page."""

    def __init__(self, cost: float):
        self.now, self.cost, self.pages = 0.0, cost, []

    def __call__(self) -> float:
        return self.now

    def write(self, path, figures=None):
        self.now += self.cost
        self.pages.append((self.now, dict(figures or {})))


@pytest.mark.parametrize("cost", [0.01, 0.5, 3.0])
def test_cadence_and_share(monkeypatch, tmp_path, cost):
    clock = Clock(cost)
    monkeypatch.setattr(live, "write_report", clock.write)
    watcher = LiveReport(tmp_path, clock=clock)
    for step in range(3000):
        clock.now += 1.0
        watcher.log(step, {"loss": 1.0})
    gaps = [b - a - cost for (a, _), (b, _) in zip(clock.pages, clock.pages[1:], strict=False)]
    assert min(gaps) >= 30 - 1e-9
    assert len(clock.pages) * cost <= 0.02 * clock.now + cost
    assert len(clock.pages) > 3000 / max(32, 52 * cost), "and it does write"


def test_figures_and_close(monkeypatch, tmp_path):
    clock = Clock(0.1)
    monkeypatch.setattr(live, "write_report", clock.write)
    watcher = LiveReport(tmp_path, clock=clock)
    watcher.log(0, {})
    watcher.figure(1, "a", "old")
    watcher.figure(2, "a", "new")
    watcher.log(3, {})
    assert len(clock.pages) == 1, "not yet time"
    watcher.close()
    watcher.close()
    assert [figures for _, figures in clock.pages] == [{}, {"a": "new"}]
    clock.now += 100
    watcher.log(4, {})
    assert clock.pages[-1][1] == {}, "a figure is saved once"


def test_a_page_that_fails_ends_nothing(tmp_path, caplog):
    watcher = LiveReport(tmp_path / "absent")
    with caplog.at_level(logging.WARNING, logger="pushforward"):
        watcher.log(0, {})
    watcher.close()
    assert "the live report failed" in caplog.text


def test_first_page_is_there_at_once(make_run):
    path = make_run("empty")
    LiveReport(path).log(1, {"loss": 1.0})
    assert (path / "report.html").exists()


def test_curves_are_drawn_again_only_when_their_file_changed(make_run, monkeypatch):
    from pushforward.report import page, plots

    drawn, draw = [], plots.curves
    monkeypatch.setattr(plots, "curves", lambda *a, **k: drawn.append(1) or draw(*a, **k))
    page._drawn.cache_clear()
    path = make_run("running")
    watcher = LiveReport(path, every=0.0)
    watcher.log(1, {})
    watcher.close()
    watcher.figure(1, "none", ValueError("no figure"))
    watcher.close()
    assert len(drawn) == 1
    with RunFolder.open(path, write=True) as run:
        run.stage("train-geometric").append_metrics([{"step": 3000, "loss": 1.0}])
    watcher.figure(2, "none", ValueError("no figure"))
    watcher.close()
    assert len(drawn) == 2
