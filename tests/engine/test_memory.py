"""A pair that lacked memory is tried again without those who wait on the device, once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kbench.engine import pair
from kbench.engine.records import Findings
from kbench.model import Status, Verdict

RIGHT = Verdict(status=Status.CORRECT)
NO_MEMORY = Verdict(status=Status.OUT_OF_MEMORY, reason="allocation")
JUDGE_LACKS = Verdict(status=Status.INFRA_ERROR, reason="judge_memory")


def judged(monkeypatch: pytest.MonkeyPatch, verdicts: list[Verdict], *, waiting: bool) -> tuple[Verdict, int]:
    """The verdict in the end, and how many tries are left of those that are to be had."""
    anybody = [waiting]
    spares = SimpleNamespace(dismiss=lambda: anybody.pop() if anybody else False)
    settings: Any = SimpleNamespace(spares=spares, environment_key="")
    monkeypatch.setattr(pair, "_findings", lambda *_: Findings(verdicts.pop(0)))
    monkeypatch.setattr(pair, "make_record", lambda _job, _build, verdict, _key, **_: verdict)
    job: Any = None
    build: Any = None
    verdict: Any = pair.run_pair(job, build, settings)[0]
    return verdict, len(verdicts)


@pytest.mark.parametrize("lacks", [NO_MEMORY, JUDGE_LACKS])
def test_where_somebody_waited_it_is_tried_again(monkeypatch: pytest.MonkeyPatch, lacks: Verdict) -> None:
    assert judged(monkeypatch, [lacks, RIGHT], waiting=True) == (RIGHT, 0)
    assert judged(monkeypatch, [lacks, lacks, RIGHT], waiting=True) == (lacks, 1), "once"


def test_where_nobody_did_the_first_verdict_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    assert judged(monkeypatch, [NO_MEMORY, RIGHT], waiting=False) == (NO_MEMORY, 1)


@pytest.mark.parametrize("verdict", [RIGHT, Verdict(status=Status.CRASH), Verdict(status=Status.INFRA_ERROR)])
def test_no_other_verdict_is_asked_for_again(monkeypatch: pytest.MonkeyPatch, verdict: Verdict) -> None:
    assert judged(monkeypatch, [verdict, RIGHT], waiting=True) == (verdict, 1)
