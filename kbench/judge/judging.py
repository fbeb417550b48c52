"""Decide whether one solution computes what its problem's reference computes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from kbench.errors import ProblemError
from kbench.judge.cases import CASE_NAMES, Case, SeedSource, make_case
from kbench.judge.desk import Desk, Refusal
from kbench.judge.oracle import Expected, check_repeatable, expect, run_in_fp64, same_bytes
from kbench.judge.reference import Drawn, Reference
from kbench.judge.stream import Stream
from kbench.judge.tolerance import Tolerance, compare
from kbench.model import Status, Verdict
from kbench.remote.link import WorkerFailed, WorkerLink


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


def further_questions(
    reference: Reference, seeds: SeedSource, left_out: list[str], *, after: str = CASE_NAMES[0]
) -> Iterator[Question]:
    """The cases after the named one, each made when it is asked for: a question holds its outputs several times over.

    One that the reference cannot do, or does with no finite number, is left out, and said (once).
    """
    for name in CASE_NAMES[CASE_NAMES.index(after) + 1 :]:
        case = make_case(reference, name, seeds.next())
        lacking = ""
        try:
            expected = expect(reference, case)
        except ProblemError:  # a derived case need not suit every problem: a logarithm of negative inputs, say
            lacking = f"case_not_possible:{name}"
        else:
            if _gives_numbers(expected):
                yield Question(case=case, expected=expected)
            else:
                lacking = f"case_not_finite:{name}"
        if lacking and lacking not in left_out:
            left_out.append(lacking)


def ask(reference: Reference, name: str, seeds: SeedSource) -> Question:
    """The case `name` once more, under new seeds. Raises ProblemError."""
    case = make_case(reference, name, seeds.next())
    return Question(case=case, expected=expect(reference, case))


def _gives_numbers(expected: Expected) -> bool:
    """Whether every floating output has an element that is compared: finite in fp64 and at the declared precision."""
    pairs = zip(expected.oracle, expected.eager, strict=True)
    return all(bool((o.isfinite() & e.isfinite()).any()) for o, e in pairs if o.is_floating_point() and o.numel())


def following(reference: Reference, question: Question, inputs: Drawn, seed: int) -> Question:
    """What the next call on `inputs` must give: it finds the state that the question's call has left."""
    left = question.expected.eager_state
    state = {name: left[name].to(tensor.dtype) for name, tensor in question.case.state.items()}
    case = dataclasses.replace(question.case, seed=seed, inputs=inputs, state=state)
    ran = run_in_fp64(reference, case)
    eager = tuple(o.to(e.dtype) for o, e in zip(ran.outputs, question.expected.eager, strict=True))
    expected = dataclasses.replace(
        question.expected, oracle=ran.outputs, eager=eager, oracle_state=ran.state, eager_state=ran.state
    )
    return Question(case=case, expected=expected)


def judge(
    link: WorkerLink, stream: Stream, reference: Reference, questions: Iterable[Question], seeds: SeedSource
) -> Verdict:
    """Put every question to a constructed worker; the first is asked a second time, with another call behind it.

    Questions are taken one by one, and only while all is well. Returns `correct` or the first failure, never raises
    WorkerFailed.
    """
    try:
        for number, question in enumerate(questions):
            verdict = inspect(link, stream, question)
            if number == 0 and verdict is None:
                seed = seeds.next()
                second = following(reference, question, reference.draw(seed), seed)
                verdict = _check_pair(link, stream, question, second)
            if verdict is not None:
                return verdict
    except WorkerFailed as failed:
        return failed.verdict
    return Verdict(status=Status.CORRECT)


def inspect(link: WorkerLink, stream: Stream, question: Question) -> Verdict | None:
    """One question with all that can be asked about it: output, inputs, red zones, state. Raises WorkerFailed."""
    case, desk = question.case, stream.desk
    desk.put_state(case.state)
    link.set_state()
    outputs = stream.outputs(stream.sample(link, [case.inputs]))
    if (verdict := check_answer(only(outputs), question)) is not None:
        return verdict
    if (verdict := check_memory(desk, [case.inputs], question)) is not None:
        return verdict
    link.get_state()
    return _check_state(desk.take_state(), question)


def only(outputs: Refusal | list[list[torch.Tensor]]) -> Refusal | list[torch.Tensor]:
    """The output of a sample of one call."""
    return outputs if isinstance(outputs, Refusal) else outputs[0]


def check_memory(desk: Desk, sets: Sequence[Drawn], question: Question) -> Verdict | None:
    """None when the inputs are as they were and nothing was written around them."""
    if not question.expected.eager_mutates and not desk.inputs_unchanged(sets):
        return _incorrect("input_mutated", "forward wrote into its inputs", question.case)
    if not desk.zones_intact():
        return _incorrect("out_of_bounds", "forward wrote outside of its inputs, in front or behind", question.case)
    return None


def _check_pair(link: WorkerLink, stream: Stream, first: Question, second: Question) -> Verdict | None:
    """The first inputs again, then others, with both outputs held at once: the first must be as good as it was, and
    neither output may be the other's memory."""
    link.set_state()
    outputs = stream.outputs(stream.sample(link, [first.case.inputs, second.case.inputs]))
    if isinstance(outputs, Refusal):
        return check_answer(outputs, first)
    again, other = (check_answer(out, question) for out, question in zip(outputs, (first, second), strict=True))
    if again is None:
        return other and dataclasses.replace(other, message=f"the second of two calls: {other.message}")
    if check_answer(outputs[0], second) is None:
        message = "the output of a call was overwritten by the next call: both are the same memory"
        return _incorrect("output_reused", message, first.case)
    message = f"the first call was right, a second one on the same inputs was not: {again.message}"
    return dataclasses.replace(again, reason="nondeterministic", message=message)


def check_answer(answer: Refusal | list[torch.Tensor], question: Question) -> Verdict | None:
    """None when every output is within its budget, else the verdict `incorrect`."""
    case, expected = question.case, question.expected
    if isinstance(answer, Refusal):
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
