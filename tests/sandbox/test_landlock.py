"""What Landlock stops by itself, without any other wall."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kbench.sandbox import landlock
from kbench.sandbox import syscalls as sc
from sandbox.child import in_child


def _version() -> int:
    try:
        return sc.landlock_version()
    except OSError:
        return 0


VERSION = _version()
pytestmark = pytest.mark.skipif(VERSION < landlock.LEAST_VERSION, reason=f"Landlock has version {VERSION} here")


def confined(action: Callable[[], Any], inside: Path) -> Any:
    def run() -> Any:
        sc.prctl(sc.PR_SET_NO_NEW_PRIVS, 1)
        landlock.restrict(writable=[str(inside)], nodes=["/dev", "/proc", "/no/such/folder"])
        return action()

    return in_child(run)


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    (tmp_path / "inside" / "deeper").mkdir(parents=True)
    return tmp_path / "inside"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("theirs")
    return tmp_path / "outside"


WRITES: dict[str, Callable[[Path], Any]] = {
    "create": lambda folder: (folder / "new").write_text("x"),
    "overwrite": lambda folder: (folder / "file").write_text("x"),
    "make a folder": lambda folder: (folder / "folder").mkdir(),
    "make a link": lambda folder: (folder / "link").symlink_to("/"),
    "rename": lambda folder: str((folder / "file").rename(folder / "other")),
    "remove": lambda folder: (folder / "file").unlink(),
}


@pytest.mark.parametrize("name", WRITES)
def test_nothing_is_written_outside(name: str, inside: Path, outside: Path) -> None:
    assert confined(lambda: WRITES[name](outside), inside) == "EACCES"
    assert [path.name for path in outside.iterdir()] == ["file"]
    assert (outside / "file").read_text() == "theirs"
    (inside / "file").write_text("own")
    assert confined(lambda: WRITES[name](inside), inside) != "EACCES"


@pytest.mark.skipif(VERSION < 3, reason="from version 3 on")
def test_nothing_is_truncated_outside(inside: Path, outside: Path) -> None:
    assert confined(lambda: os.truncate(outside / "file", 0), inside) == "EACCES"


def test_reading_and_device_nodes_stay_and_files_move_between_folders(inside: Path, outside: Path) -> None:
    def honest() -> str:
        Path("/dev/null").write_text("x")
        (inside / "file").write_text("own")
        (inside / "file").rename(inside / "deeper" / "file")
        return (outside / "file").read_text()

    assert confined(honest, inside) == "theirs"


@pytest.mark.skipif(VERSION < 4, reason="from version 4 on")
def test_no_tcp(inside: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def connect() -> None:
            socket.create_connection(server.getsockname()).close()

        assert confined(connect, inside) == "EACCES"
        assert in_child(connect) is None


@pytest.mark.skipif(VERSION < 6, reason="from version 6 on")
def test_no_signal_and_no_abstract_socket_to_the_outside(inside: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0kbench-test-{os.getpid()}")
        server.listen()

        def connect() -> None:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(server.getsockname())

        def send_signal() -> None:
            os.kill(parent, signal.SIGCONT)

        parent = os.getpid()
        for action in (connect, send_signal):
            assert confined(action, inside) == "EPERM"
            assert in_child(action) is None
