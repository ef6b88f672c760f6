"""The example of docs/report.md runs."""

import re
import subprocess
import sys
from pathlib import Path


def test_example():
    docs = Path(__file__).parents[2] / "docs" / "report.md"
    blocks = re.findall(r"```python\n(.*?)```", docs.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 1
    done = subprocess.run([sys.executable, "-c", blocks[0]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
