"""What extraction hands back: blocks, the chosen source, or the reason that there is none."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal

Origin = Literal["fence", "unfenced"]


@dataclass(frozen=True, kw_only=True)
class Block:
    """A run of lines of a response that may be code."""

    language: str
    """Normalised label: `python` for all its spellings, "" where there is none, else in lower case."""
    text: str
    """The lines without quote marks and the fence's own indentation, one for one with the response's."""
    first_line: int
    """1-based line of the response on which `text` starts."""
    closed: bool
    """Whether a closing fence was seen."""
    origin: Origin

    @property
    def last_line(self) -> int:
        """1-based line of the response on which `text` ends."""
        return self.first_line + max(self.text.count("\n"), 1) - 1


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """A block that was not chosen, and why."""

    first_line: int
    last_line: int
    language: str
    why: str


class Reason(enum.StrEnum):
    """Why a response holds no candidate."""

    EMPTY = "empty"
    NO_CODE = "no_code"
    NO_MODEL_NEW = "no_model_new"
    DOES_NOT_PARSE = "does_not_parse"
    TRUNCATED = "truncated"


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """The candidate: `source` parses and defines ModelNew.

    Its line i stands on line `first_line + i - 1` of the response; blank lines fill joined blocks up to that.
    """

    source: str
    first_line: int
    explanation: str
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NothingUsable:
    """No candidate, for `reason`; `message` names the line of the response where that helps."""

    reason: Reason
    message: str
    rejected: tuple[Rejected, ...] = ()


Extraction = Extracted | NothingUsable
