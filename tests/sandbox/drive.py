"""Stand in for the judge: one confined process that makes the attempts given on the command line, as whoever we are.

Prints a JSON object: `told` (the outcomes, or null where the worker never came to tell), `ending`, and `left` (whether
anything of the scratch folders is left).
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from kbench.sandbox.client import ForkServer
from kbench.sandbox.confine import Limits

_WAIT_S = 60.0
HIDDEN_NODE = "/dev/full"
"""Anybody can open it, and it refuses whatever is written to it."""
SECRET = "another-worker's-file"


def main() -> None:
    """Arguments: the attempts (name to arguments; `$OTHER` is another worker's folder) and changed limits, as JSON."""
    wanted, limits = json.loads(sys.argv[1]), json.loads(sys.argv[2])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ["PYTHONPATH"]}
    with (
        tempfile.TemporaryDirectory() as folder,
        ForkServer(modules=["sandbox.attempts"], environment=environment, hidden=[folder, HIDDEN_NODE]) as server,
    ):
        server.await_ready()
        result = drive(server, Path(folder), wanted, Limits(**{"memory_bytes": 1 << 30, **limits}))
        root = server.root
    print(json.dumps({**result, "left": root.exists()}))


def drive(server: ForkServer, folder: Path, wanted: dict[str, list[Any]], limits: Limits) -> dict[str, Any]:
    """Run the attempts in one confined process and wait for its end."""
    other = server.new_scratch(uid=server.new_uid())
    (other / SECRET).write_text("private")
    attempts = {name: [str(other) if a == "$OTHER" else a for a in args] for name, args in wanted.items()}
    uid = server.new_uid()
    scratch = server.new_scratch(uid=uid)
    read, write = os.pipe()
    process = server.spawn(
        "sandbox.attempts:run", {"attempts": attempts}, log=folder / "log", limits=limits, scratch=scratch, uid=uid,
        descriptors=[write],
    )  # fmt: skip
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        ending = process.wait(_WAIT_S)
        said = answer.read()
    process.close()
    return {"told": json.loads(said) if said else None, "ending": dataclasses.asdict(ending)}


if __name__ == "__main__":
    main()
