"""What a script must know of one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OUTCOME_FILE = "outcome.json"
"""How far a script's child process came, in the folder it was given: `stage`, and `error` where it failed."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One pair as it was judged, and the verdict that a script is to show. All values are plain Python."""

    problem: str
    solution: str
    device: str
    """`cpu` or `cuda`: where inputs are drawn and the solution is called."""
    size: str
    precision: str
    mode: str | None = None
    """`train`, `eval`, or None: as constructed."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """The size's constants."""
    status: str = "correct"
    reason: str = ""
    message: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    """Cases that the run left out, since the reference cannot do them."""
    timeout_s: float = 60.0
    """How long the run allowed for a call."""
    problem_source: str
    solution_source: str

    @property
    def id(self) -> str:
        return f"{self.problem}/{self.solution}"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One call of the solution: the case that gives its inputs and parameters."""

    case: str
    seed: int
    state_seed: int | None = None
