"""`jax`, `jnp`, `np`, `eqx` for experiments: each is imported when it is first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import numpy as np
else:

    class Lazy:
        """Stands for a module until one of its names is asked for."""

        def __init__(self, module: str):
            self._module = module

        def __getattr__(self, name: str) -> Any:
            return getattr(import_module(self._module), name)

    eqx, jax = Lazy("equinox"), Lazy("jax")
    jnp, np = Lazy("jax.numpy"), Lazy("numpy")
