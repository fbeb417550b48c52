"""The judge's side of the sandbox: start the fork server, ask it for confined processes, end them."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from kbench.errors import InfraError
from kbench.sandbox import confine, identity, supervisor
from kbench.sandbox.removal import remove_folder

START_TIMEOUT_S = 120.0
"""A cold `import torch` from a slow disk can take most of a minute."""
_ENDING_TIMEOUT_S = 30.0
_FIRST_UID = 61000
_UIDS = 4000


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a confined process ended, as its supervisor saw it."""

    exit_code: int | None
    signal: int | None
    exceeded: str
    """The limit that ended it: `memory`, `disk` or `processes`; empty where it kept them all."""
    killed: bool
    """The judge closed the lifeline before the process ended by itself."""
    peak_bytes: int
    output_dropped: int
    setup_error: str
    layers: Mapping[str, str] = field(default_factory=dict)


class Confined:
    """One confined process and its scratch folder. Both are gone, with the whole process tree, after `close`."""

    def __init__(self, lifeline: socket.socket, scratch: Path, log: Path, uid: int | None) -> None:
        self._lifeline = lifeline
        self._ending: Ending | None = None
        self._report = b""
        self._unread = b""
        self._frozen: list[int] = []
        self._reading = threading.Lock()
        self.scratch = scratch
        self.log = log
        self.uid = uid

    def freeze(self) -> bool:
        """Stop the whole tree until `thaw`; True when it stands still, or has ended."""
        with self._reading, contextlib.suppress(OSError):
            if self._ending is not None:
                return True
            self._lifeline.sendall(supervisor.FREEZE)
            line = self._read_line(_ENDING_TIMEOUT_S)
            if not line.startswith(supervisor.OBEYED):
                self._report = line  # it ended just now, and this is its report
                return True
            below = json.loads(line[len(supervisor.OBEYED) :])
            self._frozen = below or []
            return below is not None
        return True

    def thaw(self) -> None:
        """Let it go on."""
        for pid in reversed(self._frozen):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGCONT)
        self._frozen = []

    def log_to(self, log: Path) -> None:
        """Append what it prints from now on to `log`."""
        self.log = log
        with self._reading, log.open("ab") as output, contextlib.suppress(OSError):  # where it has ended nothing comes
            socket.send_fds(self._lifeline, [supervisor.LOG], [output.fileno()])

    @property
    def alive(self) -> bool:
        """Whether it runs, as far as is known: its supervisor speaks up as soon as it does not."""
        try:
            return self._ending is None and not select.select([self._lifeline], [], [], 0)[0]
        except (ValueError, OSError):  # another thread closed it just now
            return False

    @property
    def frozen(self) -> bool:
        """Whether it stands still."""
        return bool(self._frozen)

    @property
    def ending(self) -> Ending | None:
        """As `wait` gave it; None before."""
        return self._ending

    def kill(self) -> Ending:
        """SIGKILL the whole tree and wait until it is gone. May be called from another thread."""
        with contextlib.suppress(OSError):
            self._lifeline.shutdown(socket.SHUT_WR)
        return self.wait(_ENDING_TIMEOUT_S)

    def wait(self, timeout_s: float) -> Ending:
        """Wait for the process to end by itself. Raises InfraError when it does not in time."""
        with self._reading:
            if self._ending is None:
                self._ending = self._read_ending(timeout_s)
                self._lifeline.close()
            return self._ending

    def close(self) -> Ending:
        """Kill what still runs and remove the scratch folder."""
        ending = self.kill()
        remove_folder(self.scratch)
        return ending

    def _read_ending(self, timeout_s: float) -> Ending:
        line = self._report or self._read_line(timeout_s)
        while line.startswith(supervisor.OBEYED):  # an answer that nobody waited for
            line = self._read_line(timeout_s)
        return Ending(**json.loads(line))

    def _read_line(self, timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._lifeline], [], [], left)[0]:
                raise InfraError("a worker's supervisor did not report its end", why=f"waited {timeout_s:.0f} s")
            chunk = self._lifeline.recv(65536)
            if not chunk:
                raise InfraError("a worker's supervisor vanished without a report", where=str(self.log))
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line


class ForkServer:
    """Owns the fork server process and the scratch folders of everything it forks. Thread-safe."""

    def __init__(
        self,
        *,
        modules: Sequence[str],
        environment: Mapping[str, str],
        visible: Sequence[str] = (),
        hidden: Sequence[str] = (),
    ) -> None:
        """Start the server, which imports `modules` once; whoever spawns waits for that.

        Every process forked from it can read the folders of `visible` and sees those of `hidden` empty.
        """
        self.root = Path(tempfile.mkdtemp(prefix="kbench-"))
        self.root.chmod(0o711)
        self._visible = tuple(dict.fromkeys([*interpreter_folders(), *visible]))
        self._hidden = tuple(hidden)
        self._lock = threading.Lock()
        self._uids = itertools.cycle(range(_FIRST_UID, _FIRST_UID + _UIDS))
        self._numbers = itertools.count()
        self._live: weakref.WeakSet[Confined] = weakref.WeakSet()
        self._starting = threading.Lock()
        self._ready = False
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, (self.root / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "kbench.sandbox.server", str(theirs.fileno()), str(self.root), *modules],
                pass_fds=[theirs.fileno()],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
            )

    def await_ready(self) -> None:
        """Raises InfraError when the server does not come up."""
        with self._starting:
            if self._ready:
                return
            ready = select.select([self._requests], [], [], START_TIMEOUT_S)[0]
            if not ready or self._requests.recv(64) != b"ready":
                said = (self.root / "server.log").read_text(errors="replace")[-2000:]
                self.close()
                raise InfraError("the fork server did not start", why=said.strip() or "no answer", hint="kbench doctor")
            self._ready = True

    def new_scratch(self, *, uid: int | None) -> Path:
        """An empty folder that only `uid` (or we) can use."""
        scratch = self.root / f"w{next(self._numbers)}"
        scratch.mkdir(mode=0o700)
        if uid is not None:
            os.chown(scratch, uid, uid)
        return scratch

    def new_uid(self) -> int | None:
        """A user of its own for one worker, or None where we have no right to one."""
        with self._lock:
            held = {process.uid for process in self._live if process.ending is None}
            uid = next(each for each in self._uids if each not in held)
        return uid if identity.can_become(uid) else None

    def shared_folder(self, name: str) -> Path:
        """A folder below our scratch that several trusted workers share, owned by a user of its own."""
        folder = self.root / name
        if not folder.exists():
            folder.mkdir(mode=0o700)
            if (uid := self.new_uid()) is not None:
                os.chown(folder, uid, uid)
        return folder

    def owner_of(self, folder: Path) -> int | None:
        """The user of its own that a shared folder belongs to, or None where it is ours."""
        owner = folder.stat().st_uid
        return None if owner == os.geteuid() else owner

    def spawn(
        self,
        target: str,
        task: Mapping[str, Any],
        *,
        log: Path,
        limits: confine.Limits,
        scratch: Path,
        uid: int | None,
        descriptors: Sequence[int] = (),
        writable: Sequence[str] = (),
        offered: Sequence[str] = (),
    ) -> Confined:
        """Run `module:function(task, descriptors)` in a new confined process.

        `log` gets what it prints (appended); `descriptors` arrive in it in this order; `writable` are folders that
        it may write besides `scratch`; `offered` are folders that it may read where that costs no wall.
        Raises InfraError when the server is gone, or did not come up.
        """
        self.await_ready()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        request = {
            "target": target,
            "task": dict(task),
            "scratch": str(scratch),
            "uid": uid,
            "visible": self._visible,
            "writable": list(writable),
            "offered": list(offered),
            "hidden": self._hidden,
            "limits": limits.__dict__,
        }
        with theirs, log.open("ab") as output:
            payload = [json.dumps(request).encode()]
            try:
                with self._lock:
                    socket.send_fds(self._requests, payload, [theirs.fileno(), output.fileno(), *descriptors])
            except OSError as error:
                ours.close()
                raise InfraError("the fork server is gone", why=str(error), hint="kbench doctor") from error
        process = Confined(ours, scratch, log, uid)
        with self._lock:
            self._live.add(process)
        return process

    def kill_all(self) -> None:
        """Kill every confined process that still runs, with its tree; whoever speaks with one sees it gone."""
        with self._lock:
            live = list(self._live)
        for process in live:
            process.kill()

    def close(self) -> None:
        """Hang up (the server then ends) and remove all scratch folders."""
        self._requests.close()
        if not self._ready:  # nobody was forked, and it would hear of this only when it has imported all
            self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        remove_folder(self.root)

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def interpreter_folders() -> tuple[str, ...]:
    """What a worker must be able to read to run Python at all: interpreter, packages, kbench itself."""
    package = Path(__file__).resolve().parents[2]
    folders = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parents[1]}
    folders |= {Path(entry).resolve() for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")}
    return tuple(sorted({str(folder.resolve()) for folder in folders} | {str(package / "kbench")}))
