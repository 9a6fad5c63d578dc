"""The parts of a process, a file a role: with `gateway/node.py` they see every room."""
