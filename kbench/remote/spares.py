"""Workers that wait for somebody to be judged or timed: hired ahead, or kept where they had been of use.

A worker makes its CUDA context before it knows what for, and the driver makes one at a time for the whole machine:
0.2 to 0.3 s. Hired ahead it does so while others are judged or warm up. Never while samples are taken on its device:
their windows, though not their times, showed it (8 of 34 honest solutions had a fifth of their samples doubted). So
they come in groups, whose contexts are made in one go, while no other lane's are.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from types import TracebackType

from kbench.errors import InfraError
from kbench.remote.hire import Hiring, Post, assign, hire, recruit
from kbench.remote.link import Recruit, WorkerFailed, WorkerLink

_WAKING_TIMEOUT_S = 10.0
_LOOK_S = 1e-3


def _is_waking(recruit: Recruit) -> bool:
    return recruit.page is not None and not recruit.page.is_awake() and recruit.process.alive


def _send_home(recruit: Recruit) -> None:
    with contextlib.suppress(InfraError):  # its supervisor is gone, or silent: nothing more can be done here
        recruit.close()


class Spares:
    """Those of one device. All are gone when it is left."""

    def __init__(
        self,
        hiring: Hiring,
        *,
        device: str,
        group: int,
        hurried: bool,
        has_room: Callable[[], bool],
        turn: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """`group`: how many to have ready; `hurried`: workers may serve longer than one replicate; `turn` is entered
        while contexts are made.

        Nobody is hired ahead, or kept, while there is no room.
        """
        self._hiring = hiring
        self._device = device
        self._group = group
        self._hurried = hurried
        self._has_room = has_room
        self._turn = turn
        self._barred = False
        self._fresh: deque[Recruit] = deque()
        """Added to by the maker alone, taken from by its owner alone."""
        self._used: deque[Recruit] = deque()
        self._maker = concurrent.futures.ThreadPoolExecutor(1)
        self._making: Future[None] | None = None
        self._leaving = threading.Event()

    @property
    def waiting(self) -> int:
        """How many there are who were hired ahead."""
        return len(self._fresh)

    @property
    def hurried(self) -> bool:
        """Whether workers may serve longer than one replicate."""
        return bool(self._device) and self._hurried and not self._barred

    def fill(self) -> None:
        """Have the whole group ready before long, if they are to be had: nothing depends on it."""
        idle = self._making is None or self._making.done()
        if self._device and not self._barred and idle and len(self._fresh) < self._group and self._has_room():
            self._making = self._maker.submit(self._make)

    def _make(self) -> None:
        with contextlib.suppress(InfraError, OSError), self._turn():
            try:
                while len(self._fresh) < self._group and not self._leaving.is_set() and self._has_room():
                    self._fresh.append(recruit(self._hiring, device=self._device))
            finally:
                self._await_waking()

    def _await_waking(self) -> None:
        """Only those who still wait: whoever was given to a candidate could say anything."""
        deadline = time.monotonic() + _WAKING_TIMEOUT_S
        while any(map(_is_waking, list(self._fresh))) and time.monotonic() < deadline and not self._leaving.is_set():
            time.sleep(_LOOK_S)

    def hire(self, post: Post, *, descriptors: Sequence[int] = (), load_s: float | None = None) -> WorkerLink:
        """A worker for `post`, there already or not; `descriptors` are its host arenas. Raises InfraError.

        One that has served before is given to references only: nothing of a candidate is in it, nor will be. It has
        loaded its file already: not every file can be loaded where another was.
        """
        if not self.serves(post):
            return hire(self._hiring, post, descriptors=descriptors, load_s=load_s)
        while post.role == "reference" and (used := self._next(self._used)) is not None:
            link = assign(self._hiring, used, post, load_s=load_s)
            with contextlib.suppress(WorkerFailed, InfraError):
                link.load()
                return link
            _send_home(used)
        fresh = self._next(self._fresh) or recruit(self._hiring, device=self._device)
        return assign(self._hiring, fresh, post, load_s=load_s)

    def serves(self, post: Post) -> bool:
        """Whether somebody who waits could do: nobody does for the CPU, nor with a folder of others to write in."""
        return bool(self._device) and post.device == self._device and post.writable is None

    def await_awake(self) -> None:
        """Until all who wait have made their contexts, or were given up: nobody is making one from then on.

        They go where the room for them has gone meanwhile.
        """
        if self._making is not None:
            self._making.result()
        roomy = not self._fresh or self._has_room()
        for each in [each for each in self._fresh if not roomy or _is_waking(each)]:
            self._fresh.remove(each)
            _send_home(each)

    def keeps(self, post: Post) -> bool:
        """Whether its worker may stay for another file: never a candidate's."""
        return post.role == "reference" and self.hurried and self.serves(post)

    def keep(self, post: Post, link: WorkerLink) -> bool:
        """Keep a reference's worker for another reference; False where it has to be let go instead."""
        if not (self.keeps(post) and self._has_room()):
            return False
        try:
            link.release()
        except (WorkerFailed, InfraError):
            return False
        self._used.append(link.recruit)
        return True

    def dismiss(self) -> bool:
        """Send all of them home. Returns whether anybody was there, or could have been."""
        concurrent.futures.wait([self._making] if self._making is not None else [])
        waiting = [*self._fresh, *self._used]
        self._fresh.clear()
        self._used.clear()
        with concurrent.futures.ThreadPoolExecutor() as closers:
            list(closers.map(_send_home, waiting))
        return bool(waiting) or self.hurried

    @contextlib.contextmanager
    def barred(self) -> Iterator[None]:
        """Nobody is hired ahead or kept meanwhile: all memory is for those who have their turn."""
        self._barred = True
        try:
            yield
        finally:
            self._barred = False

    def __enter__(self) -> Spares:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self.dismiss()
        self._maker.shutdown()

    def _next(self, waiting: deque[Recruit]) -> Recruit | None:
        """The one who has waited longest and is still there."""
        while waiting:
            if (found := waiting.popleft()).process.alive:
                return found
            _send_home(found)
        return None
