"""How a run is carried out: device, precision, cache, progress, place. None of it is a number."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pushforward._errors import MissingExtra
from pushforward.experiments._config import Config


@dataclasses.dataclass(frozen=True)
class Options:
    """How a run is carried out; none of it changes a number."""

    time_limit: float | None = None
    cache: bool = True
    quiet: bool = False
    device: str = "auto"
    say: Callable[[str], None] = lambda line: None  # what a person should see at once

    def watchers(self, path: Path | None = None) -> tuple[Any, ...]:
        """Return progress, and the live page of the run in `path`."""
        from pushforward.drivers import Progress
        from pushforward.report import LiveReport

        return (Progress(quiet=self.quiet), *([] if path is None else [LiveReport(path)]))


def place(out: Path, name: str | None, experiment: str, or_resume: bool) -> Path:
    """Return the folder of a new run: `out/name`, or the next free `out/EXPERIMENT-NNN`."""
    from pushforward.runs import next_free
    from pushforward.runs.stages import require_name

    if name is not None:
        require_name(name)
        return out / name
    return out / f"{experiment}-001" if or_resume else next_free(out, experiment)


def prepare_jax(config: Config, options: Options) -> None:
    """Set JAX's precision from the config, its device and compile cache from the options.

    Raises
    ------
    MissingExtra
        A GPU was asked for and there is none.
    """
    import jax

    if options.device == "gpu":
        try:
            jax.config.update("jax_default_device", jax.devices("gpu")[0])
        except RuntimeError as error:
            raise MissingExtra(
                f"--device gpu: JAX finds no GPU ({str(error).splitlines()[0]}): install "
                "'pushforward[cuda]' where there is one, or write --device auto"
            ) from None
    jax.config.update("jax_enable_x64", config.x64)
    if "JAX_DEFAULT_MATMUL_PRECISION" not in os.environ:
        # a GPU would else multiply float32 matrices with ten bits (TF32)
        jax.config.update("jax_default_matmul_precision", "highest")
    if options.cache:
        from pushforward.runs import enable_compile_cache

        enable_compile_cache()


def root_key(seed: int) -> Any:
    """Return the key from which every random number of a run is derived."""
    import jax

    # key(seed) alone aliases seeds modulo 2^32 without x64, and differs with it
    return jax.random.fold_in(jax.random.key(seed % 2**32), seed // 2**32)
