"""Frames and payloads: whatever a worker sends is a frame, a Violation, a lost peer or a passed deadline."""

from __future__ import annotations

import math
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbench import protocol
from kbench.protocol import (
    DTYPES,
    HEADER_BYTES,
    MAX_DIMS,
    MAX_TEXT_BYTES,
    Answer,
    Channel,
    DeadlinePassed,
    Failure,
    Frame,
    Kind,
    OutputForm,
    PeerGone,
    Violation,
)

NONCE = bytes(range(16))
WITHIN_S = 5.0


def header(
    *,
    magic: bytes = b"KBW1",
    version: int = 1,
    kind: int = Kind.DONE,
    sequence: int = 1,
    nonce: bytes = NONCE,
    length: int = 0,
    reserved: bytes = bytes(12),
) -> bytes:
    """A header by the document at the head of the module, not by its code."""
    return struct.pack("<4sHHQ16sI", magic, version, kind, sequence, nonce, length) + reserved


def receive(data: bytes, *, max_payload: int = 0) -> Frame:
    """What the judge makes of `data` followed by the end of the stream."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        return Channel(ours, NONCE).receive(max_payload=max_payload, timeout_s=WITHIN_S)


@pytest.fixture
def pair() -> Iterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(ours, NONCE), theirs


def test_a_header_has_the_documented_48_bytes() -> None:
    assert HEADER_BYTES == len(header()) == 48


@given(
    kind=st.sampled_from(Kind),
    sequence=st.integers(0, 2**64 - 1),
    payload=st.binary(max_size=300),
    spare=st.integers(0, 9),
)
@settings(deadline=None)
def test_what_is_sent_is_received(kind: Kind, sequence: int, payload: bytes, spare: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        Channel(theirs, NONCE).send(kind, sequence, payload)
        frame = Channel(ours, NONCE).receive(max_payload=len(payload) + spare, timeout_s=WITHIN_S)
    assert frame == Frame(kind=kind, sequence=sequence, payload=payload)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (header(magic=b"KBW2"), "began with"),
        (header(version=2), "began with"),
        (header(version=0), "began with"),
        (header(kind=0), "unknown kind 0"),
        (header(kind=0xFFFF), "unknown kind 65535"),
        (header(nonce=bytes(16)), "wrong nonce"),
        (header(nonce=NONCE[::-1]), "wrong nonce"),
        (header(reserved=bytes(11) + b"\1"), "reserved"),
        (header(reserved=b"\1" + bytes(11)), "reserved"),
        (header(length=1) + b"x", "announced 1 bytes where at most 0"),
        (header(length=0xFFFFFFFF), "announced 4294967295 bytes"),
        (header(kind=Kind.FAILED, length=MAX_TEXT_BYTES + 1), "announced"),
    ],
)
def test_a_malformed_header_is_a_violation(data: bytes, says: str) -> None:
    with pytest.raises(Violation, match=says):
        receive(data)


def test_the_payload_of_a_too_long_frame_is_not_read(pair: tuple[Channel, socket.socket]) -> None:
    channel, theirs = pair
    theirs.sendall(header(length=9) + b"unwelcome")
    with pytest.raises(Violation):
        channel.receive(max_payload=8, timeout_s=WITHIN_S)
    assert channel.pending()


def test_only_a_failure_may_be_longer_than_the_answer_due() -> None:
    text = bytes(MAX_TEXT_BYTES)
    assert receive(header(kind=Kind.FAILED, length=len(text)) + text).payload == text
    with pytest.raises(Violation):
        receive(header(kind=Kind.DONE, length=len(text)) + text)


@given(cut=st.integers(0, HEADER_BYTES + 15))
@settings(deadline=None)
def test_a_frame_cut_short_is_a_lost_peer(cut: int) -> None:
    with pytest.raises(PeerGone, match="missing"):
        receive((header(length=16) + bytes(16))[:cut], max_payload=16)


def test_a_frame_that_stops_coming_passes_the_deadline(pair: tuple[Channel, socket.socket]) -> None:
    channel, theirs = pair
    theirs.sendall(header(length=2) + b"a")
    with pytest.raises(DeadlinePassed, match="1 of 2 bytes"):
        channel.receive(max_payload=2, timeout_s=0.001)


def test_a_deadline_already_passed_reads_nothing(pair: tuple[Channel, socket.socket]) -> None:
    channel, theirs = pair
    theirs.sendall(header())
    with pytest.raises(DeadlinePassed):
        channel.receive(max_payload=0, timeout_s=0.0)
    assert channel.pending()


def test_a_request_that_nobody_takes_passes_the_deadline(pair: tuple[Channel, socket.socket]) -> None:
    channel, _ = pair
    with pytest.raises(DeadlinePassed, match="CONSTRUCT was not taken"):
        channel.send(Kind.CONSTRUCT, 1, bytes(8 << 20), timeout_s=0.001)


def test_sending_to_a_closed_peer_is_a_lost_peer(pair: tuple[Channel, socket.socket]) -> None:
    channel, theirs = pair
    theirs.close()
    with pytest.raises(PeerGone):
        channel.send(Kind.SAMPLE, 1, timeout_s=WITHIN_S)


@given(data=st.binary(max_size=200), limit=st.integers(0, 64))
@settings(deadline=None)
def test_random_bytes_never_make_anything_but_a_named_failure(data: bytes, limit: int) -> None:
    with pytest.raises((Violation, PeerGone, DeadlinePassed)):
        receive(data, max_payload=limit)


@given(at=st.integers(0, HEADER_BYTES - 1), bit=st.integers(0, 7))
@settings(deadline=None)
def test_one_flipped_bit_makes_another_valid_header_or_a_named_failure(at: int, bit: int) -> None:
    data = bytearray(header(kind=Kind.DONE, sequence=7))
    data[at] ^= 1 << bit
    try:
        frame = receive(bytes(data))
    except (Violation, PeerGone):
        return
    assert frame.payload == b"" and (frame.kind is not Kind.DONE or frame.sequence != 7)


def test_pending_sees_unread_bytes_and_neither_silence_nor_a_close(pair: tuple[Channel, socket.socket]) -> None:
    channel, theirs = pair
    assert not channel.pending()
    theirs.sendall(b"x")
    assert channel.pending() and channel.pending()
    with pytest.raises(PeerGone):
        theirs.shutdown(socket.SHUT_WR)
        channel.receive(max_payload=0, timeout_s=WITHIN_S)
    assert not channel.pending()


@pytest.mark.parametrize("nonce", [b"", bytes(15), bytes(17)])
def test_a_nonce_of_another_length_is_refused(nonce: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(ValueError, match="16 bytes"):
        Channel(ours, nonce)


# --- payloads ---


@given(failure=st.sampled_from(Failure), line=st.integers(0, 2**32 - 1), text=st.text(max_size=200))
def test_a_failure_comes_back_as_it_was_packed(failure: Failure, line: int, text: str) -> None:
    said = text.encode("utf-8", "replace").decode()
    assert protocol.unpack_failed(protocol.pack_failed(failure, line, text)) == (failure, line, said)


@pytest.mark.parametrize(("line", "packed"), [(-1, 0), (2**32, 2**32 - 1), (10**30, 2**32 - 1)])
def test_a_line_number_a_candidate_made_up_is_bounded(line: int, packed: int) -> None:
    assert protocol.unpack_failed(protocol.pack_failed(Failure.LOAD, line, ""))[1] == packed


def test_a_long_failure_is_cut_to_what_may_be_sent() -> None:
    payload = protocol.pack_failed(Failure.RUNTIME, 3, "é" * MAX_TEXT_BYTES)
    assert len(payload) == MAX_TEXT_BYTES
    assert protocol.unpack_failed(payload)[2].startswith("éé")


@pytest.mark.parametrize("payload", [b"", bytes(5), struct.pack("<HI", 0, 0), struct.pack("<HI", 999, 0) + b"x"])
def test_a_malformed_failure_is_a_violation(payload: bytes) -> None:
    with pytest.raises(Violation):
        protocol.unpack_failed(payload)


def test_no_failure_a_worker_can_claim_is_named_after_us() -> None:
    assert {failure.name for failure in Failure}.isdisjoint({"SETUP", "INFRA"})


@given(calls=st.integers(0, 2**32 - 1), gate=st.integers(0, 2**32 - 1))
def test_a_sample_request_comes_back_as_it_was_packed(calls: int, gate: int) -> None:
    assert protocol.unpack_sample(protocol.pack_sample(calls, gate)) == (calls, gate)
    assert protocol.unpack_prepare(protocol.pack_prepare(calls)) == calls


U64 = st.integers(0, 2**64 - 1)
FORMS = st.lists(
    st.builds(
        lambda dtype, dims: OutputForm(
            dtype=dtype, shape=tuple(size for size, _ in dims), strides=tuple(stride for _, stride in dims)
        ),
        st.sampled_from(DTYPES),
        st.lists(st.tuples(U64, U64), max_size=MAX_DIMS),
    ),
    max_size=8,
).map(tuple)
TIMES = st.floats(0, allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def answer(total_ns: float = 1.0, enqueue_ns: float = 1.0, structure: str = "T", forms: Any = ()) -> Answer:
    return Answer(total_ns=total_ns, enqueue_ns=enqueue_ns, structure=structure, forms=tuple(forms))


@given(total=TIMES, enqueue=TIMES, structure=TEXT, forms=FORMS)
def test_an_answer_comes_back_as_it_was_packed_and_fits_what_is_predicted(
    total: float, enqueue: float, structure: str, forms: tuple[OutputForm, ...]
) -> None:
    said = answer(total, enqueue, structure, forms)
    payload = protocol.pack_sampled(said)
    assert protocol.unpack_sampled(payload) == said
    assert len(payload) <= protocol.sampled_bytes(len(forms), structure)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -1.0, -5e-324])
def test_times_that_are_no_times_are_violations(bad: float) -> None:
    for times in ((bad, 1.0), (1.0, bad)):
        with pytest.raises(Violation, match="claimed"):
            protocol.unpack_sampled(protocol.pack_sampled(answer(*times)))


@given(structure=TEXT.filter(bool), forms=FORMS, data=st.data())
def test_an_answer_with_a_byte_missing_or_left_over_is_a_violation(
    structure: str, forms: tuple[OutputForm, ...], data: st.DataObject
) -> None:
    payload = protocol.pack_sampled(answer(structure=structure, forms=forms))
    cut = data.draw(st.integers(0, len(payload) - 1))
    for wrong in (payload[:cut], payload + b"\0"):
        with pytest.raises(Violation):
            protocol.unpack_sampled(wrong)


@given(payload=st.binary(max_size=160))
def test_random_bytes_are_an_answer_or_a_violation(payload: bytes) -> None:
    try:
        said = protocol.unpack_sampled(payload)
    except Violation:
        return
    assert math.isfinite(said.total_ns) and said.total_ns >= 0
    assert len(said.forms) == struct.unpack_from("<H", payload, 16)[0]


def test_too_many_dimensions_are_a_violation() -> None:
    form = OutputForm(dtype="float32", shape=(1,) * (MAX_DIMS + 1), strides=(1,) * (MAX_DIMS + 1))
    with pytest.raises(Violation, match="17 dimensions"):
        protocol.unpack_sampled(protocol.pack_sampled(answer(forms=[form])))


def test_an_unknown_dtype_arrives_as_unknown() -> None:
    payload = protocol.pack_sampled(answer(forms=[OutputForm(dtype="quint8", shape=(), strides=())]))
    assert protocol.unpack_sampled(payload).forms == (OutputForm(dtype="unknown", shape=(), strides=()),)


def test_a_wrong_answer_of_many_tensors_fits_where_one_is_due() -> None:
    """So that its author reads about the structure, not about the protocol."""
    form = OutputForm(dtype="float32", shape=(2,) * MAX_DIMS, strides=(1,) * MAX_DIMS)
    payload = protocol.pack_sampled(answer(structure="(" + "T," * 100_000, forms=[form] * 300))
    assert len(payload) <= protocol.sampled_bytes(1, "T")
    assert len(protocol.unpack_sampled(payload).forms) == protocol.MAX_OUTPUTS
