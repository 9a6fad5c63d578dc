"""Several nodes in one hostile world, all from one seed, then an audit of what they left behind."""
