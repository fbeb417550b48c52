"""One problem file and its sidecar, read into a `Problem`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kbench.errors import UsageError
from kbench.model import Precision, Problem
from kbench.plan.files import SourceFile, read_source, sha256_hex
from kbench.plan.source import SourceFacts, read_facts
from kbench.plan.yamlfile import YamlFile, kind_of, read_yaml, unknown_name

FULL_SIZE = "full"
SMALL_SIZE = "small"

_REQUIRED = ("Model", "get_inputs", "get_init_inputs")
_MODES = ("train", "eval")
_FLOORS = ("bytes", "flops")
_PLAIN = (bool, int, float, str, list, type(None))

Size = Mapping[str, Any]


def sidecar_of(problem: Path) -> Path:
    return problem.with_suffix(".yaml")


def read_problem(problem_id: str, path: Path) -> Problem:
    """Read a problem. What its text lacks becomes `defect`, so that other problems still run.

    Raises UsageError for an unreadable file and for a sidecar that says something kbench does not understand:
    a setting that is silently ignored would change what is measured.
    """
    file = read_source(path)
    facts = read_facts(file.text)
    sidecar = sidecar_of(path)
    declared: dict[str, Any] = {"sizes": {FULL_SIZE: {}}}
    sha = file.sha
    if sidecar.exists():
        declared |= {"sidecar": sidecar} | _read_sidecar(sidecar, facts)
        sha = sha256_hex(file.data + b"\0" + sidecar.read_bytes())
    return Problem(id=problem_id, path=path, sha=sha, defect=_defect(path, file, facts), **declared)


def _defect(path: Path, file: SourceFile, facts: SourceFacts) -> str | None:
    if file.defect is not None:
        return file.defect
    if facts.syntax_error is not None:
        line, message = facts.syntax_error
        return f"{path}:{line}: {message}"
    missing = facts.lacks(*_REQUIRED)
    return f"{path}:1: does not define {', '.join(missing)}" if missing else None


def _read_sidecar(path: Path, facts: SourceFacts) -> dict[str, Any]:
    """The sidecar's settings as fields of `Problem`."""
    file = read_yaml(path)
    readers: dict[str, Callable[[], Any]] = {
        "sizes": lambda: _sizes(file, facts),
        "precision": lambda: Precision(_choice(file, "precision", tuple(Precision))),
        "mode": lambda: _choice(file, "mode", _MODES),
        "floor": lambda: _floor(file),
    }
    for key in file.values:
        if key not in readers:
            raise unknown_name("key", key, readers, where=file.where(key))
    return {key: readers[key]() for key in file.values}


def _sizes(file: YamlFile, facts: SourceFacts) -> Mapping[str, Size]:
    sizes: dict[str, Size] = {FULL_SIZE: {}}
    for name, overrides in _mapping(file, "sizes").items():
        if name == FULL_SIZE and overrides:
            raise _wrong(file, "sizes", f"{FULL_SIZE!r} is the file as it stands and overrides nothing")
        if overrides is None:
            overrides = {}
        if not isinstance(overrides, dict):
            raise _wrong(
                file, "sizes", f"{name!r} is {kind_of(overrides)}, not a mapping of constants to values"
            )
        sizes[name] = {
            constant: _override(file, facts, f"sizes.{name}", constant, value)
            for constant, value in overrides.items()
        }
    return sizes


def _override(file: YamlFile, facts: SourceFacts, size: str, constant: object, value: object) -> Any:
    where = file.where("sizes")
    if not isinstance(constant, str):
        raise _wrong(file, "sizes", f"{size}: {constant!r} is {kind_of(constant)}, not a constant's name")
    if facts.parses and not facts.star_import and constant not in facts.assigned:
        raise unknown_name(f"constant in {size}", constant, facts.assigned, where=where)
    if not isinstance(value, _PLAIN):
        raise _wrong(file, "sizes", f"{size}.{constant} is {kind_of(value)}")
    original = facts.constants.get(constant)
    if original is not None and not _same_kind(original, value):
        why = (
            f"{size}.{constant} is {kind_of(value)}, but the problem's is {kind_of(original)} ({original!r})"
        )
        raise _wrong(file, "sizes", why, hint=_number_hint(value))
    # YAML has no tuples, and a list in a tuple's place breaks `a + (b,)`.
    return tuple(value) if isinstance(original, tuple) and isinstance(value, list) else value


def _same_kind(original: object, value: object) -> bool:
    if isinstance(original, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(original, tuple):
        return isinstance(value, list)
    return type(original) is type(value)


def _floor(file: YamlFile) -> Mapping[str, float]:
    floor: dict[str, float] = {}
    for name, value in _mapping(file, "floor").items():
        if name not in _FLOORS:
            raise unknown_name("key in floor", name, _FLOORS, where=file.where("floor"))
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise _wrong(
                file, "floor", f"{name} is {value!r}, not a number of at least 0", hint=_number_hint(value)
            )
        floor[name] = float(value)
    return floor


def _choice(file: YamlFile, key: str, allowed: tuple[str, ...]) -> str:
    value = file.values[key]
    if value not in allowed:
        raise _wrong(file, key, f"is {value!r}; allowed: {', '.join(allowed)}")
    return str(value)


def _mapping(file: YamlFile, key: str) -> Mapping[str, Any]:
    value = file.values[key]
    if not isinstance(value, dict):
        raise _wrong(file, key, f"is {kind_of(value)}, not a mapping")
    for name in value:
        if not isinstance(name, str):
            raise _wrong(file, key, f"the name {name!r} is {kind_of(name)}, not text")
    return value


def _wrong(file: YamlFile, key: str, why: str, *, hint: str | None = None) -> UsageError:
    return UsageError(f"{key!r} cannot be used", where=file.where(key), why=why, hint=hint)


def _number_hint(value: object) -> str | None:
    """YAML 1.1 takes `1e9` for text: only a mantissa with a dot and a signed exponent is a number."""
    if not isinstance(value, str):
        return None
    try:
        return f"YAML reads {value} as text; write {float(value):.1e}"
    except ValueError:
        return None
