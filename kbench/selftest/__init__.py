"""The red-team suite on the user's own machine: read, run like any other run, each record held against its file."""
