"""Two runs side by side."""

import json

import numpy as np
import pytest

from pushforward import report
from pushforward._errors import InputError, NotARun
from pushforward.runs import RunFolder

from . import conftest
from .test_page import check_safe


@pytest.fixture
def two(tmp_path):
    first = conftest.finished_run(tmp_path / "first")
    results = conftest.SUMMARY["results"] | {"E |x|²": {"value": 1070.0, "error": 5.0}}
    second = conftest.finished_run(tmp_path / "second", results=results)
    text = conftest.CONFIG.replace("walkers = 2000", "walkers = 500")
    third = conftest.write_run(tmp_path / "third", config=text, summary={"results": results})
    for path in (first, second):
        with RunFolder.open(path, write=True) as run:
            stage, t = run.stage("sample"), np.linspace(0, 1, 11)
            stage.append_series({"t": t, "ess": 1 - 0.1 * t, "log_z": t}, 0)
            stage.finish({"steps": 10})
            chains = run.stage("hmc")
            series = {
                "plaquette": np.random.RandomState(0).rand(50, 4),
                "info.failed": np.zeros(50),
            }
            chains.append_series(series, 0)
            chains.finish({"steps": 50})
    return first, second, third


def test_compare(two):
    data = json.loads(json.dumps(report.compare(two)))
    assert data["runs"] == ["first", "second", "third"]
    assert data["settings"] == {"walkers": ["2000", "2000", "500"]}
    entry = data["numbers"]["E |x|²"]
    z = (1118.25 - 1070) / np.hypot(9.31, 5.0)
    assert entry["values"] == [1118.25, 1070.0, 1070.0]
    assert entry["z"] == pytest.approx([None, z, z])
    assert data["numbers"]["ESS, geometric path"]["z"] == [None, None, None]
    assert data["numbers"]["log Z, geometric path"]["z"] == [None, 0.0, 0.0]


def test_page(two, tmp_path):
    out = report.write_comparison(two, tmp_path / "compare.html")
    page = check_safe(out.read_text(encoding="utf-8"))
    words = "Settings that differ: 1. Numbers more than 4 σ apart: 1 of 6 (E |x|²)."
    assert words in page.text
    assert "E |x|² 1118.2(9.3) 1070.0(5.0) 1070.0(5.0) +4.6 +4.6" in page.text
    assert "walkers 2000 2000 500" in page.text
    titles = [image["alt"].split(".")[0] for image in page.all("img")]
    assert titles == [
        "Training, stage train-geometric",
        "Along the path, stage sample",
        "Curves, stage hmc",
    ]


def test_hostile_runs_are_compared_safely(tmp_path):
    pair = [conftest.hostile_run(tmp_path / name / "run") for name in ("a", "b")]
    check_safe(report.write_comparison(pair, tmp_path / "page.html").read_text(encoding="utf-8"))


def test_bad_input(two, tmp_path):
    with pytest.raises(InputError, match="got 1 run; expected two or more"):
        report.compare(two[:1])
    with pytest.raises(InputError, match="a run twice"):
        report.compare([two[0], two[0]])
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotARun, match="empty holds no run"):
        report.compare([two[0], tmp_path / "empty"])
