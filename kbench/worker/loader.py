"""Import one file inside the sandbox and hand out the class to judge."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch

from kbench import problem_module
from kbench.assignment import Task
from kbench.worker.extensions import ExtensionFolder

_REFERENCE_MODULE = "kbench_problem"


def load_class(task: Task) -> Any:
    """The class named in the task, from the file named in the task, with threads and precision set before.

    Raises AttributeError naming what the file does define, and whatever the file raises.
    """
    torch.set_num_threads(task.threads)
    _set_precision(task.precision)
    source = Path(task.path).read_text()
    if task.role == "reference":
        module = problem_module.execute(source, path=task.path, name=_REFERENCE_MODULE, overrides=task.overrides)
    else:
        extensions = ExtensionFolder(
            Path(task.extensions), source=source, shown_path=task.shown_path, compile_only=task.compile_only,
            headers=Path(task.headers) if task.headers else None, precompiled=task.precompiled,
        )  # fmt: skip
        extensions.install()
        module = _import(task.path)
    wanted = task.class_name
    if not hasattr(module, wanted):
        own = (value for value in vars(module).values() if isinstance(value, type))
        defined = sorted(value.__name__ for value in own if value.__module__ == module.__name__)
        raise AttributeError(f"the file defines no {wanted} (classes it does define: {', '.join(defined) or 'none'})")
    return getattr(module, wanted)


def forget_module() -> None:
    """A reference's module, whose own variables may hold memory of the device."""
    sys.modules.pop(_REFERENCE_MODULE, None)


def torch_settings() -> tuple[Any, ...]:
    """What a file may change for every file after it, but for what `load_class` sets."""
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    return (
        torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(), cudnn.enabled, cudnn.benchmark, cudnn.deterministic,
        cuda.matmul.allow_fp16_reduced_precision_reduction, cuda.matmul.allow_bf16_reduced_precision_reduction,
    )  # fmt: skip


def _import(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("kbench_candidate", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _set_precision(precision: str) -> None:
    """TF32 only in the class that declares it: the same switches on both sides."""
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
