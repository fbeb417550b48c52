"""Whether a reference is a function: of its inputs, parameters and buffers, and of nothing else."""

from __future__ import annotations

import random

import numpy
import torch

from kbench.errors import ProblemError
from kbench.judge.cases import Case
from kbench.judge.oracle import Expected, check_repeatable, run_reference, same_bytes
from kbench.judge.reference import Drawn, Reference, blamed_on
from kbench.layout import flatten_output, put_together
from kbench.lint.acceptance import Answer, accepted
from kbench.lint.model import Unfit

_RANDOM = "turn it off: dropout with p=0, or `mode: eval` in the sidecar; take noise as an input"
_STATE = "register what a forward keeps as a buffer, or compute it anew each time"


def check_agrees_with_itself(reference: Reference, case: Case) -> None:
    """Raise Unfit where a second forward on the same inputs and state answers otherwise."""
    try:
        check_repeatable(reference, case)
    except ProblemError as error:
        if _draws_random_numbers(reference, case):
            raise Unfit("random", "forward draws random numbers, so no answer is the right one", _RANDOM) from error
        why = "a second forward on the same inputs, parameters and buffers gives another output"
        raise Unfit("hidden_state", f"{why}: it keeps state outside its buffers", _STATE) from error
    if _draws_random_numbers(reference, case) and not _same_twice(reference, case):
        raise Unfit("random", "forward draws random numbers, and its answers differ by them", _RANDOM)


def check_keeps_nothing(reference: Reference, case: Case, expected: Expected, others: Drawn) -> None:
    """Raise Unfit where a forward on other inputs in between changes the answer to these.

    `check_repeatable` asks the same twice, which does not show what the first inputs left behind.
    """
    _, outputs = _in_turn(reference, case, (others, case.inputs))
    if len(outputs) != len(expected.oracle) or not accepted(Answer(outputs=dict(enumerate(outputs))), expected):
        raise Unfit("hidden_state", "a forward on other inputs changes the answer to these: something is kept", _STATE)


def _in_turn(reference: Reference, case: Case, inputs: tuple[Drawn, Drawn]) -> list[list[torch.Tensor]]:
    """One model's answers to two sets of inputs, each from the case's state."""
    model = reference.model()
    answers = []
    for drawn in inputs:
        model.load_state_dict(dict(case.state))
        with blamed_on(reference.problem, "a second forward failed"), torch.no_grad():
            arguments = put_together(drawn.template, [tensor.clone() for tensor in drawn.tensors])
            answers.append(flatten_output(model(*arguments))[1])
    return answers


def _same_twice(reference: Reference, case: Case) -> bool:
    first, second = _in_turn(reference, case, (case.inputs, case.inputs))
    return all(same_bytes(a, b) for a, b in zip(first, second, strict=True))


def _draws_random_numbers(reference: Reference, case: Case) -> bool:
    reference.model()
    after_construction = _generators(reference.device)
    run_reference(reference, case, inputs=[tensor.clone() for tensor in case.inputs.tensors])
    return _generators(reference.device) != after_construction


def _generators(device: torch.device) -> tuple[bytes, ...]:
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    others = (random.getstate(), numpy.random.get_state(legacy=False)["state"])
    return (*(state.numpy().tobytes() for state in states), *(repr(other).encode() for other in others))
