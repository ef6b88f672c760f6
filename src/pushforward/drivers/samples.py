"""`Samples`: what a simulation returns, and honest numbers read from it."""

import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._errors import InputError
from .._estimate import Estimate
from .._tree import take
from .._typing import PRNGKey, X
from ..estimators import Finding, Moments, chain_findings, weight_findings, weights
from ..formats.safetensors import read_packed, write_safetensors
from ..formats.strict_json import dumps, loads
from ..runs import Stage
from .plan import RESULT

MOMENTS = ("mean", "M2")


class Samples:
    """Weighted particles after a simulation.

    Attributes
    ----------
    x
        Samples, particle axis first (after the axis of a stack).
    log_weight
        A, one a particle; zeros for kernels that carry no weight.
    draws
        What `keep` asked for, by name; from a stage an array is read each time it is asked for.
    moments
        `estimators.Moments` of large observables, by name.
    """

    def __init__(self, x: X, log_weight, *, record, draws, moments, weighted, populations, stacked):
        self.x, self.log_weight, self.draws, self.moments = x, log_weight, draws, moments
        self._weighted, self._populations, self._stacked = weighted, populations, stacked
        self._recorded = record

    @cached_property
    def record(self) -> dict[str, np.ndarray]:
        """Arrays by name, one row a time or step: t, ess, log_z, resampled, costs, observables."""
        return dict(self._recorded)

    @property
    def info(self) -> dict[str, Any]:
        """The reduced info of the last step by name."""
        rows = {k[5:]: v for k, v in self.record.items() if k.startswith("info.")}
        return {name: v[-1] for name, v in rows.items() if len(v)}

    @cached_property
    def _resampled(self) -> bool:
        return bool(np.any(self._recorded.get("resampled", np.zeros(0))))

    @classmethod
    def load(cls, stage: Stage) -> "Samples":
        """Read the result of a finished stage; nothing is compiled, draws are read when asked for.

        Samples are the dictionaries, tuples, lists and arrays that they were.
        """
        stored, metadata = read_packed(stage.path / RESULT)
        arrays = {name: _held(leaf.unpack()) for name, leaf in stored.items()}
        about, found = loads(metadata["about"]), {}
        for name, count in about.pop("moments").items():
            found[name] = Moments(count, *(np.asarray(arrays[f"{m}.{name}"]) for m in MOMENTS))
        x, series, draws = _filled(about.pop("x"), arrays), stage.series(), stage.draws()
        return cls(x, arrays["log_weight"], record=series, draws=draws, moments=found, **about)

    def save(self, stage: Stage) -> None:
        """Write what `load` reads, beside the series and draws that the stage holds.

        Nothing is written for samples of a class of their own: the same call finds them again.
        """
        arrays: dict[str, Any] = {"log_weight": self.log_weight}
        about = {"weighted": self._weighted, "stacked": self._stacked}
        about |= {"populations": self._populations, "moments": {}}
        for name, moments in self.moments.items():
            about["moments"][name] = moments.count
            arrays |= {f"mean.{name}": moments.mean, f"M2.{name}": moments.M2}
        with suppress(TypeError):
            about["x"] = _outline("x", self.x, arrays)
            write_safetensors(stage.path / RESULT, arrays, metadata={"about": dumps(about)})

    def __len__(self) -> int:
        return self.log_weight.shape[-1]

    def __repr__(self) -> str:
        numbers = f", ess={self.ess}, log_z={self.log_z}" if self._weighted else ""
        return f"Samples(n={len(self)}{numbers})"

    @property
    def ess(self):
        """Effective sample size over n, in (0, 1]; an array for a stack."""
        self._need_weights("ess")
        return self._each(lambda a: float(weights.ess(a)))

    @property
    def log_z(self) -> Estimate:
        """Log of the normalising constant relative to the base, with its standard error.

        Independent walkers: √((1/ESS − 1)/n). With resampling walkers depend on each other, and the
        error is the spread of `populations` (None, with a warning, below four).
        """
        self._need_weights("log_z")
        if not self._stacked:
            return Estimate(*self._log_z(self.log_weight))
        pairs = [self._log_z(row) for row in self.log_weight]
        return Estimate(*np.array(pairs, dtype=float).T)

    @property
    def elbo(self):
        """Mean A, a lower bound of log Z without resampling."""
        self._need_weights("elbo")
        return self._each(lambda a: float(weights.elbo(a)))

    def mean(self, f=lambda x: x, *, force: bool = False) -> Estimate:
        """Return the weighted mean of f(x) and its standard error.

        Raises
        ------
        WeightCollapse
            Fewer than ten walkers carry the weight (unless `force`).
        """
        values = f
        if callable(f):
            values = jax.vmap(jax.vmap(f))(self.x) if self._stacked else jax.vmap(f)(self.x)

        def one(values: PyTree, log_weight) -> Estimate:
            if not force:
                weights.require_walkers(log_weight)
            value, error = self._mean(values, log_weight)
            return Estimate(value, error)

        if not self._stacked:
            return one(values, self.log_weight)
        each = [one(take(values, s), row) for s, row in enumerate(self.log_weight)]
        parts = zip(*each, strict=True)
        value, error = (jax.tree.map(lambda *a: np.stack(a), *part) for part in parts)
        return Estimate(value, error)

    def findings(self, members: Sequence[str] | None = None) -> list[Finding]:
        """Return what must be known before a number is believed: frozen, too short, collapsed.

        `members` are the names of the members of a stack, or of the rungs of a ladder.
        """
        names, weighted = members or (), self._weighted and "t" in self.record
        found = chain_findings(self.record, names, stacked=self._stacked)
        return found + (weight_findings(self.log_weight, names) if weighted else [])

    def resample(self, num: int | None = None, *, key: PRNGKey) -> X:
        """Return equally weighted samples: particles drawn in proportion to their weights."""
        if self._stacked:
            raise InputError("resample one member of a stack at a time: Samples of a single kernel")
        num = len(self) if num is None else num
        points = jax.random.categorical(key, self.log_weight, shape=(num,))
        return jax.tree.map(lambda leaf: leaf[points], self.x)

    def _mean(self, values: PyTree, log_weight):
        if not self._resampled:
            return weights.mean(values, log_weight)
        if self._populations < 4:
            self._warn_of_no_error("a mean")
            return weights.mean(values, log_weight)[0], None
        groups, parts = self._split(log_weight), self._split(values)
        each = [weights.mean(take(parts, k), group)[0] for k, group in enumerate(groups)]
        log_z = jnp.stack([weights.log_z(group) for group in groups])
        share = np.asarray(weights.normalised_weights(log_z))

        def combine(*leaves):
            stacked = np.stack([np.asarray(leaf, float) for leaf in leaves])
            value = np.tensordot(share, stacked, axes=1)
            distance = (share.reshape(-1, *(1,) * (stacked.ndim - 1)) * (stacked - value)) ** 2
            scale = len(leaves) / (len(leaves) - 1)
            return value, np.sqrt(scale * distance.sum(0))

        pairs = jax.tree.map(combine, *each)
        return jax.tree.transpose(jax.tree.structure(each[0]), jax.tree.structure((0, 0)), pairs)

    def _log_z(self, log_weight) -> tuple[float, float | None]:
        if not self._resampled:
            return float(weights.log_z(log_weight)), float(weights.log_z_error(log_weight))
        if self._populations < 4:
            self._warn_of_no_error("log Z")
            return float(weights.log_z(log_weight)), None
        value, error = weights.log_z_populations(self._split(log_weight))
        return float(value), float(error)

    def _warn_of_no_error(self, what: str) -> None:
        warnings.warn(
            f"walkers were resampled in {self._populations} population(s): no honest error of "
            f"{what}; write simulate(..., populations=8)",
            stacklevel=4,
        )

    def _split(self, tree: PyTree) -> PyTree:
        return jax.tree.map(lambda a: a.reshape(self._populations, -1, *a.shape[1:]), tree)

    def _each(self, f):
        if not self._stacked:
            return f(self.log_weight)
        return np.stack([f(row) for row in self.log_weight])

    def _need_weights(self, what: str) -> None:
        if not self._weighted:
            raise InputError(
                f"this kernel carries no weight, so there is no {what}: put it behind one that "
                "does, as in compose(Transport(path), HMC(path, step_size))"
            )


def _held(array: Any) -> Any:
    """Return a JAX array where JAX can hold the type now, else the NumPy array."""
    fits = jax.dtypes.canonicalize_dtype(array.dtype) == array.dtype
    return jnp.asarray(array) if fits else array


def _outline(path: str, tree: PyTree, arrays: dict[str, Any]) -> Any:
    """Return the shape of a tree in JSON, each leaf by its name in `arrays`."""
    if isinstance(tree, dict):
        return {name: _outline(f"{path}.{name}", part, arrays) for name, part in tree.items()}
    if type(tree) in (tuple, list):
        parts = [_outline(f"{path}.{k}", part, arrays) for k, part in enumerate(tree)]
        return [type(tree).__name__, *parts]
    if tree is not None and not hasattr(tree, "dtype"):
        raise TypeError(f"{path} is a {type(tree).__name__}")
    arrays |= {} if tree is None else {path: tree}
    return None if tree is None else path


def _filled(outline: Any, arrays: dict[str, Any]) -> PyTree:
    match outline:
        case dict():
            return {name: _filled(part, arrays) for name, part in outline.items()}
        case [kind, *parts]:
            filled = [_filled(part, arrays) for part in parts]
            return tuple(filled) if kind == "tuple" else filled
    return None if outline is None else arrays[outline]
