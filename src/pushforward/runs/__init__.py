"""The disk: a run is a folder that can be killed at any moment and continued to the same bits.

A run is a sequence of named stages, each with metrics, checkpoints, draws and series. Every file is
written whole or not at all; every byte that is loaded again is proved first; one process writes,
anyone may read. Reading metrics, draws and results needs no JAX.
"""

from .compile_cache import enable_compile_cache as enable_compile_cache
from .folder import RunFolder as RunFolder
from .folder import is_run as is_run
from .folder import next_free as next_free
from .opening import as_stage as as_stage
from .stages import Stage as Stage
