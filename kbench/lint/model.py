"""What `kbench lint` says of a problem, as values that travel as JSON."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class Severity(enum.StrEnum):
    """How much a finding takes away from a verdict on this problem."""

    ERROR = "error"
    """The problem cannot be judged at all."""
    WEAK = "weak"
    """It is judged badly, even with the case families."""
    NOTE = "note"
    """It is weak on its own inputs, but a case family makes up for that; or it is worth knowing."""


CHECKS = frozenset({
    "file", "sidecar", "size", "runs", "crash", "timeout", "memory", "structure", "oracle", "input_shapes", "random",
    "hidden_state", "nonfinite", "constant", "flat", "echo", "input_unused", "parameter_unused", "sampled", "saturated",
    "precision", "inputs_fixed", "special_parameter", "inputs_unseeded", "plain_tensor", "mutates_inputs",
    "aliases_input", "unread", "unsaved_buffer", "case_left_out", "short", "launch_bound", "floor",
})  # fmt: skip
"""Every check there is. The names are an interface: scripts read them off `--json`, and docs/lint.md explains them."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a check found."""

    severity: Severity
    check: str
    """One of `CHECKS`."""
    detail: str
    """What was measured."""
    remedy: str
    """What to do about it."""
    where: str = ""
    """The file: the problem's own, or its sidecar."""

    def __post_init__(self) -> None:
        if self.check not in CHECKS:
            raise ValueError(f"no such check: {self.check!r}")


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that was found about one problem at one size on one device."""

    problem: str
    path: str
    size: str
    device: str
    findings: tuple[Finding, ...] = ()
    measured: Mapping[str, Any] = field(default_factory=dict)
    """Figures for a reader who wants more: `eager_ms`, `floor_ms`, `cases`."""

    @property
    def worst(self) -> Severity | None:
        """The gravest severity among the findings, or None where there are none."""
        return next((s for s in Severity if any(f.severity is s for f in self.findings)), None)

    @property
    def passes(self) -> bool:
        """Whether solutions can be judged by this problem."""
        return self.worst in (None, Severity.NOTE)

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, ready for `json.dumps`."""
        return {**dataclasses.asdict(self), "worst": self.worst}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        """The inverse of `to_json`."""
        findings = tuple(Finding(**{**f, "severity": Severity(f["severity"])}) for f in data["findings"])
        return cls(**{name: value for name, value in data.items() if name != "worst"} | {"findings": findings})


class Unfit(Exception):
    """The problem cannot be judged at all, and no further check makes sense."""

    def __init__(self, check: str, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.check = check
        self.detail = detail
        self.remedy = remedy

    def finding(self, where: str) -> Finding:
        """As the error it is."""
        return Finding(
            severity=Severity.ERROR, check=self.check, detail=self.detail, remedy=self.remedy, where=where
        )  # fmt: skip
