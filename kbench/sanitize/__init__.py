"""compute-sanitizer around a solution: start it confined, read its report."""
