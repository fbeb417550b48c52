"""The texts of problems and candidates, from a recipe and a seed's choices."""

from __future__ import annotations

from dataclasses import dataclass
from string import Template

from benchmarks.recipes import Recipe, Reduction

FAULTS = ("constant", "tail", "shape", "syntax", "undeclared")
"""What can be wrong with an extension: 5% too much, the last eighth left out, one dimension too many, a missing
semicolon, a name that nobody declared."""

_PROBLEM = Template('''"""$name: for a benchmark of batches."""

import torch
import torch.nn as nn
import torch.nn.functional as F

rows = $rows
columns = $columns


class Model(nn.Module):
    def forward(self, $arguments):
        return $expression


def get_inputs():
    return [$inputs]


def get_init_inputs():
    return []
''')
_PLAIN = Template('''"""$label: $name in plain torch."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class ModelNew(nn.Module):
    def forward(self, $arguments):
        $body
''')
_EXTENSION = Template('''"""$label: $name as one $language function."""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

_SOURCE = r"""
$source"""

_extension = load_inline(
    name="$label",
    $sources,
    functions=["$label"],
)


class ModelNew(nn.Module):
    def forward(self, $arguments):
        return _extension.$label($arguments)
''')
_ON_ENTRY = Template("""
torch::Tensor $label($parameters) {
  x = x.contiguous();$second
  const int64_t rows = x.size(0), columns = x.size(1), count = $count;
  torch::Tensor out = torch::$made($shape, x.options());
$launch
  return out$reshaped;
}
""")


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What makes one extension's text differ from another's of the same recipe."""

    label: str
    """Its name as an identifier: no two candidates share one."""
    device: str
    """`cuda` or `cpu`."""
    threads: int
    """A power of two from 64 to 1024: threads of a block, or (CPU) the grain of a parallel loop in units of 16."""
    way: int
    """Which of the ways to write it: any number, taken modulo as many as there are."""
    fault: str = ""
    """One of `FAULTS`, or none."""


def problem_text(recipe: Recipe, *, rows: int, columns: int) -> str:
    """A problem in KernelBench's format on matrices of `rows` x `columns` normal numbers."""
    inputs = ", ".join(["torch.randn(rows, columns)"] * recipe.inputs)
    return _PROBLEM.substitute(
        name=recipe.name, rows=rows, columns=columns, arguments=_arguments(recipe), expression=recipe.torch,
        inputs=inputs,
    )  # fmt: skip


def plain_text(recipe: Recipe, *, label: str, body: str) -> str:
    """A candidate without an extension whose forward is `body`."""
    return _PLAIN.substitute(name=recipe.name, label=label, arguments=_arguments(recipe), body=body)


def extension_text(recipe: Recipe, choices: Choices) -> str:
    """A candidate that compiles its function with `load_inline`, with the fault it is to have."""
    on_cuda = choices.device == "cuda"
    parameters = ", ".join(f"torch::Tensor {name}" for name in "xy"[: recipe.inputs])
    body = (_cuda_rows if recipe.reductions else _cuda_map) if on_cuda else _cpu_rows if recipe.reductions else _cpu_map
    before, launch = body(recipe, choices)
    entry = _ON_ENTRY.substitute(
        label=choices.label, parameters=parameters, launch=launch,
        second="\n  y = y.contiguous();" if recipe.inputs == 2 else "",
        shape="x.sizes()" if recipe.element else "{rows}",
        count=_shortened("rows" if recipe.reductions else "rows * columns", choices),
        made="zeros" if choices.fault == "tail" else "empty",
        reshaped=".unsqueeze(-1)" if choices.fault == "shape" else "",
    )  # fmt: skip
    sources = f'cpp_sources="torch::Tensor {choices.label}({parameters});",\n    cuda_sources=_SOURCE'
    return _EXTENSION.substitute(
        label=choices.label, name=recipe.name, language="CUDA" if on_cuda else "C++", source=before + entry,
        sources=sources if on_cuda else f"cpp_sources=_SOURCE,\n    {_OPTIMISED}", arguments=_arguments(recipe),
    )  # fmt: skip


def _arguments(recipe: Recipe) -> str:
    return ", ".join("xy"[: recipe.inputs])


def _shortened(count: str, choices: Choices) -> str:
    return f"{count} - {count} / 8" if choices.fault == "tail" else count


def _result(expression: str, choices: Choices) -> str:
    """The expression of an output element, as wrong as it is to be."""
    if choices.fault == "constant":
        return f"1.05f * ({expression})"
    return f"{expression} + undeclared_offset" if choices.fault == "undeclared" else expression


def _stop(choices: Choices) -> str:
    """What ends the statement in which a syntax error is to be."""
    return "" if choices.fault == "syntax" else ";"


_COMBINE = {"sum": "a + b", "max": "(b > a || b != b) ? b : a"}
"""`max` hands a NaN on, as torch does."""
_INITIAL = {"sum": "0.0f", "max": "-INFINITY"}

_CUDA_MAPS = (
    Template("""
__global__ void ${label}_kernel($pointers, float* out, int64_t count) {
  const int64_t i = blockIdx.x * int64_t($threads) + threadIdx.x;
  if (i >= count) return;
  $loads$stop
  out[i] = $result;
}
"""),
    Template("""
__global__ void ${label}_kernel($pointers, float* out, int64_t count) {
  for (int64_t i = blockIdx.x * int64_t($threads) + threadIdx.x; i < count; i += int64_t(gridDim.x) * $threads) {
    $loads$stop
    out[i] = $result;
  }
}
"""),
    Template("""
__device__ __forceinline__ float ${label}_at($values) { return $result$stop }

__global__ void ${label}_kernel($pointers, float* out, int64_t count) {
  const int64_t first = 4 * (blockIdx.x * int64_t($threads) + threadIdx.x);
  for (int64_t i = first; i < count && i < first + 4; ++i) out[i] = ${label}_at($elements);
}
"""),
)
_CUDA_BLOCKS = ("(count + $threads - 1) / $threads", "132 * 16", "(count / 4 + $threads) / $threads")


def _cuda_map(recipe: Recipe, choices: Choices) -> tuple[str, str]:
    way = choices.way % len(_CUDA_MAPS)
    names = "xy"[: recipe.inputs]
    before = _CUDA_MAPS[way].substitute(
        label=choices.label, threads=choices.threads, stop=_stop(choices), result=_result(recipe.element, choices),
        pointers=", ".join(f"const float* {name}" for name in names),
        loads="const float " + ", ".join(f"{value} = {name}[i]" for value, name in zip("vw", names, strict=False)),
        values=", ".join(f"float {value}" for value in "vw"[: recipe.inputs]),
        elements=", ".join(f"{name}[i]" for name in names),
    )  # fmt: skip
    blocks = Template(_CUDA_BLOCKS[way]).substitute(threads=choices.threads)
    given = ", ".join([f"{name}.data_ptr<float>()" for name in (*names, "out")])
    return before, f"  {choices.label}_kernel<<<{blocks}, {choices.threads}>>>({given}, count);"


_CUDA_TOTALS = (
    Template("""
__device__ float ${label}_$operator(float t) {
  __shared__ float slots[$threads];
  slots[threadIdx.x] = t;
  __syncthreads();
  for (int half = $threads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) {
      const float a = slots[threadIdx.x], b = slots[threadIdx.x + half];
      slots[threadIdx.x] = $combined;
    }
    __syncthreads();
  }
  const float total = slots[0];
  __syncthreads();
  return total;
}
"""),
    Template("""
__device__ float ${label}_$operator(float a) {
  __shared__ float slots[$threads / 32];
  for (int step = 16; step > 0; step /= 2) {
    const float b = __shfl_xor_sync(0xffffffffu, a, step);
    a = $combined;
  }
  if (threadIdx.x % 32 == 0) slots[threadIdx.x / 32] = a;
  __syncthreads();
  a = slots[0];
  for (int warp = 1; warp < $threads / 32; ++warp) {
    const float b = slots[warp];
    a = $combined;
  }
  __syncthreads();
  return a;
}
"""),
)
_CUDA_ROWS = Template("""
__global__ void ${label}_kernel(const float* x, float* out, int64_t columns) {
  const float n = columns;
  const float* row = x + blockIdx.x * columns;
$passes
$last
}
""")
_CUDA_PASS = Template("""  float t$i = $initial;
  for (int64_t c = threadIdx.x; c < columns; c += $threads) {
    const float v = row[c], a = t$i, b = $of$stop
    t$i = $combined;
  }
  const float r$i = [=](float t) { return $finish; }(${label}_$operator(t$i));""")


def _cuda_rows(recipe: Recipe, choices: Choices) -> tuple[str, str]:
    label, threads = choices.label, choices.threads
    operators = dict.fromkeys(reduction.operator for reduction in recipe.reductions)
    template = _CUDA_TOTALS[choices.way % len(_CUDA_TOTALS)]
    totals = [
        template.substitute(label=label, threads=threads, operator=operator, combined=_COMBINE[operator])
        for operator in operators
    ]
    passes = [_pass(_CUDA_PASS, number, each, choices) for number, each in enumerate(recipe.reductions)]
    if recipe.element:
        element = _result(recipe.element, choices)
        last = (
            f"  for (int64_t c = threadIdx.x; c < columns; c += {threads}) {{\n    const float v = row[c];\n"
            f"    out[blockIdx.x * columns + c] = {element};\n  }}"
        )
    else:
        last = f"  if (threadIdx.x == 0) out[blockIdx.x] = {_result(f'r{len(passes) - 1}', choices)};"
    kernel = _CUDA_ROWS.substitute(label=label, passes="\n".join(passes), last=last)
    launch = f"  {label}_kernel<<<count, {threads}>>>(x.data_ptr<float>(), out.data_ptr<float>(), columns);"
    return "".join([*totals, kernel]), launch


def _pass(template: Template, number: int, reduction: Reduction, choices: Choices) -> str:
    return template.substitute(
        i=number, initial=_INITIAL[reduction.operator], of=reduction.of, finish=reduction.finish,
        combined=_COMBINE[reduction.operator], operator=reduction.operator, threads=choices.threads,
        label=choices.label, stop=_stop(choices) if number == 0 else ";",
    )  # fmt: skip


_OPTIMISED = 'extra_cflags=["-O2"]'
"""Of itself, torch has g++ optimise nothing; nvcc does."""
_CPU_HEAD = "\n#include <ATen/Parallel.h>\n\n#include <cmath>\n"
_CPU_LOOPS = (
    "  at::parallel_for(0, count, $grain, [&](int64_t begin, int64_t end) {\n"
    "    for (int64_t i = begin; i < end; ++i) {\n$inner\n    }\n  });",
    "  const auto part = [&](int64_t begin, int64_t end) {\n"
    "    int64_t i = begin;\n    while (i < end) {\n$inner\n      ++i;\n    }\n  };\n"
    "  at::parallel_for(0, count, $grain, part);",
)
"""Two ways to go over what is to be done, element by element or row by row."""


def _cpu_map(recipe: Recipe, choices: Choices) -> tuple[str, str]:
    names = "xy"[: recipe.inputs]
    pointers = "  const float " + ", ".join(f"*{name}s = {name}.data_ptr<float>()" for name in names)
    loads = "const float " + ", ".join(f"{value} = {name}s[i]" for value, name in zip("vw", names, strict=False))
    inner = f"      {loads}{_stop(choices)}\n      outs[i] = {_result(recipe.element, choices)};"
    before = f"{pointers};\n  float* outs = out.data_ptr<float>();"
    return _CPU_HEAD, f"{before}\n{_loop(inner, 16 * choices.threads, choices)}"


_CPU_PASS = Template("""      double t$i = $initial;
      for (int64_t c = 0; c < columns; ++c) {
        const float v = row[c];
        const double a = t$i, b = $of$stop
        t$i = $combined;
      }
      const float r$i = [=](double t) -> float { return $finish; }(t$i);""")


def _cpu_rows(recipe: Recipe, choices: Choices) -> tuple[str, str]:
    passes = [_pass(_CPU_PASS, number, each, choices) for number, each in enumerate(recipe.reductions)]
    if recipe.element:
        element = _result(recipe.element, choices)
        last = (
            f"      for (int64_t c = 0; c < columns; ++c) {{\n        const float v = row[c];\n"
            f"        outs[i * columns + c] = {element};\n      }}"
        )
    else:
        last = f"      outs[i] = {_result(f'r{len(passes) - 1}', choices)};"
    inner = "\n".join(["      const float* row = xs + i * columns;", *passes, last])
    pointers = (
        "  const float n = columns;\n  const float* xs = x.data_ptr<float>();\n  float* outs = out.data_ptr<float>();"
    )
    return _CPU_HEAD, f"{pointers}\n{_loop(inner, max(1, choices.threads // 64), choices)}"


def _loop(inner: str, grain: int, choices: Choices) -> str:
    return Template(_CPU_LOOPS[choices.way % len(_CPU_LOOPS)]).substitute(grain=grain, inner=inner)
