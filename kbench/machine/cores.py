"""Which cores time and which build, where both go on at once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from kbench.machine.inventory import read_text

_MOST_PER_LANE = 4
"""The judge's thread, the worker's, and two for what CUDA and the worker's own threads do beside it."""
_LEAST_PER_LANE = 2
_TOPOLOGY = Path("/sys/devices/system/cpu")


@dataclass(frozen=True, kw_only=True)
class Shares:
    """A machine's cores, shared out."""

    lanes: tuple[frozenset[int], ...]
    """For each GPU, those of its judge and its workers."""
    builds: frozenset[int]
    apart: bool
    """No build runs on a lane's cores, so that building may go on while something is timed."""


def share_out(cores: Collection[int], *, places: Sequence[int], of: int) -> Shares:
    """Give each GPU two to four of `cores` for its lane, and the builds the rest, which is half or more.

    `places` (at least one) says which GPUs this run takes, `of` how many the machine has. Each has its own four cores
    whichever run takes it: so runs side by side do not time on the same ones, nor build on each other's. Where there
    are too few for that, only this run's GPUs get some, two at least; and where there are too few even so, building and
    timing take turns on all of them. Cores are given in the order of `cores`: those that belong together should stand
    together (`by_place`).
    """
    ordered = list(cores)
    if len(ordered) < 2 * of * _MOST_PER_LANE or len(set(places)) < len(places):  # slices of one GPU have one place
        places, of = range(len(places)), len(places)
    each = min(_MOST_PER_LANE, len(ordered) // (2 * of))
    apart = each >= _LEAST_PER_LANE
    if not apart:
        each = max(1, len(ordered) // of)
    taken = [frozenset(ordered[place * each : (place + 1) * each] or ordered) for place in places]
    rest = frozenset(ordered[of * each :] if apart else ordered)
    return Shares(lanes=tuple(taken), builds=rest, apart=apart)


def by_place(cores: Collection[int], topology: Path = _TOPOLOGY) -> list[int]:
    """`cores` with the hardware threads of one core side by side, and the cores of one package."""

    def place(core: int) -> tuple[int, int, int]:
        folder = topology / f"cpu{core}" / "topology"
        package, number = (read_text(folder / name).strip() for name in ("physical_package_id", "core_id"))
        return (int(package), int(number), core) if package.isdecimal() and number.isdecimal() else (0, core, core)

    return sorted(cores, key=place)
