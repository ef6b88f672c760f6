"""Run an experiment into a folder: the frame around its `run`.

The experiment says what is computed; this file says what happens around it, once for all: the
folder and its lock, JAX's precision and compile cache, signals, the record of the environment,
the summary with its verdicts, figures and page. Whatever goes wrong, what is known is written:
a failed run has a summary and a page too, and a bug leaves `crash.txt`. To resume is to execute
the same experiment from the top in the same folder: a finished stage loads itself.
"""

import dataclasses
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pushforward import __version__
from pushforward._errors import ConfigError
from pushforward._estimate import Estimate
from pushforward.experiments._config import Config, Group, dump, flat
from pushforward.experiments._environment import command_line, differences, environment
from pushforward.experiments._expected import judge
from pushforward.experiments._files import FORMAT
from pushforward.experiments._load import Experiment, config_of, estimates, of_run
from pushforward.experiments._options import Options, prepare_jax, root_key
from pushforward.experiments._record import (
    closed,
    collected_warnings,
    record_failure,
    write_page,
    write_summary,
)
from pushforward.experiments._resolve import Resolved


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run left: its folder, the rows of ours against expected, its page, its seconds."""

    path: Path
    rows: list[dict[str, Any]]
    report: Path | None
    seconds: float
    already: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome for `--json`."""
        report = None if self.report is None else str(self.report)
        return {"path": str(self.path), "report": report, "seconds": self.seconds} | {
            "results": self.rows,
            "already_finished": self.already,
        }


def config_answer(
    experiment: Experiment, resolved: Resolved[Config], *, comments: bool = False
) -> tuple[dict[str, Any], Callable[[], str]]:
    """Return the config as data, and a function that writes it as TOML."""
    head = header(experiment, resolved.preset)
    return flat(resolved.config), lambda: dump(resolved.config, header=head, comments=comments)


def continue_or_execute(
    experiment: Experiment, resolved: Resolved[Config], path: Path, options: Options
) -> Outcome:
    """Continue the run in `path` if it exists and has this config, else start it."""
    from pushforward.runs import is_run

    if not is_run(path):
        return execute(experiment, resolved, path, options)
    same_config(path, resolved.config)
    return resume(path, options, file=experiment.file)


def execute(
    experiment: Experiment, resolved: Resolved[Config], path: Path, options: Options
) -> Outcome:
    """Run an experiment in a new folder.

    Parameters
    ----------
    experiment, resolved
        What to run, and its complete config.
    path
        The folder; it must be absent or empty.
    options
        Watchers, time limit, compile cache.

    Raises
    ------
    PushforwardError
        Whatever ended the run; the folder tells of it.
    """
    prepare_jax(resolved.config, options)
    from pushforward.runs import RunFolder

    config = dump(resolved.config, header=header(experiment, resolved.preset))
    entry = _entry(config, resolved.config)
    values, watchers = flat(resolved.config), options.watchers(path)
    folder = RunFolder.create(
        path, config=config, values=values, environment=entry, watchers=watchers
    )
    return _run(experiment, resolved, folder, options)


def resume(
    path: Path, options: Options, *, steps: int | None = None, file: Path | None = None
) -> Outcome:
    """Continue a run to its end, or extend it to `steps` steps in all.

    Raises
    ------
    ConfigError
        `config.toml` was edited since, or `steps` is less than the run has.
    """
    experiment = of_run(path, file)
    refuse_edited(path, experiment)
    if steps is None and _finished(path):
        return finished(path, experiment, config_of(path, experiment))
    from pushforward.runs import RunFolder

    folder = RunFolder.open(path, write=True, watchers=options.watchers(path))
    try:
        resolved = config_of(path, experiment)
        if steps is not None:
            resolved = extended(experiment, resolved, steps)
        prepare_jax(resolved.config, options)
        config = dump(resolved.config, header=header(experiment, resolved.preset))
        entry, before = _entry(config, resolved.config), _last_entry(path)
        if steps is not None:
            stage, values = experiment.optional("EXTENDS"), flat(resolved.config)
            folder.extend(stage, config=config, values=values)
        folder.add_environment(entry)
    except BaseException:
        folder.close()
        raise
    return _run(experiment, resolved, folder, options, differences(before, entry))


def finished(path: Path, experiment: Experiment, resolved: Resolved[Config]) -> Outcome:
    """Return the outcome of a run that ended before."""
    from pushforward.runs import RunFolder

    summary = RunFolder.open(path).summary()
    found = {
        name: Estimate(row["value"], row.get("error"), row.get("unit") or "")
        for name, row in summary.get("results", {}).items()
        if row.get("value") is not None
    }
    rows = judge(found, experiment.expected(resolved))
    page = path / "report.html"
    total = float(summary.get("seconds", {}).get("total") or 0.0)
    return Outcome(path, rows, page if page.exists() else None, total, already=True)


def same_config(path: Path, config: Config) -> None:
    """Raise `ConfigError` with the differences unless the run in `path` has this config."""
    from pushforward.runs import RunFolder

    was = RunFolder.open(path).config_values()
    _refuse_differences(path, was, flat(config), "was asked for")


def refuse_edited(path: Path, experiment: Experiment) -> None:
    """Raise `ConfigError` with the differences if `config.toml` was edited by hand."""
    from pushforward.runs import RunFolder

    folder = RunFolder.open(path)
    if folder.edited():
        now = flat(config_of(path, experiment).config)
        _refuse_differences(path, folder.config_values(), now, "stands in config.toml now")


def extended(experiment: Experiment, resolved: Resolved[Config], steps: int) -> Resolved[Config]:
    """Return the config with `steps` steps of the stage `EXTENDS`, its schedule unchanged."""
    stage = experiment.optional("EXTENDS")
    config, name = resolved.config, ""
    for name in (stage, "fit", "train", "simulate"):
        group = getattr(config, name, None)
        if isinstance(group, Group) and "steps" in type(group).model_fields:
            break
    else:
        raise ConfigError(f"{experiment.name} has no key {stage}.steps: it cannot be extended")
    have = getattr(group, "steps")  # noqa: B009 (a group's own field)
    if steps < have:
        raise ConfigError(
            f"--steps {steps}: the run has {name}.steps = {have}; "
            f"it is extended TO a number of steps in all, so at least {have}"
        )
    tree = config.model_dump()
    tree[name]["steps"] = steps
    if "schedule_steps" in type(group).model_fields:
        tree[name]["schedule_steps"] = tree[name]["schedule_steps"] or have
    return dataclasses.replace(resolved, config=type(config).model_validate(tree))


def header(experiment: Experiment, preset: str) -> dict[str, Any]:
    """Return the `[pushforward]` table of `config.toml`."""
    entries: dict[str, Any] = {
        "version": __version__,
        "experiment": experiment.name,
        "preset": preset,
        "format": FORMAT,
    }
    if experiment.file is not None:
        entries |= {"file": str(experiment.file), "file_sha256": experiment.sha256}
    return entries


def _run(
    experiment: Experiment,
    resolved: Resolved[Config],
    folder: Any,
    options: Options,
    notes: Sequence[str] = (),
) -> Outcome:
    from pushforward.drivers import signals

    start = time.perf_counter()
    signals.install(options.time_limit)
    folder.set_status(state="running", error=None)
    first = f"{experiment.name}, seed {resolved.config.seed}, in {folder.path}"
    folder.log(first)
    options.say(first)
    warned = [f"bit-identity is not promised: {note}" for note in notes]
    rows: list[dict[str, Any]] = []
    try:
        with collected_warnings(folder, options.say, warned), closed(folder.watchers):
            expected = experiment.expected(resolved)
            found = experiment.module.run(
                resolved.config, folder, key=root_key(resolved.config.seed)
            )
            rows = judge(estimates(found, experiment.name), expected)
        seconds = time.perf_counter() - start
        write_summary(folder, rows, warned, seconds)
        folder.set_status(state="finished")
        report = write_page(experiment, folder)
        return Outcome(folder.path, rows, report, seconds)
    except BaseException as error:
        record_failure(experiment, folder, error, warned, time.perf_counter() - start)
        raise
    finally:
        signals.uninstall()
        folder.close()


def _entry(text: str, config: Config) -> dict[str, Any]:
    sha = hashlib.sha256(text.encode()).hexdigest()
    return environment(command_line()) | {"config_sha256": sha, "config": flat(config)}


def _last_entry(path: Path) -> dict[str, Any]:
    from pushforward.runs import RunFolder

    entries = reversed(RunFolder.open(path).environment())
    return next((entry for entry in entries if "config" in entry), {})


def _finished(path: Path) -> bool:
    from pushforward.runs import RunFolder

    return RunFolder.open(path).status()["state"] == "finished"


def _refuse_differences(
    path: Path, was: Mapping[str, Any], now: Mapping[str, Any], words: str
) -> None:
    # through JSON: a recorded infinity or tuple compares equal to a fresh one
    from pushforward.formats.strict_json import dumps

    keys = [k for k in {**was, **now} if dumps(was.get(k)) != dumps(now.get(k))]
    if keys:
        lines = [f"  {k}: the run has {was.get(k)}, {now.get(k)} {words}" for k in keys]
        raise ConfigError(
            "\n".join([f"{path} has another config:", *lines])
            + "\nundo the change, or start a new run: pushforward run NAME --config FILE.toml"
        )
