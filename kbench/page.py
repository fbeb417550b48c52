"""Four words of host memory that the judge shares with one worker, so that neither waits for a message inside a timed
window.

    word 0   gate    the judge's: a stream of the worker stands still until it holds the sample's number
    word 16  queued  the worker's: all of the sample's work has been put on the stream
    word 32  done    the worker's: the device has finished it, outputs and all
    word 48  awake   the worker's: it has made its context, and waits to be told what for

The words lie 64 bytes apart, each in a cache line of its own. What the worker writes here is a claim like any other:
one that says `done` too early is found out by the outputs, which the judge reads at once.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap

from kbench.arena import Driver

PAGE_BYTES = 4096
_GATE, _QUEUED, _DONE, _AWAKE = 0, 16, 32, 48
_REGISTER_PORTABLE_AND_MAPPED = 3
_WAIT_UNTIL_AT_LEAST = 0


class Page:
    """The shared words, mapped from a descriptor of `PAGE_BYTES` bytes."""

    def __init__(self, descriptor: int) -> None:
        self._map = mmap.mmap(descriptor, PAGE_BYTES)
        self._words = memoryview(self._map).cast("I")
        self._on_device: ctypes.c_uint64 | None = None
        self.numbers = itertools.count(1)
        """Of samples: the gate never shows a smaller one than before."""

    def open_gate(self, number: int) -> None:
        """Let the stream that waits for `number` go on."""
        self._words[_GATE] = number

    def say_queued(self, number: int) -> None:
        """The sample's work is on the stream."""
        self._words[_QUEUED] = number

    def say_done(self, number: int) -> None:
        """The sample's work is finished."""
        self._words[_DONE] = number

    def say_awake(self) -> None:
        """The context is made, or cannot be."""
        self._words[_AWAKE] = 1

    def is_awake(self) -> bool:
        """Whether the worker said so. It had seen nobody's code by then."""
        return self._words[_AWAKE] == 1

    def is_queued(self, number: int) -> bool:
        """Whether the worker said so of this sample."""
        return self._words[_QUEUED] == number

    def is_done(self, number: int) -> bool:
        """Whether the worker said so of this sample."""
        return self._words[_DONE] == number

    def hold(self, stream: int, number: int) -> None:
        """Make a CUDA stream (its handle) stand still until the gate shows `number`. Raises InfraError."""
        driver = Driver()
        if self._on_device is None:
            address = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(self._map)))
            size, flags = ctypes.c_size_t(PAGE_BYTES), ctypes.c_uint(_REGISTER_PORTABLE_AND_MAPPED)
            driver.check("cuMemHostRegister_v2", address, size, flags)
            self._on_device = ctypes.c_uint64()
            driver.check("cuMemHostGetDevicePointer_v2", ctypes.byref(self._on_device), address, ctypes.c_uint(0))
        gate = ctypes.c_uint64(self._on_device.value + 4 * _GATE)
        until = ctypes.c_uint(_WAIT_UNTIL_AT_LEAST)
        driver.check("cuStreamWaitValue32_v2", ctypes.c_void_p(stream), gate, ctypes.c_uint32(number), until)
