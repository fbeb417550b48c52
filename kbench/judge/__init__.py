"""The trusted side: secret inputs, the fp64 oracle, the tolerance, the window clock, the verdict."""
