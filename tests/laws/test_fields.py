"""Laws of the fields with a range: every class that has one refuses the same way.

1. The example in the message is accepted. 2. What lies outside, and NaN, is refused with the name
of the field, the value and what was expected. 3. A traced value passes. 4. `None` passes where it
is the default, a function where the field may be a function of time.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.house.code import classes, name_of

from pushforward._errors import InputError
from pushforward._fields import (
    checked,
    count,
    finite,
    in_unit_interval,
    integer,
    non_negative,
    positive,
)


class Toy(eqx.Module):
    width: jax.Array = positive(example=0.1)
    delta: jax.Array = non_negative(default=0.0)
    rate: jax.Array = in_unit_interval(default=0.5, of_time=True)
    num: int = integer(least=2, default=2)
    most: int | None = integer(least=1, default=None)
    decay: jax.Array = checked(
        holds=lambda x: (0 <= x) & (x < 1), expected="a number in [0, 1)", example=0.9, default=0.9
    )
    every: jax.Array = count(least=1, default=1)
    shift: jax.Array = finite(default=0.0)
    full: jax.Array = positive(default=1.0, hint="Toy(full=1) switches it off")


FIELDS = {
    f"{name_of(cls)}.{field.name}": field
    for cls in (Toy, *(c for c in classes() if issubclass(c, eqx.Module)))
    for field in dataclasses.fields(cls)
    if "range" in field.metadata
}
WORDS = {"a positive number": (0.0, -1.0), "a number >= 0": (-0.5,), "a number in [0, 1]": (-1, 2)}


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_refuses_what_lies_outside(name):
    field = FIELDS[name]
    convert, law = field.metadata["converter"], field.metadata["range"]
    assert np.all(convert(law.example) == law.example)
    if not field.metadata.get("static"):
        jax.make_jaxpr(convert)(jnp.asarray(-1.0))
    outside = [x for x in (-1, 0, 2, -0.5, np.nan, np.inf) if not np.all(law.holds(np.asarray(x)))]
    assert set(WORDS.get(law.expected, ())) <= set(outside)
    assert outside
    for value in outside:
        with pytest.raises(InputError) as error:
            convert(value)
        got, rest = str(error.value).split(f", expected {law.expected}: ")
        np.testing.assert_equal(float(got.removeprefix(f"{field.name} is ")), value)
        assert rest


def test_the_sentence_names_the_field_the_value_and_what_to_write():
    with pytest.raises(InputError, match=r"width is -1.0, expected a positive.*: write width=0.1"):
        Toy(-1.0)
    with pytest.raises(InputError, match="width is -2.0"):
        Toy(jnp.array([1.0, -2.0]))
    with pytest.raises(InputError, match=r"num is 2.5, expected an integer >= 2: write num=2"):
        Toy(1.0, num=2.5)  # pyright: ignore
    with pytest.raises(InputError, match=r"expected .*: Toy\(full=1\) switches it off"):
        Toy(1.0, full=0)


def test_none_and_functions_pass_where_they_may():
    toy = Toy(1, rate=jnp.sin, num=np.int64(3), most=None)
    assert toy.rate is jnp.sin
    assert toy.most is None
    assert type(toy.num) is int
    assert toy.width.dtype == jnp.result_type(float)
    with pytest.raises((TypeError, ValueError)):
        Toy(jnp.sin)
    with pytest.raises((TypeError, ValueError)):
        Toy(None)


def test_a_stack_of_modules_is_made_inside_vmap():
    stack = eqx.filter_vmap(Toy)(jnp.array([1.0, 2.0]))
    assert stack.width.shape == (2,)
