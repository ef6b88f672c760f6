"""The page of one run, whatever state its folder is in (P19 without a browser)."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from pushforward import report
from pushforward._errors import InputError, NotARun, StorageError
from pushforward.report import facts, page
from pushforward.runs import RunFolder, as_stage

from . import conftest

VOID = {"meta", "img", "br", "hr", "link", "input"}
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Page(HTMLParser):
    """Elements of a page; complains about tags that do not close what they should."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.source, self.open, self.elements, self.words = text, [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice in <{tag}>: {names}"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def check_safe(text: str) -> Page:
    """What must hold of every page: one file, no script, nothing remote, unique ids."""
    page = Page(text)
    assert len(text.encode()) <= 5_000_000
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "iframe", "object", "embed", "link", "form", "base", "svg", "a"}
    assert "<script" not in text.lower()
    for tag, attrs in page.elements:
        for name, value in attrs.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in ("href", "srcset", "action", "background"), (tag, name)
            if name == "src":
                assert re.fullmatch(r"data:image/(svg\+xml|png);base64,[A-Za-z0-9+/=]+", value)
    metas = page.all("meta")
    assert [m["content"] for m in metas if m.get("http-equiv") == "Content-Security-Policy"] == [
        POLICY
    ]
    assert "url(" not in text
    assert "@import" not in text
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    labels = {attrs["aria-labelledby"] for _, attrs in page.elements if "aria-labelledby" in attrs}
    assert labels <= set(ids)
    for image in page.all("img"):
        assert image["alt"].strip()
        assert int(image["width"]) > 0
        assert int(image["height"]) > 0
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    return page


def write(path: Path, **options) -> Page:
    return check_safe(report.write_report(path, **options).read_text(encoding="utf-8"))


def test_every_state_gives_a_safe_page(any_run):
    page = write(any_run)
    assert page.all("h1")
    assert not list(any_run.glob(".tmp-*"))


def test_finished(make_run, figures):
    path = make_run("finished")
    page = write(path, figures=figures)
    sentence = (
        "4 of 5 numbers as expected (MISSED: E |x|²); ESS, geometric path 0.9083; "
        "finished in 2 min 56 s."
    )
    assert sentence in page.text
    damaged, means = page.text.find("step 1200 was damaged"), page.text.find("uses the means")
    assert 0 < damaged < means, "what was recovered stands before the warnings"
    for words in (
        "1118.2(9.3) length² 1071.37 exact, from the 40 means +5.0 σ ✗ MISSED",
        "0.9083 ≥ 0.9 goal +0.0083 ✓ within",
        "0.0012(71) 0 within 4 sigma exact +0.2 σ ✓ within",
        "-0.00021(70) 0 exact -0.3 σ ✓ within",  # the deviation is worked out here
        "not judged",
        "pushforward run nets-gmm40 --config runs/finished/config.toml",
        "fit.steps 2000 given on the command line",
        "@article{nets",
        "geometric, training 0 5\u202f120\u202f000",
        "Break-even",
        "2 min 11 s",
        "note Restarted once.",
        "2 × cpu",
    ):
        assert " ".join(words.split()) in page.text, words
    assert not [m for m in page.all("meta") if m.get("http-equiv") == "refresh"]
    titles = [i["alt"].split(".")[0] for i in page.all("img")]
    assert titles[:2] == ["Training", "Training"]
    assert len(titles) == len(figures) + 1, "and the scalars of the stage"


def test_the_page_needs_only_the_folder(make_run, figures):
    path = make_run("finished")
    chosen = {name: figures[name] for name in ("histogram", "along_time")}
    first = write(path, figures=chosen)
    moved = path.rename(path.parent / "elsewhere")
    again = write(moved)
    assert [i["alt"] for i in first.all("img")] == [i["alt"] for i in again.all("img")]


def test_writing_again_changes_nothing_but_the_time(make_run):
    path = make_run("finished")
    pages = [report.write_report(path).read_text() for _ in range(2)]
    without_time = [re.sub(r"Updated [0-9:]+ UTC", "", page) for page in pages]
    assert without_time[0] == without_time[1]


def test_running(make_run):
    path = make_run("running")
    page = write(path)
    refresh = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "refresh"]
    assert refresh == ["10"]
    assert page.all("progress")[0]["value"] == "2000"
    assert page.all("progress")[0]["max"] == "5000"
    words = "Running: stage train-geometric, step 2000 of 5000; about 3 min 10 s to go; last heard"
    assert words in page.text
    assert "damaged" not in page.text, "a torn last line is how a live run looks"


def test_a_run_that_ends_writes_its_page_first(make_run):
    page = write(make_run("running"), state="finished")
    assert "No numbers; finished." in page.text
    assert not [m for m in page.all("meta") if m.get("http-equiv") == "refresh"]


def silence(path):
    status = json.loads((path / "status.json").read_text())
    (path / "status.json").write_text(json.dumps(status | {"heartbeat": 1e9}))


def test_dead(make_run):
    path = make_run("running")
    silence(path)
    page = write(path)
    assert "Dead at stage train-geometric, step 2000: no sign of life" in page.text
    assert "pushforward resume runs/running" in page.text
    assert not [m for m in page.all("meta") if m.get("http-equiv") == "refresh"]


def test_a_silent_run_that_holds_its_lock_is_alive(make_run):
    path = make_run("running")
    with RunFolder.open(path, write=True):
        silence(path)
        assert "Running: stage train-geometric, step 2000" in write(path).text
    assert "Dead at stage train-geometric, step 2000" in write(path).text


def test_failed(make_run):
    page = write(make_run("failed"))
    words = "Failed at stage train-geometric, step 1201: NonFinite: the loss is nan at step 1201"
    assert words in page.text
    assert "first leaf: .drift.layers[0].weight" in page.text
    assert "Traceback (most recent call last)" in page.text
    assert page.all("img"), "the curves up to the failure are shown"


def test_empty(make_run):
    page = write(make_run("empty"))
    assert "Nothing has run in this folder yet." in page.text
    assert not page.all("table")


FINDING = {"subject": "Q at β = 6, rung 2", "stage": "hmc", "text": "never changed"}


@pytest.mark.parametrize(
    ("severities", "tone", "words"),
    [
        ([], "good", "1 of 1 numbers as expected"),
        (["amber"], "warn", "careful hmc, Q at β = 6, rung 2: never changed"),
        (["amber", "red"], "bad", "do not trust hmc, Q at β = 6, rung 2: never changed careful"),
        (["unheard of"], "bad", "Do not trust this run (see below); 1 of 1"),
    ],
)
def test_findings_colour_the_verdict(tmp_path, severities, tone, words):
    """All numbers are within, but the verdict is green only if nothing was found."""
    row = {"value": 1.0, "expected": 1.0, "verdict": "within"}
    findings = [FINDING | {"severity": severity} for severity in severities]
    path = conftest.finished_run(
        tmp_path / "run", results={"a": row}, findings=findings, notices=[], warnings=["hot"]
    )
    page = write(path)
    (verdict,) = (a["class"] for a in page.all("section") if a.get("aria-label") == "Verdict")
    assert verdict == f"verdict tone-{tone}"
    assert words in page.text
    assert ("Do not trust" in page.text) == (tone == "bad"), "the word as well as the colour"


def test_hostile_text_is_shown_not_obeyed(make_run):
    page = write(make_run("hostile"))
    shown = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\\u202e\\x1b[31m$\\frac{&amp;"
    assert page.text.count(shown) > 15, "config, results, warnings, notes, keys, error, captions"
    sources = [base64.b64decode(i["src"].split(",")[1]) for i in page.all("img")]
    assert not any(b"secret" in content for content in sources), "a link led out of the folder"
    assert "secret" not in page.text
    assert "not a PNG file" in page.text
    assert "do not trust nan is nan." in page.text


def test_links_that_lead_out_are_not_followed(make_run):
    path = make_run("finished")
    config = path / "config.toml"
    config.rename(path.parent / "config.toml")
    config.symlink_to(path.parent / "config.toml")
    assert "config.toml is a link that leads out of its folder" in write(path).text


def test_the_check_sees_an_unescaped_title(make_run):
    """Broken twin: a page whose title is not escaped fails the check of this file."""
    text = report.write_report(make_run("hostile")).read_text()
    title = re.search(r"<h1><bdi>(.*)</bdi></h1>", text)[1]
    broken = text.replace(title, title.replace("&lt;", "<").replace("&gt;", ">"), 1)
    assert broken != text
    with pytest.raises(AssertionError):
        check_safe(broken)


def test_torn_files_shorten_the_page(make_run):
    """Each file cut at many places, or replaced by other JSON, never stops the page."""
    path = make_run("finished")
    files = [p for p in path.rglob("*") if p.suffix in (".json", ".jsonl", ".toml")]
    assert len(files) >= 5
    (path / "stages" / "train-geometric" / "metrics.jsonl").write_text("")  # no drawing: faster
    for file in files:
        content = file.read_bytes()
        cuts = [content[:n] for n in range(0, len(content), max(len(content) // 12, 1))]
        others = [b"null", b"[]", b'"text"', b"7", b"\xff\xfe\x00", b"[" * 100_000, b'{"a":' * 5000]
        for bad in [*cuts, *others]:
            file.write_bytes(bad)
            write(path)
        file.unlink()
        write(path)
        file.write_bytes(content)


def test_what_is_damaged_is_named(make_run):
    path = make_run("finished")
    (path / "summary.json").write_text('{"results": {')
    page = write(path)
    assert re.search(r"damaged \S*summary\.json is damaged", page.text)
    assert "2 min 11 s" in page.text, "the stages are shown"


def test_wrong_types_inside_the_summary(make_run):
    path = make_run("finished")
    (path / "stages" / "train-geometric" / "metrics.jsonl").write_text("")
    values = [None, 1, "x", [], [1], {}, {"x": 1}, [{"x": 1}], {"x": {"y": {"z": 1}}}, 10**300]
    for value in values:
        (path / "summary.json").write_text(json.dumps(dict.fromkeys(facts.READ["summary"], value)))
        write(path)
    for value in values:
        row = dict.fromkeys(facts.READ["result"], value)
        (path / "summary.json").write_text(json.dumps({"results": {"a": row, "b": value}}))
        write(path)
        (path / "status.json").write_text(json.dumps(dict.fromkeys(facts.READ["status"], value)))
        write(path)


def test_long_metrics_are_thinned(tmp_path):
    rows = 3 * facts.MOST_ROWS + 2
    path = conftest.write_run(
        tmp_path / "run", rows=[{"step": i, "loss": 1 / (1 + i)} for i in range(rows)]
    )
    (stage,) = facts.read_facts(path).stages
    assert len(stage.rows) <= 2 * facts.MOST_ROWS
    steps = [row["step"] for row in stage.rows]
    assert steps[0] == 0
    assert steps[-1] == rows - 1
    assert len(set(np.diff(steps[:-1]))) == 1, "evenly spaced"


def test_curves_show_what_changes_and_nothing_twice():
    assert page.curve_names(conftest.metrics()) == ["loss", "grad_norm", "learning_rate"]
    assert page.curve_names([]) == []
    rows = [{"step": i, "info.accepted": i, "info.failed": False, "t": 0.1 * i} for i in range(9)]
    assert page.curve_names(rows) == ["info.accepted"]


@pytest.mark.parametrize(
    ("row", "xlabel"),
    [
        ({"loss": 1.0}, "training step $i$"),
        ({"ess": 1.0, "t": 0.1}, "time $t$"),
        ({"info.round_trips": 1.0}, "step"),
    ],
)
def test_only_a_training_has_training_steps(monkeypatch, row, xlabel):
    from pushforward.report import plots

    drawn, draw = [], plots.curves
    monkeypatch.setattr(plots, "curves", lambda *a, **k: drawn.append(draw(*a, **k)) or drawn[-1])
    rows = [{k: v * i for k, v in row.items()} | {"step": i} for i in range(5)]
    page._drawn.cache_clear()
    page.stage_picture(facts.StageFacts("plain", rows))
    assert drawn[0].axes[0].get_xlabel() == xlabel


@pytest.mark.parametrize("rows", [5, 50])
def test_figures_come_before_a_long_table(tmp_path, figures, rows):
    row = {"value": 1.0, "verdict": "none"}
    path = conftest.finished_run(tmp_path / "run", results={f"n{i}": row for i in range(rows)})
    text = write(path, figures={"bars": figures["bars"]}).text
    assert (text.index("Figures") < text.index("Results")) == (rows == 50)


def test_page_stays_small(make_run):
    path = make_run("finished")
    (path / "figures").mkdir()
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\4\0\0\0\3\0"
    for i in range(8):
        (path / "figures" / f"big{i}.png").write_bytes(header + bytes(900_000))
    page = write(path)
    assert "Too large for this page: open figures/big7.png." in page.text
    assert 3 <= len(page.all("img")) <= 5


def test_figures_are_saved_with_captions(make_run, figures):
    path = make_run("empty")
    chosen = {"along-time": figures["along_time"], "samples": figures["scatter"]}
    write(path, figures=chosen)
    notes = json.loads((path / "figures" / "captions.json").read_text())
    assert list(notes) == ["along-time.svg", "samples.png"]  # many points: PNG
    assert notes["samples.png"]["title"] == "Samples"
    size = (path / "figures" / "samples.png").read_bytes()[16:24]
    width = int.from_bytes(size[:4], "big")
    expected = figures["scatter"].get_figwidth() * 2 * 96
    assert abs(width - expected) <= 1
    figures["along_time"].pushforward_caption = "Another caption."
    write(path, figures={"along-time": figures["along_time"]})
    notes = json.loads((path / "figures" / "captions.json").read_text())
    assert notes["along-time.svg"]["caption"] == "Another caption."
    assert "samples.png" in notes, "earlier figures stay"


def test_a_figure_that_raises_leaves_its_reason(make_run):
    from matplotlib.figure import Figure

    broken = Figure()
    broken.text(0.5, 0.5, r"$\frac{$")
    path = make_run("finished")
    page = write(path, figures={"bad": broken, "gone": ValueError("no draws")})
    assert "This figure could not be drawn: ValueError: no draws" in page.text
    assert page.text.count("This figure could not be drawn") == 2
    assert "4 of 5 numbers as expected" in page.text
    page = write(path, figures={"good": Figure()})
    assert "could not be drawn" not in page.text, "a reason lasts until figures are drawn again"


def test_order_does_not_hang_on_the_order_of_keys(make_run):
    path = make_run("finished")
    text = (path / "summary.json").read_text()
    (path / "summary.json").write_text(json.dumps(json.loads(text), sort_keys=True))
    words = write(path).text
    assert words.index("ESS, untrained SMC 0.524") > words.index("modes found 40")
    assert words.index("compile 21 s") < words.index("train 2 min") < words.index("evaluate 8.3 s")


def test_errors(tmp_path, figures):
    with pytest.raises(NotARun, match="not a folder"):
        report.write_report(tmp_path / "absent")
    with pytest.raises(InputError, match="not a file name"):
        report.write_report(tmp_path, figures={"../x": figures["along_time"]})
    (tmp_path / "report.html").mkdir()
    with pytest.raises(StorageError):
        report.write_report(tmp_path)


def test_bare_stage_of_a_library_call(tmp_path):
    stage = as_stage(tmp_path / "mine", "fit")
    stage.append_metrics([{"step": i, "loss": 1.0 / (i + 1)} for i in range(5)])
    stage.close()
    assert len(write(tmp_path / "mine").all("img")) == 1


def test_imports_neither_jax_nor_matplotlib(make_run):
    import subprocess
    import sys

    path = make_run("empty")
    program = (
        "import sys; from pushforward import report; report.write_report(sys.argv[1]);"
        "print(sorted({'jax', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_folder_that_is_no_run_says_why(tmp_path):
    (tmp_path / "notes.txt").write_text("not a run")
    page = write(tmp_path)
    assert "This folder is no run that can be read" in page.text
    assert "holds no run (no run.json)" in page.text
