"""Runs on disk: written by one process, line by line, repaired after a kill, read by anyone."""
