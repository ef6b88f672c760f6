"""Pictures of a run: saved beside it, embedded in its page.

A figure is saved as SVG, or as PNG at twice its size when the SVG is large (many points). Its
title and caption go to `figures/captions.json`, whose order is the order of the page. A picture
that cannot be drawn or read leaves the reason in its place: no figure ends a long run.
"""

import base64
import io
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pushforward._errors import InputError
from pushforward.formats.durable import storage_error, write_bytes

from .facts import clean, cleaned, inside, mapping, pick, text
from .plots.style import look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST_SVG = 200_000
LARGEST_PAGE = 4_900_000  # the page stays under 5 MB: pictures beyond are named, not shown
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass
class Picture:
    """What the page shows of one figure: a data URI with its size in pixels, or a reason."""

    title: str
    caption: str = ""
    source: str = ""
    width: int = 0
    height: int = 0
    reason: str = ""

    @property
    def is_wide(self) -> bool:
        """True if the picture needs both columns of the page."""
        return self.width > 560

    @property
    def alt(self) -> str:
        """What the picture shows, for those who cannot see it."""
        return f"{self.title}. {self.caption}".strip()


def encode(figure: "Figure") -> tuple[str, bytes]:
    """Return `("svg" | "png", bytes)` of a figure."""
    with look():
        svg = io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        if svg.tell() <= LARGEST_SVG:
            return "svg", svg.getvalue()
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=2 * 96, metadata={"Software": None})
        return "png", png.getvalue()


def save_figures(path: Path, figures: "Mapping[str, Figure | Exception]") -> None:
    """Save figures into `path/figures/` with their captions; an exception is saved as a reason."""
    folder = path / "figures"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise storage_error(error, folder) from error
    earlier: dict[str, Any] = mapping(_read(folder / "captions.json"))
    kept = {file: note for file, note in earlier.items() if not mapping(note).get("error")}
    fresh: dict[str, Any] = {}
    for name, figure in figures.items():
        if not NAME.fullmatch(name):
            raise InputError(
                f"the figure name {name!r} is not a file name: use letters, digits and ._-, "
                "e.g. figures={'mode-weights': figure}"
            )
        for file in (f"{name}.svg", f"{name}.png"):
            kept.pop(file, None)
            (folder / file).unlink(missing_ok=True)
        kept.pop(name, None)
        note = {
            "title": getattr(figure, "pushforward_title", "") or _title(name),
            "caption": getattr(figure, "pushforward_caption", ""),
        }
        try:
            if isinstance(figure, Exception):
                raise figure
            suffix, content = encode(figure)
        except Exception as error:  # a picture must not end a run that has its results
            fresh[name] = note | {"error": f"{type(error).__name__}: {error}"}
            continue
        write_bytes(folder / f"{name}.{suffix}", content)
        fresh[f"{name}.{suffix}"] = note
    write_bytes(folder / "captions.json", json.dumps(fresh | kept, indent=1).encode())


def read_pictures(folder: Path, room: int = LARGEST_PAGE) -> list[Picture]:
    """Return the pictures in a folder in the order of their captions, as `room` bytes allow."""
    notes = mapping(cleaned(_read(folder / "captions.json")))
    found = sorted(clean(p.name) for p in folder.glob("*") if p.suffix in (".svg", ".png"))
    pictures = []
    for file in [*notes, *(file for file in found if file not in notes)][:100]:
        note = pick("caption", notes.get(file))
        title = text(note["title"]) or _title(file.rsplit(".", 1)[0])
        picture = Picture(title, text(note["caption"]))
        if note["error"]:
            picture.reason = f"This figure could not be drawn: {text(note['error'])}"
        else:
            room -= load(picture, folder / file, folder, room)
        pictures.append(picture)
    return pictures


def load(picture: Picture, path: Path, folder: Path, room: int) -> int:
    """Fill `picture` from a file inside `folder`; return the bytes that it takes in the page."""
    try:
        if path.suffix not in (".svg", ".png") or not inside(folder, path):
            picture.reason = f"{path.name} is not among the run's figures."
            return 0
        if 4 * path.stat().st_size // 3 > room:
            picture.reason = f"Too large for this page: open figures/{path.name}."
            return 0
        return fill(picture, path.suffix[1:], path.read_bytes())
    except (OSError, ValueError) as error:
        picture.reason = f"{path.name} is not readable: {type(error).__name__}."
        return 0


def fill(picture: Picture, suffix: str, content: bytes) -> int:
    """Put the bytes of an image into `picture`; return the length of its data URI."""
    size = _svg_size(content) if suffix == "svg" else _png_size(content)
    if size is None:
        picture.reason = f"This figure is damaged: it is not a {suffix.upper()} file."
        return 0
    picture.width, picture.height = size
    kind = "image/svg+xml" if suffix == "svg" else "image/png"
    picture.source = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    return len(picture.source)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}


def _title(name: str) -> str:
    words = name.replace("_", " ").replace("-", " ").strip()
    return words[:1].upper() + words[1:]


def _svg_size(content: bytes) -> tuple[int, int] | None:
    """Size in CSS pixels from the root element (points as matplotlib writes, or pixels)."""
    root = re.search(rb"<svg\b[^>]*>", content[:4096])
    if root is None or not content.rstrip().endswith(b"</svg>"):
        return None
    size = []
    for name in (b"width", b"height"):
        found = re.search(rb"\s" + name + rb'="([0-9.]{1,12})(pt|px)?"', root[0])
        if found is None or not 0 < float(found[1]) < 1e5:
            return (640, 400)
        size.append(round(float(found[1]) * (96 / 72 if found[2] == b"pt" else 1)))
    return (size[0], size[1])


def _png_size(content: bytes) -> tuple[int, int] | None:
    if content[:8] != b"\x89PNG\r\n\x1a\n" or len(content) < 24:
        return None
    width, height = struct.unpack(">II", content[16:24])
    return (max(width // 2, 1), max(height // 2, 1))  # drawn at twice the size
