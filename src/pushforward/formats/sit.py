r"""SiT's published weights: its key names, shapes, and its conventions of sampling.

| key | here |
|---|---|
| pos_embed (1, T, D) | `position` (frozen) |
| x_embedder.proj.{weight (D, C, p, p), bias} | `patches`, the kernel as a (D, Cpp) matrix |
| t_embedder.mlp.{0, 2}.* | `time` |
| y_embedder.embedding_table.weight (classes + 1, D) | `labels` |
| blocks.i.attn.{qkv, proj}.*, .mlp.{fc1, fc2}.*, .adaLN_modulation.1.* | `blocks`, stacked |
| final_layer.{linear, adaLN_modulation.1}.* | `output`, `modulation` |
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

_BLOCK = {
    "qkv": "attn.qkv",
    "project": "attn.proj",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
    "modulation": "adaLN_modulation.1",
}


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

    from pushforward._tree import Frozen
    from pushforward.networks.sit import Affine

    arrays = {_bare(name): np.asarray(value) for name, value in arrays.items()}
    if "x_embedder.proj.weight" not in arrays or "pos_embed" not in arrays:
        raise InputError(
            f"no SiT: expected keys such as x_embedder.proj.weight and pos_embed, got "
            f"{sorted(arrays)[:10]}"
        )
    like = eqx.filter_eval_shape(_empty, arrays, heads)
    wanted = eqx.filter_eval_shape(sit_arrays, like)
    _compare({n: a.shape for n, a in arrays.items()}, {n: a.shape for n, a in wanted.items()})

    def affine(name: str) -> Affine:
        weight, bias = (jnp.asarray(arrays[f"{name}.{part}"]) for part in ("weight", "bias"))
        return Affine(weight.reshape(weight.shape[0], -1), bias)

    depth = like.blocks.qkv.bias.shape[0]
    blocks = {
        field: jax.tree.map(
            lambda *rows: jnp.stack(rows), *(affine(f"blocks.{i}.{key}") for i in range(depth))
        )
        for field, key in _BLOCK.items()
    }
    leaves = {
        "patches": affine("x_embedder.proj"),
        "position": Frozen(jnp.asarray(arrays["pos_embed"][0])),
        "time": (affine("t_embedder.mlp.0"), affine("t_embedder.mlp.2")),
        "labels": jnp.asarray(arrays["y_embedder.embedding_table.weight"]),
        "modulation": affine("final_layer.adaLN_modulation.1"),
        "output": affine("final_layer.linear"),
        "blocks": eqx.tree_at(
            lambda b: [getattr(b, f) for f in blocks], like.blocks, list(blocks.values())
        ),
    }
    return eqx.tree_at(lambda m: [getattr(m, f) for f in leaves], like, list(leaves.values()))


def sit_arrays(model: "SiT") -> dict[str, Any]:
    """Return the weights under SiT's keys: views of the stacked blocks, layer by layer."""
    from pushforward.networks.sit import Affine

    position = model.position.value
    channels, _, _ = model.shape
    flat = {
        "pos_embed": position[None],
        "x_embedder.proj.weight": model.patches.weight.reshape(
            -1, channels, model.patch, model.patch
        ),
        "x_embedder.proj.bias": model.patches.bias,
        "y_embedder.embedding_table.weight": model.labels,
    }
    named = {
        "t_embedder.mlp.0": model.time[0],
        "t_embedder.mlp.2": model.time[1],
        "final_layer.linear": model.output,
        "final_layer.adaLN_modulation.1": model.modulation,
    }
    for field, key in _BLOCK.items():
        stack = getattr(model.blocks, field)
        for i, pair in enumerate(zip(stack.weight, stack.bias, strict=True)):
            named[f"blocks.{i}.{key}"] = Affine(*pair)
    for name, layer in named.items():
        flat |= {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias}
    return flat


def _empty(arrays: Mapping[str, np.ndarray], heads: int | None) -> "SiT":
    import jax

    from pushforward.networks.sit import SIT_SIZES, SiT, Size

    width, channels, patch, _ = arrays["x_embedder.proj.weight"].shape
    side = isqrt(arrays["pos_embed"].shape[1]) * patch
    depth = 1 + max(int(n.split(".")[1]) for n in arrays if n.startswith("blocks."))
    if heads is None:
        heads = SIT_SIZES["XL"].heads if width == SIT_SIZES["XL"].width else max(1, width // 64)
    rows = arrays["final_layer.linear.bias"].shape[0]
    return SiT(
        (channels, side, side),
        Size(depth, width, heads),
        arrays["y_embedder.embedding_table.weight"].shape[0] - 1,
        patch=patch,
        learn_sigma=rows == 2 * channels * patch**2,
        key=jax.random.key(0),
    )


def _bare(name: str) -> str:
    for prefix in ("module.", "_orig_mod."):
        name = name.removeprefix(prefix)
    return name


def _compare(got: dict[str, tuple], wanted: dict[str, tuple]) -> None:
    missing = [f"missing {name} {shape}" for name, shape in wanted.items() if name not in got]
    extra = [f"unknown {name} {shape}" for name, shape in got.items() if name not in wanted]
    wrong = [
        f"{name} has shape {got[name]}, expected {shape}"
        for name, shape in wanted.items()
        if name in got and tuple(got[name]) != tuple(shape)
    ]
    if problems := missing + extra + wrong:
        raise InputError("these are not the weights of one SiT:\n  " + "\n  ".join(problems[:10]))
