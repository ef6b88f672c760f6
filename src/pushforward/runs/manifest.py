"""The manifest of a checkpoint: what can prove every byte of it.

A checkpoint is a folder of exactly two files. `state.safetensors` holds the leaves by path.
`manifest.json` holds their shapes and types, the size and sha256 of the blob, and the sha256 of
its own canonical text: without that, a flipped digit in the manifest would pass.
"""

import hashlib
import os
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from pushforward._errors import CheckpointDamaged, StorageError
from pushforward.formats.safetensors import Packed, from_bytes
from pushforward.formats.strict_json import dumps, loads
from pushforward.runs.json_files import FORMAT, check_format

MANIFEST, BLOB = "manifest.json", "state.safetensors"
_LARGEST = 100 * 2**20


def manifest_text(
    step: int, packed: Mapping[str, Packed], blob: bytes, record: Mapping[str, Any]
) -> bytes:
    """Describe a blob; `record` is JSON that travels with it."""
    import jax

    content = {
        **record,
        "format": FORMAT,
        "versions": {name: _version(name) for name in ("pushforward", "jax")},
        "layout": {"devices": jax.device_count(), "processes": jax.process_count()},
        "step": step,
        "utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "files": {BLOB: {"bytes": len(blob), "sha256": hashlib.sha256(blob).hexdigest()}},
        "leaves": _leaves(packed),
    }
    return _text({**content, "self": _self_hash(content)})


def verify(path: Path, step: int) -> tuple[dict[str, Any], dict[str, Packed]]:
    """Prove every byte of a checkpoint; return its manifest and its packed leaves.

    Parameters
    ----------
    path
        The folder of the checkpoint.
    step
        The step it must be of.

    Raises
    ------
    CheckpointDamaged
        With the reason.
    """
    _require_files(path)
    manifest = _read_manifest(path / MANIFEST)
    try:
        return manifest, _read_blob(path, step, manifest)
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointDamaged(f"{MANIFEST} lacks an entry: {error!r}") from error


def _read_blob(path: Path, step: int, manifest: dict[str, Any]) -> dict[str, Packed]:
    """Read the blob and check it against the manifest."""
    if manifest["step"] != step:
        raise CheckpointDamaged(f"the folder is named {path.name}, its step is {manifest['step']}")
    blob, entry = _read(path / BLOB), manifest["files"][BLOB]
    if len(blob) != entry["bytes"]:
        raise CheckpointDamaged(f"{BLOB} has {len(blob)} bytes, expected {entry['bytes']}")
    if hashlib.sha256(blob).hexdigest() != entry["sha256"]:
        raise CheckpointDamaged(f"{BLOB}: its sha256 differs from the manifest")
    try:
        packed = from_bytes(blob, BLOB)[0]
    except StorageError as error:
        raise CheckpointDamaged(str(error)) from error
    if _leaves(packed) != manifest["leaves"]:
        raise CheckpointDamaged(f"{BLOB}: its leaves differ from the manifest")
    return packed


def _read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest; its bytes must be the canonical text of what it says."""
    data = _read(path)
    try:
        manifest = loads(data)
        canonical = _text(manifest)
        own = manifest["self"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointDamaged(f"{MANIFEST} cannot be read: {error}") from error
    if own != _self_hash(manifest) or data != canonical:
        raise CheckpointDamaged(f"{MANIFEST}: its own sha256 differs")
    check_format(path, manifest.get("format"))
    return manifest


def _text(manifest: dict[str, Any]) -> bytes:
    return (dumps(manifest, indent=1) + "\n").encode()


def _self_hash(content: dict[str, Any]) -> str:
    rest = {key: value for key, value in content.items() if key != "self"}
    return hashlib.sha256(dumps(rest).encode()).hexdigest()


def _leaves(packed: Mapping[str, Packed]) -> dict[str, Any]:
    return {name: leaf.describe() | {"finite": _finite(leaf)} for name, leaf in packed.items()}


def _finite(leaf: Packed) -> bool:
    return leaf.array.dtype.kind not in "fc" or bool(np.isfinite(leaf.array).all())


def _require_files(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        raise CheckpointDamaged("it is not a folder")
    entries = {entry.name: entry for entry in os.scandir(path)}
    if set(entries) != {MANIFEST, BLOB}:
        raise CheckpointDamaged(f"it holds {sorted(entries)}, expected {[MANIFEST, BLOB]}")
    if not all(entry.is_file(follow_symlinks=False) for entry in entries.values()):
        raise CheckpointDamaged("one of its files is a link or a folder")


def _read(path: Path) -> bytes:
    try:
        if path.name == MANIFEST and path.stat().st_size > _LARGEST:
            raise CheckpointDamaged(f"{MANIFEST} is larger than {_LARGEST} bytes")
        return path.read_bytes()
    except StorageError:
        raise
    except OSError as error:
        raise CheckpointDamaged(f"cannot read {path.name}: {error.strerror}") from error


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # run from a source tree
        return "unknown"
