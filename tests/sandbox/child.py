"""Run something in a forked child, which may then be confined for good, and learn how it went."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from typing import Any


def in_child(action: Callable[[], Any]) -> Any:
    """What `action` returns (as JSON), or the name of the errno it failed with."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, json.dumps(outcome(action)).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        said = answer.read()
    os.waitpid(child, 0)
    assert said, "the child died without a word"
    return json.loads(said)


def outcome(action: Callable[[], Any]) -> Any:
    """What `action` returns, or the name of the errno it failed with."""
    try:
        return action()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, repr(error))
