"""What the judge tells a worker: how to stand ready (`Welcome`), which file to load (`Task`), what to make of it
(`Setup`).

None holds anything secret: no seed, no expected value, no tolerance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # torch, which whoever only hires does not need
    from kbench.layout import TensorSlot


@dataclass(frozen=True, kw_only=True)
class Welcome:
    """What a worker knows from its birth, before it is known what for. Travels as JSON through the fork server."""

    nonce: str
    """Hex."""
    environment: Mapping[str, str] = field(default_factory=dict)
    device: str = ""
    """Where a context is made before anything else; the judge's page is the only arena then. Nowhere where empty."""

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class Task:
    """Travels as JSON, with the request to load."""

    role: str
    """`candidate` (a solution) or `reference` (a problem's own Model)."""
    path: str
    """The file inside the worker's scratch folder."""
    shown_path: str
    """The path its author knows it by; compilers and tracebacks speak of this one."""
    class_name: str
    threads: int
    precision: str
    environment: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """A size's constants, for a reference."""
    extensions: str = ""
    """The folder of compiled extensions, for a candidate."""
    headers: str = ""
    """A folder of headers to try first when something is compiled; none where empty."""
    precompiled: Mapping[str, str] = field(default_factory=dict)
    """Folders of the same headers, compiled, by the flags that they were compiled with."""
    compile_only: bool = False
    """Compile, but never call: torch here has no CUDA to link against."""

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The module to construct and the memory around it. Pickled by the judge, read by the worker only."""

    device: str
    init_inputs: Sequence[Any]
    seed: int
    """Set before construction, as on the judge's side: for attributes that a constructor draws at random and that are
    neither parameters nor buffers. Parameters do not rely on it."""
    mode: str | None
    """`train`, `eval`, or None: as constructed."""
    dtype: str | None
    """Cast the module's floating parameters to this, or None: as constructed."""
    compile_mode: str | None
    """Wrap in torch.compile with this mode, or None."""
    template: Any
    input_slots: tuple[TensorSlot, ...]
    """Of the first set; each further one lies `input_stride` bytes behind the one before."""
    state_slots: Mapping[str, TensorSlot]
    sets: int
    """How many sets of inputs, and of outputs, lie side by side: the most forwards of one sample."""
    input_stride: int
    output_stride: int
    arenas: Mapping[str, tuple[int, str]]
    """`inputs`, `state`, `outputs`, `state_out`: bytes, and the IPC handle (empty: host memory, by descriptor)."""
