"""What happens at a NaN: training stops (default) or skips, and says where it came from.

The carry of a bad step is left as it was and keys depend on the step alone, so the driver can
run exactly that step again, outside the chunk, and look at every sample and leaf of it.
"""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .._tree import named_leaves, scalar
from .._typing import Count, Flag, Scalar


class AbstractGuard(eqx.Module):
    """Decides after a bad step whether to stop."""

    @abstractmethod
    def stop(self, bad: Count, in_a_row: Count, i: Count) -> Flag:
        """Return True to stop, given bad steps in all, in a row, and the step."""


class StopAtNonFinite(AbstractGuard):
    """Stop at the first bad step (default)."""

    def stop(self, bad: Count, in_a_row: Count, i: Count) -> Flag:
        return bad > 0


class SkipNonFinite(AbstractGuard):
    """Skip bad steps; stop at `consecutive` in a row or more than `fraction` of all steps.

    Skips are counted and printed in the headline of the report.
    """

    consecutive: Count = eqx.field(default=3, converter=lambda n: jnp.asarray(n, jnp.int32))
    fraction: Scalar = eqx.field(default=0.01, converter=scalar)

    def stop(self, bad: Count, in_a_row: Count, i: Count) -> Flag:
        allowed = 1 + (self.fraction * (i + 1).astype(self.fraction.dtype)).astype(jnp.int32)
        return (in_a_row >= self.consecutive) | (bad > allowed)


def describe_nonfinite(losses: Any, gradients: Any, batch: Any, source_failed: bool) -> str:
    """Return where the NaN is: source, loss or gradient, leaf, how many samples, their range."""
    losses = np.asarray(losses)
    bad = int((~np.isfinite(losses)).sum())
    where = []
    if source_failed:
        where.append("the source failed (more than 1 % of its walkers are not finite)")
    if bad:
        first = int(np.argmax(~np.isfinite(losses)))
        where.append(
            f"the loss is not finite for {bad} of {losses.size} samples (first: sample {first})"
        )
    for name, leaf in named_leaves(gradients):
        if eqx.is_array(leaf) and not np.isfinite(np.asarray(leaf)).all():
            where.append(f"the gradient is not finite, first at leaf model{name}")
            break
    ranges = [
        f"{name or 'sample'} in [{np.nanmin(a):.4g}, {np.nanmax(a):.4g}]"
        for name, leaf in named_leaves(batch)
        if jnp.issubdtype(leaf.dtype, jnp.floating) and (a := np.asarray(leaf)).size
        if not np.isnan(a).all()
    ]
    text = "; ".join(where) or "the step was finite when run again"
    return f"{text}. Batch: {', '.join(ranges)}"
