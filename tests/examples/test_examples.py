"""The examples run, and agree with quadrature within their own error bars."""

import subprocess
import sys
from pathlib import Path

import jax
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
EXACT = {
    "log evidence": -31.311347352293,
    "mu": 4.396820713833,
    "tau": 3.597705484098,
    "theta_1": 6.2118842,
    "theta_5": 3.61547702,
}


@pytest.fixture
def eight_schools(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import eight_schools

    with jax.numpy_dtype_promotion("standard"):
        yield eight_schools


@pytest.mark.slow
def test_eight_schools_agree_with_quadrature(eight_schools):
    for name, samples in eight_schools.main(steps=60, walkers=800).items():
        found = samples.mean(eight_schools.numbers)
        rows = {key: (found.value[key], found.error[key]) for key in found.value}
        rows["log evidence"] = samples.log_z
        for key, (value, error) in rows.items():
            assert abs(value - EXACT[key]) < 4 * error, (name, key, value, error)
            assert error < 0.5, (name, key, error)


@pytest.mark.slow
def test_own_energy_runs_from_any_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pushforward", "run", EXAMPLES / "own_energy.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "outside" not in done.stdout
