"""Decide whether one solution computes what its problem's reference computes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from kbench.errors import ProblemError
from kbench.judge.cases import CASE_NAMES, Case, SeedSource, make_case
from kbench.judge.desk import Desk, FormMismatch
from kbench.judge.oracle import Expected, check_repeatable, expect, same_bytes
from kbench.judge.reference import Reference
from kbench.judge.tolerance import Tolerance, compare
from kbench.model import Status, Verdict
from kbench.remote.link import WorkerFailed, WorkerLink

_REPEATED_CASE = CASE_NAMES[0]


@dataclass(frozen=True, kw_only=True)
class Question:
    """A case together with what its answer must be."""

    case: Case
    expected: Expected


def ask_first(reference: Reference, seeds: SeedSource) -> Question:
    """The question that also fixes the form of everything: the inputs as given. Raises ProblemError."""
    case = make_case(reference, CASE_NAMES[0], seeds.next())
    check_repeatable(reference, case)
    question = Question(case=case, expected=expect(reference, case))
    if not _gives_numbers(question.expected):
        raise ProblemError(
            f"problem {reference.problem.id!r}: an output of the reference has no finite number",
            where=str(reference.problem.path),
            hint="nothing could be compared with it; scale its inputs or parameters",
        )
    return question


def further_questions(reference: Reference, seeds: SeedSource, flags: list[str]) -> list[Question]:
    """The other cases. One that the reference cannot do, or does with no finite number, is left out, and said."""
    questions = []
    for name in CASE_NAMES[1:]:
        case = make_case(reference, name, seeds.next())
        try:
            expected = expect(reference, case)
        except ProblemError:  # a derived case need not suit every problem: a logarithm of negative inputs, say
            flags.append(f"case_not_possible:{name}")
            continue
        if _gives_numbers(expected):
            questions.append(Question(case=case, expected=expected))
        else:
            flags.append(f"case_not_finite:{name}")
    return questions


def _gives_numbers(expected: Expected) -> bool:
    """Whether every floating output has an element that is compared: finite in fp64 and at the declared precision."""
    pairs = zip(expected.oracle, expected.eager, strict=True)
    return all(bool((o.isfinite() & e.isfinite()).any()) for o, e in pairs if o.is_floating_point() and o.numel())


def judge(link: WorkerLink, desk: Desk, questions: Sequence[Question]) -> Verdict:
    """Put every question to a constructed worker. Returns `correct` or the first failure, never raises WorkerFailed."""
    try:
        for question in questions:
            if (verdict := _judge_case(link, desk, question)) is not None:
                return verdict
    except WorkerFailed as failed:
        return failed.verdict
    return Verdict(status=Status.CORRECT)


def _judge_case(link: WorkerLink, desk: Desk, question: Question) -> Verdict | None:
    case, expected = question.case, question.expected
    desk.put_inputs(case.inputs)
    desk.put_state(case.state)
    link.set_state()
    answer = desk.call(link)
    if (verdict := check_answer(answer, question)) is not None:
        return verdict
    if not expected.eager_mutates and not desk.inputs_unchanged(case.inputs):
        return _incorrect("input_mutated", "forward wrote into its inputs", case)
    link.get_state()
    if (verdict := _check_state(desk.take_state(), question)) is not None:
        return verdict
    if case.name == _REPEATED_CASE and not expected.eager_mutates:
        return _check_repeat(link, desk, question)
    return None


def _check_repeat(link: WorkerLink, desk: Desk, question: Question) -> Verdict | None:
    """The same inputs and state once more must give an answer that is as good."""
    link.set_state()
    verdict = check_answer(desk.call(link), question)
    if verdict is None:
        return None
    message = f"the first call was right, a second one on the same inputs was not: {verdict.message}"
    return dataclasses.replace(verdict, reason="nondeterministic", message=message)


def check_answer(answer: FormMismatch | list[torch.Tensor], question: Question) -> Verdict | None:
    """None when every output is within its budget, else the verdict `incorrect`."""
    case, expected = question.case, question.expected
    if isinstance(answer, FormMismatch):
        return _incorrect(answer.reason, answer.message, case)
    parts = zip(answer, expected.oracle, expected.eager, expected.budgets, strict=True)
    for number, (got, oracle, eager, budget) in enumerate(parts):
        if (mismatch := compare(got, oracle, eager, budget)) is not None:
            reason = "nonfinite" if mismatch.evidence.get("nonfinite") else "values"
            where = f"output {number}, " if len(answer) > 1 else ""
            return _incorrect(reason, where + mismatch.message, case, {**mismatch.evidence, **_budget(budget)})
    return None


def _check_state(after: Mapping[str, torch.Tensor], question: Question) -> Verdict | None:
    """Buffers the reference updates must be updated as well; everything else must stay bit for bit."""
    case, expected = question.case, question.expected
    for name, got in after.items():
        oracle, eager = expected.oracle_state[name], expected.eager_state[name]
        budget = expected.state_budgets.get(name)
        if budget is not None:
            mismatch = compare(got, oracle, eager, budget)
            if mismatch is not None:
                return _incorrect(
                    "buffers", f"buffer {name} after forward: {mismatch.message}", case, mismatch.evidence
                )
        elif not same_bytes(got, eager):
            return _incorrect("buffers", _unexpected_change(name, got, case.state[name], eager), case)
    return None


def _unexpected_change(name: str, got: torch.Tensor, before: torch.Tensor, eager: torch.Tensor) -> str:
    if same_bytes(before, eager):
        return f"forward changed {name}, which the reference leaves as it is"
    if same_bytes(got, before):
        return f"forward left {name} as it was, which the reference updates"
    return f"forward updated {name} otherwise than the reference"


def _budget(budget: Tolerance) -> dict[str, float]:
    return {"tolerance": budget.limit, "scale": budget.scale, "eager_error": budget.e_hi, "lower_error": budget.e_lo}


def _incorrect(reason: str, message: str, case: Case, evidence: Mapping[str, Any] | None = None) -> Verdict:
    return Verdict(
        status=Status.INCORRECT,
        reason=reason,
        message=f"{message} (case {case.name})",
        evidence={"case": case.name, "seed": case.seed, "state_seed": case.state_seed, **(evidence or {})},
    )
