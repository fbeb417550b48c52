"""A small project in a folder of its own, and kbench run in it."""

from __future__ import annotations

from pathlib import Path

from cli_process import CliProcess, leftovers, read_records, start, stray_processes

PROBLEM = """
import torch
import torch.nn as nn

rows = 256


class Model(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(features))

    def forward(self, x):
        return torch.relu(x * self.scale)


def get_inputs():
    return [torch.randn(rows, 512)]


def get_init_inputs():
    return [512]
"""
HONEST = """
import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(features))

    def forward(self, x):
        return (x * self.scale).clamp_(min=0)
"""
SLOW_TO_IMPORT = "import time\n\ntime.sleep(0.3)\n" + HONEST
WRONG = HONEST.replace(".clamp_(min=0)", "")
CPP = 'from torch.utils.cpp_extension import load_inline\n\n_extension = load_inline("nothing", "int f();")\n' + HONEST
SAMPLING = {
    "KBENCH_BLOCKS": "2", "KBENCH_MIN_SAMPLES": "2", "KBENCH_MIN_BLOCK_MS": "2", "KBENCH_REPLICATES": "1",
}  # fmt: skip
ALL = ["scale/a", "scale/b", "scale/c"]


class Project:
    """A folder with problems and solutions, and kbench run in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.temporary = root / "tmp"
        self.cache = root / "cache"

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def start(
        self, *arguments: str | Path, environment: dict[str, str] | None = None, prefix: tuple[str, ...] = ()
    ) -> CliProcess:
        own = {**SAMPLING, "KBENCH_CACHE_DIR": str(self.cache), **(environment or {})}
        return start(arguments, cwd=self.root, temporary=self.temporary, environment=own, prefix=prefix)

    def run(self, *arguments: str | Path, environment: dict[str, str] | None = None) -> tuple[int, CliProcess]:
        process = self.start(*arguments, environment=environment)
        return process.wait(), process

    def records(self, run: str = "out") -> dict[str, str]:
        """Statuses by id. Fails where a pair has two records."""
        records = read_records(self.root / run)
        ids = [f"{record['problem']}/{record['solution']}" for record in records]
        assert len(ids) == len(set(ids))
        return {i: record["status"] for i, record in zip(ids, records, strict=True)}

    def assert_clean(self, process: CliProcess) -> None:
        """Nothing of an ended run is left in the process table or among temporary files."""
        assert stray_processes(process.marker) == {}
        assert leftovers(self.temporary) == []


def make_project(root: Path, **solutions: str) -> Project:
    project = Project(root)
    project.write("problems/scale.py", PROBLEM)
    for name, text in solutions.items():
        project.write(f"solutions/scale/{name}.py", text)
    return project
