"""Looking after a device."""

from __future__ import annotations

import signal

import pytest
import torch
from run_factory import make_record

from kbench.engine import health
from kbench.errors import InfraError
from kbench.model import Status


def test_a_sound_device_passes_and_no_alarm_is_left_behind() -> None:
    health.look_at(torch.device("cpu"))
    assert signal.alarm(0) == 0


@pytest.mark.parametrize("off_by", [1, -(1 << 30)])
def test_wrong_sums_are_told(monkeypatch: pytest.MonkeyPatch, off_by: int) -> None:
    honest = torch.arange
    monkeypatch.setattr(torch, "arange", lambda *args, **options: honest(*args, **options) + off_by)
    with pytest.raises(InfraError, match="wrong sums"):
        health.look_at(torch.device("cpu"))


def test_a_device_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("no room\nand more")

    monkeypatch.setattr(torch, "ones", fail)
    with pytest.raises(InfraError) as caught:
        health.look_at(torch.device("cpu"))
    assert caught.value.why == "no room"


def test_after_which_ends_it_is_looked_at() -> None:
    assert not health.may_have_harmed(make_record())
    assert not health.may_have_harmed(make_record(status=Status.INCORRECT, reason="values"))
    assert health.may_have_harmed(make_record(status=Status.CRASH, reason="SIGSEGV"))
