"""One response as lines, with what the scanners find in it; each scanner runs at most once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from kbench.extract.blocks import fenced_blocks
from kbench.extract.lines import last_filled_line
from kbench.extract.model import Block
from kbench.extract.unfenced import RunSearch, find_runs


class Reading:
    """The lines of a response, or of a part of it with the rest blanked."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The fenced blocks."""
        return fenced_blocks(self.lines)

    @cached_property
    def search(self) -> RunSearch:
        """The runs of lines that need no fence."""
        return find_runs(self.lines)

    @cached_property
    def end(self) -> int:
        """1-based number of the last line that is not blank."""
        return last_filled_line(self.lines)
