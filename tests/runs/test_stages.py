"""Stages: the checkpoint is the clock of metrics and draws."""

import math
import random
import tracemalloc

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from pushforward._errors import CheckpointDamaged, InputError, RunLocked, StorageError
from pushforward.runs import RunFolder, Stage, as_stage, draws


def state(seed=0):
    key = jax.random.key(seed)
    return {
        "w": jax.random.normal(key, (3, 4)),
        "half": jnp.arange(5, dtype=jnp.bfloat16),
        "key": jax.random.split(key),
        "phase": np.exp(1j * np.arange(4)).reshape(2, 2).T,
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3) + seed),
        "count": jnp.int32(7),
        "scalar": np.float64(0.1),
        "python": 3,
        "nan": np.array([np.nan, np.inf]),
    }


def equal(a, b):
    def bits(leaf):
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.asarray(leaf)
        return array.shape, array.dtype, np.ascontiguousarray(array).tobytes()

    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        bits(x) == bits(y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.fixture
def stage(tmp_path):
    with as_stage(tmp_path / "fit", "fit") as stage:
        yield stage


def test_a_state_comes_back_bit_for_bit(stage):
    extra = {"seed": 2**63 - 1, "best": math.inf, "name": "a", "none": None}
    path = stage.save(600, state(), extra)
    assert path.name == "0000000600.safetensors"
    back, step, got = stage.restore(state(1))
    assert equal(back, state())
    assert not equal(back, state(1))
    assert (step, got) == (600, extra)
    assert stage.notices == []


def test_a_restored_state_may_be_donated(stage):
    stage.save(1, {"w": jnp.arange(4.0)})
    back, _, _ = stage.restore({"w": jnp.zeros(4)})
    step = jax.jit(lambda s: {"w": s["w"] + 1}, donate_argnums=0)
    assert np.array_equal(step(back)["w"], np.arange(4.0) + 1)
    again, _, _ = stage.restore({"w": jnp.zeros(4)})
    assert np.array_equal(again["w"], np.arange(4.0))


def test_the_newest_three_and_milestones_stay(stage):
    for step in range(1, 9):
        stage.save(step, {"n": step}, milestone_every=4)
    kept = sorted(int(p.stem) for p in (stage.path / "checkpoints").iterdir())
    assert kept == [4, 6, 7, 8]
    assert stage.restore({"n": 0})[:2] == ({"n": 8}, 8)


def test_the_same_step_saved_twice(stage):
    stage.save(1, {"n": 1}, {"a": 1})
    stage.save(1, {"n": 2}, {"a": 2})
    assert stage.restore({"n": 0}) == ({"n": 2}, 1, {"a": 2})
    assert [p.name for p in (stage.path / "checkpoints").iterdir()] == ["0000000001.safetensors"]


def test_nothing_saved_yet(stage):
    assert stage.restore({"n": 0}) is None
    assert stage.notices == []
    assert not stage.finished
    assert stage.done() is None


@pytest.mark.parametrize(
    ("like", "words"),
    [
        ({"w": np.zeros(3, np.float32)}, r"\['w'\]: stored float64\[3\], like float32\[3\]"),
        ({"w": np.zeros(4)}, r"\['w'\]: stored float64\[3\], like float64\[4\]"),
        ({"v": np.zeros(3)}, r"missing in the file: \['v'\]"),
        ({"w": np.zeros(3), "v": np.zeros(3)}, r"missing in the file: \['v'\]"),
        ({}, r"not in `like`: \['w'\]"),
    ],
)
def test_another_structure_is_the_callers_error(stage, like, words):
    path = stage.save(5, {"w": np.ones(3)})
    with pytest.raises(InputError, match=words):
        stage.restore(like)
    assert path.exists()
    assert stage.restore({"w": np.zeros(3)})[1] == 5


def test_metrics_go_back_to_the_checkpoint(stage):
    rows = [{"step": i, "loss": math.nan if i == 2 else 1 / i, "ok": True} for i in range(1, 5)]
    stage.append_metrics(rows[:3])
    stage.save(3, {"n": 3})
    before = (stage.path / "metrics.jsonl").read_bytes()
    stage.append_metrics(rows[3:])
    assert stage.restore({"n": 0})[1] == 3
    assert (stage.path / "metrics.jsonl").read_bytes() == before
    got = stage.metrics()
    assert got[0] == rows[0]
    assert math.isnan(got[1]["loss"])
    assert len(got) == 3
    stage.append_metrics([])
    assert len(stage.metrics()) == 3


def test_metrics_without_a_checkpoint_start_again(tmp_path):
    with as_stage(tmp_path / "fit", "fit") as stage:
        stage.append_metrics([{"step": 1}])
        stage.append_draws({"x": np.ones(3)}, 0)
    with as_stage(tmp_path / "fit", "fit") as stage:
        assert stage.restore({"n": 0}) is None
        assert (stage.metrics(), dict(stage.draws())) == ([], {})
        assert any("starts at step 0" in notice for notice in stage.notices)


@pytest.mark.parametrize("torn", [b'{"step": 3', b'{"step": 3}', b"\x00\x00", b'{"a": "\xff'])
def test_a_torn_last_line_is_ignored_and_cut_by_the_next_writer(tmp_path, torn):
    with as_stage(tmp_path / "fit", "fit") as stage:
        stage.append_metrics([{"step": 1}, {"step": 2}])
    with open(stage.path / "metrics.jsonl", "ab") as file:
        file.write(torn)
    assert stage.metrics() == [{"step": 1}, {"step": 2}]
    with as_stage(tmp_path / "fit", "fit") as stage:
        stage.append_metrics([{"step": 3}])
        assert stage.metrics() == [{"step": 1}, {"step": 2}, {"step": 3}]


def test_a_damaged_line_elsewhere_is_named(stage):
    stage.append_metrics([{"step": 1}, {"step": 2}, {"step": 3}])
    path = stage.path / "metrics.jsonl"
    for bad in (b"{nothing}\n", b"[1]\n", b'{"a": NaN}\n'):
        path.write_bytes(b'{"step":1}\n' + bad + b'{"step":3}\n')
        with pytest.raises(CheckpointDamaged, match=r"metrics\.jsonl, line 2 is damaged"):
            stage.metrics()


def rows(start, count):
    x = np.random.default_rng(start).standard_normal((count, 4))
    x = x + 1j * np.arange(start, start + count)[:, None]
    return {"x": x, "n": np.arange(start, start + count), "h": x.real.astype(ml_dtypes.bfloat16)}


def joined(parts):
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_draws_are_sharded_and_joined(stage, monkeypatch):
    monkeypatch.setattr(draws, "SHARD_BYTES", 1000)
    parts = [rows(i * 7, 7) for i in range(20)]
    for i, part in enumerate(parts):
        stage.append_draws(part, i * 7)
        part["n"][:] = -1  # the caller may reuse his buffer
    parts = [rows(i * 7, 7) for i in range(20)]
    back = stage.draws()
    assert all(np.array_equal(back[name], want) for name, want in joined(parts).items())
    assert back["h"].dtype == ml_dtypes.bfloat16
    shards = sorted((stage.path / "draws").glob("*.safetensors"))
    assert len(shards) > 5
    assert all(sum(a.nbytes for a in s.values()) <= 1000 for s in stage.iter_draws())
    assert sum(len(s["n"]) for s in stage.iter_draws()) == 140
    with as_stage_reader(stage) as reader:
        assert np.array_equal(reader.draws()["x"], back["x"])


def as_stage_reader(stage):
    return Stage(stage.name, stage.path, writable=False)


def test_draws_go_back_to_the_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(draws, "SHARD_BYTES", 500)
    with as_stage(tmp_path / "a", "simulate") as stage:
        stage.append_draws(rows(0, 10), 0)
        stage.save(10, {"n": 10})
        stage.append_draws(rows(10, 10), 10)
        stage._draws.flush()
    (tmp_path / "a" / "draws" / ".tmp-000002.safetensors-1").write_text("")  # killed while writing
    with as_stage(tmp_path / "a", "simulate") as stage:
        assert stage.restore({"n": 0})[1] == 10
        assert np.array_equal(stage.draws()["n"], np.arange(10))
        stage.append_draws(rows(10, 10), 10)
        stage.append_draws(rows(20, 3), 20)
        stage.finish({})
    whole = joined([rows(0, 10), rows(10, 10), rows(20, 3)])
    assert all(np.array_equal(stage.draws()[name], want) for name, want in whole.items())


def test_series_stand_beside_the_draws_and_go_back_with_them(stage):
    stage.append_series({"energy": np.arange(4.0), "t": np.arange(4)}, 0)
    stage.append_draws(rows(0, 2), 0)
    stage.save(4, {"n": 4})
    stage.append_series({"energy": np.arange(9.0), "t": np.arange(9)}, 4)
    stage._flush()
    assert len(stage.series()["t"]) == 13
    assert stage.restore({"n": 0})[1] == 4
    assert np.array_equal(stage.series()["energy"], np.arange(4.0))
    assert set(stage.draws()) == {"x", "n", "h"}
    assert stage.notices == []


def test_an_empty_checkpoint_is_a_checkpoint(stage):
    stage.save(0, {"n": 0})
    stage.append_metrics([{"step": 1}])
    assert stage.restore({"n": 1})[:2] == ({"n": 0}, 0)
    assert (stage.metrics(), stage.notices) == ([], [])


def test_draws_waiting_in_memory_are_dropped_by_restore(stage):
    stage.append_draws(rows(0, 4), 0)
    stage.save(4, {"n": 4})
    stage.append_draws(rows(4, 4), 4)
    stage.restore({"n": 0})
    assert np.array_equal(stage.draws()["n"], np.arange(4))


def test_without_rewinding_draws_would_appear_twice(stage, monkeypatch):
    """Broken twin of the tests above."""
    monkeypatch.setattr(stage, "_rewind", lambda *_: None)
    stage.append_draws(rows(0, 4), 0)
    stage.append_metrics([{"step": 1}])
    stage.save(4, {"n": 4})
    for _ in range(2):
        stage.restore({"n": 0})
        stage.append_draws(rows(4, 4), 4)
        stage.append_metrics([{"step": 2}])
    assert len(stage.draws()["n"]) == 12
    assert len(stage.metrics()) == 3


def test_draws_must_fit_together(stage):
    for bad in ({}, {"x": np.float64(1)}, {"x": np.ones(3), "y": np.ones(2)}):
        with pytest.raises(InputError, match="leading axis"):
            stage.append_draws(bad, 0)
    stage.append_draws({"x": np.ones((3, 2))}, 0)
    stage._draws.flush()
    for bad in ({"x": np.ones((3, 3))}, {"x": np.ones((3, 2), "f4")}, {"y": np.ones((3, 2))}):
        with pytest.raises(InputError, match="changed within a stage"):
            stage.append_draws(bad, 3)


def test_lost_shards_are_noticed(tmp_path):
    with as_stage(tmp_path / "a", "simulate") as stage:
        stage.append_draws(rows(0, 4), 0)
        stage.append_metrics([{"step": 1}])
        stage.save(4, {"n": 4})
    path = tmp_path / "a" / "draws" / "000000.safetensors"
    path.rename(path.with_name("000001.safetensors"))
    with pytest.raises(CheckpointDamaged, match=r"000000\.safetensors is missing"):
        as_stage_reader(stage).draws()["x"]
    path.with_name("000001.safetensors").unlink()
    with as_stage(tmp_path / "a", "simulate") as stage:
        stage.restore({"n": 0})
        assert any("lost metrics or draws" in notice for notice in stage.notices)
        stage.append_draws(rows(0, 4), 0)
        stage.finish({})
    path.unlink()
    with pytest.raises(CheckpointDamaged, match="holds 0 files of 1"):
        stage.draws()


def test_a_flipped_bit_of_the_draws_is_seen(stage):
    stage.append_draws({"x": np.arange(3.0)}, 0)
    path = stage.path / "draws" / "000000.safetensors"
    assert np.array_equal(stage.draws()["x"], np.arange(3.0))
    good = path.read_bytes()
    for bit in random.Random(4).sample(range(8 * len(good)), 300):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        for read in (lambda: stage.draws()["x"], lambda: list(stage.iter_draws())):
            with pytest.raises(CheckpointDamaged, match=r"000000\.safetensors"):
                read()
    path.write_bytes(good)
    assert np.array_equal(stage.draws()["x"], np.arange(3.0))


def test_draws_are_read_when_they_are_asked_for(stage, monkeypatch):
    """Peak memory is one array and one shard of it, whatever else was drawn."""
    monkeypatch.setattr(draws, "SHARD_BYTES", 2**20)
    for i in range(8):
        stage.append_draws({"x": np.ones((2**17, 2)), "y": np.full(2**17, i)}, i * 2**17)
    found = stage.draws()
    assert (list(found), len(found), "z" in found) == (["x", "y"], 2, False)
    with pytest.raises(KeyError):
        found["z"]
    tracemalloc.start()
    y = found["y"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(y, np.repeat(np.arange(8), 2**17))
    assert peak < y.nbytes + 2**21


def test_shards_do_not_change_places(stage, monkeypatch):
    monkeypatch.setattr(draws, "SHARD_BYTES", 1)
    stage.append_draws({"x": np.arange(2.0)}, 0)
    first, second = sorted((stage.path / "draws").iterdir())
    first.write_bytes(second.read_bytes())
    with pytest.raises(CheckpointDamaged, match="shard 1"):
        stage.draws()["x"]


def test_a_finished_stage_is_left_as_it_is_until_reopened(stage):
    stage.append_metrics([{"step": 1}])
    stage.save(1, {"n": 1})
    stage.append_metrics([{"step": 2}])
    stage.finish({"ess": 0.5, "worst": -math.inf})
    assert stage.finished
    assert stage.done() == {"ess": 0.5, "worst": -math.inf}
    assert stage.restore({"n": 0})[1] == 1
    assert len(stage.metrics()) == 2
    stage.reopen()
    assert not stage.finished
    stage.restore({"n": 0})
    assert len(stage.metrics()) == 1


def test_as_stage(tmp_path):
    assert as_stage(None, "fit") is None
    with as_stage(tmp_path / "new" / "deep", "fit") as stage:
        assert as_stage(stage, "other") is stage
        with pytest.raises(RunLocked, match="this process"):
            as_stage(str(tmp_path / "new" / "deep"), "fit")
    with pytest.raises(StorageError, match="reading only"):
        stage.append_metrics([{"step": 1}])
    with as_stage(str(tmp_path / "new" / "deep"), "fit") as stage:
        assert stage.path == tmp_path / "new" / "deep"


def test_as_stage_does_not_mix_with_other_files(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="holds no stage"):
        as_stage(tmp_path / "mine", "fit")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
    with RunFolder.create(tmp_path / "run", config="", environment={}) as run:
        with pytest.raises(InputError, match=r"is a run: write RunFolder\.open"):
            as_stage(tmp_path / "run", "fit")
        with pytest.raises(InputError, match=r"got RunFolder, expected a path, a stage or None"):
            as_stage(run, "fit")  # pyright: ignore
    as_stage(tmp_path / "fit", "fit").close()
    with pytest.raises(InputError, match="holds the stage 'fit', expected 'simulate'"):
        as_stage(tmp_path / "fit", "simulate")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        as_stage(tmp_path / "file", "fit")
