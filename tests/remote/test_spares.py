"""Who is hired ahead, who serves twice, and who never does."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from judge.judge_factory import reference_of

from kbench.errors import InfraError
from kbench.judge.cases import SeedSource
from kbench.judge.desk import Desk
from kbench.judge.judging import ask_first, inspect
from kbench.judge.stream import Stream
from kbench.model import Status, Verdict
from kbench.remote import spares as spares_module
from kbench.remote.hire import Hiring, Post, assign, hire, recruit
from kbench.remote.link import Deadlines, WorkerFailed, WorkerLink
from kbench.remote.spares import Spares
from kbench.remote.surroundings import server_environment, server_modules
from kbench.sandbox import confine
from kbench.sandbox.client import ForkServer

DEVICE = "cuda:0"


@dataclass
class Made:
    """A recruit, its process and its link in one."""

    number: int
    alive: bool = True
    closed: int = 0
    released: int = 0
    sound: bool = True
    awake: bool = True
    posts: list[str] = field(default_factory=list)

    @property
    def process(self) -> Made:
        return self

    @property
    def recruit(self) -> Made:
        return self

    @property
    def page(self) -> Made:
        return self

    def is_awake(self) -> bool:
        return self.awake

    def close(self) -> None:
        self.closed += 1
        if not self.sound:
            raise InfraError("its supervisor vanished")

    def load(self) -> None:
        if self.posts[-1] == "not twice":
            raise WorkerFailed(Verdict(status=Status.LOAD_ERROR))

    def release(self) -> None:
        if not self.sound:
            raise WorkerFailed(Verdict(status=Status.CRASH))
        self.released += 1


class Market:
    """Everybody that was ever recruited, and how much room there is."""

    def __init__(self) -> None:
        self.made: list[Made] = []
        self.elsewhere: list[str] = []
        self.room = True
        self.asleep = False
        """How they come."""
        self.turns: list[str] = []
        self.lacking: int | None = None
        """How many may be recruited before there is no space left."""

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        self.turns.append("taken")
        yield
        self.turns.append(f"given back, of {len(self.made)} all awake: {all(made.awake for made in self.made)}")

    def recruit(self, _hiring: object, *, device: str) -> Made:
        assert device == DEVICE
        if self.lacking is not None and len(self.made) >= self.lacking:
            raise OSError("no space left")
        self.made.append(Made(len(self.made), awake=not self.asleep))
        return self.made[-1]

    def assign(self, _hiring: object, made: Made, post: Post, *, load_s: float | None) -> Made:
        assert not made.closed
        made.posts.append(post.shown_path)
        return made

    def hire(self, _hiring: object, post: Post, **_: object) -> Made:
        self.elsewhere.append(post.shown_path)
        return Made(-1)


@pytest.fixture
def market(monkeypatch: pytest.MonkeyPatch) -> Market:
    market = Market()
    for name in ("recruit", "assign", "hire"):
        monkeypatch.setattr(spares_module, name, getattr(market, name))
    return market


def spares(market: Market, *, group: int = 0, hurried: bool = False, device: str = DEVICE) -> Spares:
    return Spares(
        cast(Hiring, None), device=device, group=group, hurried=hurried, has_room=lambda: market.room, turn=market.turn
    )


def fill(own: Spares) -> None:
    own.fill()
    own.await_awake()


def post(name: str = "v1", role: str = "candidate", **fields: Any) -> Post:
    basis: dict[str, Any] = {"source": "", "precision": "fp32", "log": Path("log"), "device": DEVICE}
    return Post(shown_path=name, role=role, **(basis | fields))


def hired(own: Spares, *args: Any, **fields: Any) -> Made:
    """And whoever is hired ahead for that reason is there."""
    made = cast(Made, own.hire(post(*args, **fields)))
    own.await_awake()
    return made


def test_who_waits_comes_first_and_whoever_waited_in_vain_goes_in_the_end(market: Market) -> None:
    with spares(market, group=2) as own:
        fill(own)
        fill(own)
        assert len(market.made) == 2
        assert hired(own).number == 0
        fill(own)
        assert hired(own).number == 1
    assert [made.closed for made in market.made] == [0, 0, 1]


def test_nobody_is_hired_ahead_unless_that_is_asked_for(market: Market) -> None:
    with spares(market, group=2) as own:
        assert hired(own).number == 0
        assert len(market.made) == 1 and own.waiting == 0
        fill(own)
        assert own.waiting == 2


def test_they_go_when_the_room_for_them_has_gone(market: Market) -> None:
    with spares(market, group=2) as own:
        fill(own)
        market.room = False
        own.await_awake()
        assert [made.closed for made in market.made] == [1, 1] and own.waiting == 0


def test_who_was_given_away_is_not_waited_for(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    """A candidate has its worker's page, and could say at any time that it is not awake."""
    waits = threading.Event()

    def sleep(_seconds: float) -> None:
        waits.set()

    market.asleep = True
    monkeypatch.setattr("time.sleep", sleep)
    with spares(market, group=2) as own:
        own.fill()
        assert waits.wait(20)
        given = cast(Made, own.hire(post()))
        market.made[1].awake = True
        own.await_awake()
        assert given.number == 0 and not given.awake
        assert own.waiting == 1


def test_who_has_come_is_waited_for_though_another_is_not_to_be_had(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(_seconds: float) -> None:
        market.made[0].awake = True

    market.asleep, market.lacking = True, 1
    monkeypatch.setattr("time.sleep", sleep)
    with spares(market, group=2) as own:
        fill(own)
        assert own.waiting == 1 and not market.made[0].closed


def test_who_leaves_does_not_wait_for_one_that_does_not_wake_up(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = threading.Event()
    monkeypatch.setattr("time.sleep", lambda _: waits.set())
    monkeypatch.setattr(spares_module, "_WAKING_TIMEOUT_S", 1e9)
    market.asleep = True
    with spares(market, group=2) as own:
        own.fill()
        assert waits.wait(20)
    assert [made.closed for made in market.made] == [1, 1]


def test_a_group_is_hired_in_a_turn_that_lasts_until_all_of_it_is_awake(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(_seconds: float) -> None:
        market.made[1].awake = market.made[0].awake
        market.made[0].awake = True

    market.asleep = True
    monkeypatch.setattr("time.sleep", sleep)
    with spares(market, group=2) as own:
        fill(own)
    assert market.turns == ["taken", "given back, of 2 all awake: True"]


def test_without_room_nobody_is_hired_ahead_nor_kept(market: Market) -> None:
    market.room = False
    with spares(market, group=2, hurried=True) as own:
        fill(own)
        assert market.made == []
        reference = hired(own, "eager", "reference")
        assert len(market.made) == 1
        assert not own.keep(post("eager", "reference"), cast(WorkerLink, reference))


def test_a_reference_that_was_kept_serves_the_next_reference_and_no_candidate(market: Market) -> None:
    with spares(market, group=1, hurried=True) as own:
        first = hired(own, "eager of a", "reference")
        assert own.keep(post("eager of a", "reference"), cast(WorkerLink, first)) and first.released == 1
        assert hired(own, "v1") is not first
        assert hired(own, "eager of b", "reference") is first
        assert first.posts == ["eager of a", "eager of b"]
        assert hired(own, "eager of b", "reference") is not first, "one at a time"


def test_a_candidates_worker_is_never_kept(market: Market) -> None:
    with spares(market, group=1, hurried=True) as own:
        used = hired(own, "v1")
        assert not own.keep(post("v1"), cast(WorkerLink, used))
    assert not used.released


def test_none_is_kept_where_all_are_to_be_fresh(market: Market) -> None:
    with spares(market) as own:
        assert not own.keep(post("eager", "reference"), cast(WorkerLink, hired(own, "eager", "reference")))


def test_one_that_cannot_let_go_of_its_file_is_not_kept(market: Market) -> None:
    with spares(market, group=1, hurried=True) as own:
        broken = hired(own, "eager", "reference")
        broken.sound = False
        assert not own.keep(post("eager", "reference"), cast(WorkerLink, broken))
        assert hired(own, "eager", "reference") is not broken


def test_one_that_died_waiting_is_passed_over(market: Market) -> None:
    with spares(market, group=2) as own:
        fill(own)
        market.made[0].alive = False
        assert hired(own).number == 1
        assert market.made[0].closed == 1


@pytest.mark.parametrize("fields", [{"device": ""}, {"writable": Path("cache")}])
def test_others_do_not_wait_for_posts_that_need_more_at_their_birth(market: Market, fields: dict[str, Any]) -> None:
    with spares(market, group=1, hurried=True) as own:
        fill(own)
        hired(own, "eager", "reference", **fields)
        assert market.elsewhere == ["eager"] and market.made[0].posts == []
        assert not own.keeps(post("eager", "reference", **fields))


def test_for_the_cpu_nobody_waits(market: Market) -> None:
    with spares(market, group=2, hurried=True, device="") as own:
        fill(own)
        assert not own.hurried
        assert market.made == []


def test_they_are_awake_when_each_has_said_so_or_is_gone(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []

    def sleep(seconds: float) -> None:
        rests.append(seconds)
        if len(rests) == 3:
            market.made[0].awake = True
        if len(rests) == 5:
            market.made[1].alive = False

    market.asleep = True
    monkeypatch.setattr("time.sleep", sleep)
    with spares(market, group=2) as own:
        own.await_awake()
        assert rests == []
        fill(own)
    assert len(rests) == 5


def test_one_that_does_not_wake_up_is_given_up(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spares_module, "_WAKING_TIMEOUT_S", 0.0)
    recruit = market.recruit

    def recruit_and_wake_the_second(hiring: object, *, device: str) -> Made:
        made = recruit(hiring, device=device)
        made.awake = len(market.made) == 2
        return made

    monkeypatch.setattr(spares_module, "recruit", recruit_and_wake_the_second)
    with spares(market, group=2) as own:
        fill(own)
        assert [made.closed for made in market.made] == [1, 0]
        assert hired(own).number == 1


def test_a_file_that_cannot_be_loaded_after_another_is_loaded_by_a_new_worker(market: Market) -> None:
    with spares(market, group=1, hurried=True) as own:
        used = hired(own, "eager", "reference")
        assert own.keep(post("eager", "reference"), cast(WorkerLink, used))
        assert hired(own, "not twice", "reference") is not used
        assert used.closed == 1


def test_that_nobody_is_to_be_had_ahead_costs_nobody_his_turn(market: Market) -> None:
    market.lacking = 1
    with spares(market, group=2, hurried=True) as own:
        assert hired(own).number == 0
        assert market.made[0].closed == 0


def test_who_leaves_hires_nobody_more(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    leaves = threading.Event()

    @contextlib.contextmanager
    def late() -> Iterator[None]:
        assert leaves.wait(20)
        yield

    dismiss = Spares.dismiss

    def dismiss_now(own: Spares) -> bool:
        leaves.set()
        return dismiss(own)

    monkeypatch.setattr(Spares, "dismiss", dismiss_now)
    with Spares(
        cast(Hiring, None), device=DEVICE, group=2, hurried=False, has_room=lambda: True, turn=late
    ) as own:
        own.fill()
    assert market.made == []


def test_a_device_that_fails_under_whoever_hires_ahead_is_heard_of() -> None:
    answers = iter([True])

    def fail() -> bool:
        if next(answers, False):
            return True
        raise torch.AcceleratorError("unspecified launch failure")

    with Spares(
        cast(Hiring, None), device=DEVICE, group=1, hurried=False, has_room=fail, turn=contextlib.nullcontext
    ) as own:
        own.fill()
        with pytest.raises(torch.AcceleratorError):
            own.await_awake()


def test_one_whose_supervisor_is_gone_is_in_nobodys_way(market: Market) -> None:
    with spares(market, group=3) as own:
        fill(own)
        for made in market.made:
            made.sound = False
        market.made[0].alive = False
        market.made[1].awake = True
        assert hired(own).number == 1
        assert own.dismiss()


def test_while_they_are_barred_nobody_comes_ahead_or_stays(market: Market) -> None:
    with spares(market, group=2, hurried=True) as own:
        with own.barred():
            assert not own.hurried
            fill(own)
            reference = hired(own, "eager", "reference")
            assert len(market.made) == 1
            assert not own.keeps(post("eager", "reference"))
            assert not own.keep(post("eager", "reference"), cast(WorkerLink, reference))
        assert own.hurried


def test_it_is_told_whether_there_was_anybody_to_dismiss(market: Market) -> None:
    with spares(market, group=1) as own:
        assert not own.dismiss()
        fill(own)
        assert own.dismiss() and market.made[0].closed == 1
        assert not own.dismiss()
    with spares(market, group=1, hurried=True) as hurried:
        assert hurried.dismiss(), "somebody may have stayed within the pair"


@pytest.fixture
def hiring() -> Iterator[Hiring]:
    """Of real processes."""
    environment = server_environment(Path(sys.executable).parent, threads=1, pinned=False, extra={})
    with ForkServer(modules=server_modules(()), environment=environment) as server:
        yield Hiring(
            server=server, limits=confine.Limits(memory_bytes=8 << 30), deadlines=Deadlines(load_s=60, call_s=60),
            threads=1,
        )  # fmt: skip


@pytest.mark.workers
def test_a_worker_serves_one_file_after_another_and_each_log_has_what_was_printed_for_it(
    tmp_path: Path, hiring: Hiring
) -> None:
    source = """
class Model(nn.Module):
    def forward(self, x):
        print("{word}", flush=True)
        return x + {number}
def get_inputs(): return [torch.randn(8, 8)]
def get_init_inputs(): return []
"""
    reference = reference_of(tmp_path, source.format(word="judge", number=1))
    first = ask_first(reference, SeedSource(0))
    with Desk(reference, first.case, first.expected) as desk:
        worker = recruit(hiring, descriptors=desk.descriptors)
        try:
            for word, number in (("one", 1), ("two", 2)):
                text = f"import torch\nfrom torch import nn\n{source.format(word=word, number=number)}"
                told = Post(
                    source=text, shown_path="p.py", role="reference", precision="fp32", log=tmp_path / f"{word}.log"
                )
                link = assign(hiring, worker, told)
                link.load()
                link.construct(desk.setup(mode=None))
                wrong = inspect(link, Stream(desk, torch.device("cpu")), first)
                assert (wrong is None) == (number == 1)
                link.release()
        finally:
            worker.close()
    for word, other in (("one", "two"), ("two", "one")):
        said = (tmp_path / f"{word}.log").read_text()
        assert word in said and other not in said


@pytest.mark.workers
def test_each_log_has_room_of_its_own(tmp_path: Path, hiring: Hiring) -> None:
    small = dataclasses.replace(hiring, limits=confine.Limits(memory_bytes=8 << 30, output_bytes=10))
    worker = recruit(small)
    try:
        for name in ("one", "two"):
            source = "print('0123456789abcdef', flush=True)\nclass Model: pass\n"
            link = assign(small, worker, post(name, "reference", source=source, log=tmp_path / name, device=""))
            link.load()
    finally:
        worker.close()
    assert [(tmp_path / name).read_text() for name in ("one", "two")] == [
        "0123456789\n[kbench: 7 further bytes of output dropped]\n"
    ] * 2


@pytest.mark.workers
def test_no_two_who_live_are_one_user(hiring: Hiring, monkeypatch: pytest.MonkeyPatch) -> None:
    if hiring.server.new_uid() is None:
        pytest.skip("not root")
    worker = recruit(hiring)
    uid = worker.process.uid
    assert uid is not None
    monkeypatch.setattr(hiring.server, "_uids", itertools.cycle([uid, uid + 1]))
    assert [hiring.server.new_uid() for _ in range(2)] == [uid + 1] * 2
    worker.close()
    assert hiring.server.new_uid() == uid


@pytest.mark.workers
def test_nothing_is_left_of_one_whose_files_could_not_be_laid_out(tmp_path: Path, hiring: Hiring) -> None:
    lacking = post(device="", libraries=tmp_path / "nowhere", log=tmp_path / "log")
    with pytest.raises(FileNotFoundError):
        hire(hiring, lacking)
    assert not list(hiring.server.root.glob("w*"))


@pytest.mark.workers
def test_one_that_has_ended_is_known_not_to_be_alive(hiring: Hiring) -> None:
    worker = recruit(hiring)
    assert worker.process.alive
    worker.connection.close()  # nobody is left to serve
    worker.process.wait(20)
    assert not worker.process.alive
    worker.close()
