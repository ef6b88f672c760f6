"""Helpers of these tests are importable as `driver_jobs`, here and in subprocesses."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pushforward.drivers import signals  # noqa: E402
from pushforward.drivers.advance import Controller  # noqa: E402


@pytest.fixture
def cut(monkeypatch):
    """`cut(n)`: from now on chunks have n steps (boundaries and buffers are still respected)."""
    original = Controller.bound

    def choose(n: int) -> None:
        def bound(self, i, total):
            self._length = n
            return original(self, i, total)

        monkeypatch.setattr(Controller, "bound", bound)

    return choose


@pytest.fixture
def handlers():
    """The library's signal handlers, for one test."""
    signals.install()
    yield signals
    signals.uninstall()
