"""The command line: `pushforward run nets-gmm40`, `pushforward resume runs/nets-gmm40-001`, ...

One function a verb; the work is done in the rooms below, which are imported only when a verb
needs them, so that `--help` and `list` answer before JAX is loaded. Results go to stdout,
everything else to stderr, and every way to end has its exit status.
"""

import itertools
import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import __version__
from .. import _errors as errors
from ..experiments import REGISTRY

EPILOG = """\
Global options may stand before or after the verb.

Exit status: 0 done; 1 a bug (see crash.txt); 2 bad usage, configuration or input; 3 missing
extra, data or device; 4 numerical failure; 5 --check: a number missed or cannot be trusted; 6
storage; 7 folder locked or not a run; 75 stopped on request with everything saved, run me
again; 130 Ctrl-C."""

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
    from . import show

    found = show.selected(REGISTRY, word)
    _answer({k: v._asdict() for k, v in found.items()}, lambda: show.list_text(found, tags))


@app.command("show")
def show_(
    name: Name,
    preset: Annotated[str, typer.Option(help="smoke, laptop or paper.")] = "",
    toml: Annotated[bool, typer.Option("--toml", help="Print a complete config to edit.")] = False,
) -> None:
    """Show what an experiment computes, its keys and what is expected of it."""
    from ..harness.config import flat
    from . import show

    experiment = _find(name)
    resolved = experiment.resolve(overrides=[f"preset={preset}"] if preset else [])
    write = show.toml if toml else show.show_text
    _answer(flat(resolved.config), lambda: write(experiment, resolved))


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
    experiment, given = _find(name), settings.overrides(keys or [])
    resolved = experiment.resolve(file=config, overrides=given, accept_defaults=accept_defaults)
    if print_config:
        return _print_config(experiment, resolved)
    how = _how(time_limit)
    if dry_run:
        return _dry_run(experiment, resolved, how)
    from ..harness import record

    path = record.place(out, folder, experiment.name, or_resume)
    begin = record.continue_or_execute if or_resume else record.execute
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
    from ..harness import record

    experiment, resolved = _of_run(run, file)
    outcome = record.resume(experiment, resolved, run, _how(time_limit), steps=steps)
    _finish(outcome, check)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    file: File = None,
) -> None:
    """Write report.html again, also of a live or dead run."""
    from .sample import page

    pages = [str(page(path, REGISTRY, file)) for path in runs]
    _answer({"report": pages}, lambda: "\n".join(pages))


@app.command()
def sample(
    run: Run,
    keys: Keys = None,
    n: Annotated[int, typer.Option("-n", help="How many.")] = 1000,
    to: Annotated[Path | None, typer.Option(help="FILE.npz, .csv, .nc or .safetensors.")] = None,
    file: File = None,
) -> None:
    """Draw from the trained model of a run."""
    if n < 1:
        raise errors.ConfigError(f"-n {n}: must be an integer >= 1")
    from .sample import draw

    experiment, resolved = _of_run(run, file, keys or [])
    facts = draw(experiment, resolved.config, run, n, _how(None), to=to)
    _answer(facts, lambda: _pairs(facts))


@app.command("export")
def export_(
    run: Run,
    to: Annotated[str, typer.Option(metavar="npz|csv|nc|safetensors|arviz", help="The format.")],
    what: Annotated[str | None, typer.Option(metavar="draws|series|metrics|model")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Default: RUN/exports.")] = None,
) -> None:
    """Write draws, series, metrics or the model of a run for other tools."""
    from . import export

    files = [str(path) for path in export.export(run, to, what=what, out=out)]
    _answer({"files": files}, lambda: "\n".join(files))


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Run folders.")],
    out: Annotated[Path, typer.Option(metavar="FILE.html")] = Path("comparison.html"),
) -> None:
    """Compare runs: settings that differ, numbers side by side, curves overlaid."""
    from .. import report as reports
    from . import show

    facts, page = reports.compare(runs), reports.write_comparison(runs, out)
    _answer(facts | {"page": str(page)}, lambda: show.comparison_text(facts, page))


@app.command()
def cite(
    name: Annotated[str, typer.Argument(metavar="NAME|RUN", help="An experiment or a run.")],
    file: File = None,
) -> None:
    """Print BibTeX of exactly the methods used."""
    from .._cite import cite

    if Path(name).is_dir():
        experiment, resolved = _of_run(Path(name), file)
    else:
        experiment = _find(name)
        resolved = experiment.resolve()
    text = cite(*experiment.references(resolved.config))
    _answer({"bibtex": text}, lambda: text)


@app.command()
def doctor(
    fast: Annotated[bool, typer.Option("--fast", help="Without starting JAX.")] = False,
) -> None:
    """Look at this machine: versions, devices, memory, disk, locks, cache."""
    from . import doctor

    findings = list(doctor.examine(fast))
    _answer([f.as_dict() for f in findings], lambda: doctor.text(findings))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit status."""
    for stream in (sys.stdout, sys.stderr):  # a letter that cannot be printed is no failure
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
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


def _find(name: str) -> Any:
    from ..harness.experiment import find

    return find(name, REGISTRY)


def _of_run(path: Path, file: Path | None, overrides: Sequence[str] = ()) -> Any:
    from ..harness.experiment import of_run

    return of_run(path, REGISTRY, file, overrides)


def _how(time_limit: str | None) -> Any:
    """Return how a run is carried out, from the global options."""
    limit = None if time_limit is None else _seconds(time_limit)
    from ..harness.record import Options

    say = _nothing if settings.quiet else _say
    return Options(limit, settings.cache, settings.quiet, settings.device, settings.x64, say)


def _seconds(text: str) -> float:
    """Read a time span: `90`, `45s`, `3h50m`, `1:30:00`."""
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        return float(text)
    if found := re.fullmatch(r"(?:(\d+):)?(\d+):(\d+)", text, re.ASCII):
        hours, minutes, rest = (int(part or 0) for part in found.groups())
        return 3600.0 * hours + 60.0 * minutes + rest
    found = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text, re.ASCII)
    if found and text:
        scale = (86400.0, 3600.0, 60.0, 1.0)
        return sum(s * int(part or 0) for s, part in zip(scale, found.groups(), strict=True))
    raise errors.ConfigError(f"time limit {text!r:.80}: write seconds, 3h50m or 1:30:00")


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _nothing(line: str) -> None:
    """Say nothing: --quiet."""


def _answer(data: Any, text: Callable[[], str]) -> None:
    """Print a result: JSON if asked for, else text."""
    print(json.dumps(data, indent=1, default=str) if settings.json else text())


def _print_config(experiment: Any, resolved: Any) -> None:
    from ..harness.config import flat
    from . import show

    _answer(flat(resolved.config), lambda: show.toml(experiment, resolved, comments=False))


def _dry_run(experiment: Any, resolved: Any, how: Any) -> None:
    from . import dry_run, show

    facts = dry_run.dry_run(experiment, resolved.config, how)
    _answer(facts, lambda: show.sizes_text(facts))


def _finish(outcome: Any, check: bool) -> None:
    """Print ours against expected, what cannot be trusted, and the page; --check may exit 5."""
    from ..harness.expected import missed
    from . import show

    _answer(outcome.as_dict(), lambda: show.outcome_text(outcome, settings.colour))
    failed = [f"missed {name}" for name in missed(outcome.rows)]
    red = [f"{f['stage']}: {f['subject']}" for f in outcome.findings if f["severity"] == "red"]
    failed += [f"do not trust {what}" for what in dict.fromkeys(red)]
    if check and failed:
        print("--check: " + "; ".join(failed), file=sys.stderr)
        raise typer.Exit(5)


def _pairs(facts: dict[str, Any]) -> str:
    from . import show

    return show.grid([(name, str(value)) for name, value in facts.items()])


def _fail(error: BaseException) -> int:
    """Say what went wrong on stderr (and as JSON if asked for); return the exit status."""
    from .show import safe

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
