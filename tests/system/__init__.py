"""The whole system: real processes, started, killed and started again."""
