"""Who of a pair's workers is hired, goes and stays when, without any process."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from kbench.errors import InfraError
from kbench.measure.crew import Crew, SideSpec
from kbench.measure.window import SOLUTION
from kbench.remote.hire import Post
from kbench.remote.link import WorkerLink
from kbench.remote.spares import Spares


class _Link:
    def __init__(self, said: list[str], name: str) -> None:
        self._said, self.name = said, name
        self.may_go = threading.Event()
        self.may_go.set()

    def close(self) -> None:
        assert self.may_go.wait(20)
        self._said.append(f"{self.name} goes")

    def __enter__(self) -> _Link:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Spares:
    """Says what it is asked for. Nobody is to be had whose post is `nobody`."""

    def __init__(self, *, hurried: bool = False) -> None:
        self.said: list[str] = []
        self.hurried = hurried
        self.takes = True
        self.waiting = 1

    def await_awake(self) -> None:
        self.said.append("all awake")

    def fill(self) -> None:
        self.said.append("all ready")

    def hire(self, post: Post, *, load_s: float | None = None, **_: object) -> _Link:
        if post.shown_path == "nobody":
            raise InfraError("there is nobody")
        self.said.append(f"{post.shown_path} comes" + (f", with {load_s:.0f} s to load" if load_s else ""))
        return _Link(self.said, post.shown_path)

    def keeps(self, post: Post) -> bool:
        return self.hurried and post.role == "reference"

    def keep(self, _post: Post, link: _Link) -> bool:
        self.said.append(f"{link.name} {'stays' if self.takes else 'may not stay'}")
        return self.takes


@pytest.fixture(autouse=True)
def free(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of 100 bytes of the device's memory, how many are free."""
    bytes_free = [51]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (bytes_free[0], 100))
    return bytes_free


def crew_of(spares: _Spares, *names: str, device: str = "cuda:0", compile_mode: str | None = None) -> Crew:
    """The first is the candidate's, the others are references."""
    posts = [
        Post(
            source="", shown_path=name, role="reference" if number else "candidate", precision="fp32", log=Path("log")
        )
        for number, name in enumerate(names)
    ]
    specs = [SideSpec(name=post.shown_path, post=post, compile_mode=compile_mode) for post in posts]
    return Crew(specs, spares=cast(Spares, spares), descriptors=[], device=torch.device(device))


def as_link(link: Any) -> WorkerLink:
    return cast(WorkerLink, link)


def test_they_come_in_the_order_of_their_turn_and_are_made_ready_before_it() -> None:
    spares = _Spares()
    with crew_of(spares, "a", "b") as crew:
        crew.expect_all()
        assert len(crew.hire(["b", "a"])) == 2
    assert spares.said == ["all ready", "b comes", "a comes"]


def test_where_one_is_not_to_be_had_those_before_go_again() -> None:
    spares = _Spares()
    with crew_of(spares, "a", "nobody") as crew, pytest.raises(InfraError, match="there is nobody"):
        crew.hire(["a", "nobody"])
    assert spares.said == ["a comes", "a goes"]


def test_a_side_that_compiles_has_the_time_it_needs() -> None:
    spares = _Spares()
    with crew_of(spares, "a", compile_mode="default") as crew:
        crew.hire(["a"])
    assert spares.said == ["a comes, with 600 s to load"]


def post_of(name: str) -> Post:
    return Post(source="", shown_path=name, role="candidate", precision="fp32", log=Path("log"))


def test_whoever_is_judged_goes_before_anybody_is_timed() -> None:
    spares = _Spares()
    with crew_of(spares, SOLUTION) as crew:
        crew.hire_to_judge(post_of("judged"))
        crew.judged(right=True)
        crew.await_gone()
        assert spares.said == ["judged comes", "judged goes"]
        crew.hire([SOLUTION])
    assert spares.said[2:] == ["solution comes"]


def test_in_a_hurry_it_serves_in_the_first_replicate_too_and_in_no_other() -> None:
    spares = _Spares(hurried=True)
    with crew_of(spares, SOLUTION, "eager") as crew:
        link = crew.hire_to_judge(post_of("judged"))
        crew.judged(right=True)
        first, second = (crew.hire(["eager", SOLUTION])[1] for _ in range(2))
        assert first is link
        assert second is not link
    assert spares.said == ["judged comes", "eager comes", "eager comes", "solution comes"]


@pytest.mark.parametrize("right", [True, False])
def test_in_a_hurry_one_that_is_wrong_goes_all_the_same_and_so_does_one_that_is_never_timed(right: bool) -> None:
    spares = _Spares(hurried=True)
    with crew_of(spares, SOLUTION) as crew:
        crew.hire_to_judge(post_of("judged"))
        crew.judged(right=right)
        crew.await_gone()
        assert ("judged goes" in spares.said) == (not right)
    assert spares.said == ["judged comes", "judged goes"]


def test_whoever_goes_is_not_waited_for_where_there_is_room_until_that_is_wanted() -> None:
    spares = _Spares()
    with crew_of(spares, "a") as crew:
        first, second = (cast(Any, crew.hire(["a"])[0]) for _ in range(2))
        first.may_go.clear()
        crew.part_with({"a": as_link(first)})
        assert "a goes" not in spares.said
        first.may_go.set()
        crew.await_gone()
        assert spares.said.count("a goes") == 1
        crew.part_with({"a": as_link(second)})
    assert spares.said.count("a goes") == 2


@pytest.mark.parametrize(("device", "bytes_free"), [("cpu", 51), ("cuda:0", 50)])
def test_elsewhere_it_is(free: list[int], device: str, bytes_free: int) -> None:
    free[0] = bytes_free
    spares = _Spares()
    with crew_of(spares, "a", device=device) as crew:
        crew.part_with({"a": crew.hire(["a"])[0]})
        assert spares.said == ["a comes", "a goes"]


def test_one_that_will_not_go_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Link, "close", lambda _: (_ for _ in ()).throw(InfraError("it stays")))
    with pytest.raises(InfraError, match="it stays"), crew_of(_Spares(), "a") as crew:
        crew.part_with({"a": crew.hire(["a"])[0]})


def test_a_reference_stays_for_the_next_pair_only_where_another_replicate_would_fit_beside_all(free: list[int]) -> None:
    spares = _Spares(hurried=True)
    with crew_of(spares, "solution", "eager") as crew:
        eager = crew.hire(["eager"])[0]
        free[0] = 50
        crew.part_with({"eager": eager})
        assert spares.said == ["eager comes", "eager goes"]


def test_of_two_that_go_the_second_is_closed_though_the_first_will_not(
    monkeypatch: pytest.MonkeyPatch, free: list[int]
) -> None:
    spares = _Spares()

    def close(link: _Link) -> None:
        if link.name == "a":
            raise InfraError("it stays")
        spares.said.append(f"{link.name} goes")

    free[0] = 0
    monkeypatch.setattr(_Link, "close", close)
    with pytest.raises(InfraError, match="it stays"), crew_of(spares, "a", "b") as crew:
        first, second = crew.hire(["a", "b"])
        crew.part_with({"a": first, "b": second})
    assert spares.said[-1] == "b goes"


def test_it_is_quiet_when_all_who_go_are_gone_and_all_who_come_are_there() -> None:
    spares = _Spares()
    with crew_of(spares, "a") as crew:
        crew.part_with({"a": crew.hire(["a"])[0]})
        crew.await_quiet()
        assert spares.said == ["a comes", "a goes", "all awake"]


def test_references_are_kept_only_when_the_pair_is_through_so_that_no_two_replicates_share_one() -> None:
    spares = _Spares(hurried=True)
    with crew_of(spares, "solution", "eager") as crew:
        for _ in range(2):
            solution, eager = crew.hire(["solution", "eager"])
            crew.part_with({"solution": solution, "eager": eager})
            crew.await_gone()
        assert "eager stays" not in spares.said
        assert spares.said.count("eager comes") == spares.said.count("solution goes") == 2
    assert spares.said[-2:] == ["eager stays"] * 2 and "eager goes" not in spares.said


@pytest.mark.parametrize("fails", [False, True])
def test_one_that_may_not_stay_after_all_goes_and_so_do_all_where_the_pair_was_broken_off(fails: bool) -> None:
    spares = _Spares(hurried=True)
    spares.takes = fails

    def pair() -> None:
        with crew_of(spares, "solution", "eager") as crew:
            crew.part_with({"eager": crew.hire(["eager"])[0]})
            if fails:
                raise ValueError("broken off")

    if fails:
        with pytest.raises(ValueError, match="broken off"):
            pair()
    else:
        pair()
    assert spares.said == ["eager comes", *([] if fails else ["eager may not stay"]), "eager goes"]


@pytest.mark.parametrize("waiting", [0, 1])
def test_whoever_is_judged_next_is_sent_for_when_nobody_is_left(waiting: int) -> None:
    spares = _Spares()
    spares.waiting = waiting
    with crew_of(spares, SOLUTION) as crew:
        crew.hire_to_judge(post_of("judged"))
        assert spares.said == ["judged comes", *([] if waiting else ["all ready"])]
