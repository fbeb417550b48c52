"""Whether a reference is a function: of its inputs, parameters and buffers, and of nothing else."""

from __future__ import annotations

import random

import numpy
import torch

from kbench.errors import ProblemError
from kbench.judge.cases import Case
from kbench.judge.oracle import Expected, check_repeatable, run_reference
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


def check_keeps_nothing(reference: Reference, case: Case, expected: Expected, others: Drawn) -> None:
    """Raise Unfit where a forward on other inputs in between changes the answer to these.

    By the judge's own criteria, so that noise too small for `check_repeatable` shows here.
    """
    model = reference.model()
    outputs: list[torch.Tensor] = []
    for drawn in (others, case.inputs):
        model.load_state_dict(dict(case.state))
        with blamed_on(reference.problem, "a second forward failed"), torch.no_grad():
            _, outputs = flatten_output(
                model(*put_together(drawn.template, [tensor.clone() for tensor in drawn.tensors]))
            )
    if len(outputs) == len(expected.oracle) and accepted(Answer(outputs=dict(enumerate(outputs))), expected):
        return
    if _draws_random_numbers(reference, case):
        raise Unfit("random", "forward draws random numbers, and its answers differ by them", _RANDOM)
    raise Unfit("hidden_state", "a forward on other inputs changes the answer to these: something is kept", _STATE)


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
