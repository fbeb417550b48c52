"""What a run shows while it goes on: a live view on a terminal, plain lines elsewhere. All of it on stderr."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from kbench.engine.events import Listener
from kbench.model import Record, Status
from kbench.report.text import one_line

_MESSAGE_WIDTH = 160

_WAITING = frozenset({"built", "not built"})
"""Stages in which nothing happens to a pair: hundreds of such lines would push those under way off the screen."""

Summary = Callable[[Record], str]
"""What is said when a pair has ended; nothing where it is empty."""


class Lines:
    """One plain line for each thing that happens; without `stages` only for ends and notes."""

    def __init__(self, summary: Summary, *, stages: bool) -> None:
        self._summary, self._stages = summary, stages
        self._lock = threading.Lock()

    def stage(self, pair: str, stage: str) -> None:
        if self._stages and (stage in ("building", "judging") or stage.startswith("timing 1/")):
            self._say(f"{pair}: {stage}")

    def ended(self, record: Record) -> None:
        if said := self._summary(record):
            self._say(said)

    def note(self, text: str) -> None:
        self._say(text)

    def _say(self, text: str) -> None:
        with self._lock:
            click.echo(one_line(text), err=True)


class Live:
    """How many pairs have ended, and a line for each one under way."""

    def __init__(self, progress: Progress, summary: Summary, *, total: int, done: int) -> None:
        self._progress, self._summary = progress, summary
        self._total, self._done = total, done
        self._all = progress.add_task(self._count(), total=None)
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def stage(self, pair: str, stage: str) -> None:
        with self._lock:
            if stage in _WAITING:
                self._drop(pair)
                return
            if pair not in self._tasks:
                self._tasks[pair] = self._progress.add_task("", total=None)
            self._progress.update(self._tasks[pair], description=one_line(f"{pair}: {stage}", _MESSAGE_WIDTH))

    def ended(self, record: Record) -> None:
        with self._lock:
            self._drop(record.id)
            if said := self._summary(record):
                self._progress.console.print(Text(one_line(said, _MESSAGE_WIDTH)))
            self._done += 1
            self._progress.update(self._all, description=self._count())

    def _drop(self, pair: str) -> None:
        if (task := self._tasks.pop(pair, None)) is not None:
            self._progress.remove_task(task)

    def _count(self) -> str:
        return f"{self._done} of {self._total} pairs"

    def note(self, text: str) -> None:
        self._progress.console.print(Text(one_line(text)))


def summary_line(record: Record) -> str:
    """A record in a line: its verdict, and the speedup or the message."""
    if record.status is Status.CORRECT and record.speedup is not None:
        return f"{record.id}: correct, {record.speedup:.2f}x"
    said = f" ({record.reason})" if record.reason else ""
    message = f": {record.message}" if record.message and record.status is not Status.SKIPPED else ""
    return f"{record.id}: {record.status.value}{said}{message}"[: 2 * _MESSAGE_WIDTH]


@contextmanager
def listening(
    *, total: int, done: int, summary: Summary = summary_line, stages: bool = True
) -> Iterator[Listener]:
    """The listener that suits stderr. `stages` False leaves lines about stages out where it is no terminal."""
    if not sys.stderr.isatty():
        yield Lines(summary, stages=stages)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Live(progress, summary, total=total, done=done)
