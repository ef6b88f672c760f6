"""P2: kill -9 at random moments of three kinds of job; resumed, every bit is as without kills."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import driver_jobs as jobs
import pytest

SCRIPT = Path(jobs.__file__)
LENGTHS = {"train": 120, "transport": 60, "chains": 150}


class Run:
    """The script in a subprocess, writing to `root`."""

    def __init__(self, root: Path, *names: str):
        root.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(root), *names], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.lines = self.process.stdout

    def wait_for(self, line: str) -> None:
        while (found := self.lines.readline().strip()) != line:
            assert found, f"the script ended before {line!r}"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=60)
        self.lines.close()

    def digests(self) -> dict[str, str]:
        out, _ = self.process.communicate(timeout=300)
        assert self.process.returncode == 0
        return dict(line.split()[1:] for line in out.splitlines() if line.startswith("DIGEST"))


def killed_at(root: Path, name: str, step: int, seconds: float) -> bool:
    """Kill the script so long after a checkpoint at or beyond `step`; tell whether it was on."""
    run, deadline = Run(root, name), time.monotonic() + 120
    run.wait_for(f"BEGIN {name}")
    while not any(int(p.stem) >= step for p in (root / name / "checkpoints").glob("0*")):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(seconds)
    run.kill()
    return not (root / name / "done.json").exists()


def storm(tmp_path: Path, kills: int, seed: int) -> dict[str, int]:
    """Kill every job `kills` times; check the end against an uninterrupted run."""
    chance, root = random.Random(seed), tmp_path / "killed"
    landed = dict.fromkeys(LENGTHS, 0)
    for name, steps in LENGTHS.items():
        for step in sorted(chance.sample(range(2, steps - 8), kills)):
            landed[name] += killed_at(root, name, step, chance.uniform(0, 0.03))
    found = Run(root).digests()
    for name, job in jobs.JOBS.items():
        assert found[name] == jobs.digest(job(tmp_path / name)), name
        assert jobs.metrics_on_disk(root / name) == jobs.metrics_on_disk(tmp_path / name)
    return landed


@pytest.mark.slow
def test_two_kills_of_each_job_change_no_bit(tmp_path):
    assert storm(tmp_path, 2, seed=0) == dict.fromkeys(LENGTHS, 2)


@pytest.mark.slow
def test_twenty_kills_of_each_job_change_no_bit(tmp_path):
    landed = storm(tmp_path, 20, seed=1)
    print(f"{sum(landed.values())} of 60 kills hit a running job: {landed}")
    assert sum(landed.values()) >= 50
