"""Records against expectations: what each file came to, and the count of it by group."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kbench.errors import EXIT_FAILED, EXIT_OK, EXIT_UNDECIDED
from kbench.model import Record, Status
from kbench.report.text import significant
from kbench.selftest.expectation import outcome_text
from kbench.selftest.specimens import GROUPS, Specimen
from kbench.store.runs import Key


class Outcome(enum.StrEnum):
    """What became of one file."""

    CAUGHT = "caught"
    """A cheat with exactly the outcome it must have."""
    ACCEPTED = "accepted"
    """A benign twin that is `correct`."""
    GOT_THROUGH = "got through"
    CAUGHT_OTHERWISE = "caught, but otherwise"
    """A cheat that was stopped, with another status or reason than it must get."""
    FALSE_ALARM = "false alarm"
    UNDECIDED = "not decided"
    NOT_RUN = "not run"

    @property
    def is_surprise(self) -> bool:
        return self in (Outcome.GOT_THROUGH, Outcome.CAUGHT_OTHERWISE, Outcome.FALSE_ALARM)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One file of the suite and what it came to."""

    specimen: Specimen
    outcome: Outcome
    got: str
    """In the words of an expectation; for `not run` the reason."""
    message: str = ""
    speedup: float | None = None
    seconds: float | None = None
    """How long its build, judging and timing took together; None where that is not known."""

    @property
    def headline(self) -> str:
        """What is surprising about it, in a line."""
        bound = self.specimen.expectation.at_most
        if self.outcome is Outcome.GOT_THROUGH and bound is not None and self.speedup is not None:
            return f"got through: reported {significant(self.speedup)}x"
        if self.outcome is Outcome.CAUGHT_OTHERWISE:
            return f"caught, but as {self.got} instead of {self.specimen.expectation}"
        return f"{self.outcome}: {self.got}"


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Counts over some files. `cheats` and `twins` leave out those that were not run."""

    name: str
    caught: int
    cheats: int
    false_alarms: int
    twins: int
    undecided: int
    not_run: int


def examine(specimen: Specimen, record: Record | None, seconds: float | None = None) -> Finding:
    """Hold a record against what its file must come to. No record is `not decided`."""
    if record is None:
        return Finding(specimen=specimen, outcome=Outcome.UNDECIDED, got="no record", seconds=seconds)
    if record.status is Status.SKIPPED:
        return Finding(specimen=specimen, outcome=Outcome.NOT_RUN, got=record.reason, seconds=seconds)
    return Finding(
        specimen=specimen,
        outcome=_outcome(specimen, record),
        got=outcome_text(record.status, record.reason, record.speedup),
        message=record.message,
        speedup=record.speedup,
        seconds=seconds,
    )


def _outcome(specimen: Specimen, record: Record) -> Outcome:
    expected = specimen.expectation
    if record.status is Status.INFRA_ERROR or (record.status is Status.CORRECT and record.speedup is None):
        return Outcome.UNDECIDED
    if specimen.is_twin:
        return Outcome.ACCEPTED if record.status is Status.CORRECT else Outcome.FALSE_ALARM
    if record.status is Status.CORRECT:
        within = record.speedup is not None and expected.at_most is not None and record.speedup <= expected.at_most
        return Outcome.CAUGHT if within else Outcome.GOT_THROUGH
    exact = record.status is expected.status and expected.reason in (None, record.reason)
    return Outcome.CAUGHT if exact else Outcome.CAUGHT_OTHERWISE


def examine_all(
    specimens: Iterable[Specimen], records: Mapping[Key, Record], seconds: Mapping[str, float]
) -> tuple[Finding, ...]:
    """A finding for each file; `seconds` by id."""
    return tuple(examine(s, records.get(s.key), seconds.get(s.id)) for s in specimens)


def tallies(findings: Sequence[Finding]) -> tuple[Tally, ...]:
    """Counts for each group that has files, in the order of GROUPS."""
    by_group = {group: [f for f in findings if f.specimen.group == group] for group in GROUPS}
    return tuple(tally(group, own) for group, own in by_group.items() if own)


def tally(name: str, findings: Iterable[Finding]) -> Tally:
    """Counts over `findings`, under a name."""
    findings = list(findings)
    ran = [f for f in findings if f.outcome is not Outcome.NOT_RUN]
    outcomes = [f.outcome for f in ran]
    return Tally(
        name=name,
        caught=outcomes.count(Outcome.CAUGHT),
        cheats=sum(not f.specimen.is_twin for f in ran),
        false_alarms=outcomes.count(Outcome.FALSE_ALARM),
        twins=sum(f.specimen.is_twin for f in ran),
        undecided=outcomes.count(Outcome.UNDECIDED),
        not_run=len(findings) - len(ran),
    )


def noteworthy(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Surprises, and files that could not be decided: what a person must look at."""
    return tuple(f for f in findings if f.outcome.is_surprise or f.outcome is Outcome.UNDECIDED)


def exit_code(findings: Iterable[Finding]) -> int:
    """0 all caught and no false alarm, 1 at least one surprise, 3 something (or everything) could not be decided."""
    outcomes = {f.outcome for f in findings}
    if any(outcome.is_surprise for outcome in outcomes):
        return EXIT_FAILED
    if Outcome.UNDECIDED in outcomes or outcomes <= {Outcome.NOT_RUN}:
        return EXIT_UNDECIDED
    return EXIT_OK
