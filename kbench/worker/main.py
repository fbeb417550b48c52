"""A worker's life: answer the judge's requests about one module until the judge hangs up."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import socket
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kbench import protocol
from kbench.assignment import Task, Welcome
from kbench.protocol import Failure, Kind
from kbench.worker.extensions import BuildFailed
from kbench.worker.loader import forget_module, load_class, torch_settings
from kbench.worker.session import Session, StructureError, WrongDevice
from kbench.worker.state import ParameterMismatch

if TYPE_CHECKING:
    from kbench.page import Page

_MAX_REQUEST_BYTES = 256 << 20

_STAGE_FAILURES = {Kind.LOAD: Failure.LOAD, Kind.CONSTRUCT: Failure.CONSTRUCT}


def serve(welcome: dict[str, Any], descriptors: Sequence[int]) -> None:
    """Target of the fork server. `descriptors[0]` is the protocol's socket, the others are host arenas; on a CUDA
    device there is but one other, the judge's page."""
    told = Welcome(**welcome)
    os.environ.update(told.environment)
    page = _woken_on(told.device, descriptors[1]) if told.device else None
    worker = _Worker(descriptors[1:], page)
    with socket.socket(fileno=descriptors[0]) as connection:
        channel = protocol.Channel(connection, bytes.fromhex(told.nonce))
        while True:
            try:
                request = channel.receive(max_payload=_MAX_REQUEST_BYTES, timeout_s=None)
            except protocol.PeerGone:
                return
            kind, payload = worker.answer(request)
            channel.send(kind, request.sequence, payload)


def _woken_on(device: str, descriptor: int) -> Page:
    """Make the context now: before our turn, and before a file is imported, so that it finds all workers alike."""
    import torch

    from kbench.page import Page

    page = Page(descriptor)
    with contextlib.suppress(Exception):  # who constructs there will meet it again, and be answered
        torch.cuda.set_device(device)
        torch.cuda.synchronize()
    page.say_awake()
    return page


class _Worker:
    """Turns requests into answers; every exception becomes a FAILED answer."""

    def __init__(self, arenas: Sequence[int], page: Page | None) -> None:
        self._arenas = arenas
        self._page = page
        self._task: Task | None = None
        self._settings: tuple[Any, ...] = ()
        self._module_class: Any = None
        self._session: Session | None = None

    def answer(self, request: protocol.Frame) -> tuple[Kind, bytes]:
        """Do what `request` asks. The one broad `except` of the project stands here: a candidate may raise anything."""
        try:
            return self._do(request)
        except BaseException as error:
            text = _explain(error, self._task)
            print(text, file=sys.stderr, flush=True)
            line = _line_in(error, self._task.path) if self._task else 0
            return Kind.FAILED, protocol.pack_failed(_classify(error, request.kind), line, _last_words(text))

    def _do(self, request: protocol.Frame) -> tuple[Kind, bytes]:
        if request.kind is Kind.LOAD:
            self._task = Task(**json.loads(request.payload))
            os.environ.update(self._task.environment)
            self._settings = self._settings or torch_settings()
            self._module_class = load_class(self._task)
            return Kind.DONE, b""
        if request.kind is Kind.CONSTRUCT:
            setup = pickle.loads(request.payload)  # from the judge, who is trusted here; never the other way round
            self._session = Session.construct(self._module_class, setup, self._arenas, self._page)
            return Kind.DONE, b""
        session = self._session
        if session is None:
            raise RuntimeError(f"{request.kind.name} before CONSTRUCT")
        if request.kind is Kind.RELEASE:
            self._session = self._module_class = None
            forget_module()
            session.close()
            if torch_settings() != self._settings:
                raise RuntimeError("the file has changed settings of torch: another would not run here as in a new one")
        elif request.kind is Kind.SET_STATE:
            session.set_state()
        elif request.kind is Kind.GET_STATE:
            session.get_state()
        elif request.kind is Kind.PREPARE:
            session.prepare(protocol.unpack_prepare(request.payload))
        elif request.kind is Kind.SAMPLE:
            return Kind.SAMPLED, protocol.pack_sampled(session.sample(*protocol.unpack_sample(request.payload)))
        else:
            raise RuntimeError(f"{request.kind.name} is not a request")
        return Kind.DONE, b""


def _classify(error: BaseException, stage: Kind) -> Failure:
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError) or _is_host_allocation_failure(error):
        return Failure.OUT_OF_MEMORY
    if isinstance(error, getattr(torch, "AcceleratorError", ())):
        return Failure.DEVICE_FAULT
    if isinstance(error, BuildFailed):
        return Failure.BUILD
    if isinstance(error, ParameterMismatch):
        return Failure.PARAMETERS
    if isinstance(error, StructureError):
        return Failure.STRUCTURE
    if isinstance(error, WrongDevice):
        return Failure.OUTPUT_DEVICE
    return _STAGE_FAILURES.get(stage, Failure.RUNTIME)


def _is_host_allocation_failure(error: BaseException) -> bool:
    """torch's CPU allocator has no exception class of its own; its enforce names the file it stands in."""
    return isinstance(error, RuntimeError) and "enforce fail at alloc_cpu.cpp" in str(error)


def _line_in(error: BaseException, path: str) -> int:
    """The innermost line of the solution's own file that the exception passed through, or 0."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return error.lineno or 0
    lines = [frame.lineno or 0 for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return lines[-1] if lines else 0


def _explain(error: BaseException, task: Task | None) -> str:
    if isinstance(error, BuildFailed | ParameterMismatch | StructureError | WrongDevice):
        return str(error)
    text = "".join(traceback.format_exception(error))
    return text.replace(task.path, task.shown_path) if task else text


def _last_words(text: str) -> str:
    """What fits into a message: the start of a compiler's log, where the first error is, or a traceback's end."""
    room = protocol.MAX_TEXT_BYTES // 4
    if len(text) <= 2 * room:
        return text
    _, _, whole_lines = text[-room:].partition("\n")
    return f"{text[:room]}\n[…]\n{whole_lines}"
