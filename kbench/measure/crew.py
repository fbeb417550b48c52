"""The workers of one pair's replicates: hired when their turn comes, or ahead of it.

A worker makes its CUDA context as soon as it is hired, before it knows of the file that it is for, and the driver makes
one at a time. Hired ahead it does so while others are judged or timed, whose medians do not show it: of copies of 4 us,
28 us and 0.25 ms on an H200, timed beside one process after the other that made a context and ended, they were off by
0.2% at most, as those of two quiet rounds were; the slowest hundredth of the samples took 10 to 25% longer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import torch

from kbench.remote.hire import Hiring, Post, hire
from kbench.remote.link import WorkerLink

_COMPILE_TIMEOUT_S = 600.0


@dataclass(frozen=True, kw_only=True)
class SideSpec:
    """A side before it has a process."""

    name: str
    post: Post
    compile_mode: str | None = None


class Crew:
    """Hires for one pair. Whoever waits in vain for a turn is gone when it is left."""

    def __init__(
        self, specs: Sequence[SideSpec], *, hiring: Hiring, descriptors: Sequence[int], device: torch.device
    ) -> None:
        """`descriptors` are the host arenas."""
        self.specs = {spec.name: spec for spec in specs}
        self._hiring = hiring
        self._descriptors = descriptors
        self._device = device
        self._waiting: tuple[list[str], list[WorkerLink]] = ([], [])

    @property
    def has_room(self) -> bool:
        """Whether what is now in use of the device's memory would fit in once more. Never on the CPU: whoever is there
        too early takes its time."""
        if self._device.type != "cuda":
            return False
        free, total = torch.cuda.mem_get_info(self._device)
        return free > total - free

    def expect(self, names: Sequence[str]) -> None:
        """Hire ahead, in this order, where they would not be in the way. Raises InfraError."""
        if self.has_room and not self._waiting[0]:
            self._waiting = (list(names), self._hired(names))

    def hire(self, names: Sequence[str]) -> list[WorkerLink]:
        """A worker for each name, hired in this order, now or before. Raises InfraError."""
        expected, links = self._waiting
        if expected != list(names):
            return self._hired(names)
        self._waiting = ([], [])
        return links

    def _hired(self, names: Sequence[str]) -> list[WorkerLink]:
        with contextlib.ExitStack() as stack:
            links = [stack.enter_context(self._one(self.specs[name])) for name in names]
            stack.pop_all()
            return links

    def _one(self, spec: SideSpec) -> WorkerLink:
        load_s = _COMPILE_TIMEOUT_S if spec.compile_mode else None
        return hire(self._hiring, spec.post, descriptors=self._descriptors, load_s=load_s)

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.ExitStack() as stack:
            for link in self._waiting[1]:
                stack.enter_context(link)
