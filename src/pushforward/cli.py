"""The command line: `pushforward run nets-gmm40`, `pushforward resume runs/nets-gmm40-001`, ...

One function a verb; the work is done in the rooms below, which are imported only when a verb
needs them, so that `--help` and `list` answer before JAX is loaded. Results go to stdout,
everything else to stderr, and every way to end has its exit status.
"""

import itertools
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from pushforward import __version__
from pushforward import _errors as errors

EPILOG = """\
Global options may stand before or after the verb.

Exit status: 0 done; 1 a bug (see crash.txt); 2 bad usage, configuration or input; 3 missing
extra, data or device; 4 numerical failure; 5 --check: a number missed; 6 storage; 7 folder
locked or not a run; 75 stopped on request with everything saved, run me again; 130 Ctrl-C."""

app = typer.Typer(
    name="pushforward",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=EPILOG,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
FLAGS = ("--quiet", "--json", "--no-color", "--debug", "--x64", "--x32")
FLAGS += ("--deterministic", "--no-cache")
VALUED = ("--device",)
DEVICES = ("auto", "cpu", "gpu")


@dataclass
class Settings:
    """The global options."""

    quiet: bool = False
    json: bool = False
    colour: bool = True
    debug: bool = False
    device: str = "auto"
    x64: bool | None = None
    cache: bool = True

    def overrides(self, typed: Sequence[str]) -> list[str]:
        """Return the typed `key=value` items and what `--x64/--x32` adds to them."""
        return [*typed, *([] if self.x64 is None else [f"x64={str(self.x64).lower()}"])]


settings = Settings()
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, such as runs/NAME-001.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="An experiment, or your own FILE.py.")]
Keys = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides.")]
File = Annotated[Path | None, typer.Option(help="The FILE.py that made the run: it is executed.")]
Limit = Annotated[str | None, typer.Option(metavar="TIME", help="Stop and save before, as 3h50m.")]
Check = Annotated[bool, typer.Option("--check", help="Exit 5 if an expected number is missed.")]


def _version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Results as JSON on stdout.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Full traceback of an error.")] = False,
    device: Annotated[str, typer.Option(metavar="cpu|gpu|auto", help="Where to run.")] = "auto",
    x64: Annotated[bool | None, typer.Option("--x64/--x32", help="Override the precision.")] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Same bits on GPU.")
    ] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="No compile cache.")] = False,
) -> None:
    """Move probability measures: train, sample, judge."""
    colour = not no_color and "NO_COLOR" not in os.environ and sys.stdout.isatty()
    for name, value in (("quiet", quiet), ("json", as_json), ("colour", colour), ("debug", debug)):
        setattr(settings, name, value)
    settings.device, settings.x64, settings.cache = device, x64, not no_cache
    _prepare_process(device, deterministic)


@app.command("list")
def list_(
    word: Annotated[str, typer.Argument(metavar="[WORD]", help="Only what contains it.")] = "",
    tags: Annotated[bool, typer.Option("--tags", help="Show the tags.")] = False,
) -> None:
    """List the experiments."""
    from pushforward.experiments import _show

    found = _show.selected(word)
    _answer({k: v._asdict() for k, v in found.items()}, lambda: _show.list_text(found, tags))


@app.command()
def show(
    name: Name,
    preset: Annotated[str, typer.Option(help="smoke, laptop or paper.")] = "",
    toml: Annotated[bool, typer.Option("--toml", help="Print a complete config to edit.")] = False,
) -> None:
    """Show what an experiment computes, its keys and what is expected of it."""
    from pushforward.experiments import _load, _runner, _show
    from pushforward.experiments._config import flat

    experiment = _load.find(name)
    resolved = experiment.resolve(overrides=[f"preset={preset}"] if preset else [])
    text = (
        _runner.config_answer(experiment, resolved, comments=True)[1]
        if toml
        else lambda: _show.show_text(experiment, resolved)
    )
    _answer(flat(resolved.config), text)


@app.command()
def run(
    name: Name,
    keys: Keys = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE.toml", help="Read keys.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where runs are kept.")] = Path("runs"),
    folder: Annotated[str | None, typer.Option("--name", help="The folder's name.")] = None,
    or_resume: Annotated[bool, typer.Option("--or-resume", help="Continue if it exists.")] = False,
    check: Check = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Sizes and shapes, no run.")] = False,
    print_config: Annotated[bool, typer.Option("--print-config", help="The config only.")] = False,
    accept_defaults: Annotated[
        bool, typer.Option("--accept-defaults", help="For a config of an older version.")
    ] = False,
    time_limit: Limit = None,
) -> None:
    """Run an experiment: train, sample, compare, report."""
    from pushforward.experiments import _dry_run, _load, _options, _runner

    experiment, given = _load.find(name), settings.overrides(keys or [])
    resolved = experiment.resolve(file=config, overrides=given, accept_defaults=accept_defaults)
    how = _how(time_limit)
    if print_config:
        return _answer(*_runner.config_answer(experiment, resolved))
    if dry_run:
        return _answer(*_dry_run.size_answer(experiment, resolved.config, how))
    path = _options.place(out, folder, experiment.name, or_resume)
    begin = _runner.continue_or_execute if or_resume else _runner.execute
    return _finish(begin(experiment, resolved, path, how), check)


@app.command()
def resume(
    run: Run,
    steps: Annotated[int | None, typer.Option(help="Extend TO this many steps.")] = None,
    file: File = None,
    check: Check = False,
    time_limit: Limit = None,
) -> None:
    """Continue a run to its end, or extend it."""
    from pushforward.experiments import _runner

    _finish(_runner.resume(run, _how(time_limit), steps=steps, file=file), check)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    file: File = None,
) -> None:
    """Write report.html again, also of a live or dead run."""
    from pushforward.experiments import _products

    pages = [str(_products.page(path, file)) for path in runs]
    _answer({"report": pages}, lambda: "\n".join(pages))


@app.command()
def sample(
    run: Run,
    keys: Keys = None,
    n: Annotated[int, typer.Option("-n", help="How many.")] = 1000,
    to: Annotated[Path | None, typer.Option(help="FILE.npz, .csv or .safetensors.")] = None,
    file: File = None,
) -> None:
    """Draw from the trained model of a run."""
    from pushforward.experiments import _products

    how, given = _how(None), settings.overrides(keys or [])
    facts = _products.draw(run, n, how, overrides=given, to=to, file=file)
    _answer(facts, lambda: _pairs(facts))


@app.command()
def export(
    run: Run,
    to: Annotated[str, typer.Option(metavar="npz|csv|safetensors", help="The format.")],
    what: Annotated[str | None, typer.Option(metavar="draws|metrics|model")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Default: RUN/exports.")] = None,
) -> None:
    """Write draws, metrics or the model of a run for other tools."""
    from pushforward.experiments import _products

    files = [str(path) for path in _products.export(run, to, what=what, out=out)]
    _answer({"files": files}, lambda: "\n".join(files))


@app.command()
def cite(
    name: Annotated[str, typer.Argument(metavar="NAME|RUN", help="An experiment or a run.")],
    file: File = None,
) -> None:
    """Print BibTeX of exactly the methods used."""
    from pushforward._cite import cite
    from pushforward.experiments import _load

    path = Path(name)
    experiment = _load.of_run(path, file) if path.is_dir() else _load.find(name)
    text = cite(experiment)
    _answer({"bibtex": text}, lambda: text)


@app.command()
def doctor(
    fast: Annotated[bool, typer.Option("--fast", help="Without starting JAX.")] = False,
) -> None:
    """Look at this machine: versions, devices, memory, disk, locks, cache."""
    from pushforward.experiments import _doctor

    findings = list(_doctor.examine(fast))
    _answer([f.as_dict() for f in findings], lambda: _doctor.text(findings))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    settings.debug, settings.json = "--debug" in given, "--json" in given
    try:
        code = app(args=_globals_first(given), prog_name="pushforward", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:
        code = _hang_up() if _is_closed_pipe(error) else _fail(error)
    raise SystemExit(code or 0)


def _is_closed_pipe(error: BaseException) -> bool:
    """Tell whether the reader of our output went away (the option parser exits by itself then)."""
    parsed = isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError)
    return parsed or isinstance(error, BrokenPipeError)


def _hang_up() -> int:
    """Send what is still buffered nowhere: `pushforward list | head -1` ends quietly."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _globals_first(given: list[str]) -> list[str]:
    """Move the global options before the verb, wherever they were typed."""
    first, rest = [], []
    words = iter(given)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word in FLAGS or word.startswith("--device="):
            first.append(word)
        elif word == "--device":
            first += [word, *itertools.islice(words, 1)]
        else:
            rest.append(word)
    return first + rest


def _prepare_process(device: str, deterministic: bool) -> None:
    """Set what JAX reads from the environment when it is imported."""
    if device not in DEVICES:
        raise errors.ConfigError(f"--device {device}: must be one of {', '.join(DEVICES)}")
    if device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    if deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()


def _how(time_limit: str | None) -> Any:
    """Return how a run is carried out, from the global options."""
    from pushforward.experiments._options import Options
    from pushforward.experiments._resolve import seconds

    limit = None if time_limit is None else seconds(time_limit)
    return Options(limit, settings.cache, settings.quiet, settings.device, _say)


def _say(line: str) -> None:
    if not settings.quiet:
        print(line, file=sys.stderr)


def _answer(data: Any, text: Callable[[], str]) -> None:
    """Print a result: JSON if asked for, else text."""
    print(json.dumps(data, indent=1, default=str) if settings.json else text())


def _finish(outcome: Any, check: bool) -> None:
    """Print the table of ours against expected and the page; exit 5 if a number missed."""
    from pushforward.experiments import _expected, _show

    _answer(outcome.as_dict(), lambda: _show.outcome_text(outcome, settings.colour))
    if check and (names := _expected.missed(outcome.rows)):
        print(f"--check: missed {', '.join(names)}", file=sys.stderr)
        raise typer.Exit(5)


def _pairs(facts: dict[str, Any]) -> str:
    from pushforward.experiments import _show

    return _show.grid([(name, str(value)) for name, value in facts.items()])


def _fail(error: BaseException) -> int:
    """Say what went wrong on stderr (and as JSON if asked for); return the exit status."""
    from pushforward.experiments._show import safe

    code, message = _status(error)
    if code is None:
        return 0
    if settings.debug:
        traceback.print_exception(error)
    mark = "" if message.startswith("Usage:") else "error: "
    print(f"{mark}{safe(message)}", file=sys.stderr)
    if settings.json:
        print(json.dumps({"error": message, "type": type(error).__name__, "exit_code": code}))
    return code


def _status(error: BaseException) -> tuple[int, str]:
    """Return exit status and message of an error."""
    if isinstance(error, errors.Stopped):
        interrupted = getattr(error, "signal", None) == signal.SIGINT
        return 130 if interrupted else error.exit_code, str(error)
    if isinstance(error, errors.PushforwardError):
        return error.exit_code, str(error)
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return 130, "interrupted"
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1, str(error.code)
    if (words := getattr(error, "format_message", None)) is not None:  # of the option parser
        return 2, words()
    notes = getattr(error, "__notes__", ["--debug shows where"])
    return 1, "\n".join([f"a bug: {type(error).__name__}: {error}", *notes])


if __name__ == "__main__":
    main()
