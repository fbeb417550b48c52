"""Who may time at once: locks in a folder of their own, held by threads of this process."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import pytest

from kbench.engine import lock
from kbench.engine.lock import context_turn, timing_lock
from kbench.errors import InfraError
from kbench.machine.gpus import Gpu

CPU = None
FIRST, SECOND = (Gpu(name="H200", driver="1", memory_gb=1.0, uuid=uuid) for uuid in ("GPU-1", "GPU-2"))
PATIENCE_S = 30.0


class Waiter:
    """Takes a lock in a thread, and tells when it has it and whether it had to wait."""

    def __init__(self, which: Gpu | None, folder: Path) -> None:
        self.told, self.has_it = threading.Event(), threading.Event()
        self._which, self._folder = which, folder
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with timing_lock(self._which, waiting=lambda _: self.told.set(), folder=self._folder):
            self.has_it.set()

    def join(self) -> bool:
        """Whether it had the lock in the end."""
        self._thread.join(PATIENCE_S)
        return self.has_it.is_set()


@pytest.mark.parametrize(
    ("held", "wanted"), [(CPU, CPU), (CPU, FIRST), (FIRST, CPU), (FIRST, FIRST)], ids=["cc", "cg", "gc", "gg"]
)
def test_what_would_disturb_waits(tmp_path: Path, held: Gpu | None, wanted: Gpu | None) -> None:
    with timing_lock(held, waiting=lambda said: pytest.fail(said), folder=tmp_path):
        waiter = Waiter(wanted, tmp_path)
        assert waiter.told.wait(PATIENCE_S)
        assert not waiter.has_it.is_set()
    assert waiter.join()


def test_two_devices_are_timed_side_by_side(tmp_path: Path) -> None:
    with timing_lock(FIRST, waiting=lambda said: pytest.fail(said), folder=tmp_path):
        waiter = Waiter(SECOND, tmp_path)
        assert waiter.join()
        assert not waiter.told.is_set()


def test_every_user_can_open_the_lock(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with timing_lock(FIRST, waiting=lambda _: None, folder=tmp_path):
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"kbench.lock": 0o666, "kbench-GPU-1.lock": 0o666}


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kbench.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InfraError, match="cannot lock"), timing_lock(CPU, waiting=lambda _: None, folder=tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_contexts_are_made_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    first = contextlib.ExitStack()

    def sleep(_seconds: float) -> None:
        said.append("waits")
        first.close()

    monkeypatch.setattr("time.sleep", sleep)
    first.enter_context(context_turn(folder=tmp_path))
    with context_turn(folder=tmp_path):
        said.append("has it")
    with context_turn(folder=tmp_path):
        said.append("again")
    assert said == ["waits", "has it", "again"]


def test_a_turn_that_does_not_end_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_TURN_S", 0.0)
    with context_turn(folder=tmp_path), context_turn(folder=tmp_path):
        pass
    with pytest.raises(InfraError, match="cannot lock"), context_turn(folder=tmp_path / "nowhere"):
        pass
