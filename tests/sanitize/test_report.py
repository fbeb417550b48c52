"""Reports in the tool's documented form, of the versions that name the place differently."""

from __future__ import annotations

import pytest

from kbench.sanitize.report import Finding, Unreadable, is_library_kernel, parse_report

SOURCE = "__global__ void fused(float *out, int n) {}"

MEMCHECK = """\
a line of the program itself
========= COMPUTE-SANITIZER
========= Invalid __global__ write of size 4 bytes
=========     at fused(float *, int)+0x120 in solution.cu:12
=========     by thread (255,0,0) in block (3,0,0)
=========     Address 0x7f2a3e000400 is out of bounds
=========     and is 1 bytes after the nearest allocation at 0x7f2a3e000000 of size 1,024 bytes
=========     Device Frame: fused(float *, int)+0x120 in solution.cu:12
=========
========= Invalid __global__ write of size 4 bytes
=========     at fused(float *, int)+0x120 in solution.cu:12
=========     by thread (254,0,0) in block (3,0,0)
=========     Address 0x7f2a3e000404 is out of bounds
=========
========= ERROR SUMMARY: 2 errors
"""
OLDER = """\
========= COMPUTE-SANITIZER
========= Invalid __shared__ read of size 16 bytes
=========     at 0x9670 in void ns::reduce<float, (int)4>(const float *, float *)
=========     by thread (0,0,0) in block (0,0,0)
=========     Address 0x8 is misaligned
=========     Saved host backtrace up to driver entry point at kernel launch time
=========     Host Frame: [0x331d50]
=========                in libcuda.so.1
=========
========= ERROR SUMMARY: 1 error
"""
FILE_FIRST = """\
========= Invalid __global__ write of size 4 bytes
=========     at 0x3c8 in solution.cu:42:fused(float *, int)
=========     by thread (0,0,0) in block (0,0,0)
=========     Address 0x4 is out of bounds
========= ERROR SUMMARY: 1 error
"""
RACECHECK = """\
========= COMPUTE-SANITIZER
========= Warning: Race reported between Read access at fused(float *, int)+0x90
=========     and Write access at fused(float *, int)+0x50 [4 hazards]
=========
========= Error: Race reported between Write access at fused(float *, int)+0x140 in solution.cu:20
=========     and Read access at fused(float *, int)+0xe0 in solution.cu:21 [96 hazards]
=========
========= RACECHECK SUMMARY: 2 hazards displayed (1 error, 1 warning)
"""
INITCHECK = """\
========= COMPUTE-SANITIZER
========= Uninitialized __global__ memory read of size 4 bytes
=========     at void at::native::vectorized_elementwise_kernel<(int)4, float>(int, T2)+0x90
=========     by thread (1,0,0) in block (0,0,0)
=========     Address 0x7f3c7ec00004
=========
========= Uninitialized __global__ memory read of size 4 bytes
=========     at fused(float *, int)+0x70
=========     by thread (31,0,0) in block (1,0,0)
=========     Address 0x7f3c7ec000fc
=========
========= ERROR SUMMARY: 2 errors
"""
CLEAN = "========= COMPUTE-SANITIZER\n========= ERROR SUMMARY: 0 errors\n"
NO_RACE = "========= COMPUTE-SANITIZER\n========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n"


def test_the_first_finding_in_full() -> None:
    report = parse_report(MEMCHECK)
    assert (report.errors, len(report.findings), report.complete) == (2, 2, True)
    assert report.findings[0] == Finding(
        text="Invalid __global__ write of size 4 bytes",
        kernel="fused(float *, int)",
        source="solution.cu:12",
        bytes=4,
        address="0x7f2a3e000400 is out of bounds",
        thread="(255,0,0) in block (3,0,0)",
    )
    assert str(report.findings[0]) == (
        "Invalid __global__ write of size 4 bytes in fused(float *, int) at solution.cu:12 by thread (255,0,0) "
        "in block (3,0,0): 0x7f2a3e000400 is out of bounds"
    )


@pytest.mark.parametrize(
    ("text", "kernel", "source"),
    [
        (OLDER, "void ns::reduce<float, (int)4>(const float *, float *)", ""),
        (FILE_FIRST, "fused(float *, int)", "solution.cu:42"),
        (RACECHECK, "fused(float *, int)", "solution.cu:20"),
    ],
    ids=["offset first", "file first", "race"],
)
def test_the_place_in_every_form(text: str, kernel: str, source: str) -> None:
    (finding,) = parse_report(text).findings
    assert (finding.kernel, finding.source) == (kernel, source)


def test_a_race_names_both_accesses() -> None:
    (finding,) = parse_report(RACECHECK).findings
    assert str(finding) == (
        "Race in shared memory between write +0x140 (solution.cu:20) and read +0xe0 (solution.cu:21)"
        " in fused(float *, int) at solution.cu:20"
    )
    older = RACECHECK.replace(" in solution.cu:20", "").replace(" in solution.cu:21", "")
    assert parse_report(older).findings[0].text == "Race in shared memory between write +0x140 and read +0xe0"


def test_a_races_warnings_are_counted_apart() -> None:
    report = parse_report(RACECHECK)
    assert (report.errors, report.warnings, len(report.findings)) == (1, 1, 1)


def test_a_librarys_reads_are_not_the_solutions() -> None:
    report = parse_report(INITCHECK)
    assert report.complete
    assert [finding.kernel for finding in report.of_the_solution(SOURCE)] == ["fused(float *, int)"]


@pytest.mark.parametrize("text", [CLEAN, NO_RACE])
def test_a_clean_report(text: str) -> None:
    report = parse_report(text)
    assert (report.findings, report.errors, report.warnings, report.complete) == ((), 0, 0, True)


@pytest.mark.parametrize(
    "text",
    ["", "ERROR SUMMARY: 0 errors\n", "========= COMPUTE-SANITIZER\n", MEMCHECK.rpartition("=========")[0],
     MEMCHECK.replace("SUMMARY: 2", "SUMMARY: 0"),
     "========= Error: Target application terminated before first instrumented API call\n"],
    ids=["empty", "the program's own words", "cut off", "no summary", "a summary that denies it", "no target"],
)  # fmt: skip
def test_what_says_too_little_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        parse_report(text)


def test_errors_that_were_not_printed_make_a_report_incomplete() -> None:
    assert not parse_report(INITCHECK.replace("SUMMARY: 2", "SUMMARY: 900")).complete
    assert not parse_report("========= Some error of a new kind\n========= ERROR SUMMARY: 1 error\n").complete


@pytest.mark.parametrize(
    "kernel",
    [
        "void at::native::vectorized_elementwise_kernel<(int)4, float>(int, T2)",
        "void at::native::(anonymous namespace)::CatArrayBatchedCopy<float>(float *)",
        "void cudnn::ops::nchwToNhwcKernel<float>(float *)",
        "sm90_xmma_fprop_implicit_gemm_f32f32_tf32f32_f32",
        "ampere_sgemm_128x64_tn",
        "void cutlass::Kernel2<cutlass_80_tensorop_s1688gemm>(T1)",
        "nvjet_tst_128x64",
        "void cub::DeviceReduceKernel<float>(float *)",
    ],
)
def test_library_kernels(kernel: str) -> None:
    assert is_library_kernel(kernel, SOURCE)


@pytest.mark.parametrize(
    ("kernel", "source"),
    [
        ("", SOURCE),
        ("fused(float *, int)", SOURCE),
        ("some_macro_made(float *)", SOURCE),
        ("void fused<c10::Half>(const c10::Half *)", SOURCE),
        ("(anonymous namespace)::fused(float *)", SOURCE),
        ("void at::native::mine<float>(float *)", "namespace at::native { template <class T> void mine(T *x)"),
        ("gemm_tiled(float *)", "__global__ void gemm_tiled(float *x) {}"),
        ("attention_kernel(at::PackedTensorAccessor32<float>)", SOURCE),
    ],
)
def test_the_solutions_own_kernels(kernel: str, source: str) -> None:
    assert not is_library_kernel(kernel, source)
