"""The walls of the architecture, read off the source: who may import what, load what, print what."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "kbench"
FILES = sorted(PACKAGE.rglob("*.py"))

LAYERS = (
    {"errors", "importing", "model", "stats", "problem_module"},
    {"protocol", "layout", "extract"},
    {"machine", "plan", "arena", "assignment", "store"},
    {"config", "sandbox", "compare", "page"},
    {"worker", "report"},
    {"remote"},
    {"build", "judge"},
    {"measure", "repro", "sanitize"},
    {"engine", "lint"},
    {"selftest", "profile"},
    {"cli"},
)
"""From the pure core to the command line. A room may use what stands in its own row or above it."""
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}
DOWNWARD = {("store", "report")}
"""The one exception: a run writes its own tables as it ends."""


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def trees() -> Iterator[tuple[Path, ast.AST]]:
    for path in FILES:
        yield path, ast.parse(path.read_text())


def test_every_room_has_its_place() -> None:
    rooms = {room_of(path) for path in FILES} - {"__init__", "__main__"}
    assert rooms == set(RANK)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_imports_upwards(path: Path) -> None:
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    for name in imports(ast.parse(path.read_text())):
        parts = name.split(".")
        if parts[0] != "kbench" or len(parts) < 2 or parts[1] not in RANK:
            continue
        allowed = RANK[parts[1]] <= RANK[room] or (room, parts[1]) in DOWNWARD
        assert allowed, f"{room} must not import {name}"


def test_only_the_worker_imports_a_candidate_and_only_problems_are_executed_elsewhere() -> None:
    loaders = {
        path.relative_to(PACKAGE).as_posix()
        for path, tree in trees()
        for call in calls(tree)
        if call in ("exec", "eval", "__import__", "runpy.run_path") or call.endswith("spec_from_file_location")
    }
    assert loaders == {"worker/loader.py", "worker/extensions.py", "problem_module.py"}


def test_nothing_that_a_worker_wrote_is_unpickled() -> None:
    unpicklers = {
        path.relative_to(PACKAGE).as_posix()
        for path, tree in trees()
        for call in calls(tree)
        if call in ("pickle.loads", "pickle.load", "marshal.loads", "torch.load", "joblib.load", "shelve.open")
    }
    assert unpicklers == {"worker/main.py"}


def test_only_the_two_ends_of_a_lane_have_a_channel_that_unpickles() -> None:
    """Both are ours, and no worker has a descriptor of it."""
    channels = {
        path.relative_to(PACKAGE).as_posix()
        for path, tree in trees()
        for name in imports(tree)
        if name.startswith("multiprocessing")
    }
    assert channels == {"engine/lane_process.py", "engine/lane_program.py"}


def test_only_the_command_line_prints_or_exits() -> None:
    # A worker prints into its own capped log; the programs of a script and of a profile run there, never in kbench;
    # a lane has a process of its own.
    allowed = {"worker/main.py", "repro/program.py", "profile/program.py", "engine/lane_program.py"}
    for path, tree in trees():
        name = path.relative_to(PACKAGE).as_posix()
        if name.startswith("cli/") or name in allowed:
            continue
        loud = {"print", "click.echo", "sys.exit", "exit", "quit"} & set(calls(tree))
        assert not loud, f"{name} calls {loud}"


def test_worker_code_never_reaches_the_judge() -> None:
    for path, tree in trees():
        if room_of(path) in ("worker", "sandbox"):
            reached = [n for n in imports(tree) if n.split(".")[:2] in (["kbench", "judge"], ["kbench", "remote"])]
            assert not reached, f"{path} imports {reached}"
