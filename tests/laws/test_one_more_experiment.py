"""What one more experiment costs: the one in docs/extend.md, with its figure, in lines.

That it runs and agrees with quadrature is tested with the documentation.
"""

import re
from pathlib import Path

from pushforward.experiments import REGISTRY

ROOT = Path(__file__).parents[2]
LINES, MEAN = 50, 206  # 140 is the aim


def test_a_new_experiment_is_one_short_file():
    text = (ROOT / "docs" / "extend.md").read_text()
    (code,) = re.findall(r"```python file=wells.py\n(.*?)```", text, re.DOTALL)
    for name in ("class Config", "def expected", "def run", "def figures"):
        assert name in code
    assert len(code.splitlines()) <= LINES


def test_papers_stay_short():
    folder = ROOT / "src" / "pushforward" / "experiments"
    lengths = [len((folder / f"{e.module}.py").read_text().splitlines()) for e in REGISTRY.values()]
    assert sum(lengths) / len(lengths) <= MEAN
