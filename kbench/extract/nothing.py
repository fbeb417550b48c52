"""Why a response holds no candidate, in words a person can act on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kbench.extract.analysis import ParseFailure, cut_off, defines_model_new, parse
from kbench.extract.fences import FOREIGN_LABELS, PYTHON
from kbench.extract.lines import MODEL_NEW_STATEMENT, last_filled_line, lex, split_lines, starts_code
from kbench.extract.model import Block, NothingUsable, Reason, Rejected
from kbench.extract.reading import Reading
from kbench.extract.unfenced import RunSearch

MAX_REJECTED = 200

_REASONING_START = re.compile(r"\s*<(?:think|thinking|reasoning)>", re.IGNORECASE)
_REASONING_END = re.compile(r"</(?:think|thinking|reasoning)>", re.IGNORECASE)


def explain_nothing(reading: Reading) -> NothingUsable:
    """The reason for a response (not blank) that gave no candidate."""
    lines, blocks = reading.lines, reading.blocks
    reason, message = (
        _broken_block(reading)
        or _broken_run(reading.search)
        or _cut_off_text(lines, blocks)
        or _no_candidate(lines, blocks)
    )
    rejected = tuple(
        Rejected(first_line=block.first_line, last_line=block.last_line, language=block.language, why=_why(block))
        for block in blocks[-MAX_REJECTED:]
    )
    return NothingUsable(reason=reason, message=message, rejected=rejected)


def _broken_block(reading: Reading) -> tuple[Reason, str] | None:
    """The block meant to be the candidate: the one cut off at the end, or the last that names ModelNew."""
    code = [block for block in reading.blocks if block.language not in FOREIGN_LABELS]
    if code and not code[-1].closed and code[-1].last_line >= reading.end and _reads_as_code(code[-1]):
        message = _cut_off_message(code[-1])
        if message is not None:
            return Reason.TRUNCATED, message
    for block in reversed(code):
        if any(MODEL_NEW_STATEMENT.match(line) for line in split_lines(block.text)):
            tree = parse(block.text)
            if isinstance(tree, ParseFailure):
                return Reason.DOES_NOT_PARSE, tree.located(block.first_line)
    return None


def _reads_as_code(block: Block) -> bool:
    return block.language == PYTHON or any(starts_code(line.lstrip()) for line in split_lines(block.text))


def _cut_off_message(block: Block) -> str | None:
    """What is unfinished at the end of an unclosed last block; None if its fault lies elsewhere."""
    tree = parse(block.text)
    last = f"the text ends at line {block.last_line}, before the code does"
    if not isinstance(tree, ParseFailure):
        missing = cut_off(tree)
        if missing is None and block.language == PYTHON and not defines_model_new(tree):
            missing = "its last code block is not closed and does not define ModelNew"
        return f"{last}: {missing}" if missing else None
    unfinished = lex(split_lines(block.text)).inside
    if unfinished or tree.line >= block.text.count("\n"):
        return f"{last}: {tree.located(block.first_line)}"
    return None


def _broken_run(search: RunSearch) -> tuple[Reason, str] | None:
    if not search.failures:
        return None
    failure = search.failures[-1]
    if failure.at_end:
        return Reason.TRUNCATED, f"the text ends before the code does: {failure.message}"
    return Reason.DOES_NOT_PARSE, failure.message


def _cut_off_text(lines: Sequence[str], blocks: Sequence[Block]) -> tuple[Reason, str] | None:
    """Text that stops before any definition of ModelNew: within unfenced code, or within the reasoning."""
    end = last_filled_line(lines)
    if not blocks:
        start = next((index for index, line in enumerate(lines) if starts_code(line)), None)
        if start is not None and (quote := lex(lines[start:]).quote):
            return Reason.TRUNCATED, f"the text ends at line {end}, in an unfinished {quote} string"
    opened = max((i for i, line in enumerate(lines) if _REASONING_START.match(line)), default=-1)
    closed = max((i for i, line in enumerate(lines) if _REASONING_END.search(line)), default=-1)
    if opened > closed:
        return (
            Reason.TRUNCATED,
            f"the text ends at line {end}, within the reasoning that starts at line {opened + 1}",
        )
    return None


def _no_candidate(lines: Sequence[str], blocks: Sequence[Block]) -> tuple[Reason, str]:
    if blocks and all(block.language in FOREIGN_LABELS for block in blocks):
        labels = ", ".join(sorted({block.language for block in blocks}))
        return Reason.NO_MODEL_NEW, f"only {labels} blocks, none in Python; nothing defines ModelNew"
    if blocks:
        return (
            Reason.NO_MODEL_NEW,
            f"none of the {len(blocks)} code block(s) defines ModelNew at module level",
        )
    if any(starts_code(line.lstrip()) for line in lines):
        return (
            Reason.NO_MODEL_NEW,
            "there is code without a fence, but nothing defines ModelNew at module level",
        )
    return Reason.NO_CODE, "there is no code in the response"


def _why(block: Block) -> str:
    tree = parse(block.text)
    if isinstance(tree, ParseFailure):
        return f"does not parse: {tree.located(block.first_line)}"
    return "does not define ModelNew"
