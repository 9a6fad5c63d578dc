"""Finding events: the feed from the catalogue, and the indexes it is found in."""
