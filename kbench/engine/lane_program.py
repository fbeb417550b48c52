"""The program of a GPU's lane: `python -m kbench.engine.lane_program FD CORES` judges and times what it is given.

It ends when the other end of its connection is closed, or with SIGTERM; all that it has started ends with it.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
import sys
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from kbench.importing import without_collection
from kbench.sandbox.syscalls import PR_SET_PDEATHSIG, prctl

if TYPE_CHECKING:
    from kbench.model import Record


def main() -> None:
    """Keep to the cores, then serve."""
    descriptor, cores = int(sys.argv[1]), {int(core) for core in sys.argv[2].split(",")}
    os.sched_setaffinity(0, cores)  # before torch is imported, which counts them
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # in the middle of a pair nobody looks whether the boss still lives
    code = 0
    with Connection(descriptor) as boss:
        try:
            with contextlib.suppress(EOFError, ConnectionError):  # nobody is there to work for
                serve(boss)
        except KeyboardInterrupt:
            code = 130
    os._exit(code)  # taking down an interpreter that holds torch takes a second, and tidies nothing up


class Relay:
    """Tells whoever gives the work how it goes."""

    def __init__(self, boss: Connection) -> None:
        self._boss = boss

    def stage(self, pair: str, stage: str) -> None:
        from kbench.engine.lane_process import STAGE

        self._boss.send((STAGE, pair, stage))

    def note(self, text: str) -> None:
        from kbench.engine.lane_process import NOTE

        self._boss.send((NOTE, text))

    def ended(self, record: Record) -> None:
        """The other end keeps the records, and says so."""


def serve(boss: Connection) -> None:
    """Judge one pair after another, until whoever gives them hangs up."""
    from kbench.engine.gauge import watching
    from kbench.engine.lane_process import BROKEN, OUTCOME, READY, Order
    from kbench.engine.lock import timing_lock
    from kbench.engine.pipeline import build_job
    from kbench.engine.records import make_record
    from kbench.engine.staff import build_room, hiring_from, settings_of
    from kbench.errors import InfraError
    from kbench.store.writer import log_path

    order: Order = boss.recv()
    prepared, relay, logs = order.prepared, Relay(boss), functools.partial(log_path, order.run)
    try:
        with (
            timing_lock(prepared.gpu, folder=prepared.options.lock_dir, waiting=relay.note),
            hiring_from(prepared, order.toolchain, also_hidden=[order.run]) as hiring,
            watching(prepared.gpu) as gauge,
        ):
            with without_collection():
                import scipy.special  # type: ignore[import-untyped, unused-ignore] # noqa: F401 - for the first summary

                from kbench.engine import health
                from kbench.engine.pair import judged_on, run_pair
                from kbench.judge.warm import warm_up

                gc.freeze()  # the garbage collection after each pair (`release_memory`) took 0.2 s to look at it all

            room = build_room(prepared, hiring, order.toolchain)
            device = judged_on(prepared.device)
            health.look_at(device)
            warm_up(order.first.problem, size=order.first.size, device=device)
            hiring.server.await_ready()
            with settings_of(
                prepared, hiring, order.toolchain, environment_key=order.environment_key, log_path=logs,
                stage=relay.stage, gauge=gauge, hurried=prepared.options.half_blocks,
            ) as settings:  # fmt: skip
                settings.spares.fill()
                boss.send((READY,))
                while True:
                    job, built = boss.recv()
                    if built.needs_device:  # nothing is timed on it now
                        built = build_job(job, room, logs, relay)
                    if built.failure is None:
                        outcome = run_pair(job, built, settings)
                    else:
                        outcome = make_record(job, built, built.failure, order.environment_key), (), ()
                    boss.send((OUTCOME, outcome))
                    if health.may_have_harmed(outcome[0]):
                        health.look_at(device)
    except InfraError as error:
        boss.send((BROKEN, str(error)))


if __name__ == "__main__":
    main()
