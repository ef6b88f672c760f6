"""Run an experiment into a folder: the frame around its `run`.

The experiment says what is computed; this file says what happens around it, once for all: the
folder and its lock, JAX's precision and compile cache, signals, the record of the environment, the
summary with its verdicts and findings, figures and page. Whatever goes wrong, what is known is
written: a failed run has a summary and a page too, and a bug leaves `crash.txt`. To resume is to
execute the same experiment from the top in the same folder: a finished stage loads itself.
"""

import os
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax

from .. import report
from .._cite import cite
from .._errors import ConfigError, MissingExtra, PushforwardError, Stopped, install_line
from ..drivers import Progress, RunStatus, signals
from ..runs import RunFolder, enable_compile_cache, is_run, next_free
from ..runs.stages import require_name
from .config import Config, flat
from .environment import command_line, differences, environment
from .expected import collected, judge
from .experiment import Experiment, blame, extended
from .files import dump
from .lab import Lab, done_of
from .resolve import Resolved


@dataclass(frozen=True)
class Options:
    """How a run is carried out; none of it changes a number."""

    time_limit: float | None = None
    cache: bool = True
    quiet: bool = False
    device: str = "auto"
    x64: bool | None = None  # what was asked for on the command line
    say: Callable[[str], None] = lambda line: None  # what a person should see at once


@dataclass(frozen=True)
class Outcome:
    """What a run left: its folder, the rows of ours against expected, its page, its seconds."""

    path: Path
    rows: list[dict[str, Any]]
    report: Path | None
    seconds: float
    findings: list[dict[str, Any]] = field(default_factory=list)
    already: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome for `--json`."""
        page = None if self.report is None else str(self.report)
        return {
            "path": str(self.path),
            "report": page,
            "seconds": self.seconds,
            "results": self.rows,
            "findings": self.findings,
            "already_finished": self.already,
        }


def place(out: Path, name: str | None, experiment: str, or_resume: bool) -> Path:
    """Return the folder of a new run: `out/name`, or the next free `out/EXPERIMENT-NNN`."""
    if name is not None:
        require_name(name)
        return out / name
    return out / f"{experiment}-001" if or_resume else next_free(out, experiment)


def prepare_jax(config: Config, options: Options) -> None:
    """Set JAX's precision from the config, its device and compile cache from the options.

    Raises
    ------
    MissingExtra
        A GPU was asked for and there is none.
    ConfigError
        `--x64` or `--x32` contradicts the run.
    """
    if options.x64 is not None and options.x64 != config.x64:
        asked, has = ("--x64", "float32") if options.x64 else ("--x32", "float64")
        raise ConfigError(f"{asked}: the run computes in {has}; leave it out, or start a new run")
    if options.device == "gpu":
        try:
            jax.config.update("jax_default_device", jax.devices("gpu")[0])
        except RuntimeError as error:
            raise MissingExtra(
                f"--device gpu: JAX finds no GPU ({str(error).splitlines()[0]}): where there is "
                f"one, {install_line('cuda13')} (or cuda12); else write --device auto"
            ) from None
    jax.config.update("jax_enable_x64", config.x64)
    if "JAX_DEFAULT_MATMUL_PRECISION" not in os.environ:
        # a GPU would else multiply float32 matrices with ten bits (TF32)
        jax.config.update("jax_default_matmul_precision", "highest")
    if options.cache:
        enable_compile_cache()


def execute(
    experiment: Experiment, resolved: Resolved[Config], path: Path, options: Options
) -> Outcome:
    """Run an experiment in a new folder; it must be absent or empty.

    Raises
    ------
    PushforwardError
        Whatever ended the run; the folder tells of it.
    """
    prepare_jax(resolved.config, options)
    with RunFolder.create(path, **_identity(experiment, resolved)) as folder:
        return _run(experiment, resolved, folder, options)


def continue_or_execute(
    experiment: Experiment, resolved: Resolved[Config], path: Path, options: Options
) -> Outcome:
    """Continue the run in `path` if there is one and it has this config, else start it."""
    if not is_run(path):
        return execute(experiment, resolved, path, options)
    _same_config(path, resolved.config, "was asked for")
    return resume(experiment, resolved, path, options)


def resume(
    experiment: Experiment,
    resolved: Resolved[Config],
    path: Path,
    options: Options,
    *,
    steps: int | None = None,
) -> Outcome:
    """Continue a run to its end, or extend it to `steps` steps in all.

    Raises
    ------
    ConfigError
        `config.toml` was edited since, or `steps` is less than the run has.
    """
    if RunFolder.open(path).edited():
        edited = experiment.resolve(file=path / "config.toml")
        _same_config(path, edited.config, "stands in config.toml now")
    longer = resolved if steps is None else extended(experiment, resolved, steps)
    if longer == resolved and RunFolder.open(path).status()["state"] == "finished":
        return _finished(experiment, resolved, path)
    prepare_jax(longer.config, options)
    with RunFolder.open(path, write=True) as folder:
        identity, before = _identity(experiment, longer), _last_start(folder)
        entry = identity.pop("environment")
        if longer != resolved:
            folder.extend(**identity)
        folder.add_environment(entry)
        return _run(experiment, longer, folder, options, notes=differences(before, entry))


def draw_page(experiment: Experiment, config: Config, path: Path) -> Path:
    """Write a run's page with fresh figures of the stages that ended."""
    try:
        figures = experiment.figures(config, done_of(path, experiment, config))
    except PushforwardError as error:  # a damaged stage costs the figures, not the page
        figures = {"figures": error}
    return report.write_report(path, figures=figures)


def _identity(experiment: Experiment, resolved: Resolved[Config]) -> dict[str, Any]:
    """Return what makes a folder this run: the text of its config, its values, where it starts."""
    text = dump(resolved.config, header=experiment.header(resolved.preset))
    entry = environment(command_line())
    return {"config": text, "values": flat(resolved.config), "environment": entry}


def _run(
    experiment: Experiment,
    resolved: Resolved[Config],
    folder: RunFolder,
    options: Options,
    *,
    notes: Sequence[str] = (),
) -> Outcome:
    start = time.perf_counter()
    signals.install(options.time_limit, resume=f"pushforward resume {folder.path}")
    say = _both(folder.log, options.say)
    lab = Lab(experiment, resolved.config, folder, say=options.say)
    lab.summary["warnings"] = [f"bit-identity is not promised: {note}" for note in notes]
    page = report.LiveReport(folder.path)
    folder.watchers = (Progress(quiet=options.quiet), RunStatus(folder), page)
    try:
        folder.set_status(state="running", error=None)
        say(f"{experiment.name}, seed {resolved.config.seed}, in {folder.path}")
        with _collected_warnings(say, lab.summary["warnings"]), _closed(folder.watchers):
            expected = experiment.expected(resolved)
            wanted = 'pairs ("name", Estimate(value, error))'
            rows = judge(
                collected(
                    experiment.module.run(resolved.config, lab),
                    f"run() of {experiment.name}",
                    wanted,
                ),
                expected,
            )
            lab.finish()
            recipe = lab.recipe if hasattr(experiment.module, "recipe") else None
            lab.summary["references"] = cite(*experiment.references(resolved.config, recipe))
        seconds = time.perf_counter() - start
        _write_summary(lab, rows, seconds, say)
        written = _write_page(experiment, lab, state="finished")
        folder.set_status(state="finished")
        return Outcome(folder.path, rows, written, seconds, lab.summary["findings"])
    except BaseException as error:
        named = _of_the_user(experiment, error)
        _record_failure(experiment, lab, named, time.perf_counter() - start, say)
        if named is not error:
            raise named from error
        raise
    finally:
        signals.uninstall()


def _finished(experiment: Experiment, resolved: Resolved[Config], path: Path) -> Outcome:
    """Return the outcome of a run that ended before; a page that does not say so is written."""
    summary = RunFolder.open(path).summary()
    found = {
        name: (row["value"], row.get("error"), row.get("unit") or "")
        for name, row in summary.get("results", {}).items()
        if row.get("value") is not None
    }
    rows = judge(found, experiment.expected(resolved))
    page = path / "report.html"
    if not page.exists() or page.stat().st_mtime < (path / "run.json").stat().st_mtime:
        page = draw_page(experiment, resolved.config, path)  # killed between its end and its page
    total = float(summary.get("seconds", {}).get("total") or 0.0)
    return Outcome(path, rows, page, total, summary.get("findings", []), already=True)


def _last_start(folder: RunFolder) -> dict[str, Any]:
    return next(iter(reversed(folder.environment())), {})


def _same_config(path: Path, config: Config, words: str) -> None:
    """Raise `ConfigError` with the differences unless the run in `path` has this config."""
    was, now = RunFolder.open(path).config_values(), flat(config)
    keys = [k for k in {**was, **now} if str(was.get(k)) != str(now.get(k))]
    if was and keys:
        lines = [f"  {k}: the run has {was.get(k)}, {now.get(k)} {words}" for k in keys]
        raise ConfigError(
            "\n".join([f"{path} has another config:", *lines])
            + "\nundo the change, or start a new run: pushforward run NAME --config FILE.toml"
        )


def _both(log: Callable[[str], None], say: Callable[[str], None]) -> Callable[[str], None]:
    def tell(line: str) -> None:
        log(line)
        say(line)

    return tell


def _write_summary(lab: Lab, rows: list[dict[str, Any]], seconds: float, say: Any) -> None:
    notices = lab.folder.notices()
    for notice in notices:
        say(notice)
    table = {str(row["name"]): {k: v for k, v in row.items() if k != "name"} for row in rows}
    lab.folder.write_summary(
        {
            **lab.summary,
            "results": table,
            "notices": notices,
            "seconds": {**lab.seconds, "total": seconds},
        }
    )


def _write_page(experiment: Experiment, lab: Lab, state: str | None = None) -> Path | None:
    """Draw the figures and write the page; return None, and log why, where it cannot be."""
    try:
        figures = experiment.figures(lab.config, lab.done)
        return report.write_report(lab.folder.path, figures=figures, state=state)
    except Exception as error:  # the numbers are safe; the page can be made again
        path = lab.folder.path
        lab.folder.log(f"no report: {type(error).__name__}: {error}; pushforward report {path}")
        return None


def _record_failure(
    experiment: Experiment, lab: Lab, error: BaseException, seconds: float, say: Any
) -> None:
    """Write what is known; nothing here may hide the error itself."""
    stopped = isinstance(error, Stopped | KeyboardInterrupt | SystemExit)
    message = str(error) or type(error).__name__
    if not stopped and not isinstance(error, PushforwardError):
        message = f"{type(error).__name__}: {message}"
    if not stopped and (error.__cause__ or not isinstance(error, PushforwardError)):
        with suppress(Exception):
            error.add_note(f"traceback and environment: {_write_crash(lab.folder, error)}")
    for write in (
        lambda: lab.folder.set_status(state="preempted" if stopped else "failed", error=message),
        lambda: lab.folder.log(message),
        lambda: _write_summary(lab, [], seconds, say),
        lambda: _write_page(experiment, lab),
    ):
        with suppress(Exception):
            write()


def _of_the_user(experiment: Experiment, error: BaseException) -> BaseException:
    """Return a `ConfigError` that names the line, for an error raised in a user's own file."""
    frames = traceback.extract_tb(error.__traceback__)
    raised_in = Path(frames[-1].filename) if frames else None
    expected = isinstance(error, PushforwardError) or not isinstance(error, Exception)
    if experiment.file is None or expected or raised_in != experiment.file:
        return error
    where = blame(error, experiment.file)
    named = ConfigError(f"{where}: {type(error).__name__}: {error}")
    named.__cause__ = error
    return named


@contextmanager
def _collected_warnings(say: Callable[[str], None], warned: list[str]) -> Iterator[None]:
    """Send warnings to the screen, the log and the summary, each once."""
    with warnings.catch_warnings():

        def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
            text = str(message) if category is UserWarning else f"{category.__name__}: {message}"
            if text not in warned:
                warned.append(text)
                say(f"warning: {text}")

        warnings.showwarning = show
        yield


@contextmanager
def _closed(watchers: tuple[Any, ...]) -> Iterator[None]:
    """Close the watchers at the end, whatever it is: we made them."""
    try:
        yield
    finally:
        for watcher in watchers:
            with suppress(Exception):
                watcher.close()


def _write_crash(folder: RunFolder, error: BaseException) -> Path:
    number, name = 1, folder.path / "crash.txt"
    while name.exists():  # an older crash is evidence too
        number += 1
        name = folder.path / f"crash-{number}.txt"
    text = "".join(traceback.format_exception(error))
    lines = [f"{key}: {value}" for key, value in _last_start(folder).items()]
    name.write_text("\n".join([text, *lines, ""]), encoding="utf-8")
    return name
