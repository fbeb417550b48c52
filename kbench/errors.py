"""One tree of errors. Each says what happened, where, why, and what to do next, and knows its exit code.

Only the command line turns one of these into text and an exit status (`kbench.cli.main`).
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNDECIDED = 3
EXIT_INTERRUPTED = 130


class KbenchError(Exception):
    """Anything kbench itself reports to its user.

    `what` is one line; `where` a path, `path:line` or record; `why` the cause; `hint` the next step.
    """

    exit_code = EXIT_UNDECIDED

    def __init__(self, what: str, *, where: str | None = None, why: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        located = f"{self.where}: {self.why}" if self.where and self.why else self.where or self.why
        return "\n".join(part for part in (self.what, located, self.hint and f"hint: {self.hint}") if part)


class UsageError(KbenchError):
    """The command line, a configuration file or an input file is not usable as given."""

    exit_code = EXIT_USAGE


class ProblemError(KbenchError):
    """A problem file cannot serve as a reference: missing `Model`, an exception, an unknown size."""

    exit_code = EXIT_USAGE


class StoreError(KbenchError):
    """A run directory cannot be written, read or resumed."""

    exit_code = EXIT_UNDECIDED


class NothingToDo(KbenchError):
    """Nothing matched, or nothing that matched can run here."""

    exit_code = EXIT_UNDECIDED


class InfraError(KbenchError):
    """kbench's own machinery failed; the candidate is not to blame."""

    exit_code = EXIT_UNDECIDED
