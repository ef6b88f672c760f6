"""The project speaks of itself alone: no machine's path, no registry, no address.

Papers may be linked (arXiv, DOI), and a licence carries its own address. A file of constraints
is names and versions, nothing else.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from .code import ROOT, tracked

ALLOWED = re.compile(
    r"https?://(arxiv\.org/abs/|doi\.org/|www\.w3\.org/|www\.apache\.org/licenses)"
    r"|https?://github\.com/(jax-ml/jax|google-deepmind)"  # the BibTeX that JAX and optax ask for
)
ADDRESS = re.compile(r"\b(?:https?|ftp|git|ssh)://[^\s\"'<>)\]}]*")
# Built from pieces, so that this file does not accuse itself.
FOLDERS = ("home", "root", "Users", "work", "workspace", "mnt", "opt", "scratch", "srv")
PATH = re.compile(r"(?<![\w.~/)\]}>*-])/(?:" + "|".join(FOLDERS) + r")/[\w.-]+")
REGISTRY = re.compile(
    r"py" r"pi\.org|python" r"hosted|index" r"-url|trusted" r"-host|--find" r"-links"
)
PINNED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.+!_-]*")
BINARY = {".png", ".jpg", ".npz", ".npy", ".safetensors", ".gz", ".pdf"}


def foreign_places(files: Iterable[Path] | None = None) -> list[str]:
    """Return one sentence for each path, registry or address of somewhere else."""
    errors = []
    for path in tracked() if files is None else files:
        if path.suffix in BINARY:
            continue
        text = (ROOT / path).read_text(encoding="utf-8")
        for number, line in enumerate(text.splitlines(), 1):
            errors += [f"{path}:{number}: {what}" for what in in_line(line)]
            if path.parent.name == "constraints" and path.suffix == ".txt":
                errors += [f"{path}:{number}: {what}" for what in in_constraints(line)]
    return errors


def in_line(line: str) -> list[str]:
    """Return what one line of any file must not hold."""
    addresses = [found for found in ADDRESS.findall(line) if not ALLOWED.match(found)]
    return [
        *(f"the address {found}" for found in addresses),
        *(f"the path {found.group()}" for found in PATH.finditer(line)),
        *(f"the registry word {found}" for found in REGISTRY.findall(line)),
    ]


def in_constraints(line: str) -> list[str]:
    """Return what one line of `constraints/*.txt` must not hold."""
    plain = line.split("#")[0].strip()
    return [] if not plain or PINNED.fullmatch(plain) else [f"not name==version: {line.strip()}"]
