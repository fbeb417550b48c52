"""From a correct solution to a speedup: interleaved samples of fresh processes, the window's bound, the floor."""
