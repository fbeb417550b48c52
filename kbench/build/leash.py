"""Run a command that does not outlive whoever started it: `python -m kbench.build.leash COMMAND…`.

The leash is the standard input, a pipe: when its other end is closed, by intent or by the end of whoever held it, the
command is killed with all that it has started.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys


def main() -> int:
    """Returns the command's exit code."""
    os.setsid()
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    ended = os.pidfd_open(command.pid)
    select.select([sys.stdin, ended], [], [])
    if command.poll() is None:
        os.killpg(0, signal.SIGKILL)
    return command.wait()


if __name__ == "__main__":
    raise SystemExit(main())
