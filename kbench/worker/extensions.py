"""`load_inline` and `load`, as a candidate sees them: each extension in a folder named by what it is made of.

In a build worker the stock functions compile into that folder; in a judged worker the folder is already filled
from the cache and the library is only imported. Each source string is preceded by `#line` directives, so that
compilers speak of the candidate's own file.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils import cpp_extension

from kbench.plan.cflags import DECLARATIONS_ONLY, only_declares, precompilable
from kbench.worker.thin import thin_headers

_SHORTEST_ANCHOR = 20
"""Characters. A shorter string constant could stand anywhere in a source, and proves nothing about its line."""
_STUB_LIBRARIES = ("c10_cuda", "torch_cuda")
_OURS = ("build_directory", "verbose")
"""Options that `_build` decides: what a candidate says of them does not change what is made."""
_SKIPPED_NEWLINE = re.compile(r"[uU]?(?:\"\"\"|''')\\\n")
"""A literal that begins with an escaped newline: its text begins on the next line."""
_GENERATED_HEADER = "c10/cuda/impl/cuda_cmake_macros.h"
_DEVICE_SUFFIXES = (".cu", ".cuh")
"""Of files that torch gives to nvcc."""
_NVCC_FLAGS = "NVCC_APPEND_FLAGS"
_AT_ONCE = "--threads=2"
"""The same work on two cores."""


class BuildFailed(Exception):
    """The compiler or the linker refused; the text is what they said."""


@dataclass(frozen=True, kw_only=True)
class _Extension:
    """One that is to be built."""

    name: str
    folder: Path
    host_objects: Sequence[str]
    device_text: str
    """All that nvcc compiles; empty where nothing is."""
    only_declares: bool = False
    """The host unit calls nothing, but for what binds functions."""


class ExtensionFolder:
    """Stands in for the extension functions of `torch.utils.cpp_extension` while a candidate is loaded."""

    def __init__(
        self,
        folder: Path,
        *,
        source: str,
        shown_path: str,
        compile_only: bool,
        headers: Path | None = None,
        precompiled: Mapping[str, str] | None = None,
    ) -> None:
        """`headers`: short ones for host units; `precompiled`: the same, compiled, by the flags that they serve."""
        self._folder = folder
        self._literals = _string_literals(source)
        self._shown_path = shown_path
        self._compile_only = compile_only
        self._headers = headers
        self._precompiled = precompiled or {}
        self._stock_inline: Callable[..., Any] = cpp_extension.load_inline
        self._stock_load: Callable[..., Any] = cpp_extension.load

    def install(self) -> None:
        """Put our functions in place of the stock ones, for every import that follows."""
        cpp_extension.load_inline = self.load_inline
        cpp_extension.load = self.load
        if self._compile_only:
            cpp_extension.CUDA_HOME = os.environ["CUDA_HOME"]

    def load_inline(self, name: str, cpp_sources: Any, cuda_sources: Any = None, *args: Any, **options: Any) -> Any:
        """As `torch.utils.cpp_extension.load_inline`; raises BuildFailed with the compilers' words."""
        cpp, cuda = _as_list(cpp_sources), _as_list(cuda_sources)
        folder = self._folder / signature(name, cpp, cuda, args, options)
        if (ready := _library(folder, name)) is not None:
            return _import(name, ready, options)
        given = {**_by_name(self._stock_inline, 3, args), **options}
        declares = only_declares(cpp)
        cpp, cuda = [self.with_lines(text) for text in cpp], [self.with_lines(text) for text in cuda]
        return self._build(
            _Extension(
                name=name, folder=folder, host_objects=("main.o",), device_text="\n".join(cuda), only_declares=declares
            ),
            given,
            # The stock function inserts lines into the lists that it is given.
            lambda own: self._stock_inline(name, list(cpp), list(cuda) or None, **{**given, **own}),
        )

    def load(self, name: str, sources: Any, *args: Any, **options: Any) -> Any:
        """As `torch.utils.cpp_extension.load`; raises BuildFailed with the compilers' words."""
        paths = _as_list(sources)
        texts = [Path(path).read_text(errors="replace") for path in paths]
        names = [Path(path).name for path in paths]  # the folders above differ from one worker to the next
        folder = self._folder / signature(name, names, texts, args, options)
        if (ready := _library(folder, name)) is not None:
            return _import(name, ready, options)
        given = {**_by_name(self._stock_load, 2, args), **options}
        host = tuple(f"{Path(path).stem}.o" for path in paths if Path(path).suffix not in _DEVICE_SUFFIXES)
        device = [text for path, text in zip(paths, texts, strict=True) if Path(path).suffix in _DEVICE_SUFFIXES]
        return self._build(
            _Extension(name=name, folder=folder, host_objects=host, device_text="\n".join(device)),
            given,
            lambda own: self._stock_load(name, list(paths), **{**given, **own}),
        )

    def _build(
        self, extension: _Extension, options: Mapping[str, Any], stock: Callable[[dict[str, Any]], Any]
    ) -> Any:
        """First with short headers, then as torch would: its verdict counts, and so do its compilers' words.

        A host unit that is compiled by then stays as it is.
        """
        own: dict[str, Any] = {"build_directory": str(extension.folder), "verbose": False}
        if self._compile_only:
            stubs = _stubs(self._folder)
            own["extra_ldflags"] = [*(options.get("extra_ldflags") or []), f"-L{stubs}"]
            own["extra_include_paths"] = [*(options.get("extra_include_paths") or []), str(stubs)]
        if self._headers is None:
            return self._build_once(extension, lambda: stock(own))
        usual = not options.get("extra_include_paths")
        short = {**own, **self._short(extension, {**options, **own}, precompiled=usual)}
        try:
            with self._quick_nvcc(extension, options.get("extra_cuda_cflags") or ()):
                return self._build_once(extension, lambda: stock(short))
        except BuildFailed:
            _forget(extension.name)
            if extension.device_text and all((extension.folder / made).exists() for made in extension.host_objects):
                return self._build_once(extension, lambda: stock(short))
            shutil.rmtree(extension.folder)
            return self._build_once(extension, lambda: stock(own))

    def _short(self, extension: _Extension, options: Mapping[str, Any], *, precompiled: bool) -> dict[str, Any]:
        """Options that let the host unit find short headers: `precompiled` ones where they are sure to mean the same.

        They are not where torch's names may mean other files.
        """
        paths, given = options.get("extra_include_paths") or [], options.get("extra_cflags")
        flags = precompilable(given) if precompiled else None
        if flags is None:
            return {"extra_include_paths": [*paths, str(self._headers)]}
        own = (DECLARATIONS_ONLY,) if extension.only_declares else ()
        for kind in dict.fromkeys((own, ())):
            ready = self._precompiled.get(" ".join((*kind, *flags)), "")
            if os.access(ready, os.R_OK):
                break
        else:
            kind, ready = own, str(self._headers)
        return {"extra_include_paths": [*paths, ready], **({"extra_cflags": [*(given or ()), *kind]} if kind else {})}

    @contextmanager
    def _quick_nvcc(self, extension: _Extension, cuda_cflags: Sequence[str]) -> Iterator[None]:
        """nvcc finds thin headers meanwhile, and works on host and device code at once.

        It is told by its environment: the commands stay those of the stock build.
        """
        before = os.environ.get(_NVCC_FLAGS)
        thin = self._folder / "thin" / extension.folder.name
        if extension.device_text and " " not in str(thin):
            with suppress(OSError):  # a torch that is laid out in another way
                for path, text in thin_headers(extension.device_text, Path(cpp_extension.include_paths()[0])).items():
                    (thin / path).parent.mkdir(parents=True, exist_ok=True)
                    (thin / path).write_text(text)
                own_threads = any(str(flag).strip().startswith(("-t", "--threads")) for flag in cuda_cflags)
                at_once = "" if own_threads else _AT_ONCE
                os.environ[_NVCC_FLAGS] = " ".join(filter(None, (before, at_once, f"-I{thin}")))
        try:
            yield
        finally:
            os.environ.pop(_NVCC_FLAGS, None)
            if before is not None:
                os.environ[_NVCC_FLAGS] = before

    def _build_once(self, extension: _Extension, stock: Callable[[], Any]) -> Any:
        extension.folder.mkdir(parents=True, exist_ok=True)  # a candidate may try once more what just failed
        try:
            return stock()
        except (ImportError, OSError):
            if self._compile_only and _library(extension.folder, extension.name) is not None:
                return _Unlinked(extension.name)
            raise
        except RuntimeError as error:
            if isinstance(error.__cause__, subprocess.CalledProcessError):
                raise BuildFailed(str(error)) from None
            raise

    def with_lines(self, text: str) -> str:
        """`text` with a `#line` directive wherever a literal of the candidate's file begins on a line of its own."""
        found: dict[int, int] = {}
        for literal, line in self._literals:
            at = text.find(literal)
            if at >= 0 and (at == 0 or text[at - 1] == "\n") and text[at - 2 : at] != "\\\n":
                found.setdefault(at, line)
        parts, last = [], 0
        for at in sorted(found):
            parts += [text[last:at], f'#line {found[at]} "{self._shown_path}"\n']
            last = at
        return "".join([*parts, text[last:], '\n#line 1 "generated by load_inline"\n'])


def _by_name(function: Callable[..., Any], before: int, args: Sequence[Any]) -> dict[str, Any]:
    """What `args` would be called as keywords, where `before` others come first."""
    parameters = inspect.signature(function).parameters.values()
    names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD][before:]
    if len(args) > len(names):
        raise TypeError(f"{len(args) - len(names)} positional arguments too many")
    return dict(zip(names, args, strict=False))


def _forget(name: str) -> None:
    """Let the stock functions take the next build of this name for the first: they number those that follow."""
    known = getattr(getattr(cpp_extension, "JIT_EXTENSION_VERSIONER", None), "entries", None)
    if isinstance(known, dict):
        known.pop(name, None)


def signature(name: str, sources: Any, more: Any, args: Any, options: Mapping[str, Any]) -> str:
    """A name for an extension made of these parts: the same in every worker that runs the same source."""
    own = sorted((key, value) for key, value in options.items() if key not in _OURS)
    return hashlib.sha256(repr((name, sources, more, args, own)).encode("utf-8", "replace")).hexdigest()[:32]


def _string_literals(source: str) -> list[tuple[str, int]]:
    """The file's string literals that are long enough to be recognised, each with the line its text begins on."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) >= _SHORTEST_ANCHOR:
            segment = ast.get_source_segment(source, node) or ""
            found.append((node.value, node.lineno + bool(_SKIPPED_NEWLINE.match(segment))))
    return found


def _as_list(value: Any) -> list[str]:
    if not value:  # as the stock functions see it: an empty text is no source
        return []
    return [str(value)] if isinstance(value, str | Path) else [str(item) for item in value]


def _library(folder: Path, name: str) -> Path | None:
    found = sorted(folder.glob(f"{name}*.so"))
    return found[-1] if found else None


def _import(name: str, library: Path, options: Mapping[str, Any]) -> Any:
    if not options.get("is_python_module", True):
        import torch

        torch.ops.load_library(str(library))
        return str(library)
    # Two extensions of one name in one file: the stock functions call the second `name_v1`, and so does its library.
    spec = importlib.util.spec_from_file_location(library.stem, library)
    if spec is None or spec.loader is None:
        raise ImportError(f"{library} is no extension module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _stubs(folder: Path) -> Path:
    """What a torch without CUDA lacks: empty libraries to link against, and the one header that its build generates.

    Enough to see that everything compiles.
    """
    stubs = folder / "stubs"
    if not stubs.exists():
        stubs.mkdir(parents=True)
        for name in _STUB_LIBRARIES:
            command = ["g++", "-shared", "-x", "c++", os.devnull, "-o", str(stubs / f"lib{name}.so")]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        header = stubs / _GENERATED_HEADER
        header.parent.mkdir(parents=True)
        header.write_text("#pragma once\n#define C10_CUDA_BUILD_SHARED_LIBS\n")
    return stubs


class _Unlinked(types.ModuleType):
    """What a compile-only build hands back: a module whose functions cannot be called here."""

    def __getattr__(self, name: str) -> Any:
        def cannot(*_: Any, **__: Any) -> None:
            raise RuntimeError(f"{self.__name__}.{name} was compiled without a CUDA build of torch and cannot run here")

        return cannot
