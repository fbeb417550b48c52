from __future__ import annotations

from typing import Any

import pytest
from run_factory import ENVIRONMENT, make_record, make_run

from kbench.compare.comparison import compare_runs
from kbench.compare.gate import Outcome, gate
from kbench.compare.row import Change
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


STRADDLING = (0.66, 0.59, 0.70, 0.66, 0.64)
"""Slower than the default record by 4%, with an interval from -8% to 1%."""
FASTER = (0.71, 0.74, 0.70, 0.76, 0.72)


def strictly(
    old: Record | list[Record], new: Record | list[Record], **options: bool
) -> tuple[Outcome, tuple[str, ...]]:
    runs = [make_run(each if isinstance(each, list) else [each]) for each in (old, new)]
    answer = gate(compare_runs(runs[0], runs[1]), strict=True, **options)
    return answer.outcome, answer.reasons


def test_strict_passes_what_is_the_same_or_faster() -> None:
    assert strictly(make_record(), make_record())[0] is Outcome.PASSED
    assert strictly(make_record(), make_record(d=[d + 0.5 for d in FASTER]))[0] is Outcome.PASSED


def test_strict_is_refused_where_a_row_may_be_slower() -> None:
    assert outcome([make_record()], [make_record(d=STRADDLING)]) is Outcome.PASSED
    found, reasons = strictly(make_record(), make_record(d=STRADDLING))
    assert found is Outcome.REFUSED and found.exit_code == 3
    assert reasons == ("softmax/v1 may be slower: its speedup may have changed by -8.9%",)


def test_strict_passes_an_inconclusive_row_that_can_only_be_faster() -> None:
    comparison = compare_runs(make_run([make_record()]), make_run([make_record(d=FASTER)]))
    assert comparison.having(Change.INCONCLUSIVE)
    assert gate(comparison, strict=True).outcome is Outcome.PASSED


def test_strict_is_refused_where_nothing_bounds_the_change() -> None:
    bare: dict[str, Any] = {"replicate_log_ratios": (), "speedup_low": None, "speedup_high": None, "replicates": 1}
    found, reasons = strictly(make_record(**bare), make_record(d=FASTER, **bare))
    assert found is Outcome.REFUSED
    assert reasons == ("softmax/v1 may be slower: too few replicates for an interval",)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ((), ("clock_mismatch",), "softmax/v1 is flagged in the new run: clock_mismatch"),
        (("clock_mismatch",), (), "softmax/v1 is flagged in the old run: clock_mismatch"),
        (("clock_mismatch",), ("clock_mismatch",), "softmax/v1 is flagged in the new run: clock_mismatch"),
        ((), ("waits_for_device",), "softmax/v1 is flagged in the new run: waits_for_device"),
        (("precision_undecidable",), ("precision_undecidable",), None),
        (("floor_doubtful",), (), None),
    ],
)
def test_strict_is_refused_for_a_doubtful_time(old: tuple[str, ...], new: tuple[str, ...], reason: str | None) -> None:
    records = make_record(flags=old), make_record(flags=new)
    found, reasons = strictly(*records)
    assert outcome([records[0]], [records[1]]) is Outcome.PASSED
    assert found is (Outcome.REFUSED if reason else Outcome.PASSED)
    assert reason is None or reasons == (reason,)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Outcome.PASSED),
        ({"status": Status.INCORRECT, "reason": "values"}, Outcome.FAILED),
        ({"status": Status.INFRA_ERROR}, Outcome.REFUSED),
        ({"status": Status.SKIPPED}, Outcome.PASSED),
        ({"flags": ("clock_mismatch",)}, Outcome.REFUSED),
    ],
)
def test_strict_looks_at_pairs_that_appear(fields: dict[str, Any], expected: Outcome) -> None:
    old, new = [make_record("p/a")], [make_record("p/a"), make_record("p/new", **fields)]
    assert outcome(old, new) is Outcome.PASSED
    found, reasons = strictly(old, new)
    assert found is expected
    assert expected is Outcome.PASSED or "p/new" in reasons[0]
    assert Outcome.FAILED.exit_code == 1


def test_a_new_failure_outweighs_what_strict_could_not_decide_and_a_regression_outweighs_both() -> None:
    crash = make_record("p/new", status=Status.CRASH)
    found, reasons = strictly([make_record("p/a")], [make_record("p/a", d=STRADDLING), crash])
    assert found is Outcome.FAILED and len(reasons) == 2
    assert strictly([make_record("p/a")], [make_record("p/a", d=SLOW), crash])[0] is Outcome.REGRESSION
    assert strictly([make_record("p/a"), make_record("p/b")], [make_record("p/a")], allow_missing=True)[0] is (
        Outcome.PASSED
    )


def test_strict_keeps_the_reasons_of_a_refusal() -> None:
    old = [make_record("p/a"), make_record("p/b")]
    found, reasons = strictly(old, [make_record("p/a", status=Status.SKIPPED), make_record("p/b", d=STRADDLING)])
    assert found is Outcome.REFUSED
    assert [reason.split()[0] for reason in reasons] == ["p/a", "p/b"]


def test_a_quick_run_is_no_ground_for_a_gate() -> None:
    quick = make_run([make_record(d=SLOW)], options={"replicates": 3})
    answer = gate(compare_runs(make_run([make_record()]), quick))
    assert answer.outcome is Outcome.REFUSED
    assert answer.reasons == ("the new run has 3 replicates of each pair (--quick), and a gate needs 5",)
    more = make_run([make_record(d=SLOW)], options={"replicates": 5, "half_blocks": True})
    answer = gate(compare_runs(more, make_run([make_record()], options={"replicates": 5, "half_blocks": False})))
    assert answer.outcome is Outcome.REFUSED
    assert answer.reasons == ("the old run was made with --quick: of fewer blocks, and its pairs may share processes",)
    broken = make_run([make_record(status=Status.CRASH)], options={"replicates": 3})
    assert outcome([make_record()], broken) is Outcome.REGRESSION
