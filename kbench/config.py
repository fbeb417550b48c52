"""Options of a run, and where each came from: defaults → `kbench.yaml` → environment `KBENCH_*` → flags.

`RunOptions` is the one table. A field's metadata says what a valid value is, and everything else (the keys
allowed in `kbench.yaml`, the names of the environment variables, the errors) follows from it.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbench.errors import UsageError
from kbench.machine.inventory import memory_gb, usable_cores
from kbench.model import Device
from kbench.plan.yamlfile import read_yaml, unknown_name

CONFIG_NAME = "kbench.yaml"
ENV_PREFIX = "KBENCH_"

COMPILE_MODES = {"compile": "default", "compile-max-autotune": "max-autotune-no-cudagraphs"}
"""Baselines under torch.compile, and its mode for each. CUDA graphs are left out: a replay overwrites the outputs of
the one before, and all outputs of a sample are looked at."""
BASELINES = ("eager", *COMPILE_MODES)
REPLICATES_BY_EFFORT: Mapping[str, int] = {"quick": 3, "rigorous": 10}
"""The flags that stand for a number of replicates. `quick` halves the blocks too, and leaves the number to be given."""
MOST_REPLICATES = 10
"""Where nobody gave a number of replicates and the interval is still wide."""
BLOCKS: Mapping[Device, int] = {Device.CUDA: 10, Device.CPU: 20}
"""More where cores are shared, which are fast and slow by turns (docs/measurement.md)."""

# nvcc peaks at 2.8 GB on a stock compile of an extension (measured).
_BUILD_JOB_GB = 3.0
# Leaves as much for the judge, whose fp64 oracle holds the same tensors at twice the width.
_WORKER_SHARE_OF_MEMORY = 0.5

Read = Callable[[Any], Any]
"""Turns what a file, variable or flag said into a value; ValueError says what would have been valid."""


def _text(value: Any) -> str:
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise ValueError("text")


def _device(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"auto|cpu|cuda(:\d{1,4})?", value):
        return value
    raise ValueError("auto, cpu, cuda or cuda:<index>")


def _path(value: Any) -> Path:
    if isinstance(value, str | Path) and str(value):
        return Path(value).expanduser()
    raise ValueError("a path")


def _yes_no(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    answers = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    if isinstance(value, str) and value.lower() in answers:
        return answers[value.lower()]
    raise ValueError("true or false")


def _whole(at_least: int, below: int | None = None) -> Read:
    wanted = f"a whole number of at least {at_least}" + (f" and below {below}" if below else "")

    def read(value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"-?\d{1,20}", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(wanted)
        if value < at_least or (below is not None and value >= below):
            raise ValueError(wanted)
        return value

    return read


def _gpus(value: Any) -> int | None:
    if value == "all":
        return None
    try:
        number: int = _whole(1)(value)
    except ValueError as error:
        raise ValueError(f"all, or {error}") from None
    return number


def _positive(value: Any) -> float:
    wanted = ValueError("a number above 0")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise wanted
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise wanted from None
    if not (math.isfinite(number) and number > 0):
        raise wanted
    return number


def _baselines(value: Any) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    wanted = ValueError(f"a list of {', '.join(BASELINES)}")
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise wanted
    given = {name.strip() for name in names}
    if not given or not given <= set(BASELINES):
        raise wanted
    # The speedup is over eager, so it is measured whatever else is.
    return tuple(name for name in BASELINES if name in given or name == "eager")


def _default_cache(env: Mapping[str, str]) -> Path:
    base = env.get("XDG_CACHE_HOME", "")
    # The XDG specification has relative paths ignored.
    root = Path(base) if Path(base).is_absolute() else Path(env.get("HOME") or Path.home()) / ".cache"
    return root / "kbench"


def _default_jobs(_env: Mapping[str, str]) -> int:
    return max(1, min(usable_cores(), int(memory_gb() / _BUILD_JOB_GB)))


def _default_memory_limit(_env: Mapping[str, str]) -> float:
    return max(1.0, round(memory_gb() * _WORKER_SHARE_OF_MEMORY, 1))


def _option(
    read: Read, default: Any = None, *, derive: Callable[[Mapping[str, str]], Any] | None = None
) -> Any:
    """A field of `RunOptions`: how to read a value, and its default (or how to `derive` it)."""
    return dataclasses.field(default=default, metadata={"read": read, "derive": derive})


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What a run was asked to do. Build it with `load_options`: some defaults follow from the machine."""

    problems: Path = _option(_path, Path("problems"))
    solutions: Path = _option(_path, Path("solutions"))
    device: str = _option(_device, "auto")
    """`auto`, `cpu`, `cuda` or `cuda:<index>`."""
    gpus: int | None = _option(_gpus, 1)
    """How many GPUs to share the work among, from the device's index on; None: all."""
    size: str | None = _option(_text)
    """None: on the CPU `small` where a problem declares it, else `full`."""
    out: Path | None = _option(_path)
    """The run's directory; None: a new one below `results`."""
    results: Path = _option(_path, Path("results"))
    resume: bool = _option(_yes_no, False)
    select: str | None = _option(_text)
    """The `-k` expression."""
    baselines: tuple[str, ...] = _option(_baselines, ("eager",))
    """Always contains `eager`."""
    replicates: int = _option(_whole(1), 5)
    """Pairs of fresh processes, each an independent piece of evidence."""
    most_replicates: int = _option(_whole(1), MOST_REPLICATES)
    """Taken instead where the interval's half-width still exceeds 1% after `replicates`. Where the number of
    replicates was given, it is that number."""
    min_samples: int = _option(_whole(1), 2)
    """Least samples per side and block."""
    min_block_ms: float = _option(_positive, 4.0)
    """Least measured time per side and block."""
    blocks: int | None = _option(_whole(1))
    """Of a replicate. None: `BLOCKS` of the device."""
    half_blocks: bool = _option(_yes_no, False)
    """Half of those, where no number was given."""
    jobs: int = _option(_whole(1), derive=_default_jobs)
    """Builds at once."""
    timeout_s: float = _option(_positive, 60.0)
    """Per stage of judging and measuring."""
    build_timeout_s: float = _option(_positive, 600.0)
    memory_limit_gb: float = _option(_positive, derive=_default_memory_limit)
    """Host memory of one worker with its children, in GiB."""
    require_isolation: bool = _option(_yes_no, False)
    sanitize: bool = _option(_yes_no, False)
    """Run correct solutions under compute-sanitizer as well. CUDA only."""
    seed: int | None = _option(_whole(0, 2**63))
    """None: a fresh secret one."""
    precompile: bool = _option(_yes_no, True)
    """Compile torch's headers once for each usual set of compiler flags, and keep them: half a GiB each."""
    cache_dir: Path = _option(_path, derive=_default_cache)
    lock_dir: Path = _option(_path, Path("/tmp"))
    """Where the runs of a machine meet, so that one timing goes on at a time: the same for all of them, whatever their
    TMPDIR; a folder mounted into each, where containers share a machine."""
    cache_limit_gb: float = _option(_positive, 20.0)
    """GiB of builds and headers that are kept: a run that finds more removes the least recently used at its start."""


@dataclass(frozen=True, kw_only=True)
class ResolvedOptions:
    """The options, and for each field where its value came from.

    An origin is `default`, `kbench.yaml`, `environment KBENCH_<FIELD>` or `flag`.
    """

    options: RunOptions
    origins: Mapping[str, str]


_FIELDS = {field.name: field for field in dataclasses.fields(RunOptions)}


def load_options(flags: Mapping[str, Any], env: Mapping[str, str], cwd: Path) -> ResolvedOptions:
    """Resolve the options. A flag that is None was not given; an empty environment variable is not set.

    `flags` may also hold `quick` and `rigorous`. Raises UsageError for unknown names and unusable values.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, field in _FIELDS.items():
        derive = field.metadata["derive"]
        values[name], origins[name] = (derive(env) if derive else field.default), "default"
    for layer in (_from_file(cwd / CONFIG_NAME), _from_environment(env), _from_flags(flags)):
        for name, (value, origin) in layer.items():
            values[name], origins[name] = value, origin
    if origins["most_replicates"] == "default" != origins["replicates"]:
        values["most_replicates"], origins["most_replicates"] = values["replicates"], origins["replicates"]
    return ResolvedOptions(options=RunOptions(**values), origins=origins)


Layer = dict[str, tuple[Any, str]]


def _from_file(path: Path) -> Layer:
    if not path.exists():
        return {}
    file = read_yaml(path)
    layer: Layer = {}
    for key, value in file.values.items():
        if key not in _FIELDS:
            raise unknown_name("key", key, _FIELDS, where=file.where(key))
        if value is not None:  # `size:` with nothing after it leaves the default
            layer[key] = (_read(key, value, where=file.where(key), shown=key), CONFIG_NAME)
    return layer


def _from_environment(env: Mapping[str, str]) -> Layer:
    layer: Layer = {}
    allowed = {ENV_PREFIX + name.upper(): name for name in _FIELDS}
    for variable in sorted(key for key in env if key.startswith(ENV_PREFIX)):
        name = allowed.get(variable)
        if name is None:
            raise unknown_name("variable", variable, allowed, where="environment")
        if value := env[variable]:
            layer[name] = (_read(name, value, where="environment", shown=variable), f"environment {variable}")
    return layer


def _from_flags(flags: Mapping[str, Any]) -> Layer:
    given = {name: value for name, value in flags.items() if value is not None}
    efforts = [name for name in REPLICATES_BY_EFFORT if given.pop(name, False)]
    rivals = efforts + (["replicates"] if "replicates" in given and efforts != ["quick"] else [])
    if len(rivals) > 1:
        raise UsageError(
            f"{' and '.join(f'--{name}' for name in rivals)} exclude each other",
            why="each sets the number of replicates",
        )
    if efforts:
        given.setdefault("replicates", REPLICATES_BY_EFFORT[efforts[0]])
        given["half_blocks"] = efforts == ["quick"]
    layer: Layer = {}
    for name, value in given.items():
        if name not in _FIELDS:
            raise unknown_name("flag", name, _FIELDS, where="command line")
        flag = "--" + name.replace("_", "-")
        layer[name] = (_read(name, value, where="command line", shown=flag), "flag")
    return layer


def _read(name: str, value: Any, *, where: str, shown: str) -> Any:
    read: Read = _FIELDS[name].metadata["read"]
    try:
        return read(value)
    except ValueError as error:
        raise UsageError(f"{shown} cannot be {value!r}", where=where, why=f"expected {error}") from error
