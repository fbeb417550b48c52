"""The `kbench` command: gathers the subcommands and turns errors into messages and exit codes."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys

import click

import kbench
from kbench.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_UNDECIDED, EXIT_USAGE, KbenchError

_COMMANDS = {
    "run": ("run", "Build, judge and time solutions; write a speedup table."),
    "compare": ("compare", "Set two runs side by side; fail on a regression."),
    "list": ("list", "List runs, or one run's records."),
    "show": ("show", "Show one record in full."),
    "repro": ("repro", "Write a script that shows one record's failure."),
    "build": ("build", "Only build solutions."),
    "cache": ("cache", "Say how much is kept of builds; trim or clear it."),
    "profile": ("profile", "Show where a solution's time goes, beside its reference's."),
    "extract": ("extract", "Find the solutions in raw model responses."),
    "lint": ("lint", "Say what is weak about problems, before anyone is judged by them."),
    "selftest": ("selftest", "Run the red-team suite here: is every cheat caught, and no honest solution?"),
    "doctor": ("doctor", "Say what this machine can do, and how to mend what it cannot."),
}


class _Lazy(click.Group):
    """Imports a subcommand's module only when it is asked for: `compare` must not wait for `run`'s imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"kbench.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(kbench.__version__, prog_name="kbench")
def cli() -> None:
    """Judge and time candidate kernels against reference modules, and be able to believe the number."""


def main() -> None:
    """Run the command line and exit: 0 well, 1 a failure or regression, 2 usage, 3 undecided, 130 interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cancelled CI job tidies up like Ctrl-C
    # Not sys.exit: taking down an interpreter that holds torch takes a second, and tidies nothing up.
    os._exit(run_cli(sys.argv[1:]))


def run_cli(arguments: list[str]) -> int:
    """The command line as a function of its arguments to an exit code."""
    try:
        result = cli.main(args=arguments, prog_name="kbench", standalone_mode=False)
        sys.stdout.flush()
    except KbenchError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        click.echo(f"error: {error.strerror}: what was to be printed or kept is not whole", err=True)
        return EXIT_UNDECIDED
    return result if isinstance(result, int) else EXIT_OK
