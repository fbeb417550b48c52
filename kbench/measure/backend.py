"""Where the timed sides come from. Whatever uses these protocols knows no process, no device and no clock."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from kbench.machine.reading import Reading
from kbench.model import Timed


class Side(Protocol):
    """One process to be timed: `solution`, or a baseline."""

    name: str

    def sample(self, *, calls: int, wall: bool = False) -> Timed:
        """Time `calls` calls together, each on new inputs; `wall`: by the host's clock, launches and all."""
        ...

    def rest(self) -> None:
        """Stand still until the next sample: another side is timed."""
        ...


AnySide = TypeVar("AnySide", bound=Side)
_Followed = TypeVar("_Followed", bound=Side, contravariant=True)


class Follower(Protocol[_Followed]):
    """Looks at the samples of one replicate as they are taken."""

    @property
    def verified(self) -> int:
        """Timed calls whose output was compared with the oracle, so far."""
        ...

    def after(self, side: _Followed, number: int) -> None:
        """Follows each sample; a side's are numbered from 0. Raises what is wrong with it."""
        ...


class Backend(Protocol[AnySide]):
    """Makes the sides of a replicate: workers on the CPU or on CUDA, or clocks that are made up."""

    def staffed(self, names: Sequence[str]) -> AbstractContextManager[list[AnySide]]:
        """Sides in this order, alive together until the context ends: no two replicates have the same process."""
        ...

    def follow(self, sides: Sequence[AnySide], *, samples: int, calls: int) -> Follower[AnySide]:
        """Someone to follow a replicate in which the solution gives `samples` samples of `calls` calls."""
        ...

    def read(self) -> Reading | None:
        """How the device stands now; None where that cannot be told. Never asked for while a side is timed."""
        ...
