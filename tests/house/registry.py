"""Every experiment is registered, complete, and each of its keys says what it accepts."""

from collections.abc import Iterator

from pushforward.experiments import REGISTRY
from pushforward.harness import Config
from pushforward.harness.config import describe, fields
from pushforward.harness.experiment import find

from .code import SOURCE

PRESETS = ("smoke", "laptop", "paper")
VAGUE = ("an integer", "a number", "text")


def unregistered() -> list[str]:
    """Compare the registry with the modules of the room."""
    files = {path.stem for path in (SOURCE / "experiments").glob("*.py")} - {"__init__"}
    listed = {entry.module for entry in REGISTRY.values()}
    return [f"experiments/{name}.py is not in REGISTRY" for name in sorted(files - listed)] + [
        f"REGISTRY names experiments/{name}.py, which is not there"
        for name in sorted(listed - files)
    ]


def incomplete_experiments() -> list[str]:
    """Return one sentence for each preset, key or expected number that is not as promised."""
    return [f"{name}: {what}" for name in REGISTRY for what in _incomplete(name)]


def keys_without_words(config: type[Config]) -> Iterator[str]:
    """Yield one sentence for each key without a description, a range or a choice."""
    for key, field in fields(config):
        if not field.description:
            yield f"key {key} has no description"
        accepts = describe(field).removesuffix(" or none")
        short = any(hasattr(rule, "max_length") for rule in field.metadata)
        if accepts in VAGUE and not short or "typing.Any" in accepts:
            yield f"key {key} accepts {accepts}: give ge/le, a Literal or max_length"


def _incomplete(name: str) -> Iterator[str]:
    experiment = find(name, REGISTRY)
    module = experiment.module
    if not REGISTRY[name].summary:
        yield "no summary in REGISTRY"
    if not module.__doc__:
        yield "no docstring"
    if set(module.PRESETS) != set(PRESETS):
        yield f"PRESETS are {sorted(module.PRESETS)}, expected {', '.join(PRESETS)}"
    for preset in module.PRESETS:
        experiment.resolve(overrides=[f"preset={preset}"])
    yield from keys_without_words(module.Config)
