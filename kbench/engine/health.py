"""Does the device still compute? Asked before a lane's first pair, and after each that may have left it unsound."""

from __future__ import annotations

import signal

import torch

from kbench.errors import InfraError
from kbench.model import Record, Status

_PATIENCE_S = 120
_NUMBERS = 1 << 22
_MAY_HARM = frozenset(
    {Status.CRASH, Status.RUNTIME_ERROR, Status.TIMEOUT, Status.OUT_OF_MEMORY, Status.PROTOCOL_ERROR, Status.REJECTED}
)


def may_have_harmed(record: Record) -> bool:
    """Whether a pair ended in a way that may have left its device unsound."""
    return record.status in _MAY_HARM


def look_at(device: torch.device) -> None:
    """Let the device do sums whose results are known: integers, so that they are exact.

    Raises InfraError where it errs. Where it does not answer within two minutes, SIGALRM ends this process, which is
    all that can still be done about it.
    """
    signal.alarm(_PATIENCE_S)
    try:
        numbers = torch.arange(_NUMBERS, device=device)
        total = int(numbers.sum().item())
        square = torch.ones(256, 256, device=device)
        product = float((square @ square).sum().item())
    except (torch.AcceleratorError, torch.OutOfMemoryError) as error:
        raise InfraError(
            "the device does no sums any more", why=str(error).partition("\n")[0], hint="nvidia-smi says more"
        ) from error
    finally:
        signal.alarm(0)
    if total != _NUMBERS * (_NUMBERS - 1) // 2 or product != 256.0**3:
        raise InfraError("the device computes wrong sums", why=f"{total} and {product}", hint="nvidia-smi says more")
