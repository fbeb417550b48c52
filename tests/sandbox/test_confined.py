"""All the walls together, around a worker that really tries to pass them, as root and as a plain user."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from kbench.sandbox.confine import LAYERS, Limits, missing
from sandbox.drive import HIDDEN_NODE, SECRET

pytestmark = pytest.mark.workers

ROOT = Path(__file__).parents[2]
AS_ROOT = os.geteuid() == 0
NOBODY = 65534
MARK = "KBENCH_TEST_MARK"
"""In the judge's environment, and in no worker's."""
MB = 1 << 20
DEPENDS_ON_THE_MACHINE = {"seccomp", "landlock", "proc", "read_only"}
NOT_REACHED = {"EPERM", "EACCES", "EROFS", "ENOENT", "ESRCH", "ECONNREFUSED", "ENETUNREACH"}


def environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", MARK: "secret"}


@cache
def python_for_nobody() -> str | None:
    """An interpreter that a plain user may run, which one in root's home is not."""
    for python in (sys.executable, "/usr/bin/python3"):
        check = [python, "-c", "import sandbox.drive, sys; assert sys.version_info >= (3, 11)"]
        try:
            done = subprocess.run(
                check, env=environment(), cwd="/", user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True,
                check=False,
            )  # fmt: skip
        except OSError:
            continue
        if done.returncode == 0:
            return python
    return None


def confine(user: str, attempts: dict[str, list[Any]], **limits: int) -> dict[str, Any]:
    """Make `attempts` in a worker of a judge who is `root` or a `plain` user."""
    identity: dict[str, Any] = {}
    python: str | None = sys.executable
    if user == "root" and not AS_ROOT:
        pytest.skip("not root")
    if user == "plain" and AS_ROOT:
        python = python_for_nobody()
        identity = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    if python is None:
        pytest.skip("a plain user can run no Python here")
    done = subprocess.run(
        [python, "-m", "sandbox.drive", json.dumps(attempts), json.dumps(limits)],
        cwd="/", env=environment(), capture_output=True, text=True, check=False, **identity,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert not result["left"]
    if user == "plain" and (state := result["ending"]["layers"]["user_namespace"]) != "on":
        pytest.skip(f"user namespaces are {state}")
    return result


@pytest.fixture(scope="module", params=["root", "plain"])
def told(request: pytest.FixtureRequest, listeners: dict[str, Any], open_folder: Path) -> dict[str, Any]:
    """What came of every attempt that does not end the worker, and its layers."""
    attempts: dict[str, list[Any]] = {
        "write_outside": [str(open_folder)],
        "read": [f"$OTHER/{SECRET}"],
        "names": ["$OTHER/.."],
        "write_to_node": [HIDDEN_NODE],
        "connect_tcp": [listeners["port"]],
        "connect_named": [listeners["path"]],
        "kill": [os.getpid()],
    }
    alone = ("write_where_allowed", "processes", "environments", "descriptors", "attach_to_init", "init_memory")
    attempts |= {name: [] for name in (*alone, "mount", "unshare_users", "become_root", "status")}
    result = confine(request.param, attempts)
    assert not result["ending"]["setup_error"]
    return {**result["told"], "layers": result["ending"]["layers"]}


@pytest.fixture(scope="module")
def listeners() -> Iterator[dict[str, Any]]:
    """Daemons on this machine that anybody may talk to."""
    folder = "/run" if os.access("/run", os.W_OK) else tempfile.gettempdir()
    path = Path(folder) / f"kbench-test-{os.getpid()}.sock"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as named:
        named.bind(str(path))
        path.chmod(0o777)
        named.listen()
        yield {"port": tcp.getsockname()[1], "path": str(path)}
    path.unlink()


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A folder that anybody may write, and that no private file system covers."""
    for parent in (*map(Path, ("/opt", "/srv", "/var/lib")), ROOT):
        if os.access(parent, os.W_OK):
            with tempfile.TemporaryDirectory(dir=parent) as folder:
                Path(folder).chmod(0o777)
                yield Path(folder)
            return
    pytest.skip("no folder to write")


def test_every_layer_is_reported_and_none_is_missing(told: dict[str, Any]) -> None:
    assert set(told["layers"]) == set(LAYERS)
    lacking = missing(told["layers"])
    if lacking and set(lacking) <= DEPENDS_ON_THE_MACHINE:
        pytest.skip(f"not here: {lacking}")
    assert not lacking


def test_nothing_is_written_outside_the_private_folders(told: dict[str, Any], open_folder: Path) -> None:
    assert told["write_outside"] == ("EROFS" if told["layers"]["read_only"] == "on" else "EACCES")
    assert not list(open_folder.iterdir())


def test_private_folders_device_nodes_and_programs_work(told: dict[str, Any]) -> None:
    assert told["write_where_allowed"] == "wrote"
    assert not any(Path(folder, "from-the-worker").exists() for folder in ("/tmp", "/dev/shm", "/var/tmp"))


def test_another_workers_folder_is_not_there(told: dict[str, Any]) -> None:
    assert told["read"] in NOT_REACHED
    assert len(told["names"]) == 1 or told["names"] in NOT_REACHED


def test_a_hidden_device_node_cannot_be_opened(told: dict[str, Any]) -> None:
    with Path(HIDDEN_NODE).open("wb", buffering=0) as node, pytest.raises(OSError, match="No space left"):
        node.write(b"x")
    assert told["write_to_node"] == "EACCES"


@pytest.mark.parametrize("attempt", ["connect_tcp", "connect_named"])
def test_no_daemon_of_the_machine_answers(told: dict[str, Any], attempt: str) -> None:
    assert told[attempt] in NOT_REACHED


def test_no_process_of_the_machine_is_seen_or_signalled(told: dict[str, Any]) -> None:
    assert told["processes"] <= 3  # init, the worker, and nobody else but perhaps a child of its own
    assert told["kill"] in NOT_REACHED


def test_the_judges_environment_is_not_there(told: dict[str, Any]) -> None:
    assert "PYTHONPATH" in told["environments"]
    assert MARK not in told["environments"]


def test_no_descriptor_but_its_own(told: dict[str, Any]) -> None:
    assert len(told["descriptors"]) == 4  # nothing to read, the log twice, and the one that it was given
    assert told["descriptors"][:3] == [0, 1, 2]


@pytest.mark.parametrize("attempt", ["attach_to_init", "init_memory", "mount", "unshare_users", "become_root"])
def test_no_way_to_more_rights(told: dict[str, Any], attempt: str) -> None:
    assert told[attempt] in {"EPERM", "EACCES", "EINVAL"}  # EINVAL: root does not exist in its user namespace


def test_it_holds_no_capability_and_can_get_none(told: dict[str, Any]) -> None:
    status = told["status"]
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == ("2" if told["layers"]["seccomp"] == "on" else "0")


@pytest.mark.parametrize("user", ["root", "plain"])
@pytest.mark.parametrize(
    ("attempt", "size", "limits", "exceeded"),
    [
        ("hide_memory", 320, {"memory_bytes": 256 * MB}, "memory"),
        ("fill_shared_memory", 320, {"memory_bytes": 256 * MB}, "memory"),
        ("fill_disk", 64, {"scratch_bytes": 32 * MB}, "disk"),
        ("fill_disk_unseen", 64, {"scratch_bytes": 32 * MB}, "disk"),
        ("nest_folders", 2500, {}, "disk"),
    ],
)
def test_a_bomb_is_defused(user: str, attempt: str, size: int, limits: dict[str, int], exceeded: str) -> None:
    result = confine(user, {attempt: [size]}, **limits)
    assert result["ending"]["exceeded"] == exceeded
    assert result["told"] is None


@pytest.mark.parametrize("user", ["root", "plain"])
def test_processes_are_bounded(user: str) -> None:
    result = confine(user, {"start_processes": [200]}, processes=50)
    bounded_by_the_kernel = result["told"] is not None and result["told"]["start_processes"] < 50
    assert bounded_by_the_kernel or result["ending"]["exceeded"] == "processes"


def test_default_limits_leave_room_for_honest_work() -> None:
    limits = Limits(memory_bytes=1)
    assert limits.processes >= 1024 and limits.scratch_bytes >= 1 << 30 and limits.scratch_files >= 100_000
