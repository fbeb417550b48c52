"""The wire between judge and worker, byte by byte.

A stream socket carries frames, little-endian, each a header of 48 bytes and a payload:

    offset  size  field
         0     4  magic     b"KBW1"
         4     2  version   1
         6     2  kind      a `Kind`
         8     8  sequence  number of the request; an answer repeats its request's
        16    16  nonce     drawn by the judge for this worker; every frame carries it
        32     4  length    of the payload, in bytes
        36    12  zeros

The judge asks, the worker answers, strictly one answer to one request. The judge never reads a payload longer than
it predicts for that answer, never waits past its deadline, and treats anything that comes unasked as a violation.
Payloads from the worker are fixed structures or short text: nothing in them is ever unpickled or evaluated.
"""

from __future__ import annotations

import enum
import math
import select
import socket
import struct
import time
from dataclasses import dataclass

MAGIC = b"KBW1"
VERSION = 1
NONCE_BYTES = 16
_HEADER = struct.Struct("<4sHHQ16sI12x")
HEADER_BYTES = _HEADER.size

MAX_TEXT_BYTES = 32 << 10
"""The longest failure text a worker may send."""
MAX_DIMS = 16
MAX_OUTPUTS = 256


class Kind(enum.IntEnum):
    """What a frame asks or answers."""

    LOAD = 1
    CONSTRUCT = 2
    SET_STATE = 3
    GET_STATE = 4
    PREPARE = 5
    SAMPLE = 6
    RELEASE = 7
    DONE = 64
    SAMPLED = 65
    FAILED = 127


class Failure(enum.IntEnum):
    """What a worker says went wrong in it. A claim about itself only: it can never say that it is right."""

    BUILD = 1
    LOAD = 2
    CONSTRUCT = 3
    PARAMETERS = 4
    RUNTIME = 5
    OUT_OF_MEMORY = 6
    DEVICE_FAULT = 7
    STRUCTURE = 8
    OUTPUT_DEVICE = 9


class Violation(Exception):
    """The other side broke the protocol; the text says how."""


class PeerGone(Exception):
    """The other side closed the connection in the middle of a conversation."""


class DeadlinePassed(Exception):
    """No complete answer in time."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One message as it stood on the wire."""

    kind: Kind
    sequence: int
    payload: bytes


class Channel:
    """Frames over a connected stream socket."""

    def __init__(self, connection: socket.socket, nonce: bytes) -> None:
        if len(nonce) != NONCE_BYTES:
            raise ValueError(f"a nonce has {NONCE_BYTES} bytes, not {len(nonce)}")
        self._socket = connection
        self._nonce = nonce

    def send(self, kind: Kind, sequence: int, payload: bytes = b"", *, timeout_s: float | None = None) -> None:
        """Send one frame. Raises PeerGone, or DeadlinePassed when the other side does not take it in time."""
        self._socket.settimeout(timeout_s)
        try:
            self._socket.sendall(_HEADER.pack(MAGIC, VERSION, kind, sequence, self._nonce, len(payload)) + payload)
        except TimeoutError as error:
            raise DeadlinePassed(f"{kind.name} was not taken") from error
        except OSError as error:
            raise PeerGone(str(error)) from error

    def receive(self, *, max_payload: int, timeout_s: float | None) -> Frame:
        """Read one whole frame. Raises Violation, PeerGone, DeadlinePassed."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        header = self._exactly(HEADER_BYTES, deadline)
        magic, version, kind, sequence, nonce, length = _HEADER.unpack(header)
        if magic != MAGIC or version != VERSION:
            raise Violation(f"a frame began with {header[:6]!r}")
        if header[36:] != bytes(12):
            raise Violation("the reserved bytes of a header were not zero")
        if nonce != self._nonce:
            raise Violation("a frame carried the wrong nonce")
        try:
            known = Kind(kind)
        except ValueError:
            raise Violation(f"a frame of unknown kind {kind}") from None
        if length > max(max_payload, MAX_TEXT_BYTES if known is Kind.FAILED else 0):
            raise Violation(f"{known.name} announced {length} bytes where at most {max_payload} were due")
        return Frame(kind=known, sequence=sequence, payload=self._exactly(length, deadline))

    def pending(self) -> bool:
        """Whether anything lies unread: after a complete answer, nothing may."""
        return bool(select.select([self._socket], [], [], 0)[0]) and self._peek() != b""

    def _peek(self) -> bytes:
        try:
            return self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return b""

    def _exactly(self, count: int, deadline: float | None) -> bytes:
        chunks: list[bytes] = []
        missing = count
        while missing:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise DeadlinePassed(f"{missing} of {count} bytes never came")
            self._socket.settimeout(left)
            try:
                chunk = self._socket.recv(min(missing, 1 << 20))
            except TimeoutError as error:
                raise DeadlinePassed(f"{missing} of {count} bytes never came") from error
            except OSError as error:
                raise PeerGone(str(error)) from error
            if not chunk:
                raise PeerGone(f"closed with {missing} of {count} bytes missing")
            chunks.append(chunk)
            missing -= len(chunk)
        return b"".join(chunks)


# --- payloads -------------------------------------------------------------------------------------------------

_FAILED = struct.Struct("<HI")
_MOST_LINES = 0xFFFFFFFF
_PREPARE = struct.Struct("<I")
_SAMPLE = struct.Struct("<II")
_SAMPLED = struct.Struct("<dd")
_OUTPUTS = struct.Struct("<HH")
_TENSOR = struct.Struct("<HH")
_DIM = struct.Struct("<Q")


def pack_failed(failure: Failure, line: int, text: str) -> bytes:
    """FAILED: u16 failure, u32 line in the solution's file (0: unknown), then UTF-8 text."""
    room = MAX_TEXT_BYTES - _FAILED.size
    return _FAILED.pack(failure, min(max(0, line), _MOST_LINES)) + text.encode("utf-8", "replace")[:room]


def unpack_failed(payload: bytes) -> tuple[Failure, int, str]:
    """The inverse of `pack_failed`. Raises Violation."""
    if len(payload) < _FAILED.size:
        raise Violation("FAILED was too short")
    failure, line = _FAILED.unpack_from(payload)
    try:
        return Failure(failure), line, payload[_FAILED.size :].decode("utf-8", "replace")
    except ValueError:
        raise Violation(f"FAILED named the unknown failure {failure}") from None


def pack_prepare(calls: int) -> bytes:
    """PREPARE: u32 forwards that the next sample will make."""
    return _PREPARE.pack(calls)


def unpack_prepare(payload: bytes) -> int:
    """The inverse of `pack_prepare`."""
    (calls,) = _PREPARE.unpack(payload)
    return int(calls)


def pack_sample(calls: int, gate: int) -> bytes:
    """SAMPLE: u32 forwards to do in a row, u32 number that opens the gate on the page (0: there is
    none, and the time is the host's)."""
    return _SAMPLE.pack(calls, gate)


def unpack_sample(payload: bytes) -> tuple[int, int]:
    """The inverse of `pack_sample`."""
    calls, gate = _SAMPLE.unpack(payload)
    return calls, gate


@dataclass(frozen=True, kw_only=True)
class OutputForm:
    """One output tensor as it was delivered: its dtype's name as torch prints it, its shape, its strides (elements)."""

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a worker says of a sample: nanoseconds of all calls by its precise clock (without a gate: by the host's),
    nanoseconds until all were enqueued, and the form that every call's output had."""

    total_ns: float
    enqueue_ns: float
    structure: str
    forms: tuple[OutputForm, ...]


DTYPES = (
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool",
    "complex64", "complex128", "float8_e4m3fn", "float8_e5m2",
)  # fmt: skip
_UNKNOWN_DTYPE = 0xFFFF
_MAX_STRUCTURE_BYTES = 0xFFFF


def sampled_bytes(count: int, structure: str) -> int:
    """The largest SAMPLED payload that an answer may have: `count` tensors in `structure`, or a wrong one cut short."""
    text = max(len(structure.encode()), _MAX_STRUCTURE_BYTES)
    tensors = max(count, MAX_OUTPUTS) * (_TENSOR.size + 2 * MAX_DIMS * _DIM.size)
    return _SAMPLED.size + _OUTPUTS.size + tensors + text


def pack_sampled(answer: Answer) -> bytes:
    """SAMPLED: f64 nanoseconds of all calls, f64 until enqueued; u16 tensors, u16 length of the structure; per tensor
    u16 dtype, u16 dims, u64 sizes, u64 strides; structure."""
    text = answer.structure.encode()[:_MAX_STRUCTURE_BYTES]
    forms = answer.forms[:MAX_OUTPUTS]
    parts = [_SAMPLED.pack(answer.total_ns, answer.enqueue_ns), _OUTPUTS.pack(len(forms), len(text))]
    for form in forms:
        code = DTYPES.index(form.dtype) if form.dtype in DTYPES else _UNKNOWN_DTYPE
        parts.append(_TENSOR.pack(code, len(form.shape)))
        parts += [_DIM.pack(size) for size in (*form.shape, *form.strides)]
    return b"".join([*parts, text])


def unpack_sampled(payload: bytes) -> Answer:
    """The inverse of `pack_sampled`. Raises Violation when a byte is missing or left over, or a time is no time."""
    try:
        total_ns, enqueue_ns = _SAMPLED.unpack_from(payload)
        count, text_length = _OUTPUTS.unpack_from(payload, _SAMPLED.size)
        at = _SAMPLED.size + _OUTPUTS.size
        forms = []
        for _ in range(count):
            code, dims = _TENSOR.unpack_from(payload, at)
            at += _TENSOR.size
            if dims > MAX_DIMS:
                raise Violation(f"an output of {dims} dimensions")
            numbers = struct.unpack_from(f"<{2 * dims}Q", payload, at)
            at += 2 * dims * _DIM.size
            dtype = DTYPES[code] if code < len(DTYPES) else "unknown"
            forms.append(OutputForm(dtype=dtype, shape=numbers[:dims], strides=numbers[dims:]))
        text = payload[at : at + text_length]
    except struct.error as error:
        raise Violation(f"SAMPLED was malformed: {error}") from None
    if len(text) != text_length or at + text_length != len(payload):
        raise Violation("SAMPLED had a wrong length")
    for value in (total_ns, enqueue_ns):
        if not math.isfinite(value) or value < 0:
            raise Violation(f"SAMPLED claimed {value} ns")
    structure = text.decode("utf-8", "replace")
    return Answer(total_ns=total_ns, enqueue_ns=enqueue_ns, structure=structure, forms=tuple(forms))
