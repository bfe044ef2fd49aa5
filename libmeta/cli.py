"""The command line, and the only user of click: the tool() decorator, shared options, progress, errors, exit codes.

A tool's file imports its click names from here, so that `ms-x --help` loads nothing heavy.
"""

import contextlib
import errno
import functools
import logging
import os
import signal
import sys
import time
import traceback

import click
from click import Choice, FloatRange, IntRange, argument, option

from libmeta import __version__
from libmeta.errors import DATA, INTERRUPTED, USAGE, MetaError

__all__ = [
    "Choice", "FloatRange", "IntRange", "argument", "arguments", "batch_size", "config", "device", "genome",
    "option", "output", "progress", "refuse_terminal", "seed", "threads", "tool",
]  # fmt: skip

log = logging.getLogger("libmeta")

output = option("-o", "--output", default="-", show_default=True, metavar="FILE", help="Where to write; - is stdout.")
config = option("--config", metavar="TOML", help="Sources [default: ./ms.toml, or $MS_CONFIG].")
genome = option("--genome", metavar="FASTA", help="Genome, plain or bgzipped [default: from ms.toml].")
threads = option("--threads", type=IntRange(1), help="CPU threads [default: all that this process may use].")
device = option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")
batch_size = option("--batch-size", type=IntRange(1), default=65536, show_default=True, help="Rows in one batch.")
seed = option("--seed", type=IntRange(0), default=1, show_default=True, help="The one seed of all chance.")


def arguments() -> list[str]:
    """The arguments as typed, for provenance."""
    return sys.argv[1:]


def refuse_terminal(path: str) -> None:
    """Binary never goes to a terminal."""
    if path == "-" and sys.stdout.isatty():
        raise MetaError("binary output to a terminal, stdout; redirect it, pipe it on, or use -o FILE", USAGE)


def tool(help_text: str, epilog: str | None = None):
    """Turn a function into a command: --version, -q, -v, one-line errors, exit codes of the design."""

    def decorate(function):
        name = function.__module__.replace("_", "-")
        if name == "--main--":
            name = os.path.basename(sys.argv[0]).removesuffix(".py").replace("_", "-")

        @functools.wraps(function)
        def body(quiet, verbose, **options):
            _talk(name, quiet, verbose)
            try:
                return function(**options)
            except BrokenPipeError:
                _leave(0)  # the reader (head, say) has all it wants; click would make this exit code 1

        command = click.option("-q", "--quiet", is_flag=True, help="Errors only.")(body)
        command = click.option("-v", "--verbose", count=True, help="More; -vv gives tracebacks.")(command)
        command = click.version_option(__version__, prog_name=name)(command)
        command = click.command(
            name, help=help_text, epilog=epilog, context_settings={"help_option_names": ["-h", "--help"]}
        )(command)

        def main(argv: list[str] | None = None):
            _run(command, name, argv)

        main.command = command
        main.__doc__ = help_text
        return main

    return decorate


def _talk(name: str, quiet: bool, verbose: int) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"{name}: %(message)s"))
    log.handlers[:] = [handler]
    log.propagate = False
    log.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO)


def _run(command: click.Command, name: str, argv: list[str] | None) -> None:
    traces = any(a.startswith("-vv") or a == "--verbose" for a in (argv if argv is not None else sys.argv[1:]))

    def fail(message: str, code: int) -> None:
        click.echo(f"{name}: error: {message}", err=True)
        _leave(code)

    def unexpected(kind, error, trace):
        """Any other exception: its one line here; the traceback on request. Python then exits with 1."""
        if traces:
            sys.__excepthook__(kind, error, trace)
        text = " ".join(str(error).split())
        click.echo(f"{name}: error: unexpected {kind.__name__}: {text}; run again with -vv and report it", err=True)

    sys.excepthook = unexpected
    # a polite kill cleans up like Ctrl-C does: temporary files go, atomic outputs never appear
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(SystemExit(128 + signal.SIGTERM)))
    try:
        command.main(args=argv, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except MetaError as error:
        if traces:
            traceback.print_exc()
        fail(str(error), error.code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        _leave(USAGE)
    except click.UsageError as error:
        fail(f"{error.format_message().rstrip('.')}; see {name} --help", USAGE)
    except click.ClickException as error:
        fail(error.format_message(), USAGE)
    except (KeyboardInterrupt, click.Abort):
        click.echo(f"{name}: interrupted", err=True)
        _leave(INTERRUPTED)
    except OSError as error:
        if traces:
            traceback.print_exc()
        fail(_os_error(error), DATA)


def _os_error(error: OSError) -> str:
    where = error.filename or "output"
    remedies = {
        errno.ENOSPC: "free some space or write elsewhere with -o",
        errno.EDQUOT: "free some space or write elsewhere with -o",
        errno.EACCES: "check the permissions of the file and its folder",
        errno.EROFS: "write elsewhere with -o",
        errno.ENOENT: "check the path",
        errno.EISDIR: "name a file, not a folder",
        errno.ENOTDIR: "check the path",
    }
    return f"{error.strerror or error}, {where}; {remedies.get(error.errno, 'check the file and its disk')}"


def _leave(code: int) -> None:
    """Exit without Python complaining about a stdout that is already gone."""
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.flush()
    try:
        sys.stdout.flush()
    except (BrokenPipeError, ValueError, OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    raise SystemExit(code)


class progress:
    """A bar where stderr is a terminal, else one line every 30 seconds; nothing with -q.

    >>> with progress(total=100, unit="b", label="scoring") as bar: bar.update(10)
    """

    def __init__(self, total: float | None, unit: str, label: str, every: float = 30.0):
        self.total, self.unit, self.label, self.every = total, unit, label, every
        self.done, self.bar = 0, None
        self.started = self.told = time.monotonic()

    def __enter__(self):
        if log.isEnabledFor(logging.INFO) and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=self.total, unit=self.unit, desc=self.label, unit_scale=True, file=sys.stderr)
        return self

    def update(self, n: float) -> None:
        self.done += n
        if self.bar is not None:
            self.bar.update(n)
            return
        now = time.monotonic()
        if now - self.told >= self.every:
            self.told = now
            of = f" of {self.total:,.0f}" if self.total else ""
            rate = self.done / (now - self.started)
            log.info("%s: %s%s %s, %s/s", self.label, f"{self.done:,.0f}", of, self.unit, f"{rate:,.0f}")

    def __exit__(self, *_):
        if self.bar is not None:
            self.bar.close()
