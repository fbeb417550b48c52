"""`speedups.csv`: one row for each record, numbers unrounded, empty where there is none."""

from __future__ import annotations

from kbench.model import Record
from kbench.report.tables import in_order
from kbench.report.text import one_line
from kbench.store.runs import LoadedRun

_COLUMNS = (
    "problem", "solution", "device", "size", "precision", "status", "reason", "speedup", "speedup_low",
    "speedup_high", "time_ms", "reference_ms", "floor_ms", "sol_fraction", "build_s", "cached", "replicates",
)  # fmt: skip
_LAST_COLUMNS = ("flags", "problem_sha", "solution_sha", "environment_key", "message")
_FORMULA = ("=", "+", "-", "@")
_MESSAGE_LIMIT = 500


def run_csv(run: LoadedRun) -> str:
    """CSV with a header; each further baseline adds `<name>_time_ms` and `<name>_speedup`."""
    import pandas as pd

    baselines = dict.fromkeys(name for record in run.records.values() for name in record.baselines)
    rows = [_row(record, list(baselines)) for record in in_order(run.records.values())]
    further = [f"{one_line(name)}_{figure}" for name in baselines for figure in ("time_ms", "speedup")]
    frame = pd.DataFrame(rows, columns=[*_COLUMNS, *further, *_LAST_COLUMNS], dtype=object)
    return frame.to_csv(index=False, lineterminator="\n")


def _row(record: Record, baselines: list[str]) -> list[object]:
    figures = [record.baselines.get(name, {}).get(key) for name in baselines for key in ("time_ms", "speedup")]
    last = (
        " ".join(record.flags), record.problem_sha, record.solution_sha, record.environment_key,
        _harmless(one_line(record.message, _MESSAGE_LIMIT)),
    )  # fmt: skip
    return [*(_cell(getattr(record, name)) for name in _COLUMNS), *figures, *last]


def _cell(value: object) -> object:
    return one_line(value) if isinstance(value, str) else value


def _harmless(message: str) -> str:
    """A spreadsheet evaluates a cell that begins like a formula; an apostrophe in front makes it text."""
    return f"'{message}" if message.startswith(_FORMULA) else message
