"""The ``esxcore`` command: a group that imports its sub-commands when they are asked for.

What goes wrong comes out as one line ``esxcore: error: ...`` and exit code 2; Ctrl-C as one line
and 130; a reader that has left, such as ``head``, as 141 and no line. All of it is decided here, so
a sub-command just raises; `esxcore.__main__` catches what comes before this module is there. Only
click is imported at this level: ``--help`` must be quick.

Neighbours: `esxcore.cli.run` and the like, one module a sub-command, each with a click command
named ``command``.
"""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import click

from esxcore.errors import EsxError

COMMANDS = ("run", "compare", "sweep", "census", "paper", "init", "schema")

_BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
_UNREAD = 141  # 128 + SIGPIPE


class LazyGroup(click.Group):
    """Imports sub-commands by name and turns errors into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the sub-commands in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The sub-command, imported now; None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"esxcore.cli.{cmd_name}").command
        return command

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> NoReturn:
        """Runs the command line and exits; see the module for what errors become."""
        options["standalone_mode"] = False
        _make_stdout_lenient()
        try:
            code = super().main(args, *rest, **options)
        except click.UsageError as error:
            place = error.ctx.command_path if error.ctx else "esxcore"
            _fail(f"{error.format_message()} See '{place} --help'.")
        except click.ClickException as error:
            _fail(error.format_message())
        except EsxError as error:
            _fail(str(error))
        except OSError as error:
            # Whoever opens a file names it in the error; what has no name was printed.
            target = error.filename2 or error.filename or _give_up_stdout()
            _fail(f"{target}: {error.strerror or error}")
        except MemoryError:
            _fail("this machine has too little memory for the run")
        except click.Abort:
            sys.exit(INTERRUPTED)
        sys.exit(code if isinstance(code, int) else 0)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Reads the command line; Ctrl-C is caught before click prints a blank line for it."""
        with _ended_from_outside():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the sub-command; Ctrl-C is caught here as well."""
        with _ended_from_outside():
            return super().invoke(ctx)


@contextmanager
def _ended_from_outside() -> Iterator[None]:
    """Ends after Ctrl-C with one line, and in silence where nobody reads any more."""
    try:
        yield
    except BrokenPipeError as error:
        if error.filename is not None:  # a file of the user's
            raise
        _give_up_stdout()
        raise click.exceptions.Exit(_UNREAD) from None
    except KeyboardInterrupt:
        click.echo("esxcore: interrupted", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None


def _make_stdout_lenient() -> None:
    """Has characters that the encoding of stdout lacks come out escaped, not as an error."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _give_up_stdout() -> str:
    """Drops what stdout still holds: writing it at exit would fail too, and change the exit code.

    Returns
    -------
    str
        What stdout is called.
    """
    sys.stdout = io.StringIO()
    return "standard output"


def _fail(message: str) -> NoReturn:
    from esxcore.cli.options import visible

    with suppress(OSError):  # stderr may be full as well; the exit code is left to tell
        click.echo(f"esxcore: error: {visible(' '.join(message.splitlines()))}", err=True)
    sys.exit(_BAD_INPUT)


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from esxcore import __version__

        click.echo(f"esxcore {__version__}")
        ctx.exit()


@click.group(
    name="esxcore",
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with 'esxcore run': it needs no file and shows five real Linux guests.",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print the version.",
)
@click.pass_context
def main(ctx: click.Context) -> None:
    """The memory manager of VMware ESX Server (Waldspurger, OSDI 2002), to experiment with.

    \b
    A first session:
      esxcore run                 the packaged example: a table, a recording, a picture
      esxcore init > my.toml      the same example as a scenario file to change
      esxcore run my.toml         your own
      esxcore compare my.toml     which policy does best on it
      esxcore census *.raw        what sharing would save on your own guests
      esxcore paper fig7          a figure of the paper, made again and compared

    Virtual machines live through real page contents and real activity in virtual time; the host
    shares their equal pages copy-on-write. The same scenario and seed give the same recording on
    any machine.

    \b
    Exit codes:
      0    all went well
      1    'esxcore paper' only: a mechanism did not emerge
      2    something was wrong with what was given, in one line
      130  Ctrl-C
      141  whoever read the output has left, such as 'head'
    """  # noqa: D301 - \b is how click is told not to wrap a block
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
