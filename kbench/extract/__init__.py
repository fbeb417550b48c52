"""Turn raw model responses into candidate files. Pure: reads text, executes nothing."""

from kbench.extract.blocks import find_blocks
from kbench.extract.choose import extract
from kbench.extract.files import extract_paths, write_solution
from kbench.extract.model import Block, Extracted, Extraction, NothingUsable, Reason, Rejected

__all__ = [
    "Block",
    "Extracted",
    "Extraction",
    "NothingUsable",
    "Reason",
    "Rejected",
    "extract",
    "extract_paths",
    "find_blocks",
    "write_solution",
]
