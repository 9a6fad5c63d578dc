"""How results are ranked by relevance: weights and distances that every search index goes by.

A score is of one document alone, never of how many others there are, so it stays the same from page
to page whatever is changed elsewhere. Each word of the query counts with the best place it is found
in; what is added to the words' sum is smaller than the step from a title to a venue.
"""

from math import asin, cos, radians, sin, sqrt

from engine.finding import Point

EXACT = {"title": 10.0, "place": 6.0, "about": 4.0}
BEGINNING = {"title": 6.0, "place": 3.0, "about": 2.0}
CLOSE = {"title": 5.0, "place": 3.0, "about": 2.0}
WHOLE_TITLE = 8.0

SOON, SOON_HALVED_DAYS = 2.0, 180.0  # for an event at the instant of the query
NEAR, NEAR_HALVED_KM = 3.0, 50.0  # for one at the asker's place
TASTE = 3.0  # for a category of which the asker was at an event just now
TASTE_HALVED_DAYS = 180.0

EARTH_KM = 6371.0087714  # the mean radius (IUGG)


def distance_km(a: Point, b: Point) -> float:
    """Along a great circle."""
    north, south = radians(a.latitude), radians(b.latitude)
    across = radians(b.longitude - a.longitude)
    half = sin((south - north) / 2) ** 2 + cos(north) * cos(south) * sin(across / 2) ** 2
    return 2 * EARTH_KM * asin(sqrt(min(1.0, half)))
