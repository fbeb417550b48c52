"""`kbench extract`: candidate files out of raw model responses."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from kbench.errors import EXIT_FAILED, UsageError
from kbench.extract import Extracted, Extraction, extract_paths, write_solution


@click.command("extract")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Write each candidate to DIR/<name>.py.")
@click.option("--force", is_flag=True, help="Overwrite files that have different contents.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list of records.")
def extract_command(paths: tuple[str, ...], out: Path | None, force: bool, as_json: bool) -> None:
    """Take the candidate kernel out of each raw model response, and say what was chosen and why.

    A PATH is a response, a folder of them (.txt, .md, .response, .json, .jsonl), or - for standard input. Of
    each, the last complete block that parses and defines ModelNew is taken as it stands; nothing is executed.
    Without --out, the source of a single response goes to standard output.
    """
    _check_out(out)
    stdin = None
    if "-" in paths:
        stdin = _read_stdin()
    found = extract_paths([Path(path) for path in paths], stdin=stdin)
    if out is None and not as_json and len(found) > 1:
        raise UsageError(
            "several responses and no place for their candidates",
            why=f"{len(found)} responses were found",
            hint="give --out DIR, or --json to see what would be chosen",
        )
    records: list[dict[str, object]] = []
    for name, extraction in found:
        path = _written(extraction, out, name, force=force)
        records.append(_record(name, extraction, path))
        if not as_json:
            _print(name, extraction, path, without_files=out is None)
    if as_json:
        click.echo(json.dumps(records, indent=2))
    _print_summary(found)
    if not all(isinstance(extraction, Extracted) for _, extraction in found):
        click.get_current_context().exit(EXIT_FAILED)


def _read_stdin() -> str:
    data = sys.stdin.buffer.read()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        click.echo("warning: standard input is not UTF-8: the bytes that are not were replaced", err=True)
        return data.decode("utf-8", errors="replace")


def _check_out(out: Path | None) -> None:
    if out is not None and out.is_file():
        raise UsageError("--out is not a folder", where=str(out), why="a file is there", hint="name a folder")


def _written(extraction: Extraction, out: Path | None, name: str, *, force: bool) -> Path | None:
    if out is None or not isinstance(extraction, Extracted):
        return None
    return write_solution(extraction, out, name, force=force)


def _print(name: str, extraction: Extraction, path: Path | None, *, without_files: bool) -> None:
    """Data on stdout: with a file its line, without one the source itself and the line as talk on stderr."""
    if not isinstance(extraction, Extracted):
        click.echo(f"{name}: no candidate: {extraction.reason.value}: {extraction.message}", err=without_files)
    elif path is not None:
        click.echo(f"{name} -> {path}  ({extraction.explanation})")
    else:
        click.echo(extraction.source, nl=False)
        click.echo(f"{name}: {extraction.explanation}", err=True)


def _print_summary(found: list[tuple[str, Extraction]]) -> None:
    if len(found) > 1:
        count = sum(isinstance(extraction, Extracted) for _, extraction in found)
        click.echo(f"{count} of {len(found)} responses hold a candidate", err=True)


def _record(name: str, extraction: Extraction, path: Path | None) -> dict[str, object]:
    chosen = isinstance(extraction, Extracted)
    return {
        "name": name,
        "status": "extracted" if chosen else "no_candidate",
        "reason": None if isinstance(extraction, Extracted) else extraction.reason.value,
        "message": None if isinstance(extraction, Extracted) else extraction.message,
        "path": str(path) if path is not None else None,
        "explanation": extraction.explanation if isinstance(extraction, Extracted) else None,
        "first_line": extraction.first_line if isinstance(extraction, Extracted) else None,
        "rejected": [asdict(rejected) for rejected in extraction.rejected],
    }
