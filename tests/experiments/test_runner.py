"""The frame around a run: folder, verdicts, failure, resume, extension."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pushforward._errors import ConfigError, InputError, NonFinite, NotARun, RunLocked, Stopped
from pushforward.experiments import _load, _options, _products, _runner
from pushforward.runs import RunFolder

TOY = Path(__file__).with_name("toy_experiment.py")
HOW = _options.Options(cache=False, quiet=True)


@pytest.fixture(autouse=True)
def _precision():
    """A run sets JAX's precision for its process: give the suite's back."""
    import jax

    x64 = jax.numpy.result_type(float) == jax.numpy.float64
    yield
    jax.config.update("jax_enable_x64", x64)


@pytest.fixture
def toy():
    return _load.find(str(TOY))


def start(toy, path, *overrides):
    return _runner.execute(toy, toy.resolve(overrides=overrides), path, HOW)


def bits(path):
    """Return everything a run computed."""
    stages = RunFolder.open(path).stages()
    draws = {s.name: {k: v.tobytes() for k, v in s.draws().items()} for s in stages}
    return draws, {s.name: s.metrics() for s in stages}, RunFolder.open(path).summary()["results"]


def test_a_finished_run(tmp_path, toy):
    outcome = start(toy, tmp_path / "a", "preset=smoke", "seed=3")
    folder = RunFolder.open(tmp_path / "a")
    assert [row["verdict"] for row in outcome.rows] == ["within", "within", "none"]
    assert folder.status()["state"] == "finished"
    summary = folder.summary()
    assert summary["results"]["mean"]["expected"] == 0.5
    assert summary["seconds"]["total"] > 0
    entry = folder.environment()[0]
    assert entry["config"]["seed"] == 3
    assert len(entry["config_sha256"]) == 64
    assert {"versions", "devices", "command", "cores", "started"} <= set(entry)
    assert (tmp_path / "a/figures/numbers.svg").exists()
    assert "mean" in (tmp_path / "a/report.html").read_text()
    assert "seed 3" in (tmp_path / "a/log.txt").read_text()


def test_its_config_runs_to_the_same_bits(tmp_path, toy):
    start(toy, tmp_path / "a", "seed=5", "fit.rate=0.25")
    resolved = toy.resolve(file=tmp_path / "a/config.toml")
    _runner.execute(toy, resolved, tmp_path / "b", HOW)
    assert bits(tmp_path / "a") == bits(tmp_path / "b")
    start(toy, tmp_path / "c", "seed=6", "fit.rate=0.25")  # the broken twin
    assert bits(tmp_path / "a") != bits(tmp_path / "c")


def test_seeds_beyond_32_bits_differ():
    keys = [_options.root_key(seed) for seed in (0, 1, 2**32, 2**63 - 1)]
    data = {tuple(np.asarray(_key_data(key)).tolist()) for key in keys}
    assert len(data) == 4


def _key_data(key):
    import jax

    return jax.random.key_data(key)


@pytest.mark.parametrize(
    ("how", "error", "state"),
    [
        ("bug", TypeError, "failed"),
        ("nan", NonFinite, "failed"),
        ("stop", Stopped, "preempted"),
    ],
)
def test_a_run_that_ends_early_tells_what_is_known(tmp_path, toy, how, error, state):
    path = tmp_path / "a"
    with pytest.raises(error):
        start(toy, path, f"fail={how}")
    folder = RunFolder.open(path)
    assert folder.status()["state"] == state
    assert folder.status()["error"]
    assert folder.summary()["results"] == {}
    assert (path / "report.html").exists()
    assert (path / "crash.txt").exists() == (how == "bug")
    RunFolder.open(path, write=True).close()  # the lock was given back


def test_a_second_crash_keeps_the_first(tmp_path, toy):
    for _ in range(2):
        with pytest.raises(TypeError) as caught:
            start(toy, tmp_path / "a", "fail=bug") if not (
                tmp_path / "a"
            ).exists() else _runner.resume(tmp_path / "a", HOW, file=TOY)
    assert "crash-2.txt" in caught.value.__notes__[0]
    assert "boom" in (tmp_path / "a/crash.txt").read_text()
    assert "versions" in (tmp_path / "a/crash-2.txt").read_text()


@pytest.mark.filterwarnings("always")
def test_warnings_are_collected(tmp_path, toy):
    said = []
    how = _options.Options(cache=False, quiet=True, say=said.append)
    _runner.execute(toy, toy.resolve(overrides=["fit.steps=5"]), tmp_path / "a", how)
    assert RunFolder.open(tmp_path / "a").summary()["warnings"] == ["only a few numbers"]
    assert said[1:] == ["warning: only a few numbers"]


def test_a_figure_that_raises_is_a_note_on_the_page(tmp_path, toy, monkeypatch):
    def broken(folder):
        raise ValueError("no ink")

    monkeypatch.setattr(toy.module, "figures", broken)
    outcome = start(toy, tmp_path / "a", "preset=smoke")
    assert not [row for row in outcome.rows if row["verdict"] == "MISSED"]
    assert RunFolder.open(tmp_path / "a").status()["state"] == "finished"
    assert "no ink" in (tmp_path / "a/report.html").read_text()


def test_what_the_experiment_left_in_the_summary_stays(tmp_path, toy, monkeypatch):
    run = toy.module.run

    def richer(config, folder, *, key):
        folder.write_summary({"cost": {"gradient": 7}, "warnings": ["mine"], "seconds": {"fit": 1}})
        return run(config, folder, key=key)

    monkeypatch.setattr(toy.module, "run", richer)
    start(toy, tmp_path / "a")
    summary = RunFolder.open(tmp_path / "a").summary()
    assert summary["cost"] == {"gradient": 7}
    assert summary["warnings"] == ["mine"]
    assert set(summary["seconds"]) == {"fit", "total"}


def test_a_result_of_the_wrong_kind(tmp_path, toy, monkeypatch):
    monkeypatch.setattr(toy.module, "run", lambda config, folder, *, key: [1.0])
    with pytest.raises(InputError, match="returned list"):
        start(toy, tmp_path / "a")


def test_resume_of_a_finished_run_only_says_so(tmp_path, toy):
    first = start(toy, tmp_path / "a", "preset=smoke")
    again = _runner.resume(tmp_path / "a", HOW, file=TOY)
    assert again.already
    strip = [{k: v for k, v in row.items()} for row in first.rows]
    assert sorted(again.rows, key=str) == sorted(strip, key=str)
    assert len(RunFolder.open(tmp_path / "a").environment()) == 1


def test_resume_goes_on(tmp_path, toy):
    start(toy, tmp_path / "a", "preset=smoke")
    with pytest.raises(Stopped):
        start(toy, tmp_path / "b", "preset=smoke", "fail=stop")
    text = (tmp_path / "b/config.toml").read_text()
    assert 'fail = "stop"' in text
    with pytest.raises(Stopped):
        _runner.resume(tmp_path / "b", HOW, file=TOY)
    assert RunFolder.open(tmp_path / "b").status()["restarts"] == 1


def test_resume_refuses_an_edited_config(tmp_path, toy):
    start(toy, tmp_path / "a")
    config = tmp_path / "a/config.toml"
    config.write_text(config.read_text().replace("rate = 0.1", "rate = 0.2"))
    with pytest.raises(ConfigError, match=r"fit.rate: the run has 0.1, 0.2 stands in config.toml"):
        _runner.resume(tmp_path / "a", HOW, file=TOY)


def test_extension_equals_one_long_run(tmp_path, toy):
    start(toy, tmp_path / "a", "fit.steps=30")
    _runner.resume(tmp_path / "a", HOW, steps=60, file=TOY)
    start(toy, tmp_path / "b", "fit.steps=60", "fit.schedule_steps=30")
    short, long = bits(tmp_path / "a"), bits(tmp_path / "b")
    assert short[1] == long[1]
    assert short[2] == long[2]
    a = RunFolder.open(tmp_path / "a").stage("draw").draws()["x"]
    np.testing.assert_array_equal(a, RunFolder.open(tmp_path / "b").stage("draw").draws()["x"])
    config = toy.resolve(file=tmp_path / "a/config.toml").config
    assert (config.fit.steps, config.fit.schedule_steps) == (60, 30)
    _runner.resume(tmp_path / "a", HOW, steps=90, file=TOY)
    config = toy.resolve(file=tmp_path / "a/config.toml").config
    assert (config.fit.steps, config.fit.schedule_steps) == (90, 30)


def test_fewer_steps_are_refused_and_nothing_is_touched(tmp_path, toy):
    start(toy, tmp_path / "a", "fit.steps=30")
    before = {p: p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()}
    with pytest.raises(ConfigError, match="at least 30"):
        _runner.resume(tmp_path / "a", HOW, steps=20, file=TOY)
    assert before == {p: p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()}


def test_a_file_is_executed_only_when_given_and_unchanged(tmp_path, toy):
    start(toy, tmp_path / "a")
    with pytest.raises(ConfigError, match="add --file"):
        _runner.resume(tmp_path / "a", HOW)
    changed = tmp_path / "toy_experiment.py"
    shutil.copy(TOY, changed)
    assert _runner.resume(tmp_path / "a", HOW, file=changed).already
    changed.write_text(TOY.read_text() + "\nraise SystemError('executed')\n")
    with pytest.raises(ConfigError, match="executed"):
        _runner.resume(tmp_path / "a", HOW, file=changed)
    changed.write_text(TOY.read_text() + "\n# another\n")
    with pytest.raises(ConfigError, match="is not the file that made"):
        _runner.resume(tmp_path / "a", HOW, file=changed)


def test_or_resume(tmp_path, toy):
    path = tmp_path / "a"
    assert not _runner.continue_or_execute(toy, toy.resolve(), path, HOW).already
    assert _runner.continue_or_execute(toy, toy.resolve(), path, HOW).already
    other = toy.resolve(overrides=["seed=1"])
    with pytest.raises(ConfigError, match="seed: the run has 0, 1 was asked for"):
        _runner.continue_or_execute(toy, other, path, HOW)


def test_places(tmp_path):
    assert _options.place(tmp_path, None, "toy", False).name == "toy-001"
    (tmp_path / "toy-001").mkdir()
    assert _options.place(tmp_path, None, "toy", False).name == "toy-002"
    assert _options.place(tmp_path, None, "toy", True).name == "toy-001"
    assert _options.place(tmp_path, "mine", "toy", False).name == "mine"


def test_a_folder_in_use_and_a_folder_that_is_no_run(tmp_path, toy):
    start(toy, tmp_path / "a")
    with pytest.raises(InputError, match="not empty"):
        start(toy, tmp_path / "a")
    with RunFolder.open(tmp_path / "a", write=True), pytest.raises(RunLocked):
        _runner.resume(tmp_path / "a", HOW, steps=100, file=TOY)
    with pytest.raises(NotARun, match="no config.toml"):
        _runner.resume(tmp_path, HOW)


# ------------------------------------------------------------------------------- out of a run


def test_exports(tmp_path, toy):
    path = tmp_path / "a"
    start(toy, path, "preset=smoke")
    draws = RunFolder.open(path).stage("draw").draws()["x"]
    (file,) = _products.export(path, "npz")
    with np.load(file, allow_pickle=False) as found:
        np.testing.assert_array_equal(found["x"], draws)
    files = _products.export(path, "csv", what="metrics", out=tmp_path / "out")
    assert [f.name for f in files] == ["draw-metrics.csv", "mean-metrics.csv"]
    assert files[0].read_text().splitlines()[0] == "step,x"
    (file,) = _products.export(path, "safetensors", what="draws")
    from pushforward.formats import read_safetensors

    np.testing.assert_array_equal(read_safetensors(file)["x"], draws)
    with pytest.raises(NotARun, match="no trained model"):
        _products.export(path, "safetensors")
    for bad in ({"to": "xls"}, {"to": "npz", "what": "all"}):
        with pytest.raises(ConfigError, match="must be one of"):
            _products.export(path, **bad)


def test_page_of_a_dead_run(tmp_path, toy):
    start(toy, tmp_path / "a")
    (tmp_path / "a/report.html").unlink()
    (tmp_path / "a/summary.json").unlink()
    assert _products.page(tmp_path / "a").exists()
    assert _products.page(tmp_path / "a", TOY).exists()


def test_files_that_are_no_experiments(tmp_path):
    file = tmp_path / "x.py"
    cases = {
        "": "lacks Config, PRESETS, EXPECTED, run",
        "1 +": "line 1: SyntaxError",
        "import math\nmath.sqrt(-1)": "line 2: ValueError",
        "class Config: ...\nPRESETS = {}\nEXPECTED = ()\nrun = print": "must be a subclass",
    }
    for source, words in cases.items():
        file.write_text(source)
        with pytest.raises(ConfigError, match=words):
            _load.find(str(file))
    with pytest.raises(ConfigError, match="No such file"):
        _load.find(str(tmp_path / "absent.py"))
    with pytest.raises(ConfigError, match="no experiment is called 'nets-gm'"):
        _load.find("nets-gm")


def test_rows_are_json(tmp_path, toy):
    outcome = start(toy, tmp_path / "a")
    assert json.loads(json.dumps(outcome.as_dict()))["results"][0]["name"] == "mean"
