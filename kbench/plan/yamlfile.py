"""Reading the YAML files people write by hand (`kbench.yaml`, sidecars), with errors that name the line."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kbench.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class YamlFile:
    """A mapping of text keys, and the line each of them stands on."""

    path: Path
    values: Mapping[str, Any]
    lines: Mapping[str, int]

    def where(self, key: str) -> str:
        return f"{self.path}:{self.lines.get(key, 1)}"


def read_yaml(path: Path) -> YamlFile:
    """Read a YAML mapping; an empty file is an empty mapping. Raises UsageError for anything else."""
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except OSError as error:
        raise UsageError(f"cannot read {path}", where=str(path), why=error.strerror or str(error)) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(
            f"{path.name} is not valid YAML", where=f"{path}:{line}", why=error.problem
        ) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date that is none
        raise UsageError(f"{path.name} is not valid YAML", where=str(path), why=str(error)) from error
    if node is None:
        return YamlFile(path=path, values={}, lines={})
    if not isinstance(node, yaml.MappingNode) or not all(isinstance(key, str) for key in values):
        raise UsageError(
            f"{path.name} is not a mapping of names to values",
            where=str(path),
            hint="write lines of `name: value`",
        )
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if key.value in lines:
            raise UsageError(
                f"{key.value!r} is given twice",
                where=f"{path}:{line}",
                why=f"first on line {lines[key.value]}",
            )
        lines[key.value] = line
    return YamlFile(path=path, values=values, lines=lines)


def unknown_name(what: str, name: str, allowed: Collection[str], *, where: str) -> UsageError:
    """An error for a name nobody declared: says what is allowed, and which of it was probably meant."""
    by_lower = {option.lower(): option for option in sorted(allowed)}
    close = [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=1)]
    return UsageError(
        f"unknown {what} {name!r}",
        where=where,
        why=f"allowed: {', '.join(sorted(allowed)) or 'none'}",
        hint=f"did you mean {close[0]!r}?" if close else None,
    )


def kind_of(value: object) -> str:
    """What a person would call this value's type."""
    names = {bool: "yes/no", int: "whole number", float: "number", str: "text", list: "list", dict: "mapping"}
    return "nothing" if value is None else names.get(type(value), type(value).__name__)
