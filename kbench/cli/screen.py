"""Where data leaves for standard output, and warnings for standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

import click
from rich.console import Console, RenderableType

from kbench.report.text import one_line

_PIPE_WIDTH = 10_000
"""Wider than any row: a reader that is not a terminal gets whole lines."""


def show(view: RenderableType) -> None:
    """Print a view: in colour on a terminal (but see NO_COLOR), as plain unwrapped lines in a pipe."""
    if sys.stdout.isatty():
        Console(highlight=False).print(view)
        return
    width = None if os.environ.get("COLUMNS") else _PIPE_WIDTH
    console = Console(width=width, highlight=False, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(view)
    lines = (line.rstrip() for line in capture.get().rstrip("\n").split("\n"))
    click.echo("\n".join(lines))


def warn(warnings: Iterable[str]) -> None:
    """Talk: one line each on standard error."""
    for warning in warnings:
        click.echo(f"warning: {one_line(warning)}", err=True)
