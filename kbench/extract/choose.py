"""Choose the candidate of a response: the last complete block that parses and defines ModelNew, and say why.

Nothing is executed or compiled; the chosen lines are handed on as they are, example usage included.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kbench.extract.analysis import (
    ParseFailure,
    bound_names,
    cut_off,
    defines_model_new,
    missing_names,
    parse,
    quiet_parsing,
)
from kbench.extract.fences import FOREIGN_LABELS, PYTHON
from kbench.extract.lines import columns, indentation, join_lines, split_lines, strip_up_to
from kbench.extract.model import Block, Extracted, Extraction, NothingUsable, Reason, Rejected
from kbench.extract.nothing import explain_nothing
from kbench.extract.reading import Reading

__all__ = ["Extracted", "Extraction", "NothingUsable", "Reason", "Rejected", "extract"]

MAX_JOINED_BLOCKS = 12
MAX_JOINED_CHARS = 1_000_000
MAX_REJECTED = 200
MAX_NAMED = 5

_REASONING_END = re.compile(r"</(?:think|thinking|reasoning)>", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """A block, its tree if it is a candidate or a possible part of one, and else why it is not."""

    block: Block
    tree: ast.Module | None
    why: str

    @property
    def usable(self) -> bool:
        return self.tree is not None and not self.why


def extract(text: str) -> Extraction:
    """The candidate in a raw response, or the reason that there is none. Never raises, whatever the text."""
    lines = split_lines(text)
    if not any(line.strip() for line in lines):
        return NothingUsable(reason=Reason.EMPTY, message="the response is empty")
    with quiet_parsing():
        return _extract(lines)


def _extract(lines: Sequence[str]) -> Extraction:
    answer = _without_reasoning(lines)
    if answer is not None:
        found = _choose(Reading(answer))
        if found is not None:
            return found
    reading = Reading(lines)
    found = _choose(reading)
    if found is None:
        return explain_nothing(reading)
    if answer is not None:
        note = "taken from the reasoning, as what follows it has nothing usable"
        return replace(found, explanation=f"{found.explanation}; {note}")
    return found


def _without_reasoning(lines: Sequence[str]) -> list[str] | None:
    """The lines, all up to the last `</think>` blanked so that numbers stay; None where there is none."""
    for index in range(len(lines) - 1, -1, -1):
        found = list(_REASONING_END.finditer(lines[index])) if "</" in lines[index] else []
        if found:
            return [""] * index + [lines[index][found[-1].end() :], *lines[index + 1 :]]
    return None


def _choose(reading: Reading) -> Extracted | None:
    """One block, or else several joined, or else a mislabelled one, or else a run of lines."""
    judged = [_judge(block, end=reading.end) for block in reading.blocks]
    native = [each for each in judged if each.block.language not in FOREIGN_LABELS]
    return (
        _choose_block(native, judged)
        or _join_parts(native, judged)
        or _choose_mislabelled(judged)
        or _choose_run(reading, judged)
    )


def _judge(block: Block, *, end: int) -> _Judged:
    if "ModelNew" not in block.text:
        return _Judged(block=block, tree=None, why="does not define ModelNew")
    block = _dedented(block)
    tree = parse(block.text)
    at_end = not block.closed and block.last_line >= end
    if isinstance(tree, ParseFailure):
        cut = "cut off, or " if at_end else ""
        return _Judged(block=block, tree=None, why=f"{cut}does not parse: {tree.located(block.first_line)}")
    if not defines_model_new(tree):
        return _Judged(block=block, tree=tree, why="parses but does not define ModelNew")
    missing = cut_off(tree) if at_end else None
    return _Judged(block=block, tree=tree, why=f"cut off: {missing}" if missing else "")


def _dedented(block: Block) -> Block:
    """The block moved left by its first line's indentation, which Python does not allow there."""
    lines = split_lines(block.text)
    width = columns(indentation(next((line for line in lines if line.strip()), "")))
    return replace(block, text=join_lines([strip_up_to(line, width) for line in lines])) if width else block


def _choose_block(native: Sequence[_Judged], judged: Sequence[_Judged]) -> Extracted | None:
    usable = [each for each in native if each.usable]
    if not usable:
        return None
    chosen = usable[-1]
    count = "the only block that parses and defines ModelNew"
    if len(usable) > 1:
        count = f"the last of {len(usable)} blocks that parse and define ModelNew"
    notes = [f"{count} ({_place(chosen.block)})"]
    if not chosen.block.closed:
        notes.append("its closing fence is missing")
    later = [each for each in judged if each.block.first_line > chosen.block.first_line]
    notes += [f"the later block at line {each.block.first_line} was passed over: {each.why}" for each in later[:3]]
    parts = _parts_for(chosen, native)
    joined = _join([*parts, chosen.block]) if parts else chosen.block.text
    tree = parse(joined)
    if isinstance(tree, ParseFailure):
        parts, joined, tree = [], chosen.block.text, parse(chosen.block.text)
    if parts:
        places = ", ".join(str(part.first_line) for part in parts)
        notes.append(f"joined behind the earlier block(s) at line {places}, which define names that it uses")
    if isinstance(tree, ast.Module) and (missing := sorted(missing_names(tree, up_to_model_new=False))):
        notes.append(f"uses names it does not define: {', '.join(missing[:MAX_NAMED])}")
    first_line = parts[0].first_line if parts else chosen.block.first_line
    taken = {part.first_line for part in parts} | {chosen.block.first_line}
    rejected = _rejections(judged, taken=taken)
    return Extracted(source=joined, first_line=first_line, explanation="; ".join(notes), rejected=rejected)


def _parts_for(chosen: _Judged, native: Sequence[_Judged]) -> list[Block]:
    """Earlier blocks, without a ModelNew of their own, that bind names the chosen ModelNew needs."""
    if chosen.tree is None:
        return []
    needed = set(missing_names(chosen.tree, up_to_model_new=True))
    earlier = [each.block for each in native if each.block.first_line < chosen.block.first_line]
    parts: list[Block] = []
    for block in reversed(earlier[-MAX_JOINED_BLOCKS:]):
        tree = parse(block.text) if needed else None
        if not isinstance(tree, ast.Module) or defines_model_new(tree):
            continue
        bound = bound_names(tree)
        if bound & needed:
            parts.insert(0, block)
            needed = (needed - bound) | missing_names(tree, up_to_model_new=False)
    return parts


def _join_parts(native: Sequence[_Judged], judged: Sequence[_Judged]) -> Extracted | None:
    """The latest and fewest neighbouring blocks that only together parse and define ModelNew."""
    for window in _windows([each.block for each in native][-MAX_JOINED_BLOCKS:]):
        source = _join(window)
        tree = parse(source)
        if isinstance(tree, ParseFailure) or not defines_model_new(tree):
            continue
        if not window[-1].closed and cut_off(tree) is not None:
            continue
        places = ", ".join(str(block.first_line) for block in window)
        explanation = f"blocks at lines {places} joined in order: only together do they parse and define ModelNew"
        rejected = _rejections(judged, taken={block.first_line for block in window})
        return Extracted(source=source, first_line=window[0].first_line, explanation=explanation, rejected=rejected)
    return None


def _windows(blocks: Sequence[Block]) -> Iterator[Sequence[Block]]:
    budget = MAX_JOINED_CHARS
    for stop in range(len(blocks), 1, -1):
        for start in range(stop - 2, -1, -1):
            window = blocks[start:stop]
            budget -= sum(len(block.text) for block in window)
            if budget < 0:
                return
            if any("ModelNew" in block.text for block in window):
                yield window


def _join(blocks: Sequence[Block]) -> str:
    """The blocks in order, blank lines standing for what lies between, so that line numbers still map."""
    lines: list[str] = []
    for block in blocks:
        lines += [""] * (block.first_line - blocks[0].first_line - len(lines))
        lines += split_lines(block.text)
    return join_lines(lines)


def _choose_run(reading: Reading, judged: Sequence[_Judged]) -> Extracted | None:
    blocks = reading.blocks
    runs = [run for run in reading.search.runs if not _drops_beginning(run, blocks)]
    if not runs:
        return None
    chosen = runs[-1]
    which = "the largest run of lines" if len(runs) == 1 else f"the last of {len(runs)} runs of lines"
    why = "there is no code fence" if not blocks else "no fenced block is usable as a whole"
    explanation = f"{which} that parses and defines ModelNew (lines {chosen.first_line} to {chosen.last_line}): {why}"
    rejected = _rejections(judged, taken=set())
    return Extracted(source=chosen.text, first_line=chosen.first_line, explanation=explanation, rejected=rejected)


def _drops_beginning(run: Block, blocks: Sequence[Block]) -> bool:
    """Whether the run leaves out the top of a Python block. (Into its bottom prose may well have run.)"""
    for block in blocks:
        if block.language == PYTHON and block.first_line <= run.first_line <= block.last_line:
            blank = next((i for i, line in enumerate(split_lines(block.text)) if line.strip()), 0)
            return run.first_line > block.first_line + blank
    return False


def _choose_mislabelled(judged: Sequence[_Judged]) -> Extracted | None:
    usable = [each.block for each in judged if each.usable]
    if not usable:
        return None
    chosen = usable[-1]
    explanation = f"Python that defines ModelNew in a block labelled {chosen.language!r} ({_place(chosen)})"
    rejected = _rejections(judged, taken={chosen.first_line})
    return Extracted(source=chosen.text, first_line=chosen.first_line, explanation=explanation, rejected=rejected)


def _rejections(judged: Sequence[_Judged], *, taken: set[int]) -> tuple[Rejected, ...]:
    return tuple(
        Rejected(
            first_line=each.block.first_line,
            last_line=each.block.last_line,
            language=each.block.language,
            why=each.why or "an earlier candidate",
        )
        for each in judged
        if each.block.first_line not in taken
    )[-MAX_REJECTED:]


def _place(block: Block) -> str:
    label = {PYTHON: "python", "": "no label"}.get(block.language, block.language)
    return f"line {block.first_line}, {label}"
