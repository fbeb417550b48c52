"""From files to a plan: which problems and solutions there are, what their text says, which pairs to run."""
