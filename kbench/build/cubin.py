"""Resources of the kernels in a built library, read from the machine code itself where there is no cuobjdump.

nvcc puts ELF files for the device (cubins) into the library, by default as they are. Each carries ptxas' account in a
section `.nv.info`: a list of attributes (format, attribute, length or value), of which three are read here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

_MAGIC = b"\x7fELF\x02\x01"
_MACHINE_CUDA = 190
"""EM_CUDA in the ELF header's `e_machine`."""
_SIZED = 4
"""The attribute's value has a length of its own (EIFMT_SVAL)."""
_FRAME_SIZE, _MIN_STACK_SIZE, _REGISTERS = 0x11, 0x12, 0x2F
_ENTRY = 0x10
"""In a symbol's `st_other`: a kernel, no function that kernels call (STO_CUDA_ENTRY)."""
_INFO, _SHARED, _RESERVED = ".nv.info", ".nv.shared.", ".nv.shared.reserved."
_RESERVED_BYTES = 1024
"""Of shared memory in each block, which CUDA keeps for itself from compute capability 8.0 on; ptxas leaves it out."""


def read_cubins(library: bytes) -> Iterator[dict[str, Any]]:
    """Each kernel of each cubin in `library`: `mangled`, `registers`, `stack_bytes`, `shared_bytes`.

    Cubins that were compressed are not found. One that cannot be read to its end is left out.
    """
    at = library.find(_MAGIC)
    while at >= 0:
        if library[at + 18 : at + 20] == struct.pack("<H", _MACHINE_CUDA):
            try:
                found = list(_Cubin(library, at).kernels())
            except (struct.error, ValueError, IndexError):
                found = []
            yield from found
        at = library.find(_MAGIC, at + 1)


class _Cubin:
    def __init__(self, data: bytes, start: int) -> None:
        self._data, self._start = data, start
        (table,) = self._unpack("<Q", 0x28)
        count, names = self._unpack("<HH", 0x3C)
        headers = [self._unpack("<IIQQQQIIQQ", table + 64 * i) for i in range(count)]
        self._sections = [
            (self._text(headers[names][4] + h[0]), h[4], h[5], h[6]) for h in headers
        ]  # name, offset, size, link

    def _unpack(self, form: str, offset: int) -> tuple[int, ...]:
        return struct.unpack_from(form, self._data, self._start + offset)

    def _text(self, offset: int) -> str:
        begin = self._start + offset
        return self._data[begin : self._data.index(b"\0", begin)].decode()

    def kernels(self) -> Iterator[dict[str, Any]]:
        names = {number: name for number, name, other in self._symbols() if other & _ENTRY}
        attributes = self._attributes()
        shared = {name: size for name, _, size, _ in self._sections if name.startswith(_SHARED)}
        reserved = _RESERVED_BYTES if any(name.startswith(_RESERVED) for name in shared) else 0
        for number, registers in attributes.get(_REGISTERS, {}).items():
            if number in names:
                frame = attributes.get(_FRAME_SIZE, {}).get(number, 0)
                yield {
                    "mangled": names[number],
                    "registers": registers,
                    "stack_bytes": attributes.get(_MIN_STACK_SIZE, {}).get(number, frame),
                    "shared_bytes": max(0, shared.get(_SHARED + names[number], 0) - reserved),
                }

    def _symbols(self) -> Iterator[tuple[int, str, int]]:
        for name, offset, size, link in self._sections:
            if name == ".symtab":
                strings = self._sections[link][1]
                for number in range(size // 24):
                    at, _, other, *_ = self._unpack("<IBBHQQ", offset + 24 * number)
                    yield number, self._text(strings + at), other

    def _attributes(self) -> Mapping[int, Mapping[int, int]]:
        """Attribute to symbol to value, for the attributes that belong to one function."""
        found: dict[int, dict[int, int]] = {}
        for name, offset, size, _ in self._sections:
            at, end = offset, offset + size if name == _INFO else offset
            while at < end:
                form, attribute, length = self._unpack("<BBH", at)
                at += 4
                if form == _SIZED:
                    if length == 8:
                        symbol, value = self._unpack("<II", at)
                        found.setdefault(attribute, {})[symbol] = value
                    at += length
        return found
