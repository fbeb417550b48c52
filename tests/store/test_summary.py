from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
from run_factory import make_record, make_run

from kbench.model import Record, Status
from kbench.store.runs import Key
from kbench.store.summary import EAGER, baselines_of, fast_p, judged_problems


def timed(identity: str, speedup: float, **fields: object) -> Record:
    return make_record(identity, d=[math.log(speedup)] * 3, **fields)


@pytest.fixture
def records() -> Mapping[Key, Record]:
    """Six problems: at 2.5x (beside a slower and a failing solution), 1.2x, 0.5x, failing, skipped, not judged."""
    return make_run([
        timed("a/slow", 0.8), timed("a/fast", 2.5, baselines={"compile": {"speedup": 1.1}}),
        make_record("a/wrong", status=Status.INCORRECT),
        timed("b/v", 1.2, baselines={"compile": {"speedup": 0.6}}), timed("c/v", 0.5),
        make_record("d/v", status=Status.TIMEOUT), make_record("d/w", status=Status.SKIPPED),
        make_record("e/v", status=Status.SKIPPED), make_record("f/v", status=Status.INFRA_ERROR),
    ]).records  # fmt: skip


def test_only_judged_problems_count(records: Mapping[Key, Record]) -> None:
    assert judged_problems(records) == {"a", "b", "c", "d"}


@pytest.mark.parametrize(("p", "share"), [(0, 0.75), (0.4, 0.75), (1, 0.5), (1.5, 0.25), (2, 0.25), (3, 0)])
def test_fast_p(records: Mapping[Key, Record], p: float, share: float) -> None:
    assert fast_p(records, p) == share


def test_as_fast_as_p_is_not_faster() -> None:
    records = make_run([make_record(speedup=1.5)]).records
    assert (fast_p(records, 1.5), fast_p(records, 1.49)) == (0.0, 1.0)


def test_another_baseline(records: Mapping[Key, Record]) -> None:
    assert baselines_of(records) == (EAGER, "compile")
    assert [fast_p(records, p, baseline="compile") for p in (0, 0.5, 1, 2)] == [0.75, 0.5, 0.25, 0.0]


def test_correct_without_a_time_is_correct_and_not_fast() -> None:
    records = make_run([make_record(speedup=None, replicate_log_ratios=())]).records
    assert (fast_p(records, 0), fast_p(records, 0.1)) == (1.0, 0.0)


def test_a_time_of_what_is_not_correct_does_not_count() -> None:
    records = make_run([make_record(status=Status.REJECTED, speedup=100.0)]).records
    assert (fast_p(records, 0), fast_p(records, 1)) == (0.0, 0.0)


def test_nothing_judged_has_no_share() -> None:
    assert fast_p(make_run([make_record(status=Status.SKIPPED)]).records, 1) is None
