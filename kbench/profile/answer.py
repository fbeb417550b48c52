"""What the profiled program answered."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from kbench.profile.model import Event
from kbench.profile.trace import COPY, FILL, KERNEL, OPERATOR
from kbench.sandbox.answers import Malformed, count_of, lines, number_of, text_of

_MAX_US = 1e12


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The program's own word that the module raised, and in which stage."""

    stage: str
    error: str


def read_events(text: str) -> tuple[Event, ...] | Failed:
    """The events of an answer that has its end, or the failure it tells of. Raises Malformed."""
    events: list[Event] = []
    for line in lines(text):
        kind = line.get("kind")
        if kind == "end":
            return tuple(events)
        if kind == "failed":
            return Failed(stage=text_of(line, "stage"), error=text_of(line, "error"))
        if kind not in (KERNEL, COPY, FILL, OPERATOR):
            raise Malformed(f"an event of an unknown kind: {str(kind)[:40]!r}")
        events.append(
            Event(
                kind=kind,
                name=text_of(line, "name"),
                start_us=number_of(line, "start_us", most=math.inf),
                time_us=number_of(line, "time_us", most=_MAX_US),
                calls=count_of(line, "calls") if "calls" in line else 1,
                registers=count_of(line, "registers") if "registers" in line else None,
                shared_bytes=count_of(line, "shared_bytes") if "shared_bytes" in line else None,
                grid=_extent(line, "grid"),
                block=_extent(line, "block"),
            )
        )
    raise Malformed("the answer has no end")


def _extent(line: dict[str, Any], name: str) -> tuple[int, ...]:
    value = line.get(name, [])
    if not isinstance(value, list) or len(value) not in (0, 3):
        raise Malformed(f"{name} is no extent in three dimensions")
    return tuple(count_of({name: part}, name) for part in value)
