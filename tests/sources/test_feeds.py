"""Data in memory and data on the host: every row in its epoch, the same whatever the cutting."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward._tree import trainable
from pushforward.sources import ArrayFeed, Arrays

ROWS = {"x": np.arange(10.0)[:, None] * [1, 10], "label": np.arange(10)}


def test_arrays_draws_rows():
    source, key = Arrays(ROWS), jax.random.key(0)
    state = source.init(None, key=key)
    batch, state, _ = source.draw(state, None, 4000, progress=jnp.zeros(()), key=key)
    assert batch["x"].shape == (4000, 2)
    np.testing.assert_array_equal(batch["x"][:, 0], batch["label"])  # rows stay together
    counts = np.bincount(batch["label"], minlength=10)
    assert np.sum((counts - 400) ** 2 / 400) < 30  # chi² of 9 degrees of freedom
    # Sample j depends on (key, j) alone: a smaller batch is the beginning of a larger one.
    few, _, _ = source.draw(state, None, 7, progress=jnp.zeros(()), key=key)
    np.testing.assert_array_equal(few["label"], batch["label"][:7])
    assert not any(jax.tree.leaves(trainable(source)))


@pytest.mark.parametrize("size", [1, 4, 10, 23])
def test_feed_goes_through_every_row_once_an_epoch(size):
    feed = ArrayFeed(ROWS, seed=3)
    steps = -(-50 // size)
    labels = feed.block(0, steps, size)["label"].ravel()[:50].reshape(5, 10)
    np.testing.assert_array_equal(np.sort(labels, axis=1), np.tile(np.arange(10), (5, 1)))
    assert len({tuple(row) for row in labels}) == 5  # shuffled anew


def test_feed_is_a_function_of_the_absolute_step():
    whole = ArrayFeed(ROWS, seed=3).block(0, 12, 7)
    assert whole["x"].shape == (12, 7, 2)
    for cuts in ([12], [5, 7], [1] * 12, [3, 8, 1]):
        feed, start, parts = ArrayFeed(ROWS, seed=3), 0, []
        for num in cuts:
            parts.append(feed.block(start, num, 7)["x"])
            start += num
        np.testing.assert_array_equal(np.concatenate(parts), whole["x"])
    # In any order, as a resumed run asks for them.
    np.testing.assert_array_equal(ArrayFeed(ROWS, 3).block(9, 2, 7)["x"], whole["x"][9:11])
    again = ArrayFeed(ROWS, 3)
    again.block(9, 2, 7)
    np.testing.assert_array_equal(again.block(2, 3, 7)["x"], whole["x"][2:5])
    assert not np.array_equal(ArrayFeed(ROWS, seed=4).block(0, 12, 7)["x"], whole["x"])


def test_feed_reads_a_memory_map(tmp_path):
    np.save(tmp_path / "rows.npy", ROWS["x"])
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    block = ArrayFeed(mapped).block(1, 2, 3)
    assert type(block) is np.ndarray
    np.testing.assert_array_equal(block, ArrayFeed(ROWS["x"]).block(1, 2, 3))


@pytest.mark.parametrize("kind", [Arrays, ArrayFeed])
@pytest.mark.parametrize(
    "data", [{"x": np.zeros((3, 2)), "y": np.zeros(4)}, np.zeros(()), np.zeros((0, 2))]
)
def test_data_without_a_common_axis(kind, data):
    with pytest.raises(InputError, match="common leading axis"):
        kind(data)
