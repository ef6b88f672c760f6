"""Config files: TOML or JSON, small and shallow, with the line of every key; YAML is refused."""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit

from .. import __version__
from .._errors import ConfigError
from .config import Group, doc_line, group_of

FORMAT = 2
FILE_BYTES, DEPTH, ENTRIES = 1_000_000, 8, 10_000


def read_file(
    path: Path, name: str = "", text: str | None = None
) -> tuple[dict[str, Any], dict[str, int], dict[str, Any]]:
    """Read a config file (or its `text`): its tree, the line of each key, its header."""
    suffix = path.suffix.lower()
    if suffix in (".yaml", ".yml"):
        raise ConfigError(
            f"{path}: YAML is not read (`no` would become false, 1e-3 text); "
            f"write TOML: pushforward show {name or 'NAME'} --toml > config.toml"
        )
    text = _text(path) if text is None else text
    try:
        tree = json.loads(text) if suffix == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        kind = "JSON" if suffix == ".json" else "TOML"
        raise ConfigError(f"{path}: not readable as {kind}: {reason}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: must be a table of keys, got {shown(tree)}")
    _limits(tree, str(path))
    header = tree.pop("pushforward", {})
    if not isinstance(header, dict):
        raise ConfigError(f"{path}: pushforward = {shown(header)}: must be a table")
    _check_header(path, header, name)
    return tree, _key_lines(text), header


def dump(config: Group, *, header: dict[str, Any] | None = None, comments: bool = False) -> str:
    """Write the complete config as TOML, keys in the order of the fields.

    Parameters
    ----------
    config
        The config to write.
    header
        The table `[pushforward]`: version, experiment, preset, format.
    comments
        Whether each key is preceded by its doc line, range and unit.
    """
    document = tomlkit.document()
    _fill(document, type(config), config.model_dump(mode="json"), comments)
    if header is not None:
        table = tomlkit.table()
        for name, value in header.items():
            table.add(name, tomlkit.item(value))
        document["pushforward"] = table
    return tomlkit.dumps(document)


def _fill(table: Any, model: type[Group], plain: dict[str, Any], comments: bool) -> None:
    # a scalar after a table would belong to that table: scalars first
    for name, field in sorted(model.model_fields.items(), key=lambda f: group_of(f[1]) is not None):
        group = group_of(field)
        if group is not None:
            inner = tomlkit.table()
            _fill(inner, group, plain[name], comments)
            table.add(name, inner)
            continue
        if comments:
            table.add(tomlkit.comment(doc_line(field)))
        table.add(name, tomlkit.item("none" if plain[name] is None else plain[name]))


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > FILE_BYTES:
            raise ConfigError(f"{path}: {path.stat().st_size} bytes, at most {FILE_BYTES} are read")
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"--config {str(path)!r}: {reason}") from None


def _check_header(path: Path, header: dict[str, Any], name: str) -> None:
    made = header.get("format", FORMAT)
    if not isinstance(made, int) or made > FORMAT:
        raise ConfigError(
            f"{path}: format {shown(made)} was written by a newer version; this is {__version__}"
        )
    if name and header.get("experiment", name) != name:
        raise ConfigError(f"{path}: is a config of {shown(header['experiment'])}, not of {name!r}")


def _limits(value: Any, where: str, depth: int = 0) -> None:
    if depth > DEPTH:
        raise ConfigError(f"{where}: nested deeper than {DEPTH} levels")
    if isinstance(value, list) and len(value) > ENTRIES:
        raise ConfigError(f"{where}: a list of {len(value)} entries, at most {ENTRIES} are read")
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _limits(inner, where, depth + 1)


def _key_lines(text: str) -> dict[str, int]:
    table, lines = "", {}
    for number, line in enumerate(text.splitlines(), 1):
        if found := re.match(r"\s*\[([^\[\]]+)\]\s*(#.*)?$", line):
            table = re.sub(r"[\s\"']", "", found[1]) + "."
        elif found := re.match(r"\s*([\w.\"'-]+)\s*[=:]", line):
            lines.setdefault(table + re.sub(r"[\"']", "", found[1]), number)
    return lines


def line_of(key: str, lines: Mapping[str, int]) -> str:
    """Return `, line 7`, the place of a key or of the table it stands in, if it is known."""
    while key:
        if key in lines:
            return f", line {lines[key]}"
        key = key.rpartition(".")[0]
    return ""


def shown(value: Any) -> str:
    """Return a value as it is shown in a complaint: short, its control characters escaped."""
    try:
        text = json.dumps(value) if isinstance(value, str | bool) else str(value)
    except ValueError:  # an integer of more than 4300 digits
        text = f"a {type(value).__name__} too long to print"
    return text if len(text) <= 80 else text[:77] + "..."
