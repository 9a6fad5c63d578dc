"""The nemesis: real processes broken on purpose under load, and every promise checked after it."""
