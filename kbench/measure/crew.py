"""The workers of one pair, as they come and go."""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType

import torch

from kbench.measure.window import SOLUTION
from kbench.remote.hire import Post
from kbench.remote.link import WorkerLink
from kbench.remote.spares import Spares
from kbench.sandbox.client import Ending

_COMPILE_TIMEOUT_S = 600.0


@dataclass(frozen=True, kw_only=True)
class SideSpec:
    """A side before it has a process."""

    name: str
    post: Post
    compile_mode: str | None = None


def has_room(device: torch.device) -> bool:
    """Whether what is now in use of the device's memory would fit in once more. Never on the CPU: whoever is there too
    early, or too long, takes its time."""
    if device.type != "cuda":
        return False
    free, total = torch.cuda.mem_get_info(device)
    return free > total - free


class Crew:
    """Hires for one pair. All who came are gone when it is left, but for references that stay for the next pair."""

    def __init__(
        self, specs: Sequence[SideSpec], *, spares: Spares, descriptors: Sequence[int], device: torch.device
    ) -> None:
        """`descriptors` are the host arenas."""
        self.specs = {spec.name: spec for spec in specs}
        self._spares = spares
        self._descriptors = descriptors
        self._device = device
        self._judged: WorkerLink | None = None
        self._closers = concurrent.futures.ThreadPoolExecutor()
        self._leaving: list[Future[Ending]] = []
        self._staying: list[tuple[Post, WorkerLink]] = []

    def expect_all(self) -> None:
        """Whoever is to be timed will be needed, as far as can be seen."""
        self._spares.fill()

    def hire_to_judge(self, post: Post) -> WorkerLink:
        """Whoever is judged before anybody is timed. Raises InfraError."""
        self._judged = self._spares.hire(post, descriptors=self._descriptors)
        if not self._spares.waiting:  # were it wrong, the next would be wanted soon
            self._spares.fill()
        return self._judged

    def judged(self, *, right: bool) -> None:
        """It answered all there was to ask, or was wrong. In a hurry the first is timed as well, in one replicate.

        Raises InfraError where it goes, was waited for, and will not.
        """
        if self._judged is not None and not (right and self._spares.hurried):
            link, self._judged = self._judged, None
            self._let_go([link], roomy=has_room(self._device))

    def hire(self, names: Sequence[str]) -> list[WorkerLink]:
        """A worker for each of these sides, hired in this order. Raises InfraError."""
        with contextlib.ExitStack() as stack:
            links = [stack.enter_context(self._one(self.specs[name])) for name in names]
            stack.pop_all()
            return links

    def _one(self, spec: SideSpec) -> WorkerLink:
        if spec.name == SOLUTION and self._judged is not None:
            link, self._judged = self._judged, None
            return link
        load_s = _COMPILE_TIMEOUT_S if spec.compile_mode else None
        return self._spares.hire(spec.post, descriptors=self._descriptors, load_s=load_s)

    def part_with(self, sides: Mapping[str, WorkerLink]) -> None:
        """Their turn is over. Raises InfraError where they were waited for and one will not go."""
        roomy = has_room(self._device)  # with all of them there
        going = []
        for name, link in sides.items():
            post = self.specs[name].post
            if roomy and self._spares.keeps(post):
                self._staying.append((post, link))  # to the end: no two of a pair's replicates have the same
            else:
                going.append(link)
        self._let_go(going, roomy=roomy)

    def _let_go(self, links: Sequence[WorkerLink], *, roomy: bool) -> None:
        """A CUDA context takes 0.1 s to go: that need not be waited for, where the device has room for the next."""
        self._leaving += [self._closers.submit(link.close) for link in links]
        if not roomy:
            self.await_gone()

    def await_quiet(self) -> None:
        """Until nobody is coming or going on the device. Raises InfraError where one will not go."""
        self.await_gone()
        self._spares.await_awake()

    def await_gone(self) -> None:
        """Raises InfraError where one will not go."""
        leaving, self._leaving = self._leaving, []
        concurrent.futures.wait(leaving)
        for each in leaving:
            each.result()

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._judged is not None:
            self._leaving.append(self._closers.submit(self._judged.close))
        try:
            for post, link in self._staying:
                if kind is not None or not self._spares.keep(post, link):
                    self._leaving.append(self._closers.submit(link.close))
        finally:
            self._closers.shutdown()
        if kind is None:
            self.await_gone()
