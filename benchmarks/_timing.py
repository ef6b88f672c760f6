"""How a number of a benchmark is made."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

REPEATS = 7
ON_GPU = jax.default_backend() == "gpu"  # then the peers run there too, in longer jobs


def measure(jobs: dict[str, Callable[[], Any]], repeats: int = REPEATS) -> dict[str, dict]:
    """Time jobs in turn, so that a busy machine is busy for all of them.

    The first call of a job holds its compilation; of the repeats after it the minimum counts.
    """
    first, runs = {}, {name: [] for name in jobs}
    for name, job in jobs.items():
        first[name] = _seconds(job)
    for _ in range(repeats):
        for name, job in jobs.items():
            runs[name].append(_seconds(job))
    return {
        name: {"run": min(runs[name]), "compile": first[name] - min(runs[name]), "all": runs[name]}
        for name in jobs
    }


def _seconds(job: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(job())
    return time.perf_counter() - start


def to_torch(*arrays: Any) -> list[Any]:
    """Return tensors on the device that JAX computes on; TF32 products there, as JAX has them."""
    import torch

    torch.set_float32_matmul_precision("high" if ON_GPU else "highest")
    device = "cuda" if ON_GPU else "cpu"
    return [torch.tensor(a, device=device) for a in arrays]


def conditions() -> dict[str, Any]:
    """Return device, versions and commit."""
    packages = ("jax", "equinox", "blackjax", "numpy")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "commit": commit.stdout.strip() or None,
        "repeats": REPEATS,
    }


def show(title: str, times: dict[str, dict], ours: str, goals: dict[str, str]) -> dict:
    """Print one comparison with the peers that have a goal, and return it."""
    print(f"\n{title}")
    for name, row in times.items():
        print(f"  {name:<44} run {row['run']:8.4f} s   compile {row['compile']:6.2f} s")
    ratios = {peer: times[peer]["run"] / times[ours]["run"] for peer in goals}
    for peer, goal in goals.items():
        print(f"  {ratios[peer]:.2f}x the speed of {peer} (goal {goal})")
    return {"title": title, "times": times, "ratios": ratios, "goals": goals}


def store(rows: list[dict]) -> Path:
    """Write the results of this machine."""
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    device = jax.devices()[0].device_kind.replace(" ", "-") if ON_GPU else platform.machine()
    path = folder / f"{device}-{os.cpu_count()}cores.json"
    path.write_text(json.dumps({"conditions": conditions(), "results": rows}, indent=1) + "\n")
    return path
