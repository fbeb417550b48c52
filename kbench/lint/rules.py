"""From what was measured of a problem to what is said of it. Pure: no torch, no files."""

from __future__ import annotations

from collections.abc import Iterator

from kbench.lint.model import Finding, Severity
from kbench.lint.values import Form, Kind, Outcome, Seen, Timing

SATURATED_NOTE = 0.6
"""A share of the output at two values: ReLU leaves half at zero, which is common and leaves enough to compare."""
SATURATED_WEAK = 0.9
NONFINITE_WEAK = 0.5
SHORT_MS_CPU = 0.1
SHORT_MS_CUDA = 0.02
LAUNCH_BOUND = 0.8
FLOOR_DOUBTFUL = 0.8

_NOTHING = "nothing to do"
_CHECKS = {
    Kind.ZEROS: ("constant", "zeros for {} are accepted"),
    Kind.CONSTANT: ("constant", "one number for all of {}, but for its last bits, is accepted"),
    Kind.FLAT: ("flat", "the mean of {}, repeated, is accepted"),
    Kind.ECHO: ("echo", "{} is accepted"),
    Kind.INPUT: ("input_unused", "other values of {} give an answer that is accepted"),
    Kind.STATE: ("parameter_unused", "other values of {} give an answer that is accepted"),
    Kind.HALF: ("sampled", "half of {} is enough for an answer that is accepted"),
}
_MADE_UP = (Kind.ZEROS, Kind.CONSTANT)
_REMEDIES = {
    "constant": "choose sizes, inputs or parameters whose output varies by more than rounding",
    "flat": "choose inputs or parameters whose output varies along it by more than rounding",
    "echo": "make the reference do work that changes its input by more than rounding",
    "input_unused": "take the input out, or choose values and sizes by which it moves the output",
    "parameter_unused": "take it out, as a solution may, or choose sizes by which it moves the output",
    "sampled": "shrink the reduced dimension, or widen the inputs, so that a part does not look like the whole",
    "unread": "declare the bytes that must be read as `floor: {bytes: …}` in the sidecar, or shrink the input",
}


def judge_form(form: Form) -> Iterator[Finding]:
    """What can be said before any comparison."""
    yield from _random_inputs(form)
    if form.plain_tensors:
        yield _weak(
            "plain_tensor",
            f"tensors that are neither parameters nor buffers: {', '.join(form.plain_tensors)}; "
            "they are never copied to a solution, and never randomised",
            "register them with nn.Parameter or register_buffer",
        )
    if form.unsaved_buffers:
        yield _note(
            "unsaved_buffer",
            f"buffers outside the state dict: {', '.join(form.unsaved_buffers)}; a solution computes its own",
            "nothing to do where they follow from the constructor's arguments; else register them as persistent",
        )


def _random_inputs(form: Form) -> Iterator[Finding]:
    fixed = [number for number, seen in enumerate(form.inputs) if not seen.redrawn]
    if len(fixed) == len(form.inputs):
        said = "is the same under every seed" if form.inputs else "gives no tensors"
        remedy = "draw inputs with torch.rand or torch.randn"
        yield _weak("inputs_fixed", f"get_inputs() {said}, so an answer can be remembered", remedy)
    elif fixed:
        names = ", ".join(f"input {number}" for number in fixed)
        remedy = f"{_NOTHING} where that is meant, as for a mask; else draw it"
        yield _note("inputs_fixed", f"the same under every seed: {names}", remedy)
    if not form.reproducible:
        yield _weak(
            "inputs_unseeded",
            "the same seed gives other inputs, so no failure can be shown again",
            "draw from torch's, random's or numpy's global generator, which the judge seeds",
        )


def judge(seen: Seen) -> list[Finding]:
    """Everything that is said of a problem that can be run."""
    findings = [*judge_form(seen.form)]
    findings += _tricks(seen)
    findings += _special(seen)
    findings += _saturation(seen)
    findings += _precision(seen)
    findings += _numbers(seen)
    findings += _memory(seen)
    findings += _time(seen.timing, on_cuda=seen.on_cuda)
    return sorted(findings, key=lambda finding: list(Severity).index(finding.severity))


def _tricks(seen: Seen) -> Iterator[Finding]:
    """A trick that every case accepts is a weakness; one that only the first cases accept is a note."""
    passed = [outcome for outcome in seen.outcomes if outcome.caught_in is None]
    constant = _constant_outputs(seen)
    unused = {place for o in passed if o.trick.kind is Kind.INPUT for place in o.trick.inputs}
    said = set[int | None]()
    for outcome in (*passed, *(o for o in seen.outcomes if o.caught_in is not None)):
        trick = outcome.trick
        if trick.kind in _MADE_UP:
            if trick.output not in said:
                said.add(trick.output)
                yield _trick(outcome)
        elif trick.output in constant or len(constant) == len(seen.cases[0].outputs):
            continue  # nothing else moves an output that is constant
        elif trick.kind is not Kind.HALF or not set(trick.inputs) <= unused:
            yield _trick(outcome)


def _constant_outputs(seen: Seen) -> set[int]:
    """The outputs that every case accepts as one number."""
    passed = (o.trick for o in seen.outcomes if o.caught_in is None and o.trick.kind in _MADE_UP)
    return {trick.output for trick in passed if trick.output is not None}


def _trick(outcome: Outcome) -> Finding:
    check, said = _CHECKS[outcome.trick.kind]
    detail = said.format(outcome.trick.subject)
    if outcome.unread and outcome.trick.kind is Kind.HALF:
        check, detail = "unread", f"half of {outcome.trick.subject} changes nothing at all: it is never read"
    if outcome.caught_in is not None:
        detail += f" in {', '.join(outcome.accepted_in)}"
        return _note(check, detail, _made_up_for(outcome.caught_in))
    if check == "unread":  # no cheat: whoever leaves it unread computes the same function
        return _note(check, detail, _REMEDIES[check])
    return _weak(check, f"{detail} in every case", _REMEDIES[check])


def _made_up_for(case: str) -> str:
    return f"{_NOTHING}: the case {case} makes up for it"


def _special(seen: Seen) -> Iterator[Finding]:
    """Zeros and ones that a solution could take for granted, on the inputs as given."""
    names = [f"{name} (all {value:g})" for name, value in seen.form.special]
    if not names:
        return
    detail = f"at a value that can be left out: {_listing(names)}"
    other = next((c for c in seen.cases[1:] if c.usable), None)
    if other is None:
        remedy = "choose inputs that the other cases can be made of, or initialise these at random"
        yield _weak("special_parameter", f"{detail}, and no case with other values is possible", remedy)
    else:
        yield _note("special_parameter", detail, f"{_NOTHING}: every case but {seen.cases[0].name} randomises them")


def _saturation(seen: Seen) -> Iterator[Finding]:
    usable = [case for case in seen.cases if case.usable]
    constant = _constant_outputs(seen)
    for number, output in enumerate(seen.cases[0].outputs):
        if not output.floating or output.top_share < SATURATED_NOTE or number in constant:
            continue
        values = " or ".join(f"{value:.7g}" for value in output.top_values)
        detail = f"{output.top_share:.0%} of output {number} is exactly {values} in {seen.cases[0].name}"
        least = min(usable, key=lambda case: case.outputs[number].top_share)
        share = least.outputs[number].top_share
        if share >= SATURATED_WEAK:
            remedy = "choose inputs, parameters or limits that leave more of the output between them"
            yield _weak("saturated", f"{detail}, and at least {share:.0%} is at two values in every case", remedy)
        elif least is seen.cases[0]:
            yield _note("saturated", detail, f"{1 - share:.0%} remain to compare; other inputs would leave more")
        else:
            yield _note("saturated", detail, f"{_NOTHING}: in the case {least.name} it is {share:.0%}")


def _precision(seen: Seen) -> Iterator[Finding]:
    asked = [case for case in seen.cases if case.precision_ratios]
    for number in asked[0].undecidable if asked else ():  # of whole numbers nothing is asked
        decided = next((case for case in asked if number not in case.undecidable), None)
        detail = f"output {number}: a lower precision cannot be told from honest rounding"
        if decided is not None:
            yield _note("precision", f"{detail} in {asked[0].name}", _made_up_for(decided.name))
        else:
            remedy = "shorten its sums, or declare the lower precision class in the sidecar"
            yield _weak("precision", f"{detail} in any case", remedy)


def _numbers(seen: Seen) -> Iterator[Finding]:
    for number, output in enumerate(seen.cases[0].outputs):
        if output.finite_share < 1:
            most = max(c.outputs[number].finite_share for c in seen.cases if c.usable)
            detail = f"{1 - output.finite_share:.1%} of output {number} is not finite in {seen.cases[0].name}"
            make = _weak if 1 - most >= NONFINITE_WEAK else _note
            yield make("nonfinite", detail, "keep the inputs where the reference is finite: the rest is not compared")
    left_out = [f"{c.name} ({c.impossible or 'no finite number'})" for c in seen.cases if not c.usable]
    if left_out:
        remedy = f"{_NOTHING} where the reference does not allow such inputs; the other cases decide"
        yield _note("case_left_out", f"not put to this problem: {', '.join(left_out)}", remedy)


def _memory(seen: Seen) -> Iterator[Finding]:
    if seen.mutates_inputs:
        yield _weak(
            "mutates_inputs",
            "forward writes into its inputs, so a solution may as well, and repeat calls are not compared",
            "work on a copy: x = x.clone(), or the operator without the underscore",
        )
    if seen.aliases_inputs:
        yield _weak(
            "aliases_input", "an output is a view of an input, so a solution may return an input",
            "return a tensor of its own",
        )  # fmt: skip


def _time(timing: Timing, *, on_cuda: bool) -> Iterator[Finding]:
    eager_us, short_us = 1e3 * timing.eager_ms, 1e3 * (SHORT_MS_CUDA if on_cuda else SHORT_MS_CPU)
    if eager_us < short_us:
        detail = f"eager takes {eager_us:.1f} us, too little for a call to be timed by itself (below {short_us:.0f} us)"
        yield _note("short", detail, f"{_NOTHING}: calls are timed many at a time; a larger size is steadier")
    if timing.enqueue_ms is not None and timing.enqueue_ms > LAUNCH_BOUND * timing.eager_ms:
        yield _note(
            "launch_bound",
            f"of the {eager_us:.0f} us that eager takes, the host needs {1e3 * timing.enqueue_ms:.0f} us to launch it",
            "choose a larger size, if kernels are to be compared: here fewer launches win",
        )
    if timing.eager_ms < FLOOR_DOUBTFUL * timing.floor_ms:
        yield _note(
            "floor",
            f"eager takes {timing.eager_ms:.3g} ms, less than its physical floor as counted, {timing.floor_ms:.3g} ms",
            "declare `floor: {bytes: …, flops: …}` in the sidecar, so that impossible times are rejected again",
        )


def _listing(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _weak(check: str, detail: str, remedy: str) -> Finding:
    return Finding(severity=Severity.WEAK, check=check, detail=detail, remedy=remedy)


def _note(check: str, detail: str, remedy: str) -> Finding:
    return Finding(severity=Severity.NOTE, check=check, detail=detail, remedy=remedy)
