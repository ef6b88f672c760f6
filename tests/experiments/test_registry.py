"""The registry is a literal: it must tell the truth about the modules."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from pushforward import experiments
from pushforward._cite import BIBTEX
from pushforward.experiments import REGISTRY, find
from pushforward.experiments._expected import Paper

FOLDER = Path(experiments.__file__).parent
PUBLIC = {"_config", "_expected", "_u1_sums"}


def test_every_module_is_registered():
    modules = {p.stem for p in FOLDER.glob("*.py") if not p.stem.startswith("_")}
    assert modules == {entry.module for entry in REGISTRY.values()}


@pytest.mark.parametrize("name", REGISTRY)
def test_a_module_gives_what_the_verbs_need(name):
    experiment, entry = find(name), REGISTRY[name]
    module = experiment.module
    assert set(module.PRESETS) == {"smoke", "laptop", "paper"}
    for verb in ("run", "figures", "build", "sampler"):
        assert callable(getattr(module, verb))
    assert isinstance(module.EXTENDS, str)
    assert set(module.REFERENCES) <= set(BIBTEX)
    for preset in module.PRESETS:
        expected = experiment.expected(experiment.resolve(overrides=[f"preset={preset}"]))
        assert expected
        assert {e.source.ref for e in expected if isinstance(e.source, Paper)} <= set(BIBTEX)
    assert module.__doc__
    assert len(entry.summary) <= 74
    assert name.replace("-", "_") == entry.module


@pytest.mark.parametrize("name", REGISTRY)
def test_a_module_imports_only_light_things_at_its_top(name):
    tree = ast.parse((FOLDER / f"{REGISTRY[name].module}.py").read_text())
    found = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    light = {f"{prefix}{m}" for m in PUBLIC for prefix in (".", "pushforward.experiments.")}
    light |= {"pushforward", "pydantic"}
    heavy = {f for f in found - light if f.split(".")[0] not in sys.stdlib_module_names}
    assert heavy == set()


@pytest.mark.parametrize("name", REGISTRY)
def test_a_mistyped_key_leaves_jax_out(name):
    code = (
        "import sys\n"
        "from pushforward.experiments import find\n"
        "try:\n"
        f"    find({name!r}).resolve(overrides=['fit.stps=1'])\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, 'jax' in sys.modules, 'numpy' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ConfigError", "False", "False"]
