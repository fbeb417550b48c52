"""What holds for every test."""

from __future__ import annotations

import os

os.environ.pop("COLUMNS", None)  # whoever runs the tests may have set it, and it would wrap what kbench prints
