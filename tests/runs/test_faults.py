"""Faults: no damaged checkpoint is loaded silently, no full disk costs an earlier file.

Every test of detection has a broken twin: with the guarding line taken out, the fault passes.
"""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import types
from contextlib import contextmanager, suppress

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import CheckpointDamaged, DiskFull, StorageError
from pushforward.formats import safetensors
from pushforward.runs import RunFolder, Stage, as_stage, checkpoint, manifest

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
    return folder / "checkpoints" / "0000000200"


def targets(folder):
    return [newest(folder) / name for name in ("manifest.json", "state.safetensors")]


def flips(path, count):
    bits = 8 * path.stat().st_size
    return random.Random(1).sample(range(bits), min(count, bits))


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def outcomes(original, tmp_path, damage, positions):
    """Damage each file at each position, on a fresh copy; return what was restored."""
    found = []
    for which in (0, 1):
        for position in positions(targets(original)[which]):
            copy = shutil.copytree(original, tmp_path / "copy")
            damage(targets(copy)[which], position)
            step, state, notices = restore(copy)
            named = any("recovered from a damaged checkpoint: 0000000200" in n for n in notices)
            kept = (copy / "checkpoints" / "bad-0000000200").is_dir()
            right = np.array_equal(state["w"], GOOD["w"])
            found.append((step, named, kept, right))
            shutil.rmtree(copy)
    return found


def test_every_flipped_bit_is_found(original, tmp_path):
    found = outcomes(original, tmp_path, flip, lambda path: flips(path, 50))
    assert len(found) == 100
    assert set(found) == {(100, True, True, True)}


def test_every_truncation_is_found(original, tmp_path):
    def lengths(path):
        size = path.stat().st_size
        return [0, size - 1, *random.Random(2).sample(range(1, size - 1), 48)]

    found = outcomes(original, tmp_path, os.truncate, lengths)
    assert len(found) == 100
    assert set(found) == {(100, True, True, True)}


@pytest.mark.slow
def test_every_bit_of_both_files_is_guarded(original, tmp_path):
    for path in targets(shutil.copytree(original, tmp_path / "copy")):
        good = path.read_bytes()
        for bit in range(8 * len(good)):
            flip(path, bit)
            with pytest.raises(CheckpointDamaged):
                manifest.verify(path.parent, 200)
            path.write_bytes(good)
        manifest.verify(path.parent, 200)


def test_without_the_manifests_own_hash_a_flip_passes(folder, monkeypatch):
    """Broken twin: one flipped digit of `extra` or of the counts would be believed."""
    path = targets(folder)[0]
    digit = path.read_bytes().index(b"0.0123456") + 5
    flip(path, 8 * digit)
    with pytest.raises(CheckpointDamaged, match="own sha256"):
        manifest.verify(path.parent, 200)

    believed = json.loads(path.read_text())["self"]
    monkeypatch.setattr(manifest, "_self_hash", lambda content: believed)
    step, state, notices = restore(folder)
    assert (step, notices) == (200, [])
    assert np.array_equal(state["w"], NEWEST["w"])


def test_without_the_blobs_hash_a_flip_is_loaded(folder, monkeypatch):
    """Broken twin: the format itself has no checksum, one wrong number would be loaded."""
    path = targets(folder)[1]
    flip(path, 8 * (path.stat().st_size - 20))
    sha = json.loads(targets(folder)[0].read_text())["files"]["state.safetensors"]["sha256"]

    class Believing:
        @staticmethod
        def sha256(data):
            return type("Hash", (), {"hexdigest": lambda self: sha})()

    own = json.loads(targets(folder)[0].read_text())["self"]
    monkeypatch.setattr(manifest, "hashlib", Believing)
    monkeypatch.setattr(manifest, "_self_hash", lambda content: own)
    step, state, notices = restore(folder)
    assert (step, notices) == (200, [])
    assert not np.array_equal(state["w"], NEWEST["w"])


def rename(path, name):
    path.rename(path.with_name(name))


FAULTS = {
    "manifest deleted": (lambda f: targets(f)[0].unlink(), "it holds ['state.safetensors']"),
    "state deleted": (lambda f: targets(f)[1].unlink(), "it holds ['manifest.json']"),
    "manifest renamed": (lambda f: rename(targets(f)[0], "manifest.jsn"), "it holds"),
    "state renamed": (lambda f: rename(targets(f)[1], "state"), "it holds"),
    "an extra file": (lambda f: (newest(f) / "x").write_text(""), "it holds"),
    "folder of another step": (lambda f: rename(newest(f), "0000000300"), "its step is 200"),
    "folder with more zeros": (lambda f: rename(newest(f), "00000000201"), "its step is 200"),
    "empty folder": (lambda f: (f / "checkpoints" / "0000000300").mkdir(), "it holds []"),
    "a file": (lambda f: (f / "checkpoints" / "0000000300").write_text(""), "not a folder"),
    "folder without a step": (lambda f: rename(newest(f), "latest"), "latest is not named by"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_the_folder_is_found(folder, fault):
    damage, words = FAULTS[fault]
    damage(folder)
    step, _, notices = restore(folder)
    assert step == (200 if fault in ("empty folder", "a file") else 100)
    assert len(notices) == 1
    assert words in notices[0]


def test_links_out_of_the_folder_are_not_followed(folder, tmp_path):
    blob = targets(folder)[1]
    shutil.move(blob, tmp_path / "outside")
    blob.symlink_to(tmp_path / "outside")
    assert_recovered(folder, "link")
    assert (tmp_path / "outside").exists()
    moved = shutil.move(folder / "checkpoints" / "0000000100", tmp_path / "0000000100")
    (folder / "checkpoints" / "0000000100").symlink_to(moved)
    with pytest.raises(CheckpointDamaged, match="not a folder"):
        restore(folder)


def test_files_of_two_checkpoints_do_not_mix(folder):
    shutil.copy(folder / "checkpoints" / "0000000100" / "state.safetensors", newest(folder))
    assert_recovered(folder, "its sha256 differs")


def test_a_forged_manifest_without_entries_is_damage(folder):
    content = json.loads(targets(folder)[0].read_text())
    for entry in ("step", "files", "leaves", "format"):
        forged = {key: value for key, value in content.items() if key not in (entry, "self")}
        forged["self"] = manifest._self_hash(forged)
        targets(folder)[0].write_bytes(manifest._text(forged))
        with suppress(CheckpointDamaged):  # a missing format is read as ours
            manifest.verify(newest(folder), 200)
            assert entry == "format"
    targets(folder)[0].write_text("[" * 100_000)
    assert_recovered(folder, "manifest.json cannot be read")


def test_a_newer_format_is_not_damage(folder):
    content = json.loads(targets(folder)[0].read_text()) | {"format": 2}
    content["self"] = manifest._self_hash(content)
    targets(folder)[0].write_bytes(manifest._text(content))
    with pytest.raises(StorageError, match="newer version"):
        restore(folder)
    assert newest(folder).exists()


def test_when_all_are_damaged_nothing_is_renamed_and_all_reasons_are_given(folder):
    for name in ("0000000100", "0000000200"):
        flip(folder / "checkpoints" / name / "state.safetensors", 999)
    for _ in range(2):  # a second try must not take the stage for an empty one
        with pytest.raises(CheckpointDamaged, match=r"0000000200: .*\n.*0000000100: ") as error:
            restore(folder)
        assert error.value.exit_code == 6
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_damaged_one_keeps_every_bad_copy(folder):
    for _ in range(3):
        flip(targets(folder)[1], 999)
        assert_recovered(folder)
        with as_stage(folder, "fit") as stage:
            stage.append_metrics([{"step": 200}])
            stage.save(200, NEWEST)
    names = {p.name for p in (folder / "checkpoints").iterdir() if p.name.startswith("bad")}
    assert names == {"bad-0000000200", "bad-0000000200-2", "bad-0000000200-3"}


def test_readers_rename_nothing(folder):
    flip(targets(folder)[1], 999)
    before = sorted(folder.rglob("*"))
    reader = Stage("fit", folder, writable=False)
    assert reader.restore(LIKE)[1] == 100
    assert "0000000200" in reader.notices[0]
    assert sorted(folder.rglob("*")) == before
    assert len(reader.metrics()) == 2


# Writing


def test_the_read_back_sees_a_scrambled_array(tmp_path, monkeypatch):
    """Without C order the library scrambles; hashes agree, only the arrays tell."""
    state = {"w": np.asfortranarray(np.arange(6.0).reshape(2, 3))}
    as_given = types.SimpleNamespace(**vars(np))
    as_given.asarray = lambda x, **_: x
    monkeypatch.setattr(safetensors, "np", as_given)
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

    def swallowing(path, data):
        file = open(path, "wb")  # noqa: SIM115
        file.write(data[: len(data) // 2])
        file.close()

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
    "the blob": (lambda s: s.save(300, BIG), 2000),
    "the manifest": (lambda s: s.save(300, NEWEST), 600),
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
        assert (folder / "checkpoints" / "0000000300").is_dir()
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
