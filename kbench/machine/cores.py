"""Which cores time and which build, where both go on at once."""

from __future__ import annotations

from collections.abc import Collection
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


def share_out(cores: Collection[int], *, lanes: int) -> Shares:
    """Give each of `lanes` (at least one) two to four of `cores`, and the builds the rest, which is half or more.

    Where there are too few for that, building and timing take turns on all of them. Cores are given in the order of
    `cores`: those that belong together should stand together (`by_place`).
    """
    ordered = list(cores)
    each = min(_MOST_PER_LANE, len(ordered) // (2 * lanes))
    apart = each >= _LEAST_PER_LANE
    if not apart:
        each = max(1, len(ordered) // lanes)
    taken = [frozenset(ordered[lane * each : (lane + 1) * each] or ordered) for lane in range(lanes)]
    rest = frozenset(ordered[lanes * each :] if apart else ordered)
    return Shares(lanes=tuple(taken), builds=rest, apart=apart)


def by_place(cores: Collection[int], topology: Path = _TOPOLOGY) -> list[int]:
    """`cores` with the hardware threads of one core side by side, and the cores of one package."""

    def place(core: int) -> tuple[int, int, int]:
        folder = topology / f"cpu{core}" / "topology"
        package, number = (read_text(folder / name).strip() for name in ("physical_package_id", "core_id"))
        return (int(package), int(number), core) if package.isdecimal() and number.isdecimal() else (0, core, core)

    return sorted(cores, key=place)
