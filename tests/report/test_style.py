"""Colours that can be read: contrast of the page, distinct roles in figures."""

import re
from pathlib import Path

import pytest

from pushforward import report
from pushforward.report.plots import style

CSS = (Path(report.__file__).parent / "style.css").read_text()
PAIRS = [("ink", "card"), ("ink", "ground"), ("soft", "card"), ("soft", "ground"), ("ink", "code")]
TONES = ["good", "bad", "warn", "info", "plain"]
PAIRS += [(tone, f"{tone}-ground") for tone in TONES] + [("ink", f"{t}-ground") for t in TONES]


def palettes() -> dict[str, dict[str, str]]:
    found = re.findall(r":root \{([^}]*)\}", CSS)
    read = [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block)) for block in found]
    light, dark, printed = read
    return {"light": light, "dark": dark, "print": light | printed}


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", ["light", "dark", "print"])
@pytest.mark.parametrize(("text", "ground"), PAIRS)
def test_contrast(name, text, ground):
    palette = palettes()[name]
    assert contrast(palette[text], palette[ground]) >= 4.5


def test_contrast_formula():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=1e-3)  # just too pale


@pytest.mark.parametrize(
    "colour", [style.BLUE, style.GREEN, style.ORANGE, style.RED, style.PURPLE, style.GREY]
)
def test_lines_are_seen_on_white(colour):
    assert contrast(colour, "#ffffff") > 2


def test_roles_keep_their_colour():
    alone = style.line_styles(["SMC"])["SMC"]
    together = style.line_styles(["exact", "geometric", "mixture", "SMC, 12 stages", "paper"])
    assert together["SMC, 12 stages"] == alone
    assert together["exact"]["color"] == style.BLACK
    assert together["paper"] == {"color": style.GREY, "linestyle": style.DASHES[1]}
    assert together["geometric"]["color"] == style.BLUE
    assert (
        style.line_styles(["raised"])["raised"]["color"]
        != style.line_styles(["AIS"])["AIS"]["color"]
    )


def test_labels_can_be_told_apart():
    labels = ["geometric, 20", "geometric, 100", "mixture", "SMC", "mine", "yours", "theirs"]
    styles = style.line_styles(labels)
    assert len({(s["color"], str(s["linestyle"])) for s in styles.values()}) == len(labels)
