"""Remove a folder that an untrusted process has filled."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def remove_folder(folder: Path) -> None:
    """Remove `folder` with everything in it, as far as that goes. Raises nothing.

    Python's own removal recurses: folders nested a thousand deep, which cost nothing to make, end it.
    """
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:
        subprocess.run(["rm", "-rf", "--", str(folder)], stdin=subprocess.DEVNULL, capture_output=True, check=False)
