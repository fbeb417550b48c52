"""The one kind of call there is: fresh inputs, release, wait, glimpse at the outputs. The window is the judge's own.

On the CPU the worker stands still while the inputs are laid out; the window runs from when it may go on to the end of
the glimpse. On CUDA the worker first puts all its work on a stream that a gate holds; only then are the inputs laid
out, in one stroke, and the window runs from that stroke to the end of the glimpse, with the opening of the gate in
between. So neither messages nor launches are in it, and nothing can be computed ahead: the inputs were not there. A
forward that waits for the device by itself never gets to queue its work; the gate then opens without it.

A sample by the wall has no gate: its claim is what a caller would wait for, launches and all. No speedup comes of it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from kbench.arena import Driver
from kbench.judge.desk import Desk, Glimpse
from kbench.judge.reference import Drawn
from kbench.model import Timed
from kbench.page import Page
from kbench.protocol import Answer
from kbench.remote.link import WorkerLink

_FLUSH_TIMES_L2 = 2
_PATIENCE_S = 0.02
"""For the worker to queue its work. A forward that needs longer, or never does, is timed from its inputs on."""
_AMPERE = 8
"""The first generation whose L2 keeps lines on request."""
_LAST_WORD_S = 0.05
"""For the answer of a worker whose time is up."""
_LOOK_S = 2e-4
"""How often the connection is looked at while the page is watched: a worker may die, or fail."""


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """A sample that was taken. Its outputs lie on the desk until the next one."""

    timed: Timed
    answer: Answer
    glimpse: Glimpse
    calls: int


class Clock(Protocol):
    """The judge's window around one sample."""

    def sample(self, link: WorkerLink, sets: Sequence[Drawn], timeout_s: float, *, wall: bool = False) -> Sampled:
        """One forward on each of `sets`; `wall`: by the host's clock. Raises WorkerFailed."""
        ...


def clock_for(desk: Desk, device: torch.device) -> Clock:
    """The clock of a kind of device."""
    return HostClock(desk) if device.type == "cpu" else DeviceClock(desk, device)


class HostClock:
    """For workers that compute on the CPU."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def sample(self, link: WorkerLink, sets: Sequence[Drawn], timeout_s: float, *, wall: bool = False) -> Sampled:
        """By the host's clock in any case."""
        link.prepare(calls=len(sets))
        link.freeze()
        self._desk.put_inputs(sets)
        places = self._desk.aim(len(sets))
        with _out_of_the_way():
            start = time.perf_counter_ns()
            link.begin_sample(calls=len(sets), gate=0)
            answer = link.end_sample(expected=self._desk.outputs, structure=self._desk.structure, timeout_s=timeout_s)
            glimpse = self._desk.glimpse(places)
            window_ns = time.perf_counter_ns() - start
        return _sampled(answer, glimpse, len(sets), window_ns=window_ns, idle_ns=0, queued=True, hands_over=False)


@contextlib.contextmanager
def _out_of_the_way() -> Iterator[None]:
    """Keep this thread on the first core meanwhile, where the worker's main thread waits: only one of us ever runs.

    On the others the threads of its OpenMP spin. Beside one of those we would wait up to 4 ms for our turn to read the
    clock, and so would the worker: of samples of 4 ms every third took 20 to 100 (measured on two cores).
    """
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


class DeviceClock:
    """For workers that compute on a CUDA device."""

    def __init__(self, desk: Desk, device: torch.device) -> None:
        self._desk = desk
        self._device = device
        properties = torch.cuda.get_device_properties(device)
        size = _FLUSH_TIMES_L2 * properties.L2_cache_size
        self._keeps_lines = properties.major >= _AMPERE
        self._flush = torch.empty(size, dtype=torch.uint8, device=device)

    def sample(self, link: WorkerLink, sets: Sequence[Drawn], timeout_s: float, *, wall: bool = False) -> Sampled:
        page = link.recruit.page
        assert page is not None
        number = next(page.numbers)
        places = self._desk.aim(len(sets))
        staged = self._desk.stage_inputs(sets)
        link.prepare(calls=len(sets))
        self._forget_persisting_lines()
        if wall:
            return self._by_the_wall(link, staged, page, places, len(sets), timeout_s)
        idle_ns = self._time_to_get_through(self._flush)
        link.begin_sample(calls=len(sets), gate=number)
        queued = _watch(lambda: page.is_queued(number), link, _PATIENCE_S)
        start = time.perf_counter_ns()
        self._lay_out(staged, page, number)
        in_time = _watch(lambda: page.is_done(number), link, timeout_s) or link.has_news()
        glimpse = self._desk.glimpse(places)
        window_ns = time.perf_counter_ns() - start
        left_s = timeout_s if in_time else _LAST_WORD_S
        answer = link.end_sample(expected=self._desk.outputs, structure=self._desk.structure, timeout_s=left_s)
        return _sampled(
            answer, glimpse, len(sets), window_ns=window_ns, idle_ns=idle_ns, queued=queued, hands_over=True
        )

    def _by_the_wall(
        self, link: WorkerLink, staged: torch.Tensor, page: Page, places: torch.Tensor, calls: int, timeout_s: float
    ) -> Sampled:
        idle_ns = self._time_to_get_through(self._flush)
        self._lay_out(staged, page, 0)
        start = time.perf_counter_ns()
        link.begin_sample(calls=calls, gate=0)
        answer = link.end_sample(expected=self._desk.outputs, structure=self._desk.structure, timeout_s=timeout_s)
        glimpse = self._desk.glimpse(places)
        window_ns = time.perf_counter_ns() - start
        return _sampled(answer, glimpse, calls, window_ns=window_ns, idle_ns=idle_ns, queued=True, hands_over=True)

    def _forget_persisting_lines(self) -> None:
        """Lines of L2 that a kernel asked to be kept would outlive the flush."""
        if self._keeps_lines:
            with torch.cuda.device(self._device):
                Driver().check("cuCtxResetPersistingL2Cache")

    def _lay_out(self, staged: torch.Tensor, page: Page, number: int) -> None:
        """Inputs, a cold L2, and the gate. Whatever goes wrong, the worker's stream is not left standing."""
        try:
            self._desk.put_staged(staged)
            self._flush.zero_()
            torch.cuda.synchronize(self._device)
        finally:
            page.open_gate(number)

    def _time_to_get_through(self, tensor: torch.Tensor) -> int:
        torch.cuda.synchronize(self._device)
        start = time.perf_counter_ns()
        tensor[:1].zero_()
        torch.cuda.synchronize(self._device)
        return time.perf_counter_ns() - start


def _sampled(
    answer: Answer, glimpse: Glimpse, calls: int, *, window_ns: int, idle_ns: int, queued: bool, hands_over: bool
) -> Sampled:
    timed = Timed(
        claimed_ns=answer.total_ns,
        enqueue_ns=answer.enqueue_ns if hands_over else None,
        window_ns=float(window_ns),
        idle_ns=float(idle_ns),
        queued=queued,
    )
    return Sampled(timed=timed, answer=answer, glimpse=glimpse, calls=calls)


def _watch(happened: Callable[[], bool], link: WorkerLink, timeout_s: float) -> bool:
    """Wait until it happened, the worker says something (an answer, a failure, its end), or time is up."""
    deadline = time.perf_counter() + timeout_s
    look = time.perf_counter() + _LOOK_S
    while not happened():
        now = time.perf_counter()
        if now >= look:
            if now >= deadline or link.has_news():
                return happened()
            look = now + _LOOK_S
    return True
