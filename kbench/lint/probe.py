"""Measure everything about one problem that the rules go by."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from kbench.errors import ProblemError
from kbench.judge.cases import CASE_NAMES, Case, SeedSource, make_case
from kbench.judge.oracle import Expected, Ran, expect, run_reference
from kbench.judge.reference import Reference
from kbench.lint.constancy import check_agrees_with_itself, check_keeps_nothing
from kbench.lint.form import stage
from kbench.lint.model import Unfit
from kbench.lint.timing import time_eager
from kbench.lint.tricks import Attempt, Fate, Setting, attempts
from kbench.lint.values import CaseSeen, Form, Outcome, OutputSeen, Seen
from kbench.measure.physics import Ceilings

_RANDOMISED = "randomised_parameters"
_COUNTED_ELEMENTS = 1 << 17


def probe(reference: Reference, form: Form, seeds: SeedSource, ceilings: Ceilings) -> Seen:
    """Put every trick to every case until it is caught. Raises Unfit where there is nothing to be judged by."""
    with stage("runs"):
        case = make_case(reference, CASE_NAMES[0], seeds.next())
        check_agrees_with_itself(reference, case)
        others = make_case(reference, CASE_NAMES[0], seeds.next()).inputs
    with stage("oracle", "the judge runs the reference in fp64: keep to operators and casts that allow it"):
        expected = expect(reference, case)
    with stage("runs"):
        check_keeps_nothing(reference, case, expected, others)
        first = _look(case.name, expected.eager)
        if not first.usable:
            raise Unfit(
                "nonfinite", "an output of the reference has no finite number", "scale its inputs or its parameters"
            )
        timing = time_eager(reference, case, ceilings)
    with stage("runs"):
        setting = _setting(reference, case, expected, seeds)
        asking = _Asking([_Answered(attempt) for attempt in attempts(setting)])
        cases = [asking.ask(first, setting)]
        mutates, aliases = expected.eager_mutates, expected.eager_aliases
        del setting, expected
        cases += [_further(reference, name, seeds, asking) for name in CASE_NAMES[1:]]
    return Seen(
        form=form,
        cases=tuple(cases),
        outcomes=asking.outcomes(),
        mutates_inputs=mutates,
        aliases_inputs=aliases,
        timing=timing,
        on_cuda=reference.device.type == "cuda",
    )


def _further(reference: Reference, name: str, seeds: SeedSource, asking: _Asking) -> CaseSeen:
    """One of the derived cases. Only what is still open is asked: the oracle costs much more than a forward."""
    try:
        case = make_case(reference, name, seeds.next())
        seen = _look(name, _run(reference, case).outputs)
        if not (seen.usable and asking.is_open):
            return seen
        expected = expect(reference, case)
    except ProblemError as error:
        return CaseSeen(name=name, impossible=error.why or error.what)
    return asking.ask(seen, _setting(reference, case, expected, seeds))


def _run(reference: Reference, case: Case) -> Ran:
    return run_reference(reference, case, inputs=[tensor.clone() for tensor in case.inputs.tensors])


def _setting(reference: Reference, case: Case, expected: Expected, seeds: SeedSource) -> Setting:
    return Setting(
        reference=reference,
        case=case,
        expected=expected,
        other_inputs=make_case(reference, case.name, seeds.next()).inputs,
        other_state=make_case(reference, _RANDOMISED, seeds.next()).state,
    )


@dataclass
class _Answered:
    """What has become of one attempt so far."""

    attempt: Attempt
    fates: dict[str, Fate] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """No case has caught it, and it was a trick in the first one."""
        return Fate.CAUGHT not in self.fates.values() and next(iter(self.fates.values()), None) is not Fate.NO_TRICK

    def outcome(self) -> Outcome:
        accepted = {n: f for n, f in self.fates.items() if f in (Fate.ACCEPTED, Fate.UNCHANGED)}
        return Outcome(
            trick=self.attempt.trick,
            accepted_in=tuple(accepted),
            caught_in=next((n for n, f in self.fates.items() if f is Fate.CAUGHT), None),
            unread=all(f is Fate.UNCHANGED for f in accepted.values()),
        )


@dataclass
class _Asking:
    """What the cases have not settled yet."""

    tricks: list[_Answered]
    undecided: set[int] | None = None
    """Outputs whose precision no case has decided. None: not asked yet."""

    @property
    def is_open(self) -> bool:
        return bool(self.undecided) or any(trick.is_open for trick in self.tricks)

    def ask(self, seen: CaseSeen, setting: Setting) -> CaseSeen:
        """Put what is open to one case. Returns what was seen of it, with its precision."""
        for trick in self.tricks:
            if trick.is_open:
                trick.fates[seen.name] = trick.attempt.try_in(setting)
        floating = [n for n, output in enumerate(setting.expected.oracle) if output.is_floating_point()]
        budgets = {n: setting.expected.budgets[n] for n in floating}
        undecidable = tuple(n for n, budget in budgets.items() if not budget.decidable)
        self.undecided = set(undecidable) if self.undecided is None else self.undecided & set(undecidable)
        ratios = tuple(b.e_lo / b.e_hi if b.e_hi else math.inf for b in budgets.values())
        return dataclasses.replace(seen, precision_ratios=ratios, undecidable=undecidable)

    def outcomes(self) -> tuple[Outcome, ...]:
        """Of the tricks that some case accepted."""
        return tuple(o for o in (trick.outcome() for trick in self.tricks) if o.accepted_in)


def _look(name: str, outputs: Sequence[torch.Tensor]) -> CaseSeen:
    return CaseSeen(name=name, outputs=tuple(_look_at(output) for output in outputs))


def _look_at(output: torch.Tensor) -> OutputSeen:
    floating = output.is_floating_point()
    if not floating or output.numel() == 0:
        return OutputSeen(floating=floating and output.numel() > 0, finite_share=1.0, top_values=(), top_share=0.0)
    finite_share = float(output.isfinite().double().mean())
    values = output.reshape(-1)[:: max(1, output.numel() // _COUNTED_ELEMENTS)].float()
    finite = values[values.isfinite()]
    if finite.numel() == 0:
        return OutputSeen(floating=True, finite_share=finite_share, top_values=(), top_share=0.0)
    distinct, counts = finite.unique(return_counts=True)
    repeated = counts > 1  # a value that stands alone is no limit that others have met: think of a loss
    distinct, counts = distinct[repeated], counts[repeated]
    top = counts.topk(min(2, counts.numel()))
    return OutputSeen(
        floating=True,
        finite_share=finite_share,
        top_values=tuple(float(distinct[i]) for i in top.indices),
        top_share=float(top.values.sum()) / finite.numel(),
    )
