r"""SiT's published weights: its key names, shapes, and its conventions of sampling.

Each key of theirs is a leaf of our network; the layers of `blocks` are stacked here and numbered
there. A position (1, T, D) is (T, D) here, and the kernel (D, C, p, p) of the patches a matrix.
"""

from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pushforward._errors import InputError, MissingData

from .safetensors import read_safetensors, write_safetensors

if TYPE_CHECKING:
    from pushforward.networks.sit import SiT

_LAYERS = {
    ".patches": "x_embedder.proj",
    ".time[0]": "t_embedder.mlp.0",
    ".time[1]": "t_embedder.mlp.2",
    ".modulation": "final_layer.adaLN_modulation.1",
    ".output": "final_layer.linear",
    ".blocks.qkv": "blocks.{}.attn.qkv",
    ".blocks.project": "blocks.{}.attn.proj",
    ".blocks.fc1": "blocks.{}.mlp.fc1",
    ".blocks.fc2": "blocks.{}.mlp.fc2",
    ".blocks.modulation": "blocks.{}.adaLN_modulation.1",
}
_PATCHES, _POSITION = "x_embedder.proj.weight", "pos_embed"
_KEYS = {
    f"{ours}.{part}": f"{theirs}.{part}"
    for ours, theirs in _LAYERS.items()
    for part in ("weight", "bias")
} | {".labels": "y_embedder.embedding_table.weight", ".position._value": _POSITION}


def read_sit(path: str | Path, *, heads: int | None = None) -> "SiT":
    """Return the network of a .safetensors or .npz file with SiT's keys.

    Parameters
    ----------
    path
        The file. A prefix `module.` or `_orig_mod.` of all keys is dropped.
    heads
        Number of heads, which no shape tells; default width/64, and 16 at width 1152 (XL).
    """
    path = Path(path)
    if not path.exists():
        raise MissingData(f"no file {path}")
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as stored:
            return sit_from_arrays(dict(stored), heads=heads)
    return sit_from_arrays(read_safetensors(path), heads=heads)


def write_sit(path: str | Path, model: "SiT") -> None:
    """Write a network as safetensors under SiT's keys; `read_sit` returns it bit for bit."""
    write_safetensors(path, sit_arrays(model))


def sit_from_arrays(arrays: Mapping[str, Any], *, heads: int | None = None) -> "SiT":
    """Return the network of a flat dict with SiT's keys; all sizes are read from the shapes."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from pushforward._tree import named_leaves

    arrays = {_bare(name): np.asarray(value) for name, value in arrays.items()}
    if _PATCHES not in arrays or _POSITION not in arrays:
        raise InputError(
            f"no SiT: expected keys such as {_PATCHES} and {_POSITION}, got {sorted(arrays)[:10]}"
        )
    like = eqx.filter_eval_shape(_empty, arrays, heads)
    wanted = eqx.filter_eval_shape(sit_arrays, like)
    _compare({n: a.shape for n, a in arrays.items()}, {n: a.shape for n, a in wanted.items()})

    leaves = []
    for name, leaf in named_leaves(like):
        key = _KEYS[name]
        rows = [arrays[key.format(i)] for i in range(leaf.shape[0])] if "{}" in key else arrays[key]
        leaves.append(jnp.asarray(rows).reshape(leaf.shape))
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def sit_arrays(model: "SiT") -> dict[str, Any]:
    """Return the weights under SiT's keys, layer by layer."""
    from pushforward._tree import named_leaves

    flat = {}
    for name, leaf in named_leaves(model):
        key = _KEYS[name]
        flat |= {key.format(i): row for i, row in enumerate(leaf)} if "{}" in key else {key: leaf}
    kernel = (-1, model.shape[0], model.patch, model.patch)
    return flat | {
        _POSITION: flat[_POSITION][None],
        _PATCHES: flat[_PATCHES].reshape(kernel),
    }


def _empty(arrays: Mapping[str, np.ndarray], heads: int | None) -> "SiT":
    import jax

    from pushforward.networks.sit import SIT_SIZES, SiT, Size

    width, channels, patch, _ = arrays[_PATCHES].shape
    side = isqrt(arrays[_POSITION].shape[1]) * patch
    depth = 1 + max(int(n.split(".")[1]) for n in arrays if n.startswith("blocks."))
    if heads is None:
        heads = SIT_SIZES["XL"].heads if width == SIT_SIZES["XL"].width else max(1, width // 64)
    return SiT(
        (channels, side, side),
        Size(depth, width, heads),
        arrays["y_embedder.embedding_table.weight"].shape[0] - 1,
        patch=patch,
        learn_sigma=arrays["final_layer.linear.bias"].shape[0] == 2 * channels * patch**2,
        key=jax.random.key(0),
    )


def _bare(name: str) -> str:
    for prefix in ("module.", "_orig_mod."):
        name = name.removeprefix(prefix)
    return name


def _compare(got: dict[str, tuple], wanted: dict[str, tuple]) -> None:
    problems = [f"missing {name} {shape}" for name, shape in wanted.items() if name not in got]
    problems += [f"unknown {name} {shape}" for name, shape in got.items() if name not in wanted]
    problems += [
        f"{name} has shape {got[name]}, expected {shape}"
        for name, shape in wanted.items()
        if got.get(name, shape) != tuple(shape)
    ]
    if problems:
        raise InputError("these are not the weights of one SiT:\n  " + "\n  ".join(problems[:10]))
