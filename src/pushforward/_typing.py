"""Aliases for shapes, used in every signature."""

from typing import Any

from jaxtyping import Array, Bool, Float, Int, Key

X = Any  # one sample: a pytree of arrays living in a space
V = Any  # a tangent vector at a sample
Context = Any  # labels, history: what a network gets beside (t, x)
Time = Float[Array, ""]  # 0 = base, 1 = target; always
Scalar = Float[Array, ""]
Flag = Bool[Array, ""]
Count = Int[Array, ""]
PRNGKey = Key[Array, ""]

__all__ = ["Array", "Bool", "Context", "Count", "Flag", "Float", "Int", "PRNGKey"]
__all__ += ["Scalar", "Time", "V", "X"]
