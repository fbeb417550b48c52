"""Scripts that show a recorded failure without kbench: what goes into one, and the program it runs."""
