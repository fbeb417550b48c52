"""Where built pairs are judged and timed, one after another: a lane for each device of a run."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

from kbench.build.service import Build
from kbench.engine.records import Outcome
from kbench.model import Job

if TYPE_CHECKING:
    from kbench.engine.pair import Settings


class Lane(Protocol):
    """One device's turn, taken by one pair at a time."""

    def submit(self, job: Job, build: Build) -> Future[Outcome]:
        """Judge and time a built pair. Its result raises InfraError where the device is of no use any more."""
        ...


class LaneHere:
    """The CPU's: the judge is this very thread, since on the CPU every other thread would be in the way."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def submit(self, job: Job, build: Build) -> Future[Outcome]:
        """As `Lane.submit`; returns when all is done."""
        from kbench.engine.pair import run_pair

        done: Future[Outcome] = Future()
        done.set_result(run_pair(job, build, self._settings))
        return done
