"""Where the environments of two runs differ, and which differences make their times incomparable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kbench.store.runs import LoadedRun

_DECISIVE = frozenset({
    "machine", "machine.cpu_model", "machine.cores", "gpu", "gpu.name", "gpu.memory_gb", "torch", "cuda",
    "environment_key",
})  # fmt: skip
"""Another machine, GPU or torch moves every time. A driver, compiler, Python or kbench may, and is shown:
to see what an update of these does is what one compares runs for."""
_DECISIVE_WHERE_KNOWN = frozenset({"machine.cpu_id"})
"""Runs of earlier versions do not say."""


@dataclass(frozen=True, kw_only=True)
class EnvironmentDifference:
    """One field that differs, as text."""

    field: str
    """Dotted, e.g. `gpu.name`; `environment_key` where no more than the key is known."""
    old: str
    new: str
    decisive: bool
    """The two runs were made on different machines: no gate."""


def environment_differences(old: LoadedRun, new: LoadedRun) -> tuple[EnvironmentDifference, ...]:
    """The fields in which two runs' environments differ; none where their keys are equal.

    A run without a `run.yaml` has only its records' environment keys; a key that is missing on one side only
    counts as different, since nothing shows that it is equal.
    """
    schemas = _difference("schema", _schemas(old), _schemas(new), decisive=False)
    old_keys, new_keys = environment_keys(old), environment_keys(new)
    if old_keys == new_keys:
        return schemas
    if not old.environment or not new.environment:
        return schemas + _difference("environment_key", _listed(old_keys), _listed(new_keys), decisive=True)
    found = tuple(
        EnvironmentDifference(field=name, old=_text(before), new=_text(after), decisive=_decides(name, before, after))
        for name, before, after in _fields(old.environment, new.environment)
        if before != after
    )
    if not found:
        found = _difference("environment_key", _listed(old_keys), _listed(new_keys), decisive=True)
    return schemas + found


def _decides(name: str, before: object, after: object) -> bool:
    known = before is not None and after is not None
    return name in _DECISIVE or (known and name in _DECISIVE_WHERE_KNOWN)


def _fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, object, object]]:
    """The fields of both; one that is a mapping on both sides is taken apart, an absent GPU is one field."""
    for name in dict.fromkeys([*old, *new]):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            for inner in dict.fromkeys([*before, *after]):
                yield f"{name}.{inner}", before.get(inner), after.get(inner)
        elif name != "key":
            yield name, before, after


def environment_keys(run: LoadedRun) -> frozenset[str]:
    """The key of the run's environment, or else those of its records."""
    if run.environment.get("key"):
        return frozenset({str(run.environment["key"])})
    return frozenset(record.environment_key for record in run.records.values())


def _difference(name: str, old: str, new: str, *, decisive: bool) -> tuple[EnvironmentDifference, ...]:
    return () if old == new else (EnvironmentDifference(field=name, old=old, new=new, decisive=decisive),)


def _schemas(run: LoadedRun) -> str:
    return _listed(frozenset(str(record.schema_version) for record in run.records.values()))


def _listed(values: frozenset[str]) -> str:
    return ", ".join(sorted(value or "unknown" for value in values)) or "unknown"


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        value = value.get("name", value)
    return "none" if value is None else str(value)
