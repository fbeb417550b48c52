"""Copies of torch's headers for one CUDA source, without what that source never names.

nvcc reads its headers four times, and torch declares some thousand operators in them. What is declared here is
declared in the same words: the installed headers are read and whole includes or whole functions left out. Every
function whose name stands in the source stays, with all its overloads, so a call means what it meant. What is missing
all the same does not compile, and then the source is built with the stock headers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

_INCLUDE = re.compile(r"^#include <([^>]+)>.*\n", re.MULTILINE)
_QUOTED = re.compile(r'^\s*#\s*include\s*"', re.MULTILINE)
_ASIDE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)
"""Comments and strings name nothing."""
_FREE_NAME = re.compile(r"(?<![.\w])(?<!->)[A-Za-z_]\w*(?!\w|\s*::)")
"""Neither a member nor a namespace."""
_FACTORY = re.compile(r"^inline at::Tensor (\w+)\(.*?^}\n", re.MULTILINE | re.DOTALL)
_OF_LISTS = re.compile(r"^inline [^\n;{]*\(ITensorListRef\b.*?^}\n", re.MULTILINE | re.DOTALL)
_METHOD = re.compile(r"^inline [^\n]*\bTensor::(\w+)\([^\n]*\{\n(.*?)^}\n", re.MULTILINE | re.DOTALL)
_DECLARED = re.compile(r"^  (?! )[^\n;(]*\b(\w+)\((?:[^\n{]|\{\})*\)[^\n{()]*;\n", re.MULTILINE)
"""In a class."""
_CALLED = re.compile(r"at::_ops::(\w+)::")
_USES_METHODS = re.compile(
    r"#\s*include\s*<(?!torch/(?:types|extension)\.h|ATen/(?:ATen|cuda/CUDAContext)\.h)(?:torch|ATen)/"
)
"""Further headers of torch's may call methods that the source itself does not name."""
_NAME = re.compile(r"[A-Za-z_]\w*")
_VARIANTS = ("_", "_out", "_outf", "_symint", "_symint_out", "_symint_outf")
"""Ends of names that are declared in the header of the name without."""

_FACTORIES = "torch/csrc/autograd/generated/variable_factories.h"
_AUTOGRAD = "torch/csrc/autograd/variable.h"
_TENSOR_OF_DATA = "torch/csrc/api/include/torch/detail/TensorDataContainer.h"
_OPERATORS = "ATen/ops/"
_TENSOR = "ATen/core/TensorBody.h"
_LEFT_OUT = {
    "ATen/Context.h": r"\bContext\b|globalContext|manual_seed|\bhas[A-Z]\w*\(|CPUGenerator",
    "ATen/Version.h": r"show_config|get_\w+_version|Context",
    "ATen/NativeFunctions.h": r"\bnative\b",
    "ATen/TensorIndexing.h": r"\bindexing\b|TensorIndex|\bindex(?:_put_)?\s*\(\s*\{",
    "ATen/core/ivalue.h": r"IValue|\bjit\b",
    "ATen/core/jit_type.h": r"IValue|\bjit\b|TypePtr",
    "torch/library.h": r"TORCH_LIBRARY|Library|IValue|custom_class",
}
"""Headers that cost much, and what of them a source would name."""
_NUMBERS = {
    r"complex|thrust|\bcub::|cuda::std::": ("complex", "complex_math"),
    r"half|bf(?:loat)?16|fp(?:16|8)|\b__h|_DISPATCH_(?!FLOATING_TYPES\()": ("Half", "BFloat16"),
}
"""Headers whose device code needs further, long ones of the toolkit's, by what a source that computes with such numbers
would name."""
_UTILITIES = ("torch/headeronly/util", "c10/util")
_ON_DEVICE = re.compile(r"^(#if \(?)defined\(__CUDA(?:CC|_ARCH)__\)|^#ifdef __CUDACC__$", re.MULTILINE)
_MAKE_VARIABLE = """#include <ATen/core/LegacyTypeDispatch.h>
namespace torch::autograd {
// For a tensor that nobody else holds, as a factory's is: what the function of this name does.
inline at::Tensor make_variable(at::Tensor fresh, bool requires_grad = false) {
  if (requires_grad && fresh.defined()) fresh.set_requires_grad(true);
  return fresh;
}
}  // namespace torch::autograd
"""


def thin_headers(text: str, stock: Path) -> dict[str, str]:
    """Headers to be found before those of `stock` (torch's folder of headers), by path, for a source of this text.

    None but `torch/extension.h`'s where the text includes files of its own, which may name more. Raises OSError where
    this torch has no such headers.
    """
    umbrella = {"torch/extension.h": "#pragma once\n#include <torch/types.h>\n"}
    return umbrella if _QUOTED.search(text) else {**umbrella, **_thin(text, stock)}


def _thin(text: str, stock: Path) -> dict[str, str]:
    def read(name: str) -> str:
        return (stock / name).read_text()

    left_out = {name for name, said in _LEFT_OUT.items() if not re.search(said, text)}
    named = _names(text)
    factories = _factories(read(_FACTORIES), text, named)
    functions = read("ATen/Functions.h")
    inner = [functions, factories, read("ATen/ScalarOps.h"), read("ATen/TensorOperators.h")]
    if "ATen/TensorIndexing.h" not in left_out:
        inner.append(read("ATen/TensorIndexing.h"))
    wanted = named.union(*map(_names, inner))
    wanted |= {name.removesuffix(end) for name in wanted for end in _VARIANTS} | {name.strip("_") for name in wanted}
    operators = {f"{_OPERATORS}{name}.h" for name in wanted}
    every = set(_INCLUDE.findall(functions))
    kept = {name: read(name) for name in sorted(operators & every)}
    thin = {name: _without(header, left_out) for name, header in kept.items()}
    unnamed = {name for name in every - operators if name.startswith(_OPERATORS)}
    thin["ATen/Functions.h"] = _without(functions, left_out | unnamed)
    thin["ATen/ATen.h"] = _without(read("ATen/ATen.h"), left_out)
    thin["torch/types.h"] = _without(read("torch/csrc/api/include/torch/types.h"), left_out | {_AUTOGRAD})
    thin[_FACTORIES] = factories
    if not any("ListRef" in header for header in (*kept.values(), text)):
        guard = _without(read("ATen/DeviceGuard.h"), {"ATen/core/IListRef.h"})
        thin["ATen/DeviceGuard.h"] = _OF_LISTS.sub("", guard)
    if not _USES_METHODS.search(text):
        thin |= _for_host(text, stock)
        spoken = {name for told in (text, *inner, *kept.values()) for name in _NAME.findall(_spoken(told))}
        thin |= _tensor(read(_TENSOR), read("ATen/MethodOperators.h"), spoken)
    return thin


def _tensor(header: str, operators: str, spoken: set[str]) -> dict[str, str]:
    """The class of tensors with the methods among `spoken`, and the operators that those call.

    A method goes with its declaration: what calls it all the same does not compile. Data and layout stay.
    """
    methods = {made[1] for made in _METHOD.finditer(header) if _CALLED.search(made[2])}
    gone = methods - spoken - set(_NAME.findall(_spoken(_without_methods(header, methods))))
    short = _without_methods(header, gone)
    called = set(_CALLED.findall(short))
    called |= {name.lstrip("_") for name in called}  # `__and__` is declared in `and_ops.h`
    begins = {name[:end] for name in called for end in range(1, len(name) + 1)}
    declared = {path for path in _INCLUDE.findall(operators) if path.startswith(_OPERATORS)}
    unused = {path for path in declared if path[len(_OPERATORS) : -len("_ops.h")] not in begins}
    return {_TENSOR: short, "ATen/MethodOperators.h": _without(operators, unused)}


def _for_host(text: str, stock: Path) -> dict[str, str]:
    """Kinds of numbers that nobody computes with, without what they can do in device code only."""
    names = [name for named, names in _NUMBERS.items() if not re.search(named, text, re.IGNORECASE) for name in names]
    paths = [path for name in names for folder in _UTILITIES if (stock / (path := f"{folder}/{name}.h")).exists()]
    return {path: _ON_DEVICE.sub(lambda made: f"{made[1] or '#if '}0", (stock / path).read_text()) for path in paths}


def _without_methods(header: str, gone: set[str]) -> str:
    for pattern in (_METHOD, _DECLARED):
        header = pattern.sub(lambda made: "" if made[1] in gone else made[0], header)
    return header


def _factories(header: str, text: str, named: set[str]) -> str:
    """`torch::empty` and the like: those that are named, without all of autograd where nothing of it is."""
    header = _FACTORY.sub(lambda made: made[0] if made[1] in named else "", header)
    if "tensor" not in named:
        header = _without(header, {_TENSOR_OF_DATA})
    else:  # prints a vector, which a header left out above would let it
        header = header.replace("#pragma once\n", "#pragma once\n#include <c10/util/Logging.h>\n", 1)
    if re.search(r"\bautograd\b|\bVariable\b", text):
        return header
    return _without(header, {_AUTOGRAD}).replace("namespace torch {", f"{_MAKE_VARIABLE}\nnamespace torch {{", 1)


def _without(header: str, left_out: Iterable[str]) -> str:
    gone = set(left_out)
    keep: Callable[[re.Match[str]], str] = lambda line: "" if line[1] in gone else line[0]  # noqa: E731
    return _INCLUDE.sub(keep, header)


def _names(text: str) -> set[str]:
    return set(_FREE_NAME.findall(_spoken(text)))


def _spoken(text: str) -> str:
    """Without includes, comments and strings."""
    return _ASIDE.sub(" ", _INCLUDE.sub("", text))
