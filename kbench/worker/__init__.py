"""The far end of the protocol: the only code that imports a solution. Everything here runs inside the sandbox."""
