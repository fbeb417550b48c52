"""Who is hired when, without any process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from kbench.errors import InfraError
from kbench.measure import crew
from kbench.measure.crew import Crew, SideSpec
from kbench.remote.hire import Post


class _Link:
    def __init__(self, said: list[str], name: str) -> None:
        self._said, self._name = said, name

    def __enter__(self) -> _Link:
        return self

    def __exit__(self, *_: object) -> None:
        self._said.append(f"{self._name} goes")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens: `a comes`, `a goes`. Nobody is to be had whose post is `nobody`."""
    happened: list[str] = []

    def hire(_hiring: object, post: Post, *, load_s: float | None, **_: object) -> _Link:
        if post.shown_path == "nobody":
            raise InfraError("there is nobody")
        happened.append(f"{post.shown_path} comes" + (f", with {load_s:.0f} s to load" if load_s else ""))
        return _Link(happened, post.shown_path)

    monkeypatch.setattr(crew, "hire", hire)
    return happened


@pytest.fixture(autouse=True)
def free(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of 100 bytes of the device's memory, how many are free."""
    bytes_free = [51]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (bytes_free[0], 100))
    return bytes_free


def _crew(*names: str, device: str = "cuda:0", compile_mode: str | None = None) -> Crew:
    posts = [Post(source="", shown_path=name, role="candidate", precision="fp32", log=Path("log")) for name in names]
    specs = [SideSpec(name=post.shown_path, post=post, compile_mode=compile_mode) for post in posts]
    hiring: Any = None
    return Crew(specs, hiring=hiring, descriptors=[], device=torch.device(device))


def test_whoever_is_expected_comes_at_once_in_order_and_is_there_when_his_turn_comes(said: list[str]) -> None:
    with _crew("a", "b") as own:
        own.expect(["b", "a"])
        assert said == ["b comes", "a comes"]
        assert len(own.hire(["b", "a"])) == 2
        assert said == ["b comes", "a comes"]
        own.hire(["b", "a"])
        assert said == ["b comes", "a comes"] * 2
    assert "a goes" not in said, "whoever had his turn is no longer ours"


def test_whoever_waits_in_vain_goes_in_the_end(said: list[str]) -> None:
    with _crew("a", "b") as own:
        own.expect(["a", "b"])
        own.expect(["a", "b"])
        own.hire(["b", "a"])
    assert said == ["a comes", "b comes", "b comes", "a comes", "b goes", "a goes"]


@pytest.mark.parametrize(("device", "bytes_free"), [("cpu", 51), ("cuda:0", 50)])
def test_where_there_is_no_room_all_come_when_their_turn_does(
    said: list[str], free: list[int], device: str, bytes_free: int
) -> None:
    free[0] = bytes_free
    with _crew("a", device=device) as own:
        own.expect(["a"])
        assert said == []
        own.hire(["a"])
    assert said == ["a comes"]


@pytest.mark.parametrize("ahead", [True, False])
def test_where_one_is_not_to_be_had_those_before_go_again(said: list[str], ahead: bool) -> None:
    with _crew("a", "nobody") as own, pytest.raises(InfraError, match="there is nobody"):
        (own.expect if ahead else own.hire)(["a", "nobody"])
    assert said == ["a comes", "a goes"]


def test_a_side_that_compiles_has_the_time_it_needs(said: list[str]) -> None:
    with _crew("a", compile_mode="default") as own:
        own.hire(["a"])
    assert said == ["a comes, with 600 s to load"]
