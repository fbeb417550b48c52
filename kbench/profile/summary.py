"""From events to what one forward consists of: equal events together, their origin, their share of the time."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from kbench.build.kernels import Resources
from kbench.profile.model import LIBRARY, OWN, Activity, Event, Side
from kbench.profile.trace import KERNEL, OPERATOR, WHOLE
from kbench.sanitize.report import qualified_name


def summarise(
    name: str, events: Sequence[Event], *, calls: int, resources: Sequence[Resources], source: str
) -> Side:
    """One side of a profile from all events of `calls` forwards.

    `resources` are the kernels that the side built itself, `source` its text: a kernel that is written there (for
    Triton, or compiled as it runs) is its own as well. Without a text (the reference's) nothing is.
    """
    groups: dict[tuple[object, ...], list[Event]] = defaultdict(list)
    for event in events:
        groups[event.kind, event.name, event.grid, event.block].append(event)
    total_us = sum(event.time_us for event in events)
    activities = [_activity(group, calls, total_us, resources, source) for group in groups.values()]
    activities.sort(key=lambda activity: activity.share, reverse=True)
    on_device = any(event.kind != OPERATOR for event in events)
    return Side(
        name=name,
        time_us=(busy_us(events) if on_device else total_us) / calls,
        own_share=sum(activity.share for activity in activities if activity.origin == OWN),
        activities=tuple(activities),
    )


def busy_us(events: Iterable[Event]) -> float:
    """The time in which at least one of the events was under way (streams may overlap)."""
    total, edge = 0.0, float("-inf")
    for event in sorted(events, key=lambda event: event.start_us):
        end = event.start_us + event.time_us
        total += max(0.0, end - max(event.start_us, edge))
        edge = max(edge, end)
    return total


def _activity(
    group: Sequence[Event], calls: int, total_us: float, resources: Sequence[Resources], source: str
) -> Activity:
    first = group[0]
    time_us, times = sum(event.time_us for event in group), sum(event.calls for event in group)
    built = built_kernel(first.name, resources) if first.kind == KERNEL else None
    own = built is not None or (bool(source) and _is_written_by_it(first, source))
    return Activity(
        kind=first.kind,
        name=first.name,
        origin=OWN if own else LIBRARY,
        calls=times / calls,
        mean_us=time_us / max(times, 1),
        share=time_us / total_us if total_us > 0 else 0.0,
        grid=first.grid,
        block=first.block,
        registers=first.registers,
        launch_shared_bytes=first.shared_bytes,
        resources=built,
    )


def built_kernel(name: str, resources: Sequence[Resources]) -> Resources | None:
    """The kernel of a build that a profiler calls `name`: by the whole name, else by all but its arguments."""
    squeezed = "".join(name.split())
    for kernel in resources:
        if squeezed in ("".join(kernel.name.split()), kernel.mangled):
            return kernel
    plain = plain_name(name)
    alike = [kernel for kernel in resources if plain_name(kernel.name) == plain]
    return alike[0] if alike else None


def plain_name(name: str) -> str:
    """`unnamed::fused` of `void (anonymous namespace)::fused<float, 256>(float const*)`."""
    return qualified_name(name).rpartition(" ")[2]


def _is_written_by_it(event: Event, source: str) -> bool:
    """Whether it is the forward itself, or the text defines a Python function (Triton) or a `__global__` so named."""
    if event.kind != KERNEL:
        return event.kind == OPERATOR and event.name == WHOLE
    last = re.escape(plain_name(event.name).rpartition("::")[2])
    return bool(last) and re.search(rf"\bdef\s+{last}\b|__global__[^;{{}}]*\b{last}\s*\(", source) is not None
