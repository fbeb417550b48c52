"""What is said of what was measured."""

from __future__ import annotations

import dataclasses

import pytest

from kbench.lint import rules
from kbench.lint.model import Finding, Severity
from kbench.lint.values import InputSeen, Kind, Outcome, Seen, Timing, Trick
from lint.seen_factory import OUTPUT, SEEN, case, form, seen

WEAK, NOTE = Severity.WEAK, Severity.NOTE
DRAWN, FIXED = InputSeen(shape=(4,), redrawn=True), InputSeen(shape=(4,), redrawn=False)


def said(what: Seen) -> list[tuple[Severity, str]]:
    return [(finding.severity, finding.check) for finding in rules.judge(what)]


def only(what: Seen) -> Finding:
    (finding,) = rules.judge(what)
    return finding


def accepted(kind: Kind, *, caught_in: str | None = None, unread: bool = False, **fields: object) -> Outcome:
    trick = Trick(kind=kind, subject="it", **fields)  # type: ignore[arg-type]
    return Outcome(trick=trick, accepted_in=("as_given",), caught_in=caught_in, unread=unread)


def test_nothing_is_said_of_a_problem_with_nothing_wrong() -> None:
    assert rules.judge(SEEN) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"inputs": (FIXED, FIXED)}, (WEAK, "inputs_fixed")),
        ({"inputs": ()}, (WEAK, "inputs_fixed")),
        ({"inputs": (DRAWN, FIXED)}, (NOTE, "inputs_fixed")),
        ({"reproducible": False}, (WEAK, "inputs_unseeded")),
        ({"plain_tensors": ("w",)}, (WEAK, "plain_tensor")),
        ({"unsaved_buffers": ("b",)}, (NOTE, "unsaved_buffer")),
        ({"special": (("w", 1.0),)}, (NOTE, "special_parameter")),
    ],
)
def test_the_form(change: dict[str, object], expected: tuple[Severity, str]) -> None:
    assert said(seen(form=form(**change))) == [expected]


def test_special_parameters_are_a_weakness_where_no_other_case_can_be_put() -> None:
    alone = (SEEN.cases[0], case("second", impossible="no"))
    assert (WEAK, "special_parameter") in said(seen(form=form(special=(("w", 1.0),)), cases=alone))


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (Kind.ZEROS, "constant"), (Kind.CONSTANT, "constant"), (Kind.FLAT, "flat"), (Kind.ECHO, "echo"),
        (Kind.INPUT, "input_unused"), (Kind.STATE, "parameter_unused"), (Kind.HALF, "sampled"),
    ],
)  # fmt: skip
def test_a_trick_is_a_weakness_where_no_case_catches_it_and_else_a_note(kind: Kind, check: str) -> None:
    assert said(seen(outcomes=(accepted(kind, output=0, inputs=(0,)),))) == [(WEAK, check)]
    caught = only(seen(outcomes=(accepted(kind, output=0, inputs=(0,), caught_in="third"),)))
    assert (caught.severity, caught.check) == (NOTE, check)
    assert "third" in caught.remedy
    assert "as_given" in caught.detail


def test_what_is_never_read_is_a_note_only() -> None:
    assert said(seen(outcomes=(accepted(Kind.HALF, inputs=(0,), unread=True),))) == [(NOTE, "unread")]


def test_a_constant_output_is_named_once_and_not_what_follows_from_it() -> None:
    kinds = (Kind.ZEROS, Kind.CONSTANT, Kind.FLAT, Kind.ECHO)
    outcomes = (*(accepted(kind, output=0) for kind in kinds), accepted(Kind.STATE), accepted(Kind.INPUT, inputs=(0,)))
    assert said(seen(outcomes=outcomes)) == [(WEAK, "constant")]


def test_the_graver_of_two_findings_about_a_constant_is_kept() -> None:
    outcomes = (accepted(Kind.ZEROS, output=0, caught_in="second"), accepted(Kind.CONSTANT, output=0))
    assert said(seen(outcomes=outcomes)) == [(WEAK, "constant")]


def test_one_constant_output_of_two_does_not_hide_an_unused_parameter() -> None:
    cases = tuple(dataclasses.replace(c, outputs=(OUTPUT, OUTPUT)) for c in SEEN.cases)
    outcomes = (accepted(Kind.ZEROS, output=0), accepted(Kind.STATE), accepted(Kind.FLAT, output=1))
    assert said(seen(cases=cases, outcomes=outcomes)) == [
        (WEAK, "constant"), (WEAK, "parameter_unused"), (WEAK, "flat"),
    ]  # fmt: skip


def test_the_halves_of_an_unused_input_go_without_saying() -> None:
    outcomes = (accepted(Kind.INPUT, inputs=(1,)), accepted(Kind.HALF, inputs=(1,)), accepted(Kind.HALF, inputs=(0, 1)))
    assert said(seen(outcomes=outcomes)) == [(WEAK, "input_unused"), (WEAK, "sampled")]


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ((0.5, 0.5), []),  # ReLU
        ((0.69, 0.2), [(NOTE, "saturated")]),
        ((0.69, 0.69), [(NOTE, "saturated")]),
        ((0.99, 0.5), [(NOTE, "saturated")]),
        ((0.99, 0.95), [(WEAK, "saturated")]),
    ],
)
def test_saturation(shares: tuple[float, float], expected: list[tuple[Severity, str]]) -> None:
    first = dataclasses.replace(SEEN.cases[0], outputs=(dataclasses.replace(OUTPUT, top_share=shares[0]),))
    assert said(seen(cases=(first, case("second", top_share=shares[1])))) == expected


def test_saturation_is_not_made_up_for_by_a_case_that_cannot_be_put() -> None:
    first = dataclasses.replace(SEEN.cases[0], outputs=(dataclasses.replace(OUTPUT, top_share=0.99),))
    without = case("second", outputs=(dataclasses.replace(OUTPUT, finite_share=0.0, top_share=0.0),))
    assert (WEAK, "saturated") in said(seen(cases=(first, without)))


def test_precision_is_a_weakness_where_no_case_decides_it() -> None:
    undecided = case("as_given", precision_ratios=(2.0,), undecidable=(0,))
    assert said(seen(cases=(undecided, case("second")))) == [(WEAK, "precision")]
    decided = case("second", precision_ratios=(90.0,))
    assert said(seen(cases=(undecided, decided))) == [(NOTE, "precision")]


def test_outputs_of_whole_numbers_have_no_precision() -> None:
    assert said(seen(cases=(case("as_given", precision_ratios=()),))) == []


def test_what_is_not_finite() -> None:
    def first(share: float) -> tuple[object, ...]:
        outputs = (dataclasses.replace(OUTPUT, finite_share=share),)
        return (dataclasses.replace(SEEN.cases[0], outputs=outputs),)

    assert said(seen(cases=first(0.9))) == [(NOTE, "nonfinite")]
    assert said(seen(cases=first(0.2))) == [(WEAK, "nonfinite")]
    assert said(seen(cases=(*first(0.2), case("second")))) == [(NOTE, "nonfinite")]


def test_a_case_that_is_left_out_is_named_with_its_reason() -> None:
    finding = only(seen(cases=(SEEN.cases[0], case("recentred", impossible="log of what is negative"))))
    assert (finding.severity, finding.check) == (NOTE, "case_left_out")
    assert "recentred" in finding.detail
    assert "log of what is negative" in finding.detail


def test_memory() -> None:
    assert said(seen(mutates_inputs=True)) == [(WEAK, "mutates_inputs")]
    assert said(seen(aliases_inputs=True)) == [(WEAK, "aliases_input")]


@pytest.mark.parametrize(
    ("eager_ms", "enqueue_ms", "floor_ms", "on_cuda", "expected"),
    [
        (0.09, None, 0.001, False, ["short"]),
        (0.09, 0.01, 0.001, True, []),
        (0.015, 0.001, 0.001, True, ["short"]),
        (0.09, 0.08, 0.001, True, ["launch_bound"]),
        (5.0, None, 4.9, False, []),
        (5.0, None, 9.0, False, ["floor"]),
    ],
)
def test_time(eager_ms: float, enqueue_ms: float | None, floor_ms: float, on_cuda: bool, expected: list[str]) -> None:
    timing = Timing(eager_ms=eager_ms, enqueue_ms=enqueue_ms, floor_ms=floor_ms)
    assert said(seen(timing=timing, on_cuda=on_cuda)) == [(NOTE, check) for check in expected]


def test_the_gravest_come_first_and_each_says_what_to_do() -> None:
    outcomes = (accepted(Kind.ZEROS, output=0, caught_in="second"), accepted(Kind.STATE))
    findings = rules.judge(seen(form=form(special=(("w", 0.0),)), outcomes=outcomes))
    assert [finding.severity for finding in findings] == [WEAK, NOTE, NOTE]
    assert all(finding.detail and finding.remedy for finding in findings)
