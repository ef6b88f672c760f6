"""Imports and calls that are banned: files are never code, JAX is the public one, no network.

Read from the syntax tree, so that a lazy import inside a function is seen too.
"""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from .code import parse, python_files, where

BANNED = {
    **dict.fromkeys(
        ("pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"),
        "files are never code: use formats (safetensors, JSON, TOML)",
    ),
    "yaml": "TOML only: tomllib reads, tomlkit writes",
    **dict.fromkeys(("jax.experimental", "jax._src", "jax.core", "jaxlib"), "public JAX only"),
    **dict.fromkeys(
        ("urllib", "http", "ftplib", "smtplib", "ssl", "requests", "httpx", "aiohttp"),
        "no network",
    ),
    "socket": "no network (only gethostname: the name of this machine)",
}
BY_ATTRIBUTE = ("jax", "socket")  # judged by what is used of them: `jax.core`, `socket.create...`
HARMLESS = {"socket.gethostname", "urllib.parse", "http.HTTPStatus"}
CALLS = {"eval", "exec", "__import__"}


def banned_imports(files: Iterable[Path] | None = None) -> list[str]:
    """Return one sentence for each banned import, attribute or call."""
    paths = python_files() if files is None else files
    return [f"{where(path, line)}: {what}" for path in paths for line, what in in_tree(parse(path))]


def in_tree(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, sentence) for what is banned in one file."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for name in _names(node):
            if (reason := _reason(name)) is not None:
                yield line, f"{name}: {reason}"
        if isinstance(node, ast.Call):
            yield from ((line, what) for what in _calls(node))


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [a.name for a in node.names if a.asname or a.name not in BY_ATTRIBUTE]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        whole = f"{node.value.id}.{node.attr}"
        return [whole] if node.value.id in BY_ATTRIBUTE else []
    return []


def _reason(name: str) -> str | None:
    if any(name == ok or name.startswith(f"{ok}.") for ok in HARMLESS):
        return None
    for banned, reason in BANNED.items():
        if name == banned or name.startswith(f"{banned}."):
            return reason
    return None


def _calls(node: ast.Call) -> Iterator[str]:
    if isinstance(node.func, ast.Name) and node.func.id in CALLS:
        yield f"{node.func.id}(...): files are never code"
    for keyword in node.keywords:
        wanted = keyword.arg == "allow_pickle" and isinstance(keyword.value, ast.Constant)
        if wanted and keyword.value.value is not False:
            yield "allow_pickle: files are never code"
