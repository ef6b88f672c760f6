"""P3: a signal lets the chunk end, saves, raises `Stopped`; begun again, every bit is the same."""

import os
import signal
import subprocess
import sys
import time

import driver_jobs as jobs
import pytest

from pushforward._errors import Stopped

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
AT = {"train": 61, "transport": 33, "chains": 77}


class At:
    """A watcher that sends a signal to this process at the first chunk border after a step."""

    def __init__(self, step: int, number: int):
        self.step, self.number, self.sent = step, number, False

    def log(self, step, values):
        if step >= self.step and not self.sent:
            self.sent = True
            os.kill(os.getpid(), self.number)

    def figure(self, step, name, figure): ...

    def close(self): ...


@pytest.mark.parametrize("number", SIGNALS, ids=lambda n: n.name)
@pytest.mark.parametrize("name", jobs.JOBS)
def test_stopped_and_begun_again_is_the_same(name, number, tmp_path, handlers, cut):
    cut(5)
    job, folder, step = jobs.JOBS[name], tmp_path / name, -(-AT[name] // 5) * 5
    verb = "fit" if name == "train" else "simulate"
    sentence = rf"{number.name}\) in {verb} after step {step} of .*everything is saved"
    with pytest.raises(Stopped, match=sentence) as caught:
        job(folder, watchers=[At(AT[name], number)])
    assert (caught.value.exit_code, caught.value.signal) == (75, number)
    assert (folder / "checkpoints" / f"{step:010d}.safetensors").exists()
    handlers.install()
    assert jobs.digest(job(folder)) == jobs.digest(job())


def test_without_a_folder_nothing_is_promised(handlers):
    with pytest.raises(Stopped, match="no folder was given, so nothing is saved"):
        jobs.walkers(watchers=[At(5, signal.SIGTERM)])


def test_a_signal_in_the_last_chunk_lets_the_stage_finish(handlers, tmp_path):
    jobs.walkers(tmp_path / "a", watchers=[At(40, signal.SIGTERM)])
    assert (tmp_path / "a" / "done.json").exists()
    with pytest.raises(Stopped):  # the next stage is where it stops
        jobs.walkers(tmp_path / "b")


def test_an_interrupt_during_an_evaluation_keeps_the_evaluation(handlers, tmp_path):
    def evaluate(model, *, key):
        os.kill(os.getpid(), signal.SIGINT)
        return {"seen": 1.0}

    with pytest.raises(Stopped, match="in fit after step 25 of 120"):
        jobs.train(tmp_path / "a", evaluate=evaluate)
    rows = [row for row in jobs.metrics_on_disk(tmp_path / "a") if "evaluation" in row]
    assert rows == [{"step": 25, "evaluation": True, "seen": 1.0}]


def test_a_second_interrupt_ends_at_once():
    script = (
        "import time; from pushforward.drivers import signals; signals.install(); "
        "print('ready', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None  # the first one only sets a flag
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 130
    assert time.monotonic() - start < 5
    process.stdout.close()
