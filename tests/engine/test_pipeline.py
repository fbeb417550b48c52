"""The order in which pairs are built and judged, without building or judging anything."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from plan_factory import SOLUTION, make_prepared
from run_factory import ENVIRONMENT

from kbench.build.service import Build
from kbench.engine import pipeline
from kbench.engine.records import Outcome, make_record
from kbench.errors import InfraError, StoreError
from kbench.model import Job, Record, Status, Verdict
from kbench.store.writer import RunStore

NOT_BUILT = Build(failure=Verdict(status=Status.BUILD_ERROR, reason="compile"))


class Heard:
    def __init__(self) -> None:
        self.ends: list[str] = []
        self.notes: list[str] = []

    def stage(self, pair: str, stage: str) -> None: ...

    def ended(self, record: Record) -> None:
        self.ends.append(f"{record.solution} {record.status}")

    def note(self, text: str) -> None:
        self.notes.append(text)


class FakeLane:
    """Judges in a moment; says what it was given, and fails from the pair named on."""

    def __init__(self, given: list[str], *, name: str = "", fails_at: str = "", at_submit: Any = None) -> None:
        self.given, self.name, self.fails_at = given, name, fails_at
        self.at_submit = at_submit or (lambda _job: None)

    def submit(self, job: Job, build: Build) -> Future[Outcome]:
        self.given.append(f"{self.name}{job.solution.name}")
        self.at_submit(job)
        future: Future[Outcome] = Future()
        if job.solution.name == self.fails_at:
            future.set_exception(InfraError("it does no sums any more"))
        else:
            verdict = Verdict(status=Status.INCORRECT, reason="values")
            future.set_result((make_record(job, build, verdict, "key"), (), ()))
        return future


class Room:
    """Where the fake builds happen."""

    def __init__(self) -> None:
        self.killed = 0
        self.headers = None
        self.hiring = SimpleNamespace(server=SimpleNamespace(kill_all=self._kill))

    def _kill(self) -> None:
        self.killed += 1


@contextmanager
def run_of(root: Path, names: Sequence[str]) -> Iterator[tuple[tuple[Job, ...], RunStore]]:
    jobs = make_prepared(root, dict.fromkeys(names, SOLUTION)).jobs
    with RunStore.create(root / "run", options={}, environment=ENVIRONMENT) as store:
        yield jobs, store


def run(jobs: Sequence[Job], store: RunStore, lanes: Sequence[FakeLane], *, apart: bool = True) -> tuple[Heard, Room]:
    heard, room = Heard(), Room()
    left = pipeline.settle_early(jobs, store=store, environment_key="key", listener=heard)
    pipeline.run_jobs(
        left, store=store, room=room, lanes=lanes, workers=2, apart=apart,  # type: ignore[arg-type]
        environment_key="key", listener=heard,
    )  # fmt: skip
    return heard, room


def builds(monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
    """Let `act(solution's name)` say what its build comes to."""
    monkeypatch.setattr(pipeline, "build", lambda _room, *, shown_path, **_: act(Path(shown_path).stem) or Build())


def test_every_pair_has_its_record_in_the_plans_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builds(monkeypatch, lambda _name: None)
    given: list[str] = []
    with run_of(tmp_path, ["a", "b", "c", "d"]) as (jobs, store):
        run(jobs, store, [FakeLane(given)], apart=False)
        assert sorted(key[1] for key in store.records) == ["a", "b", "c", "d"]
    assert given == ["a", "b", "c", "d"]


def test_what_does_not_build_takes_no_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builds(monkeypatch, lambda name: NOT_BUILT if name == "b" else None)
    given: list[str] = []
    with run_of(tmp_path, ["a", "b", "c"]) as (jobs, store):
        heard, _ = run(jobs, store, [FakeLane(given)])
        assert store.records["p", "b"].status is Status.BUILD_ERROR
    assert sorted(given) == ["a", "c"]
    assert "b build_error" in heard.ends


@pytest.mark.parametrize("apart", [True, False])
def test_judging_waits_for_builds_only_where_they_share_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart: bool
) -> None:
    judged = threading.Event()
    overlapped: list[bool] = []

    def act(name: str) -> None:
        if name == "slow":
            overlapped.append(judged.wait(timeout=5.0 if apart else 0.2))

    builds(monkeypatch, act)
    with run_of(tmp_path, ["quick", "slow"]) as (jobs, store):
        run(jobs, store, [FakeLane([], at_submit=lambda _job: judged.set())], apart=apart)
        assert len(store.records) == 2
    assert overlapped == [apart]


def test_a_lane_that_fails_leaves_its_pair_to_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builds(monkeypatch, lambda _name: None)
    given: list[str] = []
    with run_of(tmp_path, ["a", "b", "c"]) as (jobs, store):
        lanes = [FakeLane(given, name="1:", fails_at="a"), FakeLane(given, name="2:")]
        heard, _ = run(jobs, store, lanes, apart=False)
        assert len(store.records) == 3
        assert all(record.status is Status.INCORRECT for record in store.records.values())
    assert given[:2] == ["1:a", "2:b"]
    assert given[2:] == ["2:a", "2:c"]
    assert "left out" in heard.notes[0]


def test_without_a_lane_the_run_ends_and_keeps_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builds(monkeypatch, lambda _name: None)
    with run_of(tmp_path, ["a", "b", "c"]) as (jobs, store):
        with pytest.raises(InfraError, match="no sums"):
            run(jobs, store, [FakeLane([], fails_at="b")], apart=False)
        assert set(store.records) == {("p", "a")}
        given: list[str] = []
        run(jobs, store, [FakeLane(given)], apart=False)
        assert given == ["b", "c"], "resumed"


def test_builds_are_killed_when_a_record_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builds(monkeypatch, lambda _name: None)
    with run_of(tmp_path, ["a"]) as (jobs, store):

        def cannot(*_: object) -> Record:
            raise StoreError("disk full")

        monkeypatch.setattr(store, "append", cannot)
        room = Room()
        with pytest.raises(StoreError):
            pipeline.run_jobs(
                jobs, store=store, room=room, lanes=[FakeLane([])], workers=1, apart=True,  # type: ignore[arg-type]
                environment_key="key", listener=Heard(),
            )  # fmt: skip
    assert room.killed == 1
