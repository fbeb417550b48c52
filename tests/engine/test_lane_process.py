"""A lane's process, with a program that judges nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from plan_factory import SOLUTION, make_prepared

from kbench.build.service import Build
from kbench.build.toolchain import Toolchain
from kbench.engine.lane_process import LaneProcess, Order
from kbench.errors import InfraError
from kbench.model import Job, Record, Status

TESTS = Path(__file__).parents[1]
ENDINGS = ["fine", "once_dies", "once_says_so", "twice_dies", "endless"]


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.stages: list[tuple[str, str]] = []

    def stage(self, pair: str, stage: str) -> None:
        self.stages.append((pair, stage))

    def ended(self, record: Record) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)


@contextlib.contextmanager
def lane(root: Path, *, key: str = "key") -> Iterator[tuple[LaneProcess, dict[str, Job], Heard]]:
    prepared = make_prepared(root, dict.fromkeys(ENDINGS, SOLUTION))
    order = Order(
        prepared=prepared, toolchain=Toolchain(cuda_home=None, cuda_arch="9.0"), run=root, environment_key=key,
        first=prepared.jobs[0],
    )  # fmt: skip
    heard = Heard()
    made = LaneProcess(order, cores={0}, listener=heard, program="engine.fake_lane")
    try:
        yield made, {job.solution.name: job for job in prepared.jobs}, heard
    finally:
        made.close(at_once=True)


@pytest.fixture(autouse=True)
def fake_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent)]))


def test_a_pair_goes_in_and_its_record_comes_out(tmp_path: Path) -> None:
    with lane(tmp_path) as (made, jobs, heard):
        record, samples, readings = made.submit(jobs["fine"], Build()).result()
        assert (record.id, record.status, samples, readings) == ("p/fine", Status.INCORRECT, (), ())
        assert heard.stages == [("p/fine", "judging")]
        assert heard.notes == ["cores 0, sees GPU-12345678-aaaa"], "its own GPU and no other"


@pytest.mark.parametrize("name", ["once_dies", "once_says_so"])
def test_a_broken_lane_is_replaced_and_the_pair_tried_again(tmp_path: Path, name: str) -> None:
    with lane(tmp_path) as (made, jobs, heard):
        record, *_ = made.submit(jobs[name], Build()).result()
        assert record.status is Status.INCORRECT
        assert len(heard.notes) == 2, "two processes"


def test_what_breaks_every_judge_has_a_record_and_the_next_pair_its_turn(tmp_path: Path) -> None:
    with lane(tmp_path) as (made, jobs, _):
        record, *_ = made.submit(jobs["twice_dies"], Build()).result()
        assert (record.status, record.reason) == (Status.INFRA_ERROR, "judge")
        assert "ended with 3" in record.message
        assert made.submit(jobs["fine"], Build()).result()[0].status is Status.INCORRECT


def test_a_lane_that_never_gets_ready_is_of_no_use(tmp_path: Path) -> None:
    with lane(tmp_path, key="never ready") as (made, jobs, _), pytest.raises(InfraError, match="cannot be judged on"):
        made.submit(jobs["fine"], Build()).result()


def test_it_can_be_ended_in_the_middle_of_a_pair(tmp_path: Path) -> None:
    with lane(tmp_path) as (made, jobs, heard):
        future = made.submit(jobs["endless"], Build())
        while not (tmp_path / "endless").exists() or not (tmp_path / "endless").read_text():
            assert not future.done()
        made.close(at_once=True)
        assert isinstance(future.exception(), InfraError)
        pid = int((tmp_path / "endless").read_text())
        assert not Path(f"/proc/{pid}").exists()
        assert len(heard.notes) == 1, "no other process was started"
