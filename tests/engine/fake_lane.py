"""Stands in for a lane's program: what it does with a pair is said by the name of its solution."""

from __future__ import annotations

import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

from kbench.engine.lane_process import BROKEN, NOTE, OUTCOME, READY, STAGE, Order
from kbench.engine.records import make_record
from kbench.model import Job, Status, Verdict


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Connection(int(sys.argv[1])) as boss:
        order: Order = boss.recv()
        if order.environment_key == "never ready":
            sys.exit(4)
        boss.send((NOTE, f"cores {sys.argv[2]}, sees {os.environ.get('CUDA_VISIBLE_DEVICES')}"))
        boss.send((READY,))
        while True:
            try:
                job, build = boss.recv()
            except EOFError:
                return
            boss.send((STAGE, job.solution.id, "judging"))
            told = act(job, order.run)
            if told:
                boss.send((BROKEN, told))
                return
            record = make_record(job, build, Verdict(status=Status.INCORRECT, reason="values"), order.environment_key)
            boss.send((OUTCOME, (record, (), ())))


def act(job: Job, run: Path) -> str:
    """What breaks a lane, or nothing."""
    name = job.solution.name
    if name.startswith("twice") or (name.startswith("once") and not (run / name).exists()):
        (run / name).touch()
        if name.endswith("dies"):
            os._exit(3)
        return "the device does no sums any more"
    if name == "endless":
        (run / name).write_text(str(os.getpid()))
        time.sleep(600)
    return ""


if __name__ == "__main__":
    main()
