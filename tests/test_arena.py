"""Memory shared between judge and worker, on the host."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kbench import arena
from kbench.errors import InfraError

CPU = torch.device("cpu")


def test_an_arena_is_zeroed_bytes_of_the_size_asked_for() -> None:
    made = arena.create(1000, CPU)
    assert made.data.dtype is torch.uint8 and made.data.shape == (1000,)
    assert not made.data.any()
    assert made.descriptor >= 0 and made.handle == ""
    made.close()


def test_another_mapping_sees_what_is_written_both_ways() -> None:
    made = arena.create(256, CPU)
    other = arena.map_host(made.descriptor, 256)
    made.data[3] = 7
    other[4] = 9
    assert (int(other[3]), int(made.data[4])) == (7, 9)
    made.close()


@pytest.mark.parametrize("size", [0, 128, 4096])
def test_nobody_who_has_the_descriptor_can_resize_it(size: int) -> None:
    """A worker that shrinks it would kill the judge with SIGBUS at the next read."""
    made = arena.create(256, CPU)
    with pytest.raises(PermissionError):
        os.ftruncate(made.descriptor, size)
    made.close()


def test_a_mapping_outlives_the_closed_descriptor() -> None:
    made = arena.create(256, CPU)
    other = arena.map_host(made.descriptor, 256)
    made.close()
    other[0] = 1
    assert int(other[0]) == 1


def test_closing_twice_closes_once() -> None:
    made = arena.create(256, CPU)
    descriptor = made.descriptor
    made.close()
    made.close()
    assert made.descriptor == -1
    with pytest.raises(OSError):
        os.fstat(descriptor)


def test_no_memory_left_is_our_own_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[int] = []
    really_close = os.close

    def fail(*_: int) -> None:
        raise OSError(28, "No space left on device")

    def close(descriptor: int) -> None:
        closed.append(descriptor)
        really_close(descriptor)

    monkeypatch.setattr(os, "ftruncate", fail)
    monkeypatch.setattr(os, "close", close)
    with pytest.raises(InfraError, match="no shared memory"):
        arena.create(256, CPU)
    assert len(closed) == 1


def test_the_descriptor_is_not_inherited_by_programs_the_judge_starts() -> None:
    made = arena.create(256, CPU)
    assert not os.get_inheritable(made.descriptor)
    made.close()


@pytest.mark.parametrize(("code", "lacks_memory"), [(2, True), (1, False), (700, False)])
def test_of_the_drivers_failures_one_is_that_there_is_no_memory(code: int, lacks_memory: bool) -> None:
    driver: Any = arena.Driver.__new__(arena.Driver)
    driver._library = SimpleNamespace(cuMemAlloc_v2=lambda: code, cuGetErrorName=lambda *_: 0)
    with pytest.raises(InfraError, match=f"cuMemAlloc_v2 failed: {code}") as failed:
        driver.check("cuMemAlloc_v2")
    assert isinstance(failed.value, arena.NoDeviceMemory) == lacks_memory
