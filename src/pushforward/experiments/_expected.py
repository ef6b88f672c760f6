"""Ours beside theirs: what an experiment found, what was expected, and who said so.

An `Expected` carries its source, one of `Exact` (a proof or a quadrature), `Paper` (a printed
number and its place), `Measured` (a number seen before, under stated conditions) and `Goal`
(to be reached, not yet seen). A comparison that needs our error bar refuses to judge a number
that has none: no z-score is ever made up, and such a row says "none".
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from pushforward._errors import ConfigError
from pushforward._estimate import Estimate


@dataclass(frozen=True)
class Exact:
    """The expected number is known exactly; `text` says from what."""

    text: str

    def __str__(self) -> str:
        return f"exact: {self.text}"


@dataclass(frozen=True)
class Paper:
    """The expected number is printed in reference `ref` (a key of `_cite`), at `where`."""

    ref: str
    where: str

    def __str__(self) -> str:
        return f"{self.ref}, {self.where}"


@dataclass(frozen=True)
class Measured:
    """The expected number was measured before, under `conditions`."""

    conditions: str

    def __str__(self) -> str:
        return f"measured: {self.conditions}"


@dataclass(frozen=True)
class Goal:
    """The expected number is a goal, not yet seen."""

    def __str__(self) -> str:
        return "goal"


Source = Exact | Paper | Measured | Goal


@dataclass(frozen=True)
class Comparison:
    """When ours counts as expected; `holds` returns None where it cannot judge."""

    text: str
    holds: Callable[[Estimate, float], bool | None]


def within(sigma: float = 4.0) -> Comparison:
    """Ours lies within `sigma` of our own standard errors; without an error bar: no verdict."""

    def holds(ours: Estimate, expected: float) -> bool | None:
        return None if ours.error is None else abs(ours.value - expected) <= sigma * ours.error

    return Comparison(f"within {sigma:g} sigma", holds)


def at_least() -> Comparison:
    """Ours is not below the expected number."""
    return Comparison("at least", lambda ours, expected: ours.value >= expected)


def at_most() -> Comparison:
    """Ours is not above the expected number."""
    return Comparison("at most", lambda ours, expected: ours.value <= expected)


def relative(tolerance: float) -> Comparison:
    """Ours differs by at most `tolerance` of the expected number."""
    return Comparison(
        f"within {100 * tolerance:g} %",
        lambda ours, expected: abs(ours.value - expected) <= tolerance * abs(expected),
    )


@dataclass(frozen=True)
class Expected:
    """One expected number of an experiment; `presets=None` means every preset."""

    name: str
    value: float
    comparison: Comparison
    source: Source
    unit: str = ""
    presets: tuple[str, ...] | None = None
    note: str = ""

    def applies(self, preset: str) -> bool:
        """Tell whether this number is expected of `preset`."""
        return self.presets is None or preset in self.presets


def judge(results: Mapping[str, Estimate], expected: Iterable[Expected]) -> list[dict[str, object]]:
    """Return one row per result, and one per expected number that no result answers.

    Parameters
    ----------
    results
        What the experiment found, by name.
    expected
        What was expected of this run (`Experiment.expected`).

    Returns
    -------
    list of dict
        Keys `name value error unit expected comparison source deviation note verdict`; the
        verdict is "within", "MISSED", or "none" where nothing was expected or nothing can be
        judged. An expected number without a result is "MISSED", with value None.
    """
    wanted = {e.name: e for e in expected}
    rows = [_row(name, results.get(name), e) for name, e in wanted.items()]
    rows += [_row(name, ours, None) for name, ours in results.items() if name not in wanted]
    return rows


def missed(rows: Iterable[Mapping[str, object]]) -> list[str]:
    """Return the names of the rows that missed."""
    return [str(row["name"]) for row in rows if row["verdict"] == "MISSED"]


def check_expected(expected: Iterable[Expected], presets: Iterable[str]) -> None:
    """Raise `ConfigError` if a name is expected twice of one preset."""
    expected = tuple(expected)
    for preset in presets:
        names = [e.name for e in expected if e.applies(preset)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(
                f"EXPECTED names {', '.join(twice)} twice for preset {preset!r}: "
                "give each its own presets=(...)"
            )


def _row(name: str, ours: Estimate | None, expected: Expected | None) -> dict[str, object]:
    row: dict[str, object] = {
        "name": name,
        "value": None if ours is None else ours.value,
        "error": None if ours is None else ours.error,
        "unit": (ours.unit if ours else "") or (expected.unit if expected else ""),
        "expected": None if expected is None else expected.value,
        "comparison": "" if expected is None else expected.comparison.text,
        "source": "" if expected is None else str(expected.source),
        "deviation": "" if ours is None or expected is None else _deviation(ours, expected),
        "note": "" if expected is None else expected.note,
    }
    return row | {"verdict": _verdict(ours, expected)}


def _verdict(ours: Estimate | None, expected: Expected | None) -> str:
    if expected is None:
        return "none"
    holds = False if ours is None else expected.comparison.holds(ours, expected.value)
    return "none" if holds is None else "within" if holds else "MISSED"


def _deviation(ours: Estimate, expected: Expected) -> str:
    z = ours.z(expected.value)
    return f"{ours.value - expected.value:+.2g}" if z is None else f"{z:+.1f} sigma"
