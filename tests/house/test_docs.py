"""What README and docs say is run: python blocks as one program a file, links followed.

A block is `python` (run), `python file=NAME.py` (an experiment, run by the command line and
judged), `toml` (parsed) or `text` (anything else). The python blocks of one file share their names,
in order, as a reader would type them; the program runs in an empty folder.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tests.house.code import ROOT, tracked

FILES = [path for path in tracked() if path.suffix == ".md"]
FENCE = re.compile(r"^( *)```(.*?)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
MADE_LATER = {"docs/results.md", "docs/images/nets-gmm40.png"}  # by `make claims`, from a run


def blocks(text: str, language: str) -> list[str]:
    """Return the blocks of one language."""
    return [body for _, word, body in FENCE.findall(text) if word.strip() == language]


def program(path: Path) -> str:
    """Return the python blocks of a file, each on the lines it has there, for the traceback."""
    text = (ROOT / path).read_text(encoding="utf-8")
    lines: list[str] = []
    for found in FENCE.finditer(text):
        if found[2].strip() == "python":
            start = text.count("\n", 0, found.start(3))
            lines += [""] * (start - len(lines)) + found[3].splitlines()
    return "\n".join(lines)


RUNNABLE = [path for path in FILES if program(path)]
SYSTEMS = [path for path in RUNNABLE if path.parent.name == "systems"]
EXPERIMENTS = [
    (path, word.removeprefix("python file=").strip())
    for path in FILES
    for _, word, _ in FENCE.findall((ROOT / path).read_text(encoding="utf-8"))
    if word.startswith("python file=")
]


@pytest.mark.slow
@pytest.mark.parametrize("path", SYSTEMS, ids=str)
def test_the_pages_of_systems_run(path, tmp_path):
    test_the_blocks_run(path, tmp_path)


@pytest.mark.parametrize("path", [path for path in RUNNABLE if path not in SYSTEMS], ids=str)
def test_the_blocks_run(path, tmp_path):
    file = tmp_path / f"{path.stem}.py"
    file.write_text(program(path), encoding="utf-8")
    done = python(tmp_path, "-W", "error::UserWarning", file.name)
    assert done.returncode == 0, f"{path}:\n{done.stderr[-3000:]}"


@pytest.mark.parametrize(("path", "name"), EXPERIMENTS, ids=lambda part: str(part))
def test_the_experiments_run(path, name, tmp_path):
    text = (ROOT / path).read_text(encoding="utf-8")
    (tmp_path / name).write_text(blocks(text, f"python file={name}")[0], encoding="utf-8")
    done = python(tmp_path, "-m", "pushforward", "run", name, "preset=smoke", "--check")
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "within" in done.stdout


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run Python in a folder, on the CPU, with compiled programs kept from run to run."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(ROOT / "build" / "test-cache")}
    cache |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_ENABLE_X64": "0"}
    cache |= {"MPLBACKEND": "Agg", "JAX_PLATFORMS": "cpu"}
    environment = os.environ | cache
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=str)
def test_blocks_say_what_they_are(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    words = {word.strip().split(" file=")[0] for _, word, _ in FENCE.findall(text)}
    assert words <= {"python", "toml", "text"}
    assert text.count("```") == 2 * len(FENCE.findall(text))
    for block in blocks(text, "toml"):
        tomllib.loads(block)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_links_lead_somewhere(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    for target in LINK.findall(text):
        if "://" in target:
            continue
        there = os.path.normpath(path.parent / target)
        assert there in MADE_LATER or (ROOT / there).exists(), f"{path} links to {target}"


def test_files_named_in_the_docs_exist():
    """`dynamics/langevin.py` in a table of equations is a file of the package."""
    for path in FILES:
        text = (ROOT / path).read_text(encoding="utf-8")
        for name in re.findall(r"`([a-z_]+/[a-z_0-9/]+\.py)`", text):
            places = (ROOT / name, ROOT / "src" / "pushforward" / name)
            assert any(place.exists() for place in places), f"{path} names {name}"


def test_a_block_that_fails_is_seen():
    text = "a\n```python\nx = 1\n```\n\n```text\nraise\n```\n```python\ny\n```\n"
    assert blocks(text, "python") == ["x = 1\n", "y\n"]
    assert "README.md" in {str(path) for path in RUNNABLE}
    assert ("docs/extend.md", "wells.py") in [(str(path), name) for path, name in EXPERIMENTS]
