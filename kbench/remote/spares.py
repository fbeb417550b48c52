"""Workers that wait for somebody to be judged or timed: hired ahead, or kept where they had been of use.

A worker makes its CUDA context before it knows what for, and the driver makes one at a time for the whole machine:
0.2 to 0.3 s. Hired ahead it does so while others are judged or warm up. Never while samples are taken on its device:
their windows, though not their times, showed it (8 of 34 honest solutions had a fifth of their samples doubted).
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
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

    def __init__(self, hiring: Hiring, *, device: str, kept: int, has_room: Callable[[], bool]) -> None:
        """`kept`: how many to have ready at all times; nobody is hired ahead, or kept, while there is no room."""
        self._hiring = hiring
        self._device = device
        self._kept = kept
        self._has_room = has_room
        self._barred = False
        self._fresh: deque[Recruit] = deque()
        self._used: deque[Recruit] = deque()

    @property
    def hurried(self) -> bool:
        """Whether workers may serve longer than one replicate."""
        return bool(self._device) and self._kept > 0 and not self._barred

    def fill(self, number: int) -> None:
        """Have so many ready, if they are to be had: nothing depends on it."""
        with contextlib.suppress(InfraError, OSError):
            while self._device and not self._barred and len(self._fresh) < number and self._has_room():
                self._fresh.append(recruit(self._hiring, device=self._device))

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
        link = assign(self._hiring, fresh, post, load_s=load_s)
        self.fill(self._kept)
        return link

    def serves(self, post: Post) -> bool:
        """Whether somebody who waits could do: nobody does for the CPU, nor with a folder of others to write in."""
        return bool(self._device) and post.device == self._device and post.writable is None

    def await_awake(self) -> None:
        """Until all who wait have made their contexts, or were given up: nobody is making one from then on."""
        deadline = time.monotonic() + _WAKING_TIMEOUT_S
        while (waking := [each for each in self._fresh if _is_waking(each)]) and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        for each in waking:
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
        self.dismiss()

    def _next(self, waiting: deque[Recruit]) -> Recruit | None:
        """The one who has waited longest and is still there."""
        while waiting:
            if (found := waiting.popleft()).process.alive:
                return found
            _send_home(found)
        return None
