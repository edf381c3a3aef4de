"""How long does this Python snippet take? Percentiles from a limited child process."""
