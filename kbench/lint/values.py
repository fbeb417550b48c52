"""What is measured of a problem, before anyone says what it means. No torch here."""

from __future__ import annotations

import enum
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class InputSeen:
    """One input tensor."""

    shape: tuple[int, ...]
    redrawn: bool
    """Whether another seed gives other values."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """What can be said of a problem from its inputs and its module, before any comparison."""

    inputs: tuple[InputSeen, ...]
    reproducible: bool
    """Whether one seed gives the same inputs twice."""
    plain_tensors: tuple[str, ...]
    """Attributes that hold tensors but are neither parameters nor buffers."""
    unsaved_buffers: tuple[str, ...]
    """Buffers outside the state dict."""
    special: tuple[tuple[str, float], ...]
    """Floating parameters and buffers that begin as all zeros or all ones, and which."""


class Kind(enum.StrEnum):
    """Ways to answer without doing the work."""

    ZEROS = "zeros"
    CONSTANT = "constant"
    FLAT = "flat"
    ECHO = "echo"
    INPUT = "input"
    STATE = "state"
    HALF = "half"


@dataclass(frozen=True, kw_only=True)
class Trick:
    """One such way, as applied to one problem."""

    kind: Kind
    subject: str
    """What is left out or made up: `output 0`, `input 1`, `conv.bias`, `dimension 0 of input 0`."""
    output: int | None = None
    inputs: tuple[int, ...] = ()
    """The inputs that it leaves unread, in part or whole."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the judge's criteria made of a trick, case by case until one caught it."""

    trick: Trick
    accepted_in: tuple[str, ...]
    caught_in: str | None
    """The case that caught it. None: every case that the reference can do accepts it."""
    unread: bool = False
    """Accepted, and the output had not even changed."""


@dataclass(frozen=True, kw_only=True)
class OutputSeen:
    """One output of the reference in one case."""

    floating: bool
    finite_share: float
    """The share of its elements that are finite, 0 to 1."""
    top_values: tuple[float, ...]
    """The two most common of the finite values that occur more than once, the most common one first."""
    top_share: float
    """The share of the finite elements that have one of these."""


@dataclass(frozen=True, kw_only=True)
class CaseSeen:
    """One case of the families, or why it cannot be put to this problem."""

    name: str
    impossible: str = ""
    outputs: tuple[OutputSeen, ...] = ()
    precision_ratios: tuple[float, ...] = ()
    """Per floating output e_lo / e_hi: how far one precision less lies beyond honest rounding. Empty: not asked."""
    undecidable: tuple[int, ...] = ()
    """The floating outputs whose precision could not be told, where that was asked."""

    @property
    def usable(self) -> bool:
        """Whether the judge can put it: every floating output has something finite to compare."""
        return not self.impossible and all(o.finite_share > 0 for o in self.outputs if o.floating)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long trusted eager takes, and how long it must take at least."""

    eager_ms: float
    enqueue_ms: float | None
    """The host's share on CUDA; None on the CPU."""
    floor_ms: float


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Everything measured of one problem."""

    form: Form
    cases: tuple[CaseSeen, ...]
    outcomes: tuple[Outcome, ...]
    mutates_inputs: bool
    aliases_inputs: bool
    timing: Timing
    on_cuda: bool
