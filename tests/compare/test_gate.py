from __future__ import annotations

from typing import Any

import pytest
from run_factory import ENVIRONMENT, make_record, make_run

from kbench.compare.comparison import compare_runs
from kbench.compare.gate import Outcome, gate
from kbench.model import Record, Status
from kbench.store.runs import LoadedRun

SLOW = (0.38, 0.39, 0.40, 0.41, 0.39)
WIDE = (-0.5, 0.9, 0.2, 1.3, 0.1)
OTHER = ENVIRONMENT | {"key": "other", "gpu": {"name": "NVIDIA H100", "driver": "580.1", "memory_gb": 80}}


def outcome(old: LoadedRun | list[Record], new: LoadedRun | list[Record], **options: bool) -> Outcome:
    runs = [make_run(each) if isinstance(each, list) else each for each in (old, new)]
    return gate(compare_runs(runs[0], runs[1]), **options).outcome


def test_the_same_passes() -> None:
    assert outcome([make_record()], [make_record()]) is Outcome.PASSED


def test_slower_is_a_regression() -> None:
    answer = gate(compare_runs(make_run([make_record()]), make_run([make_record(d=SLOW)])))
    assert answer.outcome is Outcome.REGRESSION
    assert answer.exit_code == 1
    assert answer.reasons == ("softmax/v1 is slower: its speedup changed by -25.9%",)


@pytest.mark.parametrize("status", [status for status in Status if status.is_failure])
def test_broken_is_a_regression_even_elsewhere(status: Status) -> None:
    broken = make_record(status=status, reason="values", environment_key="other")
    assert outcome([make_record()], [broken]) is not Outcome.PASSED
    assert outcome([make_record()], make_run([broken], environment=OTHER)) is Outcome.REGRESSION


def test_inconclusive_passes_and_is_counted() -> None:
    answer = gate(compare_runs(make_run([make_record()]), make_run([make_record(d=WIDE)])))
    assert answer.outcome is Outcome.PASSED
    assert answer.reasons[1] == "1 inconclusive"


def test_another_machine_is_refused() -> None:
    new = make_run([make_record(d=SLOW, environment_key="other")], environment=OTHER)
    answer = gate(compare_runs(make_run([make_record()]), new))
    assert answer.outcome is Outcome.REFUSED
    assert answer.exit_code == 3
    assert "different gpu.name: NVIDIA H200 before, NVIDIA H100 now" in answer.reasons


def test_another_driver_is_gated() -> None:
    other = ENVIRONMENT | {"key": "other", "gpu": {"name": "NVIDIA H200", "driver": "590", "memory_gb": 139}}
    new = make_run([make_record(d=SLOW, environment_key="other")], environment=other)
    assert outcome([make_record()], new) is Outcome.REGRESSION


def test_nothing_to_gate_passes_anywhere() -> None:
    failing = make_record(status=Status.CRASH)
    assert outcome([failing], make_run([failing], environment=OTHER)) is Outcome.PASSED


def test_nothing_in_common_is_refused() -> None:
    assert outcome([make_record("p/a")], [make_record("p/b")]) is Outcome.REFUSED


def test_vanished_is_a_regression_unless_allowed() -> None:
    old = [make_record("p/a"), make_record("p/b"), make_record("p/c", status=Status.CRASH)]
    assert outcome(old, [make_record("p/a")]) is Outcome.REGRESSION
    assert outcome(old, [make_record("p/a")], allow_missing=True) is Outcome.PASSED
    assert outcome(old, old[:2]) is Outcome.PASSED


@pytest.mark.parametrize("fields", [{"problem_sha": "x"}, {"size": "small"}, {"status": Status.INFRA_ERROR}])
def test_a_correct_pair_that_cannot_be_judged_is_refused(fields: dict[str, Any]) -> None:
    assert outcome([make_record()], [make_record(**fields)]) is Outcome.REFUSED


def test_a_found_regression_outweighs_an_open_row() -> None:
    old = [make_record("p/a"), make_record("p/b")]
    new = [make_record("p/a", d=SLOW), make_record("p/b", status=Status.SKIPPED)]
    answer = gate(compare_runs(make_run(old), make_run(new)))
    assert answer.outcome is Outcome.REGRESSION
    assert len(answer.reasons) == 2


def test_a_quick_run_is_no_ground_for_a_gate() -> None:
    quick = make_run([make_record(d=SLOW)], options={"replicates": 3})
    answer = gate(compare_runs(make_run([make_record()]), quick))
    assert answer.outcome is Outcome.REFUSED
    assert answer.reasons == ("the new run has 3 replicates of each pair (--quick), and a gate needs 5",)
    broken = make_run([make_record(status=Status.CRASH)], options={"replicates": 3})
    assert outcome([make_record()], broken) is Outcome.REGRESSION
