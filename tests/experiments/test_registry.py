"""The registry is a literal: it must tell the truth about the modules."""

import subprocess
import sys
from pathlib import Path

import pytest

from pushforward import experiments
from pushforward._cite import BIBTEX, cite
from pushforward.experiments import REGISTRY
from pushforward.harness.experiment import find, steps_key

FOLDER = Path(experiments.__file__).parent


def test_every_module_is_registered():
    modules = {p.stem for p in FOLDER.glob("*.py")} - {"__init__"}
    assert modules == {entry.module for entry in REGISTRY.values()}


@pytest.mark.parametrize("name", REGISTRY)
def test_a_module_gives_what_the_verbs_need(name):
    experiment, entry = find(name, REGISTRY), REGISTRY[name]
    module = experiment.module
    assert set(module.PRESETS) == {"smoke", "laptop", "paper"}
    for function in ("recipe", "expected", "run", "figures"):
        assert callable(getattr(module, function))
    assert steps_key(module.Config) is not None
    for preset in module.PRESETS:
        expected = experiment.expected(experiment.resolve(overrides=[f"preset={preset}"]))
        assert expected
        papers = {e.source.split(",")[0] for e in expected.values() if ", " in e.source}
        assert {p for p in papers if ":" not in p} <= set(BIBTEX)
    assert module.__doc__
    assert len(entry.summary) <= 74
    assert name.replace("-", "_") == entry.module


@pytest.mark.parametrize("name", REGISTRY)
def test_a_mistyped_key_leaves_jax_out(name):
    code = (
        "import sys\n"
        "from pushforward.experiments import REGISTRY\n"
        "from pushforward.harness.experiment import find\n"
        "try:\n"
        f"    find({name!r}, REGISTRY).resolve(overrides=['fit.stps=1'])\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, 'jax' in sys.modules, 'numpy' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ConfigError", "False", "False"]


def test_references_come_from_the_docstring_and_the_classes():
    experiment = find("leaps-ising", REGISTRY)
    text = cite(*experiment.references(experiment.resolve().config))
    assert {
        key for key in ("leaps", "kaufman1949", "gillespie1977") if f"{{{key}," not in text
    } == set()
