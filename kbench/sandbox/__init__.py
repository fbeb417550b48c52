"""How an untrusted process is confined, and what of it was achieved.

`client` (in the judge) asks `server` (torch imported, no CUDA context) for a process; the server forks a
`supervisor`, which builds the walls of `confine` around one worker and outlives it to clear its whole tree away.
"""
