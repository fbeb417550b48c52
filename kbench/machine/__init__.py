"""What this machine has: tools, GPUs, memory; the fingerprint a run keeps; what `kbench doctor` makes of it."""
