"""Faults: no damaged checkpoint is loaded silently, no full disk costs an earlier file.

Every test of detection has a broken twin: with the guarding line taken out, the fault passes.
"""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from pushforward._errors import CheckpointDamaged, DiskFull, StorageError
from pushforward.formats import safetensors, write_safetensors
from pushforward.runs import RunFolder, Stage, as_stage, checkpoint

GOOD, NEWEST = {"w": np.arange(6.0), "n": 1}, {"w": np.arange(6.0) + 0.5, "n": 2}
LIKE = {"w": np.zeros(6), "n": 0}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A stage with the checkpoints 100 and 200."""
    folder = tmp_path_factory.mktemp("faults") / "fit"
    with as_stage(folder, "fit") as stage:
        stage.append_metrics([{"step": 100}])
        stage.save(100, GOOD, {"loss": 0.1234567})
        stage.append_metrics([{"step": 200}])
        stage.save(200, NEWEST, {"loss": 0.0123456})
    return folder


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "fit")


def restore(folder):
    """Return the step that is loaded, the loaded state, and the notices."""
    with as_stage(folder, "fit") as stage:
        state, step, _ = stage.restore(LIKE)
        return step, state, stage.notices


def assert_recovered(folder, words=""):
    step, state, notices = restore(folder)
    assert step == 100
    assert np.array_equal(state["w"], GOOD["w"])
    assert len(notices) == 1
    assert words in notices[0]
    assert (folder / "metrics.jsonl").read_text() == '{"step":100}\n'


def newest(folder):
    return folder / "checkpoints" / "0000000200.safetensors"


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def outcomes(original, tmp_path, damage, positions):
    """Damage the newest checkpoint at each position, on a fresh copy; return what was restored."""
    found = []
    for position in positions:
        copy = shutil.copytree(original, tmp_path / "copy")
        damage(newest(copy), position)
        step, state, notices = restore(copy)
        named = "recovered from a damaged checkpoint" in notices[0] and "0000000200" in notices[0]
        kept = (copy / "checkpoints" / "bad-0000000200.safetensors").is_file()
        found.append((step, named, kept, np.array_equal(state["w"], GOOD["w"])))
        shutil.rmtree(copy)
    return found


def test_every_flipped_bit_is_found(original, tmp_path):
    bits = random.Random(1).sample(range(8 * newest(original).stat().st_size), 100)
    found = outcomes(original, tmp_path, flip, bits)
    assert len(found) == 100
    assert set(found) == {(100, True, True, True)}


def test_every_truncation_is_found(original, tmp_path):
    size = newest(original).stat().st_size
    lengths = [0, size - 1, *random.Random(2).sample(range(1, size - 1), 98)]
    found = outcomes(original, tmp_path, os.truncate, lengths)
    assert len(found) == 100
    assert set(found) == {(100, True, True, True)}


@pytest.mark.slow  # tests/formats does it to a small file
def test_every_bit_of_the_file_is_guarded(original, tmp_path):
    path = Path(shutil.copy(newest(original), tmp_path))
    good = path.read_bytes()
    for bit in range(8 * len(good)):
        flip(path, bit)
        with pytest.raises(CheckpointDamaged):
            checkpoint.verify(path, 200)
        path.write_bytes(good)
    checkpoint.verify(path, 200)


@pytest.mark.parametrize("place", ["the record", "the numbers"])
def test_without_the_sha256_a_flip_is_believed(folder, monkeypatch, place):
    """Broken twin: the format itself has no checksum."""
    path = newest(folder)
    good = path.read_bytes()
    at = good.index(b"0.0123456") + 5 if place == "the record" else len(good) - 20
    flip(path, 8 * at)
    with pytest.raises(CheckpointDamaged, match="its sha256 differs"):
        checkpoint.verify(path, 200)

    monkeypatch.setattr(safetensors, "CHECKSUM", "no such entry")
    read = checkpoint.read_packed
    monkeypatch.setattr(checkpoint, "read_packed", lambda path, checksum: read(path))
    step, state, notices = restore(folder)
    assert (step, notices) == (200, [])
    assert np.array_equal(state["w"], NEWEST["w"]) == (place == "the record")


def rename(path, name):
    path.rename(path.with_name(name))


def another(folder, name="0000000300.safetensors"):
    return folder / "checkpoints" / name


FAULTS = {
    "of another step": (lambda f: rename(newest(f), another(f).name), "a checkpoint of step 200"),
    "more zeros": (lambda f: rename(newest(f), "00000000201.safetensors"), "of step 200"),
    "no suffix": (lambda f: rename(newest(f), "0000000200"), "not named by its step"),
    "no step": (lambda f: rename(newest(f), "latest.safetensors"), "latest.safetensors is not"),
    "another's file": (lambda f: save_file({"w": np.ones(2)}, newest(f)), "no readable sha256"),
    "ours, but none": (lambda f: write_safetensors(newest(f), {"w": 1}), "is no checkpoint"),
    "a folder": (lambda f: another(f).mkdir(), "a link or a folder"),
    "an empty file": (lambda f: another(f).write_text(""), "no readable sha256"),
    "an extra file": (lambda f: another(f, "x").write_text(""), "x is not named by its step"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_the_folder_is_found(folder, fault):
    damage, words = FAULTS[fault]
    damage(folder)
    step, _, notices = restore(folder)
    assert step == (200 if newest(folder).exists() else 100)
    assert len(notices) == 1
    assert words in notices[0]


def test_links_out_of_the_folder_are_not_followed(folder, tmp_path):
    shutil.move(newest(folder), tmp_path / "outside")
    newest(folder).symlink_to(tmp_path / "outside")
    assert_recovered(folder, "link")
    assert (tmp_path / "outside").exists()


def test_a_newer_format_is_not_damage(folder, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 3)
    with as_stage(folder, "fit") as stage, pytest.raises(StorageError, match="newer version"):
        stage.save(300, NEWEST)  # read back by this version
    monkeypatch.setattr(checkpoint, "_READ_BACK", 0)
    with as_stage(folder, "fit") as stage:
        stage.save(300, NEWEST)
    with pytest.raises(StorageError, match="newer version"):
        restore(folder)
    assert another(folder).exists()


def test_when_all_are_damaged_nothing_is_renamed_and_all_reasons_are_given(folder):
    for name in ("0000000100", "0000000200"):
        flip(another(folder, f"{name}.safetensors"), 999)
    for _ in range(2):  # a second try must not take the stage for an empty one
        with pytest.raises(CheckpointDamaged, match=r"0000000200.*\n.*0000000100") as error:
            restore(folder)
        assert error.value.exit_code == 6
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_damaged_one_keeps_every_bad_copy(folder):
    for _ in range(3):
        flip(newest(folder), 999)
        assert_recovered(folder)
        with as_stage(folder, "fit") as stage:
            stage.append_metrics([{"step": 200}])
            stage.save(200, NEWEST)
    names = {p.name for p in (folder / "checkpoints").iterdir() if p.name.startswith("bad")}
    assert names == {f"bad-0000000200{n}.safetensors" for n in ("", "-2", "-3")}


def test_readers_rename_nothing(folder):
    flip(newest(folder), 999)
    before = sorted(folder.rglob("*"))
    reader = Stage("fit", folder, writable=False)
    assert reader.restore(LIKE)[1] == 100
    assert "0000000200" in reader.notices[0]
    assert sorted(folder.rglob("*")) == before
    assert len(reader.metrics()) == 2


# Writing


def test_the_read_back_sees_a_scrambled_array(tmp_path, monkeypatch):
    """Bytes in another order: hashes agree, only the arrays tell."""
    state = {"w": np.arange(6.0).reshape(2, 3)}
    monkeypatch.setattr(safetensors, "_raw", lambda array: array.T.tobytes())
    with as_stage(tmp_path / "fit", "fit") as stage:
        with pytest.raises(StorageError, match=r"leaf \['w'\] read back .* differs"):
            stage.save(1, state)
        assert list((stage.path / "checkpoints").iterdir()) == []
        monkeypatch.setattr(checkpoint, "_compare", lambda *_: None)
        stage.save(1, state)  # broken twin: saved without a word
        back, _, _ = stage.restore({"w": np.zeros((2, 3))})
        assert not np.array_equal(back["w"], state["w"])


def test_a_swallowed_write_error_is_caught_by_the_read_back(folder, monkeypatch):
    """Broken twin of `write_bytes`: the error comes at flush, outside the `try`."""

    def swallowing(path, *parts, check):
        data = b"".join(parts)
        path.write_bytes(data[: len(data) // 2])
        check(path)

    monkeypatch.setattr(checkpoint, "write_bytes", swallowing)
    with as_stage(folder, "fit") as stage, pytest.raises(CheckpointDamaged):
        stage.save(300, NEWEST)
    assert restore(folder)[0] == 200


@contextmanager
def full_disk(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


BIG = {"w": np.arange(6.0), "n": 3, "buffer": np.arange(1000.0)}
KINDS = {
    "a checkpoint": (lambda s: s.save(300, BIG), 2000),
    "its header": (lambda s: s.save(300, NEWEST), 400),
    "metrics": (lambda s: s.append_metrics([{"step": i} for i in range(900)]), 500),
    "a shard": (lambda s: s.save(300, NEWEST), 2500),
    "done.json": (lambda s: s.finish({"note": "x" * 900}), 500),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_costs_nothing_that_was_there(folder, kind):
    write, size = KINDS[kind]
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    with as_stage(folder, "fit") as stage:
        if kind == "a shard":
            stage.append_draws({"x": np.ones(900)}, 0)
        with full_disk(size), pytest.raises(DiskFull) as error:
            write(stage)
        assert error.value.exit_code == 6
        assert not list(folder.rglob(".tmp-*"))
        assert all(p.read_bytes() == data for p, data in before.items() if "LOCK" not in p.name)
        assert not stage.finished
        write(stage)  # space is back
    if kind not in ("metrics", "done.json"):
        assert another(folder).is_file()
    if kind == "a shard":
        assert np.array_equal(stage.draws()["x"], np.ones(900))


def test_a_full_disk_leaves_the_documents_of_a_run(tmp_path):
    with RunFolder.create(tmp_path / "a", config="", environment={}) as run:
        run.set_status(state="running", step=1)
        run.write_summary({"a": 1})
        run.log("one")
        for write in (
            lambda: run.set_status(error="x" * 900),
            lambda: run.write_summary({"a": "x" * 900}),
            lambda: run.add_environment({"a": "x" * 900}),
            lambda: run.log("x" * 900),
        ):
            with full_disk(400), pytest.raises(DiskFull):
                write()
        assert run.status()["step"] == 1
        assert run.summary() == {"a": 1}
        assert (tmp_path / "a" / "log.txt").read_text() == "one\n"


def test_a_checkpoint_wants_room_before_it_starts(folder, monkeypatch):
    usage = type("Usage", (), {"free": 10**6})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with as_stage(folder, "fit") as stage, pytest.raises(DiskFull, match="the disk has 1000000"):
        stage.save(300, NEWEST)
    assert restore(folder)[0] == 200


WRITER = """
import sys
import numpy as np
from pushforward.runs import as_stage
stage = as_stage(sys.argv[1], "fit")
found = stage.restore({"w": np.zeros(50_000), "n": 0})
step = found[1] if found else 0
assert found is None or (found[0]["w"] == step).all()
while True:
    step += 1
    stage.append_metrics([{"step": step, "value": step**0.5}])
    stage.append_draws({"x": np.full(3, step)}, 3 * (step - 1))
    if step % 2 == 0:
        stage.save(step, {"w": np.full(50_000, float(step)), "n": step}, {"twice": 2 * step})
        print("saved", flush=True)
"""


def test_a_writer_killed_at_any_moment_loses_nothing_saved(tmp_path):
    """`kill -9` six times; each successor checks the state it finds."""
    draw, last = random.Random(3), 0
    for _ in range(6):
        command = [sys.executable, "-c", WRITER, str(tmp_path / "fit")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"saved\n", process.communicate()[1].decode()
            time.sleep(0.2 * draw.random())
            process.send_signal(signal.SIGKILL)
        with as_stage(tmp_path / "fit", "fit") as stage:
            found, step, extra = stage.restore({"w": np.zeros(50_000), "n": 0})
            assert step > last
            assert (extra["twice"], found["n"], found["w"][-1]) == (2 * step, step, step)
            last = step
            assert stage.notices == []
            assert [row["step"] for row in stage.metrics()] == list(range(1, step + 1))
            assert np.array_equal(stage.draws()["x"], np.repeat(np.arange(1, step + 1), 3))


def test_saved_arrays_may_be_donated_afterwards(tmp_path):
    step = jax.jit(lambda w: w * 2, donate_argnums=0)
    with as_stage(tmp_path / "fit", "fit") as stage:
        w = jnp.arange(4.0)
        stage.save(1, {"w": w})
        step(w)
        back, _, _ = stage.restore({"w": jnp.zeros(4)})
        assert np.array_equal(back["w"], np.arange(4.0))
