"""The frame around a run: folder, verdicts, failure, resume, extension."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import pushforward as pf
from pushforward._errors import ConfigError, InputError, NonFinite, NotARun, RunLocked, Stopped
from pushforward.harness import record
from pushforward.harness.experiment import find, of_run, root_key
from pushforward.runs import RunFolder
from pushforward.shell import export, sample

TOY = Path(__file__).with_name("toy_experiment.py")
HOW = record.Options(cache=False, quiet=True)


@pytest.fixture(autouse=True)
def _precision():
    """A run sets JAX's precision for its process: give the suite's back."""
    import jax

    x64 = jax.numpy.result_type(float) == jax.numpy.float64
    yield
    jax.config.update("jax_enable_x64", x64)


@pytest.fixture
def toy():
    return find(str(TOY), {})


def start(toy, path, *overrides):
    return record.execute(toy, toy.resolve(overrides=overrides), path, HOW)


def again(path, steps=None, file=TOY):
    return record.resume(*of_run(path, {}, file), path, HOW, steps=steps)


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
    assert folder.config_values()["seed"] == 3
    assert {"versions", "devices", "command", "cores", "started"} <= set(entry)
    assert (tmp_path / "a/figures/numbers.svg").exists()
    assert "mean" in (tmp_path / "a/report.html").read_text()
    assert "seed 3" in (tmp_path / "a/log.txt").read_text()


def test_its_config_runs_to_the_same_bits(tmp_path, toy):
    start(toy, tmp_path / "a", "seed=5", "fit.rate=0.25")
    resolved = toy.resolve(file=tmp_path / "a/config.toml")
    record.execute(toy, resolved, tmp_path / "b", HOW)
    assert bits(tmp_path / "a") == bits(tmp_path / "b")
    start(toy, tmp_path / "c", "seed=6", "fit.rate=0.25")  # the broken twin
    assert bits(tmp_path / "a") != bits(tmp_path / "c")


def test_seeds_beyond_32_bits_differ():
    keys = [root_key(seed) for seed in (0, 1, 2**32, 2**63 - 1)]
    data = {tuple(np.asarray(_key_data(key)).tolist()) for key in keys}
    assert len(data) == 4


def _key_data(key):
    import jax

    return jax.random.key_data(key)


@pytest.mark.parametrize(
    ("how", "error", "state"),
    [
        ("bug", ConfigError, "failed"),
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
        with pytest.raises(ConfigError) as caught:
            start(toy, tmp_path / "a", "fail=bug") if not (tmp_path / "a").exists() else again(
                tmp_path / "a", file=TOY
            )
    assert "crash-2.txt" in caught.value.__notes__[0]
    assert "boom" in (tmp_path / "a/crash.txt").read_text()
    assert "versions" in (tmp_path / "a/crash-2.txt").read_text()


@pytest.mark.filterwarnings("always")
def test_warnings_are_collected(tmp_path, toy):
    said = []
    how = record.Options(cache=False, quiet=True, say=said.append)
    record.execute(toy, toy.resolve(overrides=["fit.steps=5"]), tmp_path / "a", how)
    assert RunFolder.open(tmp_path / "a").summary()["warnings"] == ["only a few numbers"]
    assert said[1:] == ["warning: only a few numbers"]


def test_a_figure_that_raises_is_a_note_on_the_page(tmp_path, toy, monkeypatch):
    def broken(config, done):
        raise ValueError("no ink")

    monkeypatch.setattr(toy.module, "figures", broken)
    outcome = start(toy, tmp_path / "a", "preset=smoke")
    assert not [row for row in outcome.rows if row["verdict"] == "MISSED"]
    assert RunFolder.open(tmp_path / "a").status()["state"] == "finished"
    assert "no ink" in (tmp_path / "a/report.html").read_text()


def test_what_the_experiment_left_for_the_page(tmp_path, toy, monkeypatch):
    run = toy.module.run

    def richer(config, lab):
        lab.cost([{"method": "toy", "gradients": 7}])
        lab.note("a sentence")
        yield from run(config, lab)

    monkeypatch.setattr(toy.module, "run", richer)
    start(toy, tmp_path / "a")
    summary = RunFolder.open(tmp_path / "a").summary()
    assert summary["cost"] == [{"method": "toy", "gradients": 7}]
    assert summary["notes"] == ["a sentence"]


def test_findings_are_said_and_those_of_a_baseline_are_amber(tmp_path, toy, monkeypatch):
    def stuck(config, lab):
        normal = pf.targets.Normal(1)
        for name in ("chains", "beside"):
            kernel = pf.mcmc.HMC(normal, 100.0, 1)
            options = {"steps": 20, "initial": normal, "baseline": name == "beside"}
            lab.simulate(name, kernel, 4, **options)
        yield "mean", (0.5, 1.0)

    monkeypatch.setattr(toy.module, "run", stuck)
    monkeypatch.setattr(toy.module, "figures", lambda config, done: ())
    found = start(toy, tmp_path / "a").findings
    severities = {(one["stage"], one["severity"]) for one in found if "acceptance" in one["text"]}
    assert severities == {("chains", "red"), ("beside", "amber")}
    assert "red: chains: acceptance" in (tmp_path / "a/log.txt").read_text()


def test_a_result_of_the_wrong_kind(tmp_path, toy, monkeypatch):
    monkeypatch.setattr(toy.module, "run", lambda config, lab: [1.0])
    with pytest.raises(InputError, match="gave 1.0"):
        start(toy, tmp_path / "a")


def test_resume_of_a_finished_run_only_says_so(tmp_path, toy):
    first = start(toy, tmp_path / "a", "preset=smoke")
    second = again(tmp_path / "a", file=TOY)
    assert second.already
    strip = [{k: v for k, v in row.items()} for row in first.rows]
    assert sorted(second.rows, key=str) == sorted(strip, key=str)
    assert len(RunFolder.open(tmp_path / "a").environment()) == 1


def test_resume_goes_on(tmp_path, toy):
    start(toy, tmp_path / "a", "preset=smoke")
    with pytest.raises(Stopped):
        start(toy, tmp_path / "b", "preset=smoke", "fail=stop")
    text = (tmp_path / "b/config.toml").read_text()
    assert 'fail = "stop"' in text
    with pytest.raises(Stopped):
        again(tmp_path / "b", file=TOY)
    assert RunFolder.open(tmp_path / "b").status()["restarts"] == 1


def test_resume_refuses_an_edited_config(tmp_path, toy):
    start(toy, tmp_path / "a")
    config = tmp_path / "a/config.toml"
    config.write_text(config.read_text().replace("rate = 0.1", "rate = 0.2"))
    with pytest.raises(ConfigError, match=r"fit.rate: the run has 0.1, 0.2 stands in config.toml"):
        again(tmp_path / "a", file=TOY)


def test_extension_equals_one_long_run(tmp_path, toy):
    start(toy, tmp_path / "a", "fit.steps=30")
    again(tmp_path / "a", 60, file=TOY)
    start(toy, tmp_path / "b", "fit.steps=60", "fit.schedule_steps=30")
    short, long = bits(tmp_path / "a"), bits(tmp_path / "b")
    assert short[1] == long[1]
    assert short[2] == long[2]
    a = RunFolder.open(tmp_path / "a").stage("draw").draws()["x"]
    np.testing.assert_array_equal(a, RunFolder.open(tmp_path / "b").stage("draw").draws()["x"])
    config = toy.resolve(file=tmp_path / "a/config.toml").config
    assert (config.fit.steps, config.fit.schedule_steps) == (60, 30)
    again(tmp_path / "a", 90, file=TOY)
    config = toy.resolve(file=tmp_path / "a/config.toml").config
    assert (config.fit.steps, config.fit.schedule_steps) == (90, 30)


def test_fewer_steps_are_refused_and_nothing_is_touched(tmp_path, toy):
    start(toy, tmp_path / "a", "fit.steps=30")
    before = {p: p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()}
    with pytest.raises(ConfigError, match="at least 30"):
        again(tmp_path / "a", 20, file=TOY)
    assert before == {p: p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()}


def test_a_file_is_executed_only_when_given_and_unchanged(tmp_path, toy):
    start(toy, tmp_path / "a")
    with pytest.raises(ConfigError, match="add --file"):
        again(tmp_path / "a", file=None)
    changed = tmp_path / "toy_experiment.py"
    shutil.copy(TOY, changed)
    assert again(tmp_path / "a", file=changed).already
    changed.write_text(TOY.read_text() + "\nraise SystemError('executed')\n")
    with pytest.raises(ConfigError, match="executed"):
        again(tmp_path / "a", file=changed)
    changed.write_text(TOY.read_text() + "\n# another\n")
    with pytest.raises(ConfigError, match="are not what made"):
        again(tmp_path / "a", file=changed)


def test_or_resume(tmp_path, toy):
    path = tmp_path / "a"
    assert not record.continue_or_execute(toy, toy.resolve(), path, HOW).already
    assert record.continue_or_execute(toy, toy.resolve(), path, HOW).already
    other = toy.resolve(overrides=["seed=1"])
    with pytest.raises(ConfigError, match="seed: the run has 0, 1 was asked for"):
        record.continue_or_execute(toy, other, path, HOW)


def test_places(tmp_path):
    assert record.place(tmp_path, None, "toy", False).name == "toy-001"
    (tmp_path / "toy-001").mkdir()
    assert record.place(tmp_path, None, "toy", False).name == "toy-002"
    assert record.place(tmp_path, None, "toy", True).name == "toy-001"
    assert record.place(tmp_path, "mine", "toy", False).name == "mine"


def test_a_folder_in_use_and_a_folder_that_is_no_run(tmp_path, toy):
    start(toy, tmp_path / "a")
    with pytest.raises(InputError, match="not empty"):
        start(toy, tmp_path / "a")
    with RunFolder.open(tmp_path / "a", write=True), pytest.raises(RunLocked):
        again(tmp_path / "a", 100, file=TOY)
    with pytest.raises(NotARun, match="no run.json"):
        again(tmp_path, file=None)


# ------------------------------------------------------------------------------- out of a run


def test_exports(tmp_path, toy):
    path = tmp_path / "a"
    start(toy, path, "preset=smoke")
    draws = RunFolder.open(path).stage("draw").draws()["x"]
    (file,) = export.export(path, "npz")
    with np.load(file, allow_pickle=False) as found:
        np.testing.assert_array_equal(found["x"], draws)
    files = export.export(path, "csv", what="metrics", out=tmp_path / "out")
    assert [f.name for f in files] == ["draw-metrics.csv"]
    assert files[0].read_text().splitlines()[0] == "step,x"
    (file,) = export.export(path, "safetensors", what="draws")
    from pushforward.formats import read_safetensors

    np.testing.assert_array_equal(read_safetensors(file)["x"], draws)
    with pytest.raises(NotARun, match="no trained model"):
        export.export(path, "safetensors")
    for bad in ({"to": "xls"}, {"to": "npz", "what": "all"}):
        with pytest.raises(ConfigError, match="must be one of"):
            export.export(path, **bad)


def test_page_of_a_dead_run(tmp_path, toy):
    start(toy, tmp_path / "a")
    (tmp_path / "a/report.html").unlink()
    (tmp_path / "a/summary.json").unlink()
    assert sample.page(tmp_path / "a", {}).exists()
    assert sample.page(tmp_path / "a", {}, TOY).exists()


def test_files_that_are_no_experiments(tmp_path):
    file = tmp_path / "x.py"
    cases = {
        "": "lacks Config, PRESETS, run",
        "1 +": "line 1: SyntaxError",
        "import math\nmath.sqrt(-1)": "line 2: ValueError",
        "class Config: ...\nPRESETS = {}\nrun = print": "must be a subclass",
    }
    for source, words in cases.items():
        file.write_text(source)
        with pytest.raises(ConfigError, match=words):
            find(str(file), {})
    with pytest.raises(ConfigError, match="No such file"):
        find(str(tmp_path / "absent.py"), {})
    with pytest.raises(ConfigError, match="no experiment is called 'nets-gm'"):
        find("nets-gm", {"nets-gmm40": None})


def test_rows_are_json(tmp_path, toy):
    outcome = start(toy, tmp_path / "a")
    assert json.loads(json.dumps(outcome.as_dict()))["results"][0]["name"] == "mean"
