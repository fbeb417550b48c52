"""A judge that dies takes along everything that it had forked, however it dies."""

from __future__ import annotations

import os
import select
import signal
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from cli_process import await_no_strays

from kbench.sandbox.client import ForkServer
from kbench.sandbox.confine import Limits
from kbench.sandbox.supervisor import FREEZE

pytestmark = pytest.mark.workers

ROOT = Path(__file__).parents[2]


def linger(_: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """Target of the fork server: say that it runs, and stay."""
    os.write(descriptors[0], b"here")
    while True:
        time.sleep(3600)


def test_a_server_that_nobody_needed_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text("import signal\nsignal.pause()\n")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    with ForkServer(modules=["endless"], environment=environment) as server:
        process = server._process
    assert process.returncode == -signal.SIGTERM
    assert not server.root.exists()


@pytest.mark.parametrize("orders", [b"", FREEZE])
def test_a_judge_that_hangs_up_leaves_nobody(tmp_path: Path, orders: bytes) -> None:
    """With an order under way its answer stays unread, and then the lifeline's end is an error, not an end of file."""
    marker = f"/kbench-test-{uuid.uuid4().hex}"
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "VIRTUAL_ENV": marker,
    }  # fmt: skip
    read, write = os.pipe()
    with ForkServer(modules=["sandbox.test_orphaned"], environment=environment) as server:
        server.await_ready()
        uid = server.new_uid()
        process = server.spawn(
            "sandbox.test_orphaned:linger", {}, log=tmp_path / "log", limits=Limits(memory_bytes=1 << 30),
            scratch=server.new_scratch(uid=uid), uid=uid, descriptors=[write],
        )  # fmt: skip
        os.close(write)
        with os.fdopen(read, "rb") as said:
            assert said.read(4) == b"here"
        lifeline = process._lifeline
        if orders:
            lifeline.sendall(orders)
            assert select.select([lifeline], [], [], 30.0)[0]
        lifeline.close()
    await_no_strays(marker, str(server.root))
    assert not server.root.exists()
