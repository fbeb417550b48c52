"""Compilers' logs as they look, and what is read off them."""

from __future__ import annotations

import pytest

from kbench.build.diagnostics import Diagnostic, find_errors, summarise

OWN = "softmax/v3.py"
SOURCE = "\n".join(f"line {n} of the solution" for n in range(1, 41))

GXX = """\
Error building extension 'k': [1/2] c++ -MMD -MF main.o.d -c /scratch/extensions/1a/main.cpp -o main.o
FAILED: main.o
c++ -MMD -MF main.o.d -std=c++20 -c /scratch/extensions/1a/main.cpp -o main.o
In file included from /usr/include/c++/12/bits/stl_algo.h:60,
                 from softmax/v3.py:10:
softmax/v3.py: In function 'at::Tensor forward(at::Tensor)':
softmax/v3.py:19:12: error: 'rowmax' was not declared in this scope; did you mean 'fmax'?
   19 |     return rowmax(x);
      |            ^~~~~~
      |            fmax
softmax/v3.py:20:1: warning: no return statement in function returning non-void [-Wreturn-type]
softmax/v3.py:21:3: note: suggested alternative: error: not an error
/usr/include/torch/types.h:12:4: fatal error: no/such.h: No such file or directory
compilation terminated.
ninja: build stopped: subcommand failed.
"""
NVCC = """\
Error building extension 'k': [1/3] /usr/local/cuda/bin/nvcc -c cuda.cu -o cuda.cuda.o
softmax/v3.py(14): error: identifier "rowmax" is undefined
      float m = rowmax;
                ^

softmax/v3.py(14): error: identifier "rowmax" is undefined
softmax/v3.py(17): warning #177-D: variable "i" was declared but never referenced
softmax/v3.py(22): error #20-D: expected a ";"
softmax/v3.py(3): catastrophic error: cannot open source file "cub/cub2.cuh"
Remark: The warnings can be suppressed with "-diag-suppress <warning-number>"

4 errors detected in the compilation of "cuda.cu".
"""
PTXAS = """\
ptxas info    : 0 bytes gmem
ptxas /tmp/tmpxft_0001_00000000-6_cuda.ptx, line 34; error   : Arguments mismatch for instruction 'mov'
ptxas fatal   : Ptx assembly aborted due to errors
"""


def test_gxx_errors_are_found_with_file_and_line() -> None:
    assert find_errors(GXX) == (
        Diagnostic(file=OWN, line=19, text="'rowmax' was not declared in this scope; did you mean 'fmax'?"),
        Diagnostic(file="/usr/include/torch/types.h", line=12, text="no/such.h: No such file or directory"),
    )


def test_nvcc_errors_are_found_once_each() -> None:
    assert [(d.file, d.line, d.text) for d in find_errors(NVCC)] == [
        (OWN, 14, 'identifier "rowmax" is undefined'),
        (OWN, 22, 'expected a ";"'),
        (OWN, 3, 'cannot open source file "cub/cub2.cuh"'),
    ]


@pytest.mark.parametrize(
    ("log", "texts"),
    [
        (PTXAS, ["Arguments mismatch for instruction 'mov'"]),
        (
            "ptxas error   : Entry function '_Z4gemmPf' uses too much shared data (0x20000 bytes, 0xc000 max)",
            ["Entry function '_Z4gemmPf' uses too much shared data (0x20000 bytes, 0xc000 max)"],
        ),
        ("ptxas fatal   : Unresolved extern function '_Z1fv'", ["Unresolved extern function '_Z1fv'"]),
        ("nvlink error   : Undefined reference to '_Z1gv' in 'k.o'", ["Undefined reference to '_Z1gv' in 'k.o'"]),
        ("nvcc fatal   : Unsupported gpu architecture 'compute_999'", ["Unsupported gpu architecture 'compute_999'"]),
    ],
)
def test_errors_of_the_cuda_tools_without_a_line_are_found(log: str, texts: list[str]) -> None:
    assert [(d.file, d.text) for d in find_errors(log)] == [("", text) for text in texts]


@pytest.mark.parametrize(
    "line",
    [
        "/usr/bin/ld: main.o: in function `forward': main.cpp:(.text+0x1a): undefined reference to `scale(float*)'",
        "/usr/bin/ld: cannot find -lcudart: No such file or directory",
        "/usr/bin/ld: cuda.o:(.bss+0x0): multiple definition of `counter'; main.o:(.bss+0x0): first defined here",
    ],
)
def test_the_linkers_errors_are_found(line: str) -> None:
    assert find_errors(f"{line}\ncollect2: error: ld returned 1 exit status\n") == (
        Diagnostic(file="", line=0, text=line),
    )


def test_a_log_without_errors_has_none() -> None:
    assert find_errors("ninja: no work to do.\nwarning: unused\nk.cu(3): warning #177-D: x\n") == ()


def test_a_summary_shows_the_authors_own_errors_with_their_source() -> None:
    assert summarise(GXX, own_file=OWN, source=SOURCE) == (
        "softmax/v3.py:19: 'rowmax' was not declared in this scope; did you mean 'fmax'?\n    line 19 of the solution"
    )


def test_a_summary_without_own_errors_shows_the_others() -> None:
    said = summarise(GXX, own_file="other.py", source=SOURCE)
    assert said.splitlines()[0].startswith("softmax/v3.py:19: 'rowmax'") and "line 19 of" not in said


def test_a_long_summary_is_cut_and_says_so() -> None:
    log = "\n".join(f"{OWN}:{n}:1: error: number {n}" for n in range(1, 8))
    lines = summarise(log, own_file=OWN, source=SOURCE).splitlines()
    assert len(lines) == 7 and lines[-1] == "and 4 more"


@pytest.mark.parametrize("line", [0, 41, 10**9])
def test_a_line_outside_the_source_is_shown_without_it(line: int) -> None:
    assert summarise(f"{OWN}:{line}: error: x", own_file=OWN, source=SOURCE) == f"{OWN}:{line}: x"


def test_an_unknown_log_is_summed_up_by_its_end() -> None:
    assert summarise("\n".join(map(str, range(9))), own_file=OWN, source="") == "4\n5\n6\n7\n8"
    assert summarise("", own_file=OWN, source="") == ""
