"""A run folder: one writer, any reader, no JAX to read it."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from pushforward._errors import InputError, NotARun, PushforwardError, RunLocked, StorageError
from pushforward.runs import RunFolder, as_stage, next_free
from pushforward.runs import lock as lock_module


def make(path, **kwargs):
    return RunFolder.create(
        path, config="x = 1\n", values={"x": 1}, environment={"python": "3"}, **kwargs
    )


def test_what_is_written_is_read(tmp_path):
    with make(tmp_path / "a-001", watchers=("w",)) as run:
        run.set_status(state="running", step=3, total=10)
        run.set_status(eta=2.5)
        run.write_summary({"results": {"x": {"value": float("inf"), "error": None}}})
        run.log("one\ntwo")
        run.log("three")
        assert run.stage("train").watchers == ("w",)
    reader = RunFolder.open(tmp_path / "a-001")
    status = reader.status()
    assert (status["state"], status["step"], status["eta"]) == ("running", 3, 2.5)
    assert (status["pid"], status["restarts"]) == (os.getpid(), 0)
    assert reader.summary() == {"results": {"x": {"value": math.inf, "error": None}}}
    assert reader.config() == (tmp_path / "a-001" / "config.toml").read_text() == "x = 1\n"
    assert reader.config_values() == {"x": 1}
    assert reader.environment() == [{"python": "3"}]
    assert (tmp_path / "a-001" / "log.txt").read_text() == "one two\nthree\n"
    for file in ("run.json", "status.json", "summary.json"):
        content = json.loads((tmp_path / "a-001" / file).read_text())
        assert content["format"] == 2


def test_a_new_run_knows_little(tmp_path):
    with make(tmp_path / "a") as run:
        assert run.summary() == {}
        assert run.stages() == []
        assert run.status()["state"] == "created"
        with pytest.raises(InputError, match="created, compiling"):
            run.set_status(state="dancing")


def test_restarts_are_counted(tmp_path):
    make(tmp_path / "a").close()
    for count in (1, 2):
        with RunFolder.open(tmp_path / "a", write=True) as run:
            run.add_environment({"python": f"3.{count}"})
            assert run.status()["restarts"] == count
    assert [e["python"] for e in RunFolder.open(tmp_path / "a").environment()] == [
        "3",
        "3.1",
        "3.2",
    ]


def test_create_refuses_what_is_there(tmp_path):
    make(tmp_path / "a").close()
    with pytest.raises(InputError, match=r"not empty.*pushforward resume .*another --name"):
        make(tmp_path / "a")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="not empty"):
        make(mine)
    assert [p.name for p in mine.iterdir()] == ["thesis.tex"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        make(tmp_path / "file")
    for name in ("-x", "a b", "x" * 65, ".hidden"):
        with pytest.raises(InputError, match="cannot name"):
            make(tmp_path / name)


def test_open_wants_a_run(tmp_path):
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(NotARun, match=r"no run\.json"):
            RunFolder.open(path)


def test_readers_cannot_write(tmp_path):
    make(tmp_path / "a").close()
    reader = RunFolder.open(tmp_path / "a")
    before = sorted(p.name for p in (tmp_path / "a").rglob("*"))
    stage = reader.stage("train")
    for write in (
        lambda: reader.set_status(step=1),
        lambda: reader.write_summary({}),
        lambda: reader.add_environment({}),
        lambda: reader.log("x"),
        lambda: stage.save(1, {}),
        lambda: stage.append_metrics([{"step": 1}]),
        lambda: stage.append_draws({"x": np.ones(2)}, 0),
        lambda: stage.finish({}),
        lambda: stage.reopen(),
    ):
        with pytest.raises(StorageError, match="write=True"):
            write()
    assert (stage.metrics(), dict(stage.draws()), stage.done()) == ([], {}, None)
    assert sorted(p.name for p in (tmp_path / "a").rglob("*")) == before


def test_stages_in_order_of_creation(tmp_path):
    names = ["train", "burn-in", "sample", "a"]
    with make(tmp_path / "run") as run:
        for name in names:
            run.stage(name)
        assert run.stage("train") is run.stage("train")
        assert [s.name for s in run.stages()] == names
        with pytest.raises(InputError, match="cannot name"):
            run.stage("../up")
    with RunFolder.open(tmp_path / "run", write=True) as run:
        run.stage("last")
    assert [s.name for s in RunFolder.open(tmp_path / "run").stages()] == [*names, "last"]


def test_next_free(tmp_path):
    assert next_free(tmp_path / "runs", "a").name == "a-001"
    for name in ("a-001", "a-007", "a-b-009", "ab-008", "a-1", "a-xyz"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert next_free(tmp_path / "runs", "a") == tmp_path / "runs" / "a-008"
    (tmp_path / "runs" / "a-999").mkdir()
    assert next_free(tmp_path / "runs", "a").name == "a-1000"


def test_newer_and_damaged_documents(tmp_path):
    make(tmp_path / "a").close()
    reader = RunFolder.open(tmp_path / "a")
    (tmp_path / "a" / "summary.json").write_text('{"format": 3}')
    with pytest.raises(StorageError, match="newer version"):
        reader.summary()
    for text in ("{", "[1]", "NaN"):
        (tmp_path / "a" / "summary.json").write_text(text)
        with pytest.raises(StorageError, match=r"summary\.json is damaged"):
            reader.summary()


HOLDER = """
import sys, time
from pushforward.runs import RunFolder
run = RunFolder.create(sys.argv[1], config="", environment={})
run.set_status(state="running", step=42)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_within_a_second(tmp_path, holder):
    for attempt in (
        lambda: RunFolder.open(tmp_path / "run", write=True),
        lambda: RunFolder.create(tmp_path / "run", config="", environment={}),
    ):
        start = time.monotonic()
        with pytest.raises(RunLocked, match=f"process {holder.pid} on .* since 20") as error:
            attempt()
        assert time.monotonic() - start < 1
        assert error.value.exit_code == 7
    assert RunFolder.open(tmp_path / "run").status()["state"] == "running"  # readers work


def test_a_killed_writer_leaves_no_lock_and_is_shown_as_dead(tmp_path, holder, monkeypatch):
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    reader = RunFolder.open(tmp_path / "run")
    assert reader.status()["state"] == "running"  # silent, but the lock is held: compiling
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert (reader.status()["state"], reader.status()["step"]) == ("dead", 42)
    monkeypatch.undo()
    assert reader.status()["state"] == "running"  # not yet silent for a minute
    with RunFolder.open(tmp_path / "run", write=True) as run:
        run.set_status(state="finished")
    monkeypatch.setattr(time, "time", lambda: later)
    assert reader.status()["state"] == "finished"


def test_without_lock_two_writers_get_in(tmp_path, holder, monkeypatch):
    """Broken twin: the test above can fail."""
    monkeypatch.setattr(lock_module.FileLock, "acquire", lambda self: None)
    RunFolder.open(tmp_path / "run", write=True)


def test_a_reader_that_asks_for_the_lock_does_not_refuse_a_writer(tmp_path):
    make(tmp_path / "a").close()
    for _ in range(200):
        assert not lock_module.is_held(tmp_path / "a")
    lock = lock_module.Lock(tmp_path / "a")
    assert lock_module.is_held(tmp_path / "a")
    lock.release()
    lock.release()
    assert not lock_module.is_held(tmp_path / "a")


def test_temporary_files_of_a_killed_writer_are_removed(tmp_path):
    with make(tmp_path / "a") as run:
        run.stage("train").append_draws({"x": np.ones(2)}, 0)
    leftovers = [
        tmp_path / "a" / ".tmp-status.json-1",
        tmp_path / "a" / "stages" / "train" / ".tmp-done.json-1",
        tmp_path / "a" / "stages" / "train" / "draws" / ".tmp-000001.safetensors-1",
    ]
    for path in leftovers:
        path.write_text("half")
    folder = tmp_path / "a" / "stages" / "train" / "checkpoints" / ".tmp-5-1"
    folder.mkdir(parents=True)
    RunFolder.open(tmp_path / "a").stage("train")  # a reader removes nothing
    assert all(path.exists() for path in [*leftovers, folder])
    with RunFolder.open(tmp_path / "a", write=True) as run:
        run.stage("train")
        assert not any(path.exists() for path in [*leftovers, folder])


def test_reading_a_run_does_not_import_jax(tmp_path):
    with make(tmp_path / "a") as run:
        stage = run.stage("train")
        stage.append_metrics([{"step": 1, "loss": 0.5}])
        stage.append_draws({"x": np.ones((3, 2))}, 0)
        stage.finish({})
    code = (
        "import sys; from pushforward.runs import RunFolder;"
        f"run = RunFolder.open({str(tmp_path / 'a')!r}); s = run.stages()[0];"
        "print(run.status()['state'], s.metrics()[0]['loss'], s.draws()['x'].shape, s.done(),"
        "'jax' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "created 0.5 (3, 2) {} False\n"


def test_run_json_decides_and_config_toml_is_a_copy(tmp_path):
    path = tmp_path / "a"
    make(path).close()
    (path / "config.toml").unlink()
    (path / "status.json").write_text("torn {")
    reader = RunFolder.open(path)
    assert (reader.config(), reader.edited()) == ("x = 1\n", False)
    assert reader.status()["state"] == "created"
    with RunFolder.open(path, write=True) as run:
        assert (path / "config.toml").read_text() == "x = 1\n"
        run.set_status(state="finished")
    (path / "status.json").unlink()
    assert RunFolder.open(path).status()["state"] == "finished"
    (path / "config.toml").write_text("x = 2\n")
    with RunFolder.open(path, write=True) as run:
        assert run.edited()
        assert run.config() == "x = 1\n"
    assert (path / "config.toml").read_text() == "x = 2\n"
    (path / "run.json").write_text("{")
    with pytest.raises(StorageError, match=r"run\.json is damaged"):
        RunFolder.open(path).config()


def test_a_run_is_extending_until_it_has_finished_again(tmp_path):
    with make(tmp_path / "a") as run:
        for name in ("train", "sample"):
            run.stage(name).finish({"name": name})
        run.set_status(state="finished")
        assert not run.extending
    with RunFolder.open(tmp_path / "a", write=True) as run:
        run.extend(config="x = 2\n", values={"x": 2})
        assert (run.config(), run.config_values(), run.edited()) == ("x = 2\n", {"x": 2}, False)
        assert run.status()["state"] == "created"
        run.discard_stage("sample")
        assert [(s.name, s.finished) for s in run.stages()] == [("train", True)]
        assert not run.stage("sample").finished
    with RunFolder.open(tmp_path / "a", write=True) as run:
        assert run.extending
        run.set_status(state="finished")
        assert not run.extending
    assert (tmp_path / "a" / "config.toml").read_text() == "x = 2\n"


def test_a_status_after_every_chunk_costs_little_and_ends_are_durable(tmp_path, monkeypatch):
    synced, sync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(1) or sync(descriptor))
    with make(tmp_path / "a") as run:
        run.set_status(state="running", step=0)
        synced.clear()
        seconds = []
        for step in range(50):
            start = time.perf_counter()
            run.set_status(state="running", step=step, total=50, eta=1.0, stage="train")
            seconds.append(time.perf_counter() - start)
        assert min(seconds) < 0.005
        assert synced == []
        run.set_status(state="failed", error="why")
        assert synced
        assert (run.status()["state"], run.status()["error"]) == ("failed", "why")
        run.set_status(state="running", error=None)
        assert (run.status()["state"], run.status()["error"]) == ("running", None)


def test_what_was_recovered_is_gathered(tmp_path):
    with make(tmp_path / "a") as run:
        stage = run.stage("train")
        stage.append_metrics([{"step": 1}])
        assert run.notices() == []
        stage.restore({"n": 0})
        assert run.notices() == ["stage train had no checkpoint yet: it starts at step 0"]


def test_a_stage_of_a_library_call_is_a_run_of_one_stage(tmp_path):
    with as_stage(tmp_path / "mine", "fit") as stage:
        stage.append_metrics([{"step": 1}])
        stage.append_draws({"x": np.ones(3)}, 0)
        reader = RunFolder.open(tmp_path / "mine")
        assert reader.status()["state"] == "running"
    assert reader.status()["state"] == "dead"
    with as_stage(tmp_path / "mine", "fit") as stage:
        stage.finish({"steps": 1})
    reader = RunFolder.open(tmp_path / "mine")
    assert reader.status()["state"] == "finished"
    assert [s.name for s in reader.stages()] == ["fit"]
    assert reader.stage("fit").path == tmp_path / "mine"
    assert np.array_equal(reader.stages()[0].draws()["x"], np.ones(3))
    assert (reader.config(), reader.environment(), reader.summary()) == ("", [], {})
    with pytest.raises(InputError, match=r"the stage 'fit' of a library call.* give folder="):
        RunFolder.open(tmp_path / "mine", write=True)


def test_folders_of_an_older_version_get_one_sentence(tmp_path):
    run, stage = tmp_path / "run", tmp_path / "stage"
    for path, file in ((run, "env.json"), (run, "config.toml"), (stage, "stage.json")):
        path.mkdir(exist_ok=True)
        (path / file).write_text('{"name": "fit", "format": 1}')
    for path in (run, stage):
        with pytest.raises(PushforwardError, match=r"older version \(format 1\).*start a new run"):
            RunFolder.open(path).stages()
    with pytest.raises(StorageError, match="older version"):
        as_stage(stage, "fit")
