"""Two runs side by side: what changed, how sure that is, and whether a change may pass."""
