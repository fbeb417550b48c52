"""Precompiled headers: made once, whole or not at all, never missed. The compiler is a script that writes a file."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from kbench.build import headers
from kbench.build.cache import BuildCache
from kbench.build.headers import PrecompiledHeaders, compile_command

COMPILER = """#!{python}
import pathlib, sys, time
if "--version" in sys.argv:
    print("{says}"); sys.exit()
made, read = (pathlib.Path(sys.argv[sys.argv.index(flag) + 1]) for flag in ("-o", "-MF"))
with open("{folder}/calls", "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\\n")
time.sleep({seconds})
if {fails}:
    sys.exit("the compiler's last words")
made.write_text("compiled")
read.write_text("extension.h.gch: {folder}/included.h \\\\\\n {folder}/included.h\\n")
"""


class Workshop:
    """A folder for headers and a compiler beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "headers"
        self.notes: list[str] = []
        self.compiler()
        (folder / "included.h").write_text("int x;")

    def compiler(self, *, says: str = "Free Software Foundation", seconds: float = 0, fails: bool = False) -> None:
        path = self.folder / "g++"
        path.write_text(
            COMPILER.format(python=sys.executable, folder=self.folder, says=says, seconds=seconds, fails=fails)
        )
        path.chmod(0o755)

    def open(self) -> PrecompiledHeaders:
        return PrecompiledHeaders(self.root, facts={"torch": "2"}, environment={}, note=self.notes.append)

    def obtain(self, *flags: str) -> Path | None:
        with self.open() as made:
            made.ask([flags], wait=True)
            return made.ready().get(" ".join(flags))

    @property
    def calls(self) -> int:
        return len((self.folder / "calls").read_text().splitlines()) if (self.folder / "calls").exists() else 0

    def compilers(self) -> list[int]:
        """Processes that run our compiler."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if f"{self.folder}/g++".encode() in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        return found

    def left_over(self) -> list[Path]:
        return list(self.root.glob(".making-*"))


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    def command(flags: Sequence[str]) -> list[str]:
        return [str(tmp_path / "g++"), *flags]

    monkeypatch.setattr(headers, "compile_command", command)
    return Workshop(tmp_path)


def test_they_are_made_once_for_each_set_of_flags(workshop: Workshop) -> None:
    first = workshop.obtain("-O3")
    assert first is not None and (first / "torch/extension.h.gch").read_text() == "compiled"
    assert workshop.obtain("-O3") == first and workshop.calls == 1
    assert workshop.obtain("-O3", "-fopenmp") not in (first, None) and workshop.calls == 2


def test_nobody_can_write_them_and_everybody_can_read_them(workshop: Workshop) -> None:
    folder = workshop.obtain()
    assert folder is not None
    for path in folder.rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o222
        assert stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444


def test_a_header_that_has_changed_since_makes_them_anew(workshop: Workshop) -> None:
    first = workshop.obtain()
    (workshop.folder / "included.h").write_text("int x, y;")
    assert workshop.obtain() == first and workshop.calls == 2


def test_without_them_builds_go_on_and_somebody_says_why(workshop: Workshop) -> None:
    workshop.compiler(fails=True)
    assert workshop.obtain("-O3") is None
    assert "-O3" in workshop.notes[-1] and "the compiler's last words" in workshop.notes[-1]
    assert workshop.left_over() == []
    workshop.compiler()
    assert workshop.obtain("-O3") is not None


def test_a_full_disk_is_left_alone(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(workshop.folder)._replace(free=1 << 30)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert workshop.obtain() is None
    assert workshop.calls == 0 and "full" in workshop.notes[-1]


def test_a_folder_that_cannot_be_written_is_no_error(workshop: Workshop) -> None:
    workshop.root.write_text("a file")
    assert workshop.obtain() is None
    assert workshop.notes


def test_another_compiler_has_no_such_headers(workshop: Workshop) -> None:
    workshop.compiler(says="clang version 19")
    assert workshop.obtain() is None
    assert workshop.calls == 0


def test_one_run_makes_a_few_sets_at_most(workshop: Workshop) -> None:
    with workshop.open() as made:
        made.ask([(f"-O{level}",) for level in range(9)], wait=True)
        assert len(made.ready()) == workshop.calls == 4


def test_who_does_not_wait_goes_on_without(workshop: Workshop) -> None:
    workshop.compiler(seconds=0.3)
    with workshop.open() as made:
        made.ask([()], wait=False)
        assert made.ready() == {}
        made.settle()
        assert len(made.ready()) == 1


def test_what_an_earlier_run_made_is_ready_at_once(workshop: Workshop) -> None:
    workshop.obtain("-O3")
    workshop.compiler(seconds=60)
    with workshop.open() as made:
        made.ask([("-O2",), ("-O3",)], wait=False)  # the former is being made meanwhile
        assert list(made.ready()) == ["-O3"]


def test_closing_gives_up_what_is_being_made(workshop: Workshop) -> None:
    workshop.compiler(seconds=60)
    start = time.monotonic()
    with workshop.open() as made:
        made.ask([()], wait=False)
        while workshop.calls == 0:
            time.sleep(0.01)
    assert time.monotonic() - start < 30
    assert workshop.left_over() == []


PROCESS = """
import sys
from pathlib import Path
from kbench.build import headers
headers.compile_command = lambda flags: [sys.argv[1] + "/g++", *flags]
with headers.PrecompiledHeaders(
    Path(sys.argv[1]) / "headers", facts={"torch": "2"}, environment={}, note=lambda text: None
) as made:
    made.ask([()], wait=True)
    print(len(made.ready()))
"""


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def start(workshop: Workshop) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", PROCESS, str(workshop.folder)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_several_processes_at_once_make_them_once(workshop: Workshop, processes: list[subprocess.Popen[str]]) -> None:
    workshop.compiler(seconds=0.5)
    processes += [start(workshop) for _ in range(3)]
    assert [process.communicate(timeout=60)[0].strip() for process in processes] == ["1", "1", "1"]
    assert workshop.calls == 1


def test_one_that_is_killed_leaves_no_lock_and_nothing_half_made(
    workshop: Workshop, processes: list[subprocess.Popen[str]]
) -> None:
    workshop.compiler(seconds=60)
    processes.append(start(workshop))
    while workshop.calls == 0:
        time.sleep(0.01)
    compiling = workshop.compilers()
    assert compiling
    processes[0].send_signal(signal.SIGKILL)
    processes[0].wait()
    deadline = time.monotonic() + 30
    while workshop.compilers():
        assert time.monotonic() < deadline, "the compiler goes on without anybody who waits for it"
    assert len(workshop.left_over()) == 1
    workshop.compiler()
    folder = workshop.obtain()
    assert folder is not None and workshop.calls == 2
    assert workshop.left_over() == []


def test_the_cache_counts_and_clears_them(workshop: Workshop) -> None:
    assert workshop.obtain() is not None
    cache = BuildCache(workshop.folder)
    stock = cache.stock(time.time())
    assert (stock.entries, stock.headers) == (1, 1) and stock.size_bytes > 0
    assert cache.trim(0, time.time()) == 0  # used within a day
    assert cache.trim(0, time.time() + 2 * 86400) == 1
    assert cache.stock(time.time()).headers == 0


def test_torch_is_asked_for_its_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "g++-99")
    command = compile_command(("-O3", "-fopenmp"))
    assert command is not None
    assert command[:3] == ["g++-99", "-x", "c++-header"]
    assert command[-2:] == ["-O3", "-fopenmp"] and "-fPIC" in command
    assert any(part.endswith("torch/include") for part in command)
    assert not any("TORCH_EXTENSION_NAME" in part for part in command)
