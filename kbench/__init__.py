"""kbench: judge and time candidate kernels, and be able to believe the number."""

__version__ = "0.1.0"
