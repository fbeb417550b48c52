"""Where the CUDA toolkit's tools are."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path


def find_tool(environment: Mapping[str, str], name: str = "compute-sanitizer") -> Path | None:
    """Where a tool of the CUDA toolkit is: on the path, below CUDA_HOME, or below /usr/local/cuda."""
    found = shutil.which(name, path=environment.get("PATH", os.defpath))
    homes = [environment.get("CUDA_HOME"), environment.get("CUDA_PATH"), "/usr/local/cuda"]
    places = [Path(home) / "bin" / name for home in homes if home]
    return Path(found) if found else next((place for place in places if os.access(place, os.X_OK)), None)
