"""Pictures of a run: saved beside it, embedded in its page.

A figure is saved as SVG, or as PNG at twice its size when the SVG is large (many points). Title,
caption and size go to `figures/captions.json`, whose order is the order of the page. A picture
that cannot be drawn or read leaves the reason in its place: no figure ends a long run.
"""

import base64
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pushforward._errors import InputError
from pushforward.formats.durable import storage_error, write_bytes

from .facts import clean, cleaned, inside, mapping, pick, text
from .notation import number
from .plots.style import look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST_SVG = 200_000
LARGEST_PAGE = 4_900_000  # the page stays under 5 MB: pictures beyond are named, not shown
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
KINDS = {"svg": ("image/svg+xml", rb"(?s).*<svg\b.*</svg>\s*"), "png": ("image/png", rb"\x89PNG")}


@dataclass
class Picture:
    """What the page shows of one figure: a data URI with its size in pixels, or a reason."""

    title: str
    caption: str = ""
    width: int = 640
    height: int = 400
    source: str = ""
    reason: str = ""

    @property
    def is_wide(self) -> bool:
        """True if the picture needs both columns of the page."""
        return self.width > 560

    @property
    def alt(self) -> str:
        """What the picture shows, for those who cannot see it."""
        return f"{self.title}. {self.caption}".strip()

    def show(self, suffix: str, content: bytes) -> None:
        """Take the bytes of an image, or say that they are none."""
        kind, pattern = KINDS[suffix]
        if re.match(pattern, content):
            self.source = f"data:{kind};base64,{base64.b64encode(content).decode()}"
        else:
            self.reason = f"This figure is damaged: it is not a {suffix.upper()} file."


def drawn(figure: "Figure", title: str) -> Picture:
    """Return the picture of a figure that is saved nowhere but in the page."""
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    picture = Picture(title, vars(figure).get("pushforward_caption", ""), width, height)
    picture.show(*encode(figure))
    return picture


def encode(figure: "Figure") -> tuple[str, bytes]:
    """Return `("svg" | "png", bytes)` of a figure."""
    with look():
        svg, png = io.BytesIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        if svg.tell() <= LARGEST_SVG:
            return "svg", svg.getvalue()
        figure.savefig(png, format="png", dpi=2 * 96, metadata={"Software": None})
        return "png", png.getvalue()


def save_figures(path: Path, figures: "Mapping[str, Figure | Exception]") -> None:
    """Save figures into `path/figures/` with their captions; an exception is saved as a reason."""
    folder = path / "figures"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise storage_error(error, folder) from error
    kept = {
        file: note for file, note in _captions(folder).items() if not mapping(note).get("error")
    }
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
        about = vars(figure)
        title, caption = about.get("pushforward_title"), about.get("pushforward_caption", "")
        note = {"title": title or _title(name), "caption": caption}
        try:
            if isinstance(figure, Exception):
                raise figure
            suffix, content = encode(figure)
        except Exception as error:  # a picture must not end a run that has its results
            fresh[name] = note | {"error": f"{type(error).__name__}: {error}"}
            continue
        width, height = (round(96 * inches) for inches in figure.get_size_inches())
        write_bytes(folder / f"{name}.{suffix}", content)
        fresh[f"{name}.{suffix}"] = note | {"width": width, "height": height}
    write_bytes(folder / "captions.json", json.dumps(fresh | kept, indent=1).encode())


def read_pictures(folder: Path, room: int = LARGEST_PAGE) -> list[Picture]:
    """Return the pictures in a folder in the order of their captions, as `room` bytes allow."""
    notes = cleaned(_captions(folder))
    found = sorted(clean(p.name) for p in folder.glob("*") if p.suffix in (".svg", ".png"))
    pictures = []
    for file in [*notes, *(file for file in found if file not in notes)][:100]:
        note = pick("caption", notes.get(file))
        title = text(note["title"]) or _title(file.rsplit(".", 1)[0])
        picture = Picture(title, text(note["caption"]))
        width, height = (number(note[key]) or 0 for key in ("width", "height"))
        if 0 < width < 1e4 and 0 < height < 1e4:
            picture.width, picture.height = int(width), int(height)
        if note["error"]:
            picture.reason = f"This figure could not be drawn: {text(note['error'])}"
        else:
            _load(picture, folder / file, room)
            room -= len(picture.source)
        pictures.append(picture)
    return pictures


def _load(picture: Picture, path: Path, room: int) -> None:
    """Fill `picture` from a file inside its folder."""
    try:
        if path.suffix[1:] not in KINDS or not inside(path.parent, path):
            picture.reason = f"{path.name} is not among the run's figures."
        elif 4 * path.stat().st_size // 3 > room:
            picture.reason = f"Too large for this page: open figures/{path.name}."
        else:
            picture.show(path.suffix[1:], path.read_bytes())
    except (OSError, ValueError) as error:
        picture.reason = f"{path.name} is not readable: {type(error).__name__}."


def _captions(folder: Path) -> dict[str, Any]:
    try:
        return mapping(json.loads((folder / "captions.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return {}


def _title(name: str) -> str:
    words = name.replace("_", " ").replace("-", " ").strip()
    return words[:1].upper() + words[1:]
