"""What holds for every test."""

from __future__ import annotations

import os

os.environ.setdefault("KBENCH_PRECOMPILE", "false")
"""Each test that runs kbench has a cache of its own: headers would be compiled for every one of them."""
