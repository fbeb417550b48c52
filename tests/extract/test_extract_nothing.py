"""Responses without a candidate: the reason, and a message that names the line of the response."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from extract_responses import BROKEN, CUDA, HEAD, INLINE, B, F, fence

from kbench.extract import NothingUsable, Reason, extract


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """A response without a candidate: the reason, and words of the message."""

    text: str
    reason: Reason
    says: str


NOTHING = {
    "empty": Nothing(text="", reason=Reason.EMPTY, says="empty"),
    "blank": Nothing(text=" \r\n\t\n\ufeff", reason=Reason.NO_CODE, says="no code"),
    "white space": Nothing(text="\ufeff \r\n\t\n", reason=Reason.EMPTY, says="empty"),
    "refusal": Nothing(text="I'm sorry, I can't do ModelNew.\n", reason=Reason.NO_CODE, says="no code"),
    "empty fences": Nothing(text=f"{fence('')}\n{F}\n\n{F}\n", reason=Reason.NO_CODE, says="no code"),
    "only C++": Nothing(text=fence(CUDA, "cpp"), reason=Reason.NO_MODEL_NEW, says="only cpp blocks"),
    "only C++, unlabelled": Nothing(text=fence(CUDA, ""), reason=Reason.NO_MODEL_NEW, says="none of the 1"),
    "another class": Nothing(
        text=fence(B.replace("ModelNew", "ModelNewer")), reason=Reason.NO_MODEL_NEW, says="none of the 1"
    ),
    "only read": Nothing(text=fence("print(ModelNew)\n"), reason=Reason.NO_MODEL_NEW, says="none of the 1"),
    "unfenced without it": Nothing(text=HEAD, reason=Reason.NO_MODEL_NEW, says="without a fence"),
    "syntax error": Nothing(text=f"One.\nTwo.\n{fence(BROKEN)}", reason=Reason.DOES_NOT_PARSE, says="line 10: "),
    "syntax error that names a second line": Nothing(
        text=f"One.\nTwo.\n{fence(B.replace('        return', '    return'))}",
        reason=Reason.DOES_NOT_PARSE,
        says="line 11: expected an indented block after function definition on line 10",
    ),
    "syntax error without a fence": Nothing(
        text=f"Here is the kernel:\n{BROKEN}\nThis is how it works.\n",
        reason=Reason.DOES_NOT_PARSE,
        says="line 8: ",
    ),
    "a broken helper is not dropped": Nothing(
        text=fence(f"def helper(:\n    pass\n\n\n{B}"), reason=Reason.DOES_NOT_PARSE, says="line 2: "
    ),
    "a broken helper is not dropped from bare code": Nothing(
        text=f"x = = 3\n{B}", reason=Reason.DOES_NOT_PARSE, says="line 1: "
    ),
    "words in a block are not dropped": Nothing(
        text=fence(f"import torch\nthis is not really python\n{B}"),
        reason=Reason.DOES_NOT_PARSE,
        says="line 3: ",
    ),
    "cut off in a function": Nothing(
        text=f"Words.\n{F}python\n{B[:-2]}", reason=Reason.TRUNCATED, says="the text ends at line 10"
    ),
    "cut off in a function, no fence": Nothing(text=B[:-2], reason=Reason.TRUNCATED, says="the text ends before"),
    "cut off between statements": Nothing(
        text=f"{F}python\n{B.replace('return ', 'y = ')}", reason=Reason.TRUNCATED, says="without a return"
    ),
    "cut off between statements, no fence": Nothing(
        text=B.replace("return ", "y = "), reason=Reason.TRUNCATED, says="without a return"
    ),
    "cut off in a kernel string": Nothing(
        text=f"{F}python\n{INLINE[:90]}", reason=Reason.TRUNCATED, says="unterminated triple-quoted"
    ),
    "cut off in a kernel string, no fence": Nothing(text=INLINE[:90], reason=Reason.TRUNCATED, says="unfinished"),
    "cut off before ModelNew": Nothing(
        text=f"{F}python\n{HEAD}", reason=Reason.TRUNCATED, says="does not define ModelNew"
    ),
    "cut off in the usage": Nothing(
        text=f"{F}python\n{B}\nprint(ModelNew(", reason=Reason.TRUNCATED, says="never closed"
    ),
    "cut off in the reasoning": Nothing(
        text="<think>\nFirst, I consider the", reason=Reason.TRUNCATED, says="reasoning that starts at line 1"
    ),
    "NUL": Nothing(text=fence(B + "x = '\0'\n"), reason=Reason.DOES_NOT_PARSE, says="null"),
    "lone surrogate": Nothing(text=fence(B + "x = '\ud800'\n"), reason=Reason.DOES_NOT_PARSE, says="surrogates"),
    "too deep": Nothing(text=fence(f"ModelNew = {'(' * 5000}\n"), reason=Reason.DOES_NOT_PARSE, says="nested"),
}


@pytest.mark.parametrize("case", NOTHING.values(), ids=NOTHING.keys())
def test_nothing_usable(case: Nothing) -> None:
    result = extract(case.text)
    assert isinstance(result, NothingUsable), result
    assert result.reason is case.reason, result.message
    assert case.says in result.message
