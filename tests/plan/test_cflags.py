"""Which flags headers are compiled for. A candidate chooses them, and they reach a compiler that is not confined."""

from __future__ import annotations

import pytest

from kbench.plan.cflags import DECLARATIONS_ONLY, only_declares, precompilable, read_cflags


@pytest.mark.parametrize(
    ("cflags", "wanted"),
    [
        (None, ()),
        ([], ()),
        (["-O3"], ("-O3",)),
        (("-O3", " -march=native ", "-fopenmp"), ("-O3", "-march=native", "-fopenmp")),
        (["-fopenmp", "-O3"], ("-fopenmp", "-O3")),  # their order is the compiler's business
        (["-O2", "-Wall", "-Wno-psabi", "-w"], ("-O2",)),
        (["-std=c++17", "-ffast-math", "-DNDEBUG"], ("-std=c++17", "-ffast-math", "-DNDEBUG")),
    ],
)
def test_flags_that_change_code_and_nothing_else(cflags: object, wanted: tuple[str, ...]) -> None:
    assert precompilable(cflags) == wanted


@pytest.mark.parametrize(
    "flag",
    [
        "-include/etc/passwd", "-fplugin=/tmp/x.so", "@/tmp/flags", "-B/tmp", "-I/tmp", "-isystem", "-Wl,-rpath=/tmp",
        "-Wp,-MD,/tmp/x", "-Wa,-a=/tmp/x", "-o", "/tmp/x.cpp", "-O3 -fplugin=x", "-O3\n-fplugin=x", "-specs=/tmp/x",
        "-march=haswell", "-fprofile-use=/tmp", "-save-temps", "-wrapper", "-DNDEBUG=1", "-DX=$(id)", "-g", "-O9", "",
        "-fdump-tree-all", "-Wno-x -fplugin=x", "-ftemplate-depth=9",
    ],
)  # fmt: skip
def test_every_other_flag_means_no_such_headers(flag: str) -> None:
    assert precompilable(["-O3", flag]) is None


@pytest.mark.parametrize("cflags", ["-O3", ["-O3", 3], {"-O3": 1}, 7, [["-O3"]]])
def test_what_is_no_list_of_flags_means_no_such_headers(cflags: object) -> None:
    assert precompilable(cflags) is None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("load_inline('k', CPP)", ((),)),
        ("cpp_extension.load_inline('k', cpp_sources=C, extra_cflags=['-O3', '-fopenmp'])", (("-O3", "-fopenmp"),)),
        ("F = ['-O2']\nload_inline('k', C, extra_cflags=F)\nload_inline('l', C, extra_cflags=F)", (("-O2",),)),
        ("load_inline('k', C)\nload_inline('l', C, extra_cflags=['-O3'])", ((), ("-O3",))),
        ("load('k', sources=['k.cpp'])", ((),)),
        ("load_inline('k', C, extra_cflags=flags())", ()),
        ("load_inline('k', C, extra_cflags=['-fplugin=x'])", ()),
        ("load_inline('k', C, no_implicit_headers=True)", ()),
        ("load_inline('k', **options)", ()),
        ("json.load(file)\ntorch.load('x')", ()),
        ("load_inline('k', 'at::Tensor f();')", ((DECLARATIONS_ONLY,),)),
        ("C = 'at::Tensor f();'\nload_inline('k', cpp_sources=[C, 'int g();'], extra_cflags=['-O3'])", (("-O3",),)),
        ("C = ['int f();']\nload_inline('k', C, extra_cflags=['-O3'])", ((DECLARATIONS_ONLY, "-O3"),)),
        ("load_inline('k', 'int f() { return 1; }')", ((),)),
        ("load_inline(", ()),
        ("\0", ()),
    ],
)
def test_flags_are_read_off_the_text(text: str, wanted: tuple[tuple[str, ...], ...]) -> None:
    assert read_cflags(text) == wanted


@pytest.mark.parametrize(
    "source",
    [
        "",
        "torch::Tensor f(const at::Tensor& x, double eps = 1e-5);",
        "// relu {\n#include <torch/extension.h>\n#include <vector>\nstd::vector<torch::Tensor> f(int64_t n);",
        "std::tuple<at::Tensor, at::Tensor>\nf(torch::optional<torch::Tensor> x);\nvoid g(at::Scalar s);",
    ],
)
def test_declarations_over_common_types_need_few_headers(source: str) -> None:
    assert only_declares([source])


@pytest.mark.parametrize(
    "source",
    [
        "at::Tensor f(at::Tensor x) { return x.relu(); }",
        "at::Tensor x = torch::ones(3);",
        "void f(torch::autograd::Variable x);",
        "void f(c10::List<int64_t> x);",
        "#define f g\nint f();",
        "#include <ATen/ops/relu.h>\nint f();",
        'extern "C" int f();',
    ],
)
def test_whatever_else_a_source_says_gets_all_of_them(source: str) -> None:
    assert not only_declares(["int g();", source])
