"""The runtime on a loop with virtual time, against ports in memory."""
