import jax
import pytest


@pytest.fixture(autouse=True)
def _strict():
    """The room is tested as strictly as JAX allows."""
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
    ):
        yield
