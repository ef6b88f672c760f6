"""The command line: every verb, every exit status, nothing heavy before it is needed (P21)."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pushforward import __version__
from pushforward._errors import ConfigError
from pushforward.shell import cli
from pushforward.shell.cli import app

TOY = Path(__file__).parents[1] / "harness" / "toy_experiment.py"
VERBS = ("list", "show", "run", "resume", "report", "sample", "export", "compare", "cite", "doctor")
RUN = "import sys; from pushforward.shell.cli import main; main(sys.argv[1:])"
# the same, then names of heavy modules that were imported
WATCHED = """\
import atexit, sys
heavy = ("jax", "numpy", "matplotlib", "scipy")
atexit.register(lambda: print("HEAVY", *[m for m in heavy if m in sys.modules], file=sys.stderr))
from pushforward.shell.cli import main
main(sys.argv[1:])
"""


def start(*arguments, cwd, code=RUN, **how):
    env = {**os.environ, "PUSHFORWARD_NO_CACHE": "1", "COLUMNS": "80", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=cwd, env=env, text=True, stdout=pipe, stderr=pipe, stdin=subprocess.DEVNULL
    )


def call(*arguments, cwd, code=RUN):
    process = start(*arguments, cwd=cwd, code=code)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A folder with one finished run, runs/toy."""
    folder = tmp_path_factory.mktemp("cli")
    code, out, err = call("run", TOY, "preset=smoke", "--name", "toy", cwd=folder)
    assert code == 0, err
    return folder, out, err


def test_verbs_are_the_promised_ones():
    assert sorted(c.name or c.callback.__name__ for c in app.registered_commands) == sorted(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_in_80_columns(verb, tmp_path):
    code, out, err = call(verb, "--help", cwd=tmp_path, code=WATCHED)
    assert code == 0
    assert out.startswith(f"Usage: pushforward {verb}")
    assert max(map(len, out.splitlines())) <= 80
    assert err.split() == ["HEAVY"]
    assert "\x1b" not in out


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["list"], ["doctor", "--fast"]])
def test_light_verbs_import_nothing_heavy_and_are_quick(words, tmp_path):
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        code, _, err = call(*words, cwd=tmp_path, code=WATCHED)
        seconds.append(time.perf_counter() - begin)
        assert (code, err.split()) == (0, ["HEAVY"])
    # the promise is 0.4 s; the suite shares its cores with others
    assert min(seconds) < 1.0


def test_a_mistyped_key_is_answered_without_jax(tmp_path):
    words = ("run", TOY, "fit.stps=3", "seed=-1")
    code, out, err = call(*words, cwd=tmp_path, code=WATCHED)
    assert code == 2
    assert out == ""
    assert "Did you mean 'fit.steps'?" in err
    assert "seed = -1: must be an integer" in err
    assert err.split()[-1] == "HEAVY"
    assert "Traceback" not in err


def test_version(tmp_path):
    assert call("--version", cwd=tmp_path)[1] == f"{__version__}\n"


def test_a_run_prints_ours_beside_expected_and_its_page(done):
    folder, out, err = done
    lines = out.splitlines()
    assert re.match(r"mean\s+0\.\d+\(\d+\)\s+0\.5\s+[+-]\d\.\d sigma\s+within", lines[1])
    assert lines[-1] == "report: runs/toy/report.html"
    assert (folder / "runs/toy/report.html").exists()
    assert "seed 0" in err.splitlines()[0]
    assert "\x1b" not in out + err
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["rnu"], 2, "Did you mean 'run'?"),
        (["run"], 2, "Missing argument"),
        (["run", "nets-gm"], 2, "no experiment is called"),
        (["run", "x.py"], 2, "No such file"),
        (["run", TOY, "--nmae", "x"], 2, "No such option"),
        (["run", TOY, "--time-limit", "soon"], 2, "3h50m"),
        (["run", TOY, "--config", "c.yaml"], 2, "YAML"),
        (["run", TOY, "--name", "../x"], 2, "cannot name a run"),
        (["run", TOY, "--dry-run"], 2, "defines no recipe"),
        (["run", TOY, "--name", "toy"], 2, "not empty"),
        (["--device", "tpu9", "list"], 2, "cpu, gpu"),
        (["run", TOY, "--device", "gpu", "--name", "g"], 3, "JAX finds no GPU"),
        (["run", TOY, "fail=bug", "--name", "b"], 2, "toy_experiment.py, line"),
        (["run", TOY, "fail=nan", "--name", "n"], 4, "loss is nan at step 3"),
        (["run", TOY, "bias=1", "--check", "--name", "c"], 5, "missed mean"),
        (["run", TOY, "fail=disk", "--name", "d"], 6, "no space"),
        (["run", TOY, "fail=stop", "--name", "s"], 75, "everything saved"),
        (["run", TOY, "fail=interrupt", "--name", "i"], 130, "everything saved"),
        (["resume", "nowhere"], 7, "holds no run"),
        (["report", "nowhere"], 7, "nowhere"),
        (["export", "nowhere", "--to", "npz"], 7, "no run.json"),
        (["export", "runs/toy", "--to", "xls"], 2, "must be one of npz"),
        (["sample", "runs/toy", "--file", TOY], 2, "defines no"),
        (["sample", "runs/toy", "-n", "0"], 2, "must be an integer >= 1"),
        (["resume", "runs/toy"], 2, "add --file"),
        (["resume", "runs/toy", "--file", TOY, "--steps", "3"], 2, "at least 20"),
        (["cite", "nobody"], 2, "no experiment"),
    ],
)
def test_exit_status(done, words, code, said):
    found, _, err = call(*words, cwd=done[0])
    assert found == code, err
    assert said in err
    assert "Traceback" not in err


def test_runs_side_by_side(done):
    folder = done[0]
    assert call("run", TOY, "preset=smoke", "seed=1", "--name", "other", cwd=folder)[0] == 0
    code, out, err = call("compare", "runs/toy", "runs/other", cwd=folder)
    assert code == 0, err
    assert re.search(r"^seed +0 +1$", out, re.MULTILINE)
    assert re.search(r"^mean +0\.\d+\(\d+\) +0\.\d+\(\d+\) +[+-]\d\.\d$", out, re.MULTILINE)
    assert (folder / "comparison.html").exists()
    code, out, _ = call("compare", "runs/toy", "runs/other", "--json", cwd=folder)
    assert json.loads(out)["settings"] == {"seed": ["0", "1"]}
    assert call("compare", "runs/toy", cwd=folder)[0] == 2


def test_debug_shows_the_traceback(done):
    code, _, err = call("run", TOY, "fail=nan", "--debug", "--name", "e", cwd=done[0])
    assert code == 4
    assert "Traceback" in err


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["show", TOY],
        ["run", TOY, "--print-config"],
        ["run", TOY, "--name", "json"],
        ["resume", "runs/toy", "--file", TOY],
        ["report", "runs/toy"],
        ["export", "runs/toy", "--to", "csv"],
        ["cite", "runs/toy", "--file", TOY],
        ["doctor", "--fast"],
        ["resume", "nowhere"],
        ["rnu"],
    ],
)
def test_json_parses_and_stands_alone(done, words):
    code, out, _ = call(*words, "--json", cwd=done[0])
    data = json.loads(out)
    if code:
        assert data["exit_code"] == code
        assert data["error"]


def test_global_options_before_or_after_the_verb(tmp_path):
    first = call("--x64", "run", TOY, "--print-config", cwd=tmp_path)
    last = call("run", TOY, "--print-config", "--x64", cwd=tmp_path)
    assert first[1] == last[1]
    assert "x64 = true" in first[1]
    code, _, err = call("run", TOY, "x64=false", "--x64", cwd=tmp_path)
    assert code == 2
    assert "twice" in err


def test_show_toml_runs(tmp_path):
    code, out, _ = call("show", TOY, "--preset", "smoke", "--toml", cwd=tmp_path, code=WATCHED)
    assert code == 0
    (tmp_path / "c.toml").write_text(out)
    code, again, _ = call("run", TOY, "--config", "c.toml", "--print-config", cwd=tmp_path)
    assert code == 0
    assert 'preset = "smoke"' in again
    assert "# numbers drawn: an integer in [1, 1000]" in out
    code, text, _ = call("show", TOY, "--preset", "smoke", cwd=tmp_path)
    assert "count: >= 15" in text
    assert "rate [s]: a number in (0, 1]" in text


def test_locked_folder(done):
    from pushforward.runs import RunFolder

    with RunFolder.open(done[0] / "runs/toy", write=True):
        words = ("resume", "runs/toy", "--file", TOY, "--steps", "50")
        code, _, err = call(*words, cwd=done[0])
    assert code == 7
    assert "Traceback" not in err


def test_a_closed_pipe_is_quiet(tmp_path):
    command = f'"{sys.executable}" -c "{RUN}" show {TOY} | head -1'
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)]
)
def test_signals(tmp_path, number, code):
    process = start("run", TOY, "fail=sleep", "--name", "a", cwd=tmp_path)
    status = tmp_path / "runs/a/status.json"
    try:
        for _ in range(600):
            if status.exists() and json.loads(status.read_text())["state"] == "running":
                break
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == code, err
    assert json.loads(status.read_text())["state"] == "preempted"


def test_time_limit(tmp_path):
    words = ("run", TOY, "fail=sleep", "--time-limit", "1s", "--name", "a")
    assert call(*words, cwd=tmp_path)[0] == 75


def test_every_verb_is_short():
    import ast

    tree = ast.parse(Path(cli.__file__).read_text())
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.rstrip("_") in VERBS:
            lines = node.body[-1].end_lineno - node.body[0].lineno + 1
            assert lines <= 20, f"{node.name} has {lines} lines"


DOCS = Path(__file__).parents[2] / "docs"


def test_the_documentation_names_every_verb_option_and_status(tmp_path):
    text = (DOCS / "cli.md").read_text()
    helps = [call("--help", cwd=tmp_path)[1]]
    helps += [call(verb, "--help", cwd=tmp_path)[1] for verb in ("run", "resume", "sample")]
    hidden = {"--help", "--install-completion", "--show-completion"}
    options = set(re.findall(r"(?<!\w)--[a-z][a-z0-9-]+", "\n".join(helps))) - hidden
    assert {option for option in options if option not in text} == set()
    assert {verb for verb in VERBS if f"| `{verb}" not in text} == set()
    for status in (0, 1, 2, 3, 4, 5, 6, 7, 75, 130):
        assert f"\n| {status} |" in text
        assert re.search(rf"\b{status}\b", helps[0])


def test_the_example_of_the_documentation_runs(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "config.md").read_text(), re.DOTALL)
    (tmp_path / "birthdays.py").write_text(code)
    status, out, err = call("run", "birthdays.py", "rooms=20000", "--check", cwd=tmp_path)
    assert status == 0, err
    assert "within" in out


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("1.5", 1.5), ("45s", 45), ("3h50m", 13800), ("1:30:00", 5400), ("2:05", 125)],
)
def test_time_spans(text, expected):
    assert cli._seconds(text) == expected


@pytest.mark.parametrize("text", ["", "x", "-3", "3h 50m", "nan", "1:2:3:4"])
def test_bad_time_spans(text):
    with pytest.raises(ConfigError, match="3h50m"):
        cli._seconds(text)
