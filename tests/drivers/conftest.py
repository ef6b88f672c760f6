"""Helpers of these tests are importable as `driver_jobs`, here and in subprocesses."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from driver_jobs import chunks_of  # noqa: E402

from pushforward.drivers import signals  # noqa: E402
from pushforward.drivers.advance import Controller  # noqa: E402


@pytest.fixture
def cut(monkeypatch):
    """`cut(n)`: from now on chunks have n steps."""
    return lambda n: monkeypatch.setattr(Controller, "bound", chunks_of(n))


@pytest.fixture
def handlers():
    """The library's signal handlers, for one test."""
    signals.install()
    yield signals
    signals.uninstall()
