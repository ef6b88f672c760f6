"""The compile cache: private, refused when it is not, and harmless when damaged."""

import os
import stat
import subprocess
import sys

import jax
import pytest

from pushforward.runs import enable_compile_cache

KEYS = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_compilation_cache_max_size",
)


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.delenv("PUSHFORWARD_NO_CACHE", raising=False)
    monkeypatch.delenv("PUSHFORWARD_CACHE", raising=False)
    before = {key: getattr(jax.config, key) for key in KEYS}
    yield
    for key, value in before.items():
        jax.config.update(key, value)


def test_the_folder_is_private_and_keyed(tmp_path, monkeypatch):
    path = enable_compile_cache(tmp_path / "cache")
    assert path is not None
    assert path.parent == tmp_path / "cache"
    assert path.name.startswith(f"{jax.__version__}-")
    assert jax.default_backend() in path.name
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert jax.config.jax_compilation_cache_dir == str(path)
    monkeypatch.setenv("PUSHFORWARD_CACHE", str(tmp_path / "other"))
    assert enable_compile_cache() == tmp_path / "other" / path.name
    monkeypatch.delenv("PUSHFORWARD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    default = enable_compile_cache()
    assert default is not None
    assert default.parent.parts[-2:] == ("pushforward", "jax")


def test_it_can_be_switched_off(tmp_path, monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("PUSHFORWARD_NO_CACHE", "1")
    assert enable_compile_cache(tmp_path / "cache") is None
    assert not (tmp_path / "cache").exists()
    assert jax.config.jax_compilation_cache_dir == before
    monkeypatch.setenv("PUSHFORWARD_NO_CACHE", "0")
    assert enable_compile_cache(tmp_path / "cache") is not None


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
@pytest.mark.parametrize("which", ["folder", "parent"])
def test_a_folder_others_may_write_is_refused(tmp_path, mode, which):
    path = enable_compile_cache(tmp_path / "cache")
    assert path is not None
    jax.config.update("jax_compilation_cache_dir", None)
    (path if which == "folder" else path.parent).chmod(mode)
    with pytest.warns(UserWarning, match="no compile cache: .* written by others"):
        assert enable_compile_cache(tmp_path / "cache") is None
    assert jax.config.jax_compilation_cache_dir is None


def test_a_folder_of_someone_else_and_a_link_are_refused(tmp_path, monkeypatch):
    path = enable_compile_cache(tmp_path / "cache")
    assert path is not None
    mine = os.getuid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getuid", lambda: mine + 1)
        with pytest.warns(UserWarning, match="belongs to another user"):
            assert enable_compile_cache(tmp_path / "cache") is None
    path.rmdir()
    (tmp_path / "elsewhere").mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.warns(UserWarning, match="is a link"):
        assert enable_compile_cache(tmp_path / "cache") is None
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="cannot make"):
        assert enable_compile_cache(tmp_path / "file") is None


def test_importing_the_library_turns_nothing_on():
    code = (
        "import jax, pushforward.runs, pushforward.formats;"
        "print(jax.config.jax_compilation_cache_dir)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "None\n"


CHILD = """
import hashlib, pathlib, sys
import jax, jax.numpy as jnp
from pushforward.runs import enable_compile_cache
enable_compile_cache(pathlib.Path(sys.argv[1]))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
hits = []
jax.monitoring.register_event_listener(
    lambda event, **_: hits.append(event) if event.endswith("/cache_hits") else None)
x = jnp.linspace(0.1, 1.0, 64)
digest = hashlib.sha256()
for f in (lambda x: jnp.sin(x) @ x, lambda x: jnp.cumsum(x**3), lambda x: jnp.fft.fft(x).real):
    digest.update(bytes(jax.jit(f)(x)))
print(digest.hexdigest(), len(hits))
"""


def start(folder):
    command = [sys.executable, "-W", "error", "-c", CHILD, str(folder)]
    env = {k: v for k, v in os.environ.items() if not k.startswith("PUSHFORWARD")}
    out = subprocess.run(command, capture_output=True, text=True, env=env)
    assert out.returncode == 0, out.stderr
    digest, hits = out.stdout.split()
    return digest, int(hits), out.stderr


def test_damaged_entries_are_compiled_again(tmp_path):
    digest, hits, _ = start(tmp_path / "cache")
    assert hits == 0
    assert start(tmp_path / "cache")[:2] == (digest, warm := start(tmp_path / "cache")[1])
    assert warm >= 3
    entries = sorted((tmp_path / "cache").glob("*/*-cache"))
    assert len(entries) >= 3
    for number, entry in enumerate(entries):
        data = bytearray(entry.read_bytes())
        data[len(data) // 2] ^= 4
        entry.write_bytes([data, data[: len(data) // 2], b""][number % 3])
    again, hits, said = start(tmp_path / "cache")
    assert again == digest
    assert hits < warm
    assert "Error reading persistent compilation cache entry" in said
