"""What happens during a run, told as it happens. The command line listens; nothing here prints."""

from __future__ import annotations

from typing import Protocol

from kbench.model import Record


class Listener(Protocol):
    """Hears of a run's progress. May be called from several threads."""

    def stage(self, pair: str, stage: str) -> None:
        """`pair` (a solution's id) has entered `stage`: `building`, `judging`, `timing 2/5`."""
        ...

    def ended(self, record: Record) -> None:
        """A pair's record is on disk."""
        ...

    def note(self, text: str) -> None:
        """Something worth a line of its own."""
        ...
