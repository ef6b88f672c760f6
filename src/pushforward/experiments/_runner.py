"""Run an experiment into a folder: the frame around its `run`.

The experiment says what is computed; this file says what happens around it, once for all: the
folder and its lock, JAX's precision and compile cache, signals, the record of the environment,
the summary with its verdicts, figures and page. Whatever goes wrong, what is known is written:
a failed run has a summary and a page too, and a bug leaves `crash.txt`. To resume is to execute
the same experiment from the top in the same folder: a finished stage loads itself.
"""

import dataclasses
import hashlib
import shutil
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pushforward import __version__
from pushforward._errors import ConfigError, MissingExtra, PushforwardError, Stopped
from pushforward.experiments._config import Config, Group, dump, flat
from pushforward.experiments._environment import command_line, differences, environment
from pushforward.experiments._expected import Estimate, judge
from pushforward.experiments._load import Experiment, config_of, estimates, of_run
from pushforward.experiments._resolve import FORMAT, Resolved


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


@dataclasses.dataclass(frozen=True)
class Options:
    """How a run is carried out; none of it changes a number."""

    time_limit: float | None = None
    cache: bool = True
    quiet: bool = False
    device: str = "auto"
    say: Callable[[str], None] = lambda line: None  # what a person should see at once

    def watchers(self, path: Path | None = None) -> tuple[Any, ...]:
        """Return progress, and the live page of the run in `path`."""
        from pushforward.drivers import Progress
        from pushforward.report import LiveReport

        return (Progress(quiet=self.quiet), *([] if path is None else [LiveReport(path)]))


def place(out: Path, name: str | None, experiment: str, or_resume: bool) -> Path:
    """Return the folder of a new run: `out/name`, or the next free `out/EXPERIMENT-NNN`."""
    from pushforward.runs import next_free
    from pushforward.runs.stages import require_name

    if name is not None:
        require_name(name)
        return out / name
    return out / f"{experiment}-001" if or_resume else next_free(out, experiment)


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
    if not (path / "config.toml").exists():
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
    folder = RunFolder.create(
        path, config=config, environment=entry, watchers=options.watchers(path)
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
    resolved = config_of(path, experiment)
    refuse_edited(path, resolved.config)
    if steps is not None:
        resolved = extended(experiment, resolved, steps)
    elif _finished(path):
        return finished(path, experiment, resolved.preset)
    prepare_jax(resolved.config, options)
    from pushforward.formats.durable import write_bytes
    from pushforward.runs import RunFolder

    folder = RunFolder.open(path, write=True, watchers=options.watchers(path))
    config = dump(resolved.config, header=header(experiment, resolved.preset))
    entry, before = _entry(config, resolved.config), _last_entry(path)
    try:
        if steps is not None:
            _reopen(folder, experiment.optional("EXTENDS"))
            write_bytes(path / "config.toml", config.encode())
        folder.add_environment(entry)
    except BaseException:
        folder.close()
        raise
    return _run(experiment, resolved, folder, options, differences(before, entry))


def finished(path: Path, experiment: Experiment, preset: str) -> Outcome:
    """Return the outcome of a run that ended before."""
    from pushforward.runs import RunFolder

    summary = RunFolder.open(path).summary()
    found = {
        name: Estimate(row["value"], row.get("error"), row.get("unit") or "")
        for name, row in summary.get("results", {}).items()
        if row.get("value") is not None
    }
    rows = judge(found, experiment.expected, preset)
    page = path / "report.html"
    total = float(summary.get("seconds", {}).get("total") or 0.0)
    return Outcome(path, rows, page if page.exists() else None, total, already=True)


def same_config(path: Path, config: Config) -> None:
    """Raise `ConfigError` with the differences unless the run in `path` has this config."""
    _refuse_differences(path, _last_entry(path).get("config", {}), flat(config), "was asked for")


def refuse_edited(path: Path, config: Config) -> None:
    """Raise `ConfigError` with the differences if `config.toml` was edited by hand."""
    recorded = _last_entry(path).get("config")
    if recorded is not None:
        _refuse_differences(path, recorded, flat(config), "stands in config.toml now")


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


def prepare_jax(config: Config, options: Options) -> None:
    """Set JAX's precision from the config, its device and compile cache from the options.

    Raises
    ------
    MissingExtra
        A GPU was asked for and there is none.
    """
    import jax

    if options.device == "gpu":
        try:
            jax.config.update("jax_default_device", jax.devices("gpu")[0])
        except RuntimeError as error:
            raise MissingExtra(
                f"--device gpu: JAX finds no GPU ({str(error).splitlines()[0]}): install "
                "'pushforward[cuda]' where there is one, or write --device auto"
            ) from None
    jax.config.update("jax_enable_x64", config.x64)
    if options.cache:
        from pushforward.runs import enable_compile_cache

        enable_compile_cache()


def root_key(seed: int) -> Any:
    """Return the key from which every random number of a run is derived."""
    import jax

    # key(seed) alone aliases seeds modulo 2^32 without x64, and differs with it
    return jax.random.fold_in(jax.random.key(seed % 2**32), seed // 2**32)


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


def draw_figures(experiment: Experiment, folder: Any) -> "dict[str, Any]":
    """Return the experiment's figures of a folder; an exception stands in for what it broke."""
    draw = getattr(experiment.module, "figures", None)
    if draw is None:
        return {}
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        return dict(draw(folder))
    except Exception as error:  # a figure never ends a run
        return {"figures": error}


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
        with _collected_warnings(folder, options, warned), _closed(folder.watchers):
            found = experiment.module.run(
                resolved.config, folder, key=root_key(resolved.config.seed)
            )
            rows = judge(estimates(found, experiment.name), experiment.expected, resolved.preset)
        seconds = time.perf_counter() - start
        _write_summary(folder, rows, warned, seconds)
        folder.set_status(state="finished")
        report = _report(experiment, folder)
        return Outcome(folder.path, rows, report, seconds)
    except BaseException as error:
        _record_failure(experiment, folder, error, warned, time.perf_counter() - start)
        raise
    finally:
        signals.uninstall()
        folder.close()


def _record_failure(
    experiment: Experiment, folder: Any, error: BaseException, warned: list[str], seconds: float
) -> None:
    """Write what is known; nothing here may hide the error itself."""
    stopped = isinstance(error, Stopped | KeyboardInterrupt | SystemExit)
    message = str(error) or type(error).__name__
    if not stopped and not isinstance(error, PushforwardError):
        message = f"{type(error).__name__}: {message}"
        with suppress(Exception):
            error.add_note(f"traceback and environment: {_write_crash(folder.path, error)}")
    with suppress(Exception):
        folder.set_status(state="preempted" if stopped else "failed", error=message)
    with suppress(Exception):
        folder.log(message)
    with suppress(Exception):
        _write_summary(folder, [], warned, seconds)
    with suppress(Exception):
        _report(experiment, folder)


def _write_summary(folder: Any, rows: list[dict[str, Any]], warned: list[str], s: float) -> None:
    left = folder.summary() or {}  # what the experiment itself left: diagnostics, cost, seconds
    before = left.get("warnings") or []
    table = {str(row["name"]): {k: v for k, v in row.items() if k != "name"} for row in rows}
    folder.write_summary(
        {
            **left,
            "results": table,
            "warnings": list(dict.fromkeys([*before, *warned])),
            "seconds": {**(left.get("seconds") or {}), "total": s},
        }
    )


def _report(experiment: Experiment, folder: Any) -> Path | None:
    from pushforward import report

    try:
        return report.write_report(folder.path, figures=draw_figures(experiment, folder))
    except Exception as error:  # the numbers are safe; the page can be made again
        folder.log(f"no report: {type(error).__name__}: {error}; pushforward report {folder.path}")
        return None


@contextmanager
def _collected_warnings(folder: Any, options: Options, warned: list[str]) -> Iterator[None]:
    """Send warnings to the screen, the log and the summary, each once."""
    with warnings.catch_warnings():

        def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
            text = str(message) if category is UserWarning else f"{category.__name__}: {message}"
            if text not in warned:
                warned.append(text)
                folder.log(f"warning: {text}")
                options.say(f"warning: {text}")

        warnings.showwarning = show
        yield


@contextmanager
def _closed(watchers: Sequence[Any]) -> Iterator[None]:
    """Close the watchers at the end, whatever it is: we made them."""
    try:
        yield
    finally:
        for watcher in watchers:
            with suppress(Exception):
                watcher.close()


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


def _reopen(folder: Any, name: str) -> None:
    """Open the stage `name` again and remove the stages that were made from its result."""
    from pushforward.runs import RunFolder

    names = [stage.name for stage in RunFolder.open(folder.path).stages()]
    if name not in names:
        return
    for later in names[names.index(name) + 1 :]:
        folder.log(f"stage {later} is made again: {name} is extended")
        shutil.rmtree(folder.path / "stages" / later)
    folder.stage(name).reopen()


def _write_crash(path: Path, error: BaseException) -> Path:
    number, name = 1, path / "crash.txt"
    while name.exists():  # an older crash is evidence too
        number += 1
        name = path / f"crash-{number}.txt"
    text = "".join(traceback.format_exception(error))
    lines = [f"{key}: {value}" for key, value in _last_entry(path).items()]
    name.write_text("\n".join([text, *lines, ""]), encoding="utf-8")
    return name
