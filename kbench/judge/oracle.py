"""What a case's output should be: the reference in fp64, and the two errors that bracket the tolerance."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from kbench.errors import ProblemError
from kbench.judge.cases import Case
from kbench.judge.reference import Reference, blamed_on
from kbench.judge.suited import objection
from kbench.judge.tolerance import Tolerance, bracket, whole_numbers
from kbench.layout import flatten_output, put_together
from kbench.model import Precision

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integers by their size in bytes."""
_REPEAT_TOLERANCE = 1e-2
"""Loose: atomics may reorder sums from call to call, but nothing honest moves an output by a hundredth."""
_LOWER_MANTISSA_BITS = {Precision.FP32: 10, Precision.TF32: 7, Precision.FP16: 3, Precision.BF16: 3}
"""Explicit mantissa bits one precision lower: TF32 below fp32, bf16 below TF32, an fp8 (e4m3) below the halves."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """One forward's results: structure, outputs, and the state afterwards."""

    structure: str
    outputs: tuple[torch.Tensor, ...]
    state: Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a solution's answer to a case is held against."""

    structure: str
    oracle: tuple[torch.Tensor, ...]
    eager: tuple[torch.Tensor, ...]
    budgets: tuple[Tolerance, ...]
    oracle_state: Mapping[str, torch.Tensor]
    eager_state: Mapping[str, torch.Tensor]
    state_budgets: Mapping[str, Tolerance]
    """For floating buffers that the forward changes. All other state must not change at all."""
    eager_mutates: bool
    """Whether the reference itself writes into its inputs."""
    eager_aliases: bool
    """Whether an output of the reference is a view of an input."""

    @property
    def decidable(self) -> bool:
        """Whether the precision of every output could be told from the one below."""
        return all(budget.decidable for budget in self.budgets)


def expect(reference: Reference, case: Case) -> Expected:
    """Compute a case's oracle and tolerances.

    Raises ProblemError when the reference itself cannot be run, or has no one right answer to this case.
    """
    _check_suited(reference, case)
    eager_inputs = [tensor.clone() for tensor in case.inputs.tensors]
    eager = run_reference(reference, case, inputs=eager_inputs)
    mutates = any(not same_bytes(a, b) for a, b in zip(eager_inputs, case.inputs.tensors, strict=True))
    aliases = not {_storage(t) for t in eager.outputs}.isdisjoint(_storage(t) for t in eager_inputs)
    del eager_inputs
    oracle = run_in_fp64(reference, case)
    if oracle.structure != eager.structure or len(oracle.outputs) != len(eager.outputs):
        raise ProblemError(f"problem {reference.problem.id!r} answers with another structure in fp64")
    changed = [
        name for name, before in case.state.items()
        if before.is_floating_point() and not same_bytes(before, eager.state[name])
    ]  # fmt: skip
    budgets, state_budgets = _budgets(reference, case, oracle, eager, changed)
    return Expected(
        structure=eager.structure,
        oracle=oracle.outputs,
        eager=eager.outputs,
        budgets=budgets,
        oracle_state=oracle.state,
        eager_state=eager.state,
        state_budgets=state_budgets,
        eager_mutates=mutates,
        eager_aliases=aliases,
    )


def _check_suited(reference: Reference, case: Case) -> None:
    why = objection(case.name, reference.operators(), reference.device)
    if why is not None:
        raise ProblemError(f"problem {reference.problem.id!r} does not suit case {case.name!r}", why=why)


def _budgets(
    reference: Reference, case: Case, oracle: Ran, eager: Ran, changed: Sequence[str]
) -> tuple[tuple[Tolerance, ...], dict[str, Tolerance]]:
    """The budget of every output, and of the state that forward changed. Raises ProblemError."""
    if case.name == "integers":
        whole = [whole_numbers(o, e) for o, e in zip(oracle.outputs, eager.outputs, strict=True)]
        budgets = tuple(budget for budget in whole if budget is not None)
        if len(budgets) < len(whole) or changed:
            why = "its outputs for small integers are not whole numbers that eager gives exactly"
            raise ProblemError(f"problem {reference.problem.id!r} does not suit case 'integers'", why=why)
        return budgets, {}
    lower = run_in_fp64(reference, case, mantissa_bits=_LOWER_MANTISSA_BITS[reference.problem.precision])

    def budget(triple: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> Tolerance:
        found = bracket(*triple, few_values=case.name == "ties")
        return dataclasses.replace(found, lenient_nonfinite=case.name == "nonfinite")

    honest = eager
    if reference.problem.precision is Precision.TF32 and reference.device.type == "cpu":
        honest = run_in_fp64(reference, case, mantissa_bits=_LOWER_MANTISSA_BITS[Precision.FP32])
    outputs = tuple(
        budget((o, h.to(e.dtype), low))
        for o, h, e, low in zip(oracle.outputs, honest.outputs, eager.outputs, lower.outputs, strict=True)
    )
    return outputs, {name: budget((oracle.state[name], eager.state[name], lower.state[name])) for name in changed}


def run_reference(reference: Reference, case: Case, *, inputs: list[torch.Tensor]) -> Ran:
    """Trusted eager at the declared precision."""
    model = reference.model()
    model.load_state_dict(dict(case.state))
    with _tf32(allowed=reference.problem.precision is Precision.TF32):
        return _forward(reference, model, case, inputs)


def check_repeatable(reference: Reference, case: Case) -> None:
    """Raise ProblemError unless the reference, given its buffers back, answers the same inputs the same way again.

    One that draws random numbers in forward, or keeps state outside its buffers, has no answer to be held to.
    """
    model = reference.model()
    answers = []
    for _ in range(2):
        model.load_state_dict(dict(case.state))
        inputs = [tensor.clone() for tensor in case.inputs.tensors]
        answers.append(_forward(reference, model, case, inputs).outputs)
    for number, (first, second) in enumerate(zip(*answers, strict=True)):
        if first.shape != second.shape or not torch.allclose(
            _widened(first), _widened(second), rtol=_REPEAT_TOLERANCE, atol=_REPEAT_TOLERANCE, equal_nan=True
        ):
            raise ProblemError(
                f"problem {reference.problem.id!r}: the reference does not agree with itself",
                where=str(reference.problem.path),
                why=f"a second forward on the same inputs gave another output {number}: it is random, or it keeps "
                "state outside its buffers",
                hint="make it a function of its inputs, parameters and buffers (dropout: p=0, or mode: eval)",
            )


def run_in_fp64(reference: Reference, case: Case, *, mantissa_bits: int | None = None) -> Ran:
    """The reference in fp64 on the same inputs and state, each first rounded to `mantissa_bits` where given."""
    model = reference.model()
    model.load_state_dict(dict(case.state))
    model = model.double()
    inputs = [_widened(tensor).clone() for tensor in case.inputs.tensors]
    if mantissa_bits is not None:
        inputs = [round_mantissa(tensor, mantissa_bits) for tensor in inputs]
        with torch.no_grad():
            for tensor in model.state_dict(keep_vars=True).values():
                tensor.copy_(round_mantissa(tensor, mantissa_bits))
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        ran = _forward(reference, model, case, inputs)
    finally:
        torch.set_default_dtype(default)
    return Ran(structure=ran.structure, outputs=tuple(_widened(t) for t in ran.outputs), state=ran.state)


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_complex():
        return tensor.to(torch.complex128)
    return tensor.double() if tensor.is_floating_point() else tensor


def _forward(reference: Reference, model: torch.nn.Module, case: Case, inputs: list[torch.Tensor]) -> Ran:
    with blamed_on(reference.problem, f"its forward failed on case {case.name!r}"), torch.no_grad():
        structure, outputs = flatten_output(model(*put_together(case.inputs.template, inputs)))
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    return Ran(structure=structure, outputs=tuple(tensor.detach() for tensor in outputs), state=state)


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def round_mantissa(tensor: torch.Tensor, bits: int) -> torch.Tensor:
    """Round floating values to `bits` explicit mantissa bits, to nearest even; exponents keep their full range."""
    if not tensor.is_floating_point():
        return tensor
    mantissa, exponent = torch.frexp(tensor)
    rounded = torch.ldexp(torch.round(mantissa * 2.0 ** (bits + 1)) / 2.0 ** (bits + 1), exponent)
    return torch.where(torch.isfinite(tensor), rounded, tensor)


def same_bytes(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Bitwise equality: NaN equals itself here."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    bits = _BITS[min(a.element_size(), 8)]  # byte by byte an H200 took 1.5 times as long
    return torch.equal(a.contiguous().view(-1).view(bits), b.contiguous().view(-1).view(bits))


@contextlib.contextmanager
def _tf32(*, allowed: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
