"""What this machine has: processor, memory, GPUs and tools, read without importing torch.

`take_inventory` does all the looking; everything that follows from it is a pure function elsewhere
(`kbench.environment`, `kbench.diagnose`).
"""

from __future__ import annotations

import ast
import importlib.metadata
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kbench.machine.gpus import Gpu, find_gpus

_TOOL_TIMEOUT_S = 20


@dataclass(frozen=True, kw_only=True)
class TorchBuild:
    """The installed torch: its version, and the CUDA version it was built with, if any."""

    version: str
    cuda: str | None


_CPU_NUMBERS = (
    ("cpu family", "family"), ("model", "model"), ("stepping", "stepping"),
    ("CPU implementer", "implementer"), ("CPU variant", "variant"), ("CPU part", "part"),
)  # fmt: skip
"""What `/proc/cpuinfo` calls the numbers by which a CPU is known, and what we do."""


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """Facts of one machine at one moment. Versions are bare text (`12.2.0`), without paths."""

    cpu_model: str
    cpu_id: str | None
    """Which CPU that is: virtual machines of different ones may all call theirs `AMD EPYC`."""
    cores: int
    """Logical cores this process may use."""
    memory_gb: float
    """Memory this process may use: the machine's, or its control group's limit."""
    kernel: str
    python: str
    torch: TorchBuild | None
    gpus: tuple[Gpu, ...]
    """The GPUs that CUDA would see, in its order."""
    hidden_gpus: int
    """GPUs that CUDA_VISIBLE_DEVICES hides."""
    compiler: str | None
    """The host C++ compiler's family and version."""
    nvcc: str | None
    ninja: str | None


def take_inventory(env: Mapping[str, str] | None = None) -> Inventory:
    """Look at this machine. Whatever cannot be found out is None (or empty), never an exception."""
    env = os.environ if env is None else env
    gpus, hidden = find_gpus(env)
    cpuinfo = read_text(Path("/proc/cpuinfo"))
    return Inventory(
        cpu_model=cpu_model(cpuinfo) or platform.machine(),
        cpu_id=cpu_id(cpuinfo),
        cores=usable_cores(),
        memory_gb=memory_gb(),
        kernel=platform.release(),
        python=platform.python_version(),
        torch=find_torch(),
        gpus=gpus,
        hidden_gpus=hidden,
        compiler=_compiler(env),
        nvcc=_nvcc(env),
        ninja=_ninja(env),
    )


def usable_cores() -> int:
    """Logical cores this process may be scheduled on."""
    return len(os.sched_getaffinity(0))


def read_text(path: Path) -> str:
    """A file's text, empty where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def cpu_model(cpuinfo: str) -> str | None:
    match = re.search(r"^(?:model name|Model|cpu model|Hardware)[ \t]*:[ \t]*(\S.*)$", cpuinfo, re.MULTILINE)
    return " ".join(match.group(1).split()) if match else None


def cpu_id(cpuinfo: str) -> str | None:
    """`family 26, model 2, stepping 1` of x86, `implementer 0x41, variant 0x1, part 0xd40` of Arm."""
    numbers = []
    for field, name in _CPU_NUMBERS:
        match = re.search(rf"^{field}[ \t]*:[ \t]*(\w+)[ \t]*$", cpuinfo, re.MULTILINE)
        numbers += [f"{name} {match.group(1)}"] if match else []
    return ", ".join(numbers) or None


def memory_gb(meminfo: str | None = None, cgroup_limit: str | None = None) -> float:
    """GiB this process may use: the lesser of the machine's memory and the control group's limit."""
    meminfo = read_text(Path("/proc/meminfo")) if meminfo is None else meminfo
    if cgroup_limit is None:
        cgroup_limit = read_text(Path("/sys/fs/cgroup/memory.max"))
    limits = [kib * 2**10 for kib in _meminfo_kib(meminfo, "MemTotal")]
    limits += [int(cgroup_limit)] if cgroup_limit.strip().isdecimal() else []
    return round(min(limits, default=0) / 2**30, 1)


def free_memory_gb(meminfo: str | None = None) -> float | None:
    """GiB that could be allocated now without swapping, if the kernel says."""
    meminfo = read_text(Path("/proc/meminfo")) if meminfo is None else meminfo
    return next((round(kib / 2**20, 1) for kib in _meminfo_kib(meminfo, "MemAvailable")), None)


def _meminfo_kib(meminfo: str, field: str) -> list[int]:
    return [int(kib) for kib in re.findall(rf"^{field}:\s*(\d+) kB", meminfo, re.MULTILINE)]


def find_torch() -> TorchBuild | None:
    try:
        distribution = importlib.metadata.distribution("torch")
    except importlib.metadata.PackageNotFoundError:
        return None
    text = read_text(Path(str(distribution.locate_file("torch/version.py"))))
    return parse_torch_build(text) or TorchBuild(version=distribution.version, cuda=None)


def parse_torch_build(version_py: str) -> TorchBuild | None:
    """Read `torch/version.py` as text: its `__version__` and `cuda` assignments."""
    try:
        tree = ast.parse(version_py)
    except (SyntaxError, ValueError):
        return None
    values: dict[str, object] = {}
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=value)):
                values[name] = value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=value)):
                values[name] = value
            case _:
                pass
    version, cuda = values.get("__version__"), values.get("cuda")
    if not isinstance(version, str):
        return None
    return TorchBuild(version=version, cuda=cuda if isinstance(cuda, str) else None)


def _compiler(env: Mapping[str, str]) -> str | None:
    """The compiler torch's builds would use: $CXX, else the first of the usual names."""
    commands = [shlex.split(env["CXX"])] if env.get("CXX") else [["g++"], ["c++"], ["clang++"]]
    versions = (parse_compiler(_version_of(command, env)) for command in commands if command)
    return next((version for version in versions if version), None)


def parse_compiler(output: str) -> str | None:
    """Family and version from `g++ --version`; the line itself may name distributions and folders."""
    first = output.partition("\n")[0]
    versions = re.findall(r"\d+\.\d+(?:\.\d+)?", re.sub(r"\(.*?\)", "", first))
    if not versions:
        return None
    return f"{'clang' if 'clang' in first else 'gcc'} {versions[0]}"


def _nvcc(env: Mapping[str, str]) -> str | None:
    """nvcc where torch looks for it: $CUDA_HOME, $CUDA_PATH, the path, /usr/local/cuda."""
    homes = [env[name] for name in ("CUDA_HOME", "CUDA_PATH") if env.get(name)]
    commands = [*(f"{home}/bin/nvcc" for home in homes), "nvcc", "/usr/local/cuda/bin/nvcc"]
    versions = (parse_nvcc(_version_of([command], env)) for command in commands)
    return next((version for version in versions if version), None)


def parse_nvcc(output: str) -> str | None:
    match = re.search(r"\bV(\d+\.\d+(?:\.\d+)?)", output) or re.search(r"release (\d+\.\d+)", output)
    return match.group(1) if match else None


def _ninja(env: Mapping[str, str]) -> str | None:
    """ninja on the path, or beside this interpreter: pip puts it there, activated environment or not."""
    beside = str(Path(sys.executable).parent / "ninja")
    versions = (_version_of([command], env).strip() for command in ("ninja", beside))
    return next((version for version in versions if re.fullmatch(r"[\w.+-]+", version)), None)


def _version_of(command: Sequence[str], env: Mapping[str, str]) -> str:
    """What `command --version` prints, empty where there is no such tool or it fails."""
    program = shutil.which(command[0], path=env.get("PATH", os.defpath))
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, *command[1:], "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TOOL_TIMEOUT_S,
            env=dict(env),
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""
