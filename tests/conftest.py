"""Every test runs in float64, rank promotion is an error; below the drivers dtypes are strict."""

import os
import sys
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # `examples` and `benchmarks` are imported by tests

# Compiled programs are shared between workers and subprocesses, and with the next run.
os.environ.setdefault("PUSHFORWARD_CACHE", str(ROOT / "build" / "cache"))
jax.config.update("jax_compilation_cache_dir", str(ROOT / "build" / "test-cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

CHEAP = "--xla_backend_optimization_level=1"
if jax.__version_info__ < (0, 11):  # an unknown flag ends the process
    CHEAP += " --xla_cpu_use_fusion_emitters=false"
STRICT = ("spaces", "targets", "paths", "networks", "dynamics", "mcmc", "estimators", "laws")


def pytest_configure(config):
    """Compile the fast tests cheaply: three quarters of their time was compilation.

    `make test-all` and a file tested alone compile as users do.
    """
    if "not slow" in config.option.markexpr:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {CHEAP}"


@pytest.fixture(autouse=True)
def _strict_promotion(request):
    """Refuse mixed dtypes in the rooms below the drivers (optax itself mixes them)."""
    room = Path(request.node.path).relative_to(ROOT / "tests").parts[0]
    if room not in STRICT:
        yield
        return
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture(scope="module", autouse=True)
def _forgetful():
    """Drop compiled programs after each file: three thousand tests would keep gigabytes of them."""
    yield
    jax.clear_caches()


@pytest.fixture
def key():
    return jax.random.key(0)
