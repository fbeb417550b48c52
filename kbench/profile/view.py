"""A profile on a screen. Text comes from a candidate's process, so all of it is cleaned."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from kbench.build.kernels import Resources
from kbench.model import Device
from kbench.profile.model import OWN, SOLUTION, Activity, Profile, Section, Side, Work
from kbench.profile.trace import WHOLE
from kbench.report.tables import TextTable
from kbench.report.terminal import table
from kbench.report.text import MISSING, clean, one_line, optional, share, significant

_NAME_LIMIT = 60
_TEMPLATE = re.compile(r"<[^<>]*>")
_CAVEAT = "These figures come from the candidate's own process: they are for tuning, not for belief."


def profile_view(profile: Profile, *, top: int) -> RenderableType:
    """The whole profile; at most `top` rows of each side."""
    title = Text(f"{one_line(profile.problem)}/{one_line(profile.solution)}  ", style="bold")
    title.append(f"{profile.device}, size {one_line(profile.size)}", style="dim")
    parts: list[RenderableType] = [title]
    if profile.verdict is not None:
        reason = f": {one_line(profile.verdict.reason)}" if profile.verdict.reason else ""
        parts.append(Text(f"{profile.verdict.status.value}{reason}", style="red"))
        parts.append(Padding(Text(clean(profile.verdict.message).strip()), (0, 0, 0, 2), expand=False))
    for side in profile.sides:
        parts += _side(side, profile.device, profile.work, top=top)
    if profile.resources:
        parts += [Text(""), Text("kernels that the solution built, by ptxas' account", style="bold")]
        parts.append(table(resources_table(profile.resources)))
    if profile.sections:
        parts += [Text(""), Text("ncu, each launch of an own kernel in one forward", style="bold")]
        parts.append(table(sections_table(profile.sections)))
    if profile.notes or profile.sides:
        parts.append(Text(""))
    parts += [Text(f"note: {one_line(note)}", style="yellow") for note in profile.notes]
    return Group(*parts, *([Text(_CAVEAT, style="dim")] if profile.sides else []))


def _side(side: Side, device: str, work: Work | None, *, top: int) -> Iterable[RenderableType]:
    yield Text("")
    on_cuda = device == Device.CUDA
    what = "of GPU time" if on_cuda else "in operators"
    own = f", {share(side.own_share)} of it own" if side.name == SOLUTION else ""
    yield Text(f"{side.name}: {significant(side.time_us)} µs {what} per forward{own}", style="bold")
    if work is not None and side.time_us > 0:
        yield Padding(Group(*(Text(line) for line in reached_lines(side, work, device))), (0, 0, 0, 2), expand=False)
    shown = side.activities[:top]
    yield table(launches_table(shown) if on_cuda else operators_table(shown))
    if more := side.activities[top:]:
        rest = sum(activity.share for activity in more)
        yield Text(f"… {len(more)} more, {share(rest)} of the time (--top)", style="dim")


def reached_lines(side: Side, work: Work, device: str) -> list[str]:
    """Bandwidth and rate with the least work, as shares of the ceilings that were measured beforehand."""
    bandwidth, rate = work.bandwidth(side.time_us), work.rate(side.time_us)
    lines = [
        f"bandwidth {significant(bandwidth / 1e9)} GB/s, {share(bandwidth / work.bytes_per_s)} of the"
        f" {significant(work.bytes_per_s / 1e9)} GB/s of a copy (least bytes: {significant(work.least_bytes / 1e6)} MB)"
    ]
    if work.least_flops:
        kind = "bf16" if device == Device.CUDA else "fp32"
        lines.append(
            f"arithmetic {significant(rate / 1e9)} GFLOP/s, {share(rate / work.flops_per_s)} of the"
            f" {significant(work.flops_per_s / 1e9)} GFLOP/s of a {kind} matrix product"
            f" (counted: {significant(work.least_flops / 1e9)} GFLOP)"
        )
    return lines


def launches_table(activities: Sequence[Activity]) -> TextTable:
    """Kernels, copies and fills."""
    return TextTable(
        headers=("kernel", "origin", "launches", "mean µs", "share", "grid", "block", "regs", "stack B", "shared B"),
        rows=tuple(
            (
                shortened(a.name), a.origin, f"{a.calls:.3g}", significant(a.mean_us), f"{a.share:.1%}",
                extent(a.grid), extent(a.block), count(a.registers),
                count(a.resources.stack_bytes if a.resources else None), count(a.launch_shared_bytes),
            )
            for a in activities
        ),
        numeric=frozenset({"launches", "mean µs", "share", "grid", "block", "regs", "stack B", "shared B"}),
        expendable=("shared B", "block", "grid"),
        tones=_tones(activities),
    )  # fmt: skip


def operators_table(activities: Sequence[Activity]) -> TextTable:
    """Operators of the CPU."""
    return TextTable(
        headers=("operator", "origin", "calls", "self µs", "share"),
        rows=tuple(
            (_operator(a), a.origin, f"{a.calls:.3g}", significant(a.mean_us * a.calls), f"{a.share:.1%}")
            for a in activities
        ),
        numeric=frozenset({"calls", "self µs", "share"}),
        tones=_tones(activities),
    )


def _operator(activity: Activity) -> str:
    if activity.name == WHOLE:
        return "forward itself: Python, and extensions of its own"
    return one_line(activity.name, _NAME_LIMIT)


def resources_table(resources: Sequence[Resources]) -> TextTable:
    """Registers, stack and shared memory."""
    return TextTable(
        headers=("kernel", "registers", "stack B", "local B", "static shared B"),
        rows=tuple(
            (shortened(r.name), count(r.registers), count(r.stack_bytes), count(r.local_bytes), count(r.shared_bytes))
            for r in resources
        ),
        numeric=frozenset({"registers", "stack B", "local B", "static shared B"}),
    )


def sections_table(sections: Sequence[Section]) -> TextTable:
    """ncu's figures."""
    return TextTable(
        headers=("kernel", "µs", "SM %", "memory %", "occupancy %", "DRAM MB"),
        rows=tuple(
            (
                shortened(s.name), optional(s.time_us), optional(s.sm_percent), optional(s.memory_percent),
                optional(s.occupancy_percent), optional(None if s.dram_bytes is None else s.dram_bytes / 1e6),
            )
            for s in sections
        ),
        numeric=frozenset({"µs", "SM %", "memory %", "occupancy %", "DRAM MB"}),
    )  # fmt: skip


def shortened(name: str) -> str:
    """A kernel's name for the screen: without return type, anonymous namespaces and arguments; inner templates go
    where it is still too long."""
    text = one_line(name).replace("(anonymous namespace)::", "").removeprefix("void ")
    text = text.partition("(")[0] or text
    while len(text) > _NAME_LIMIT and _TEMPLATE.search(text):
        text = _TEMPLATE.sub("…", text)
    return one_line(text, _NAME_LIMIT)


def extent(value: Sequence[int]) -> str:
    """128×4, without trailing ones."""
    parts = list(value)
    while len(parts) > 1 and parts[-1] == 1:
        parts.pop()
    return "×".join(map(str, parts)) or MISSING


def count(value: int | None) -> str:
    """A whole number, or a dash where nobody said it."""
    return MISSING if value is None else str(value)


def _tones(activities: Sequence[Activity]) -> tuple[str, ...]:
    return tuple("" if activity.origin == OWN else "muted" for activity in activities)
