"""All routes, a file a resource."""

from gateway.routes import (
    attendees,
    availability,
    bookings,
    description,
    development,
    doors,
    events,
    operations,
    orders,
    payments,
    search,
    series,
    tickets,
    tiers,
    venues,
    waitlist,
)
from gateway.routing import Route

ROUTES: list[Route] = [
    *orders.ROUTES,
    *doors.ROUTES,
    *payments.ROUTES,
    *attendees.ROUTES,
    *availability.ROUTES,
    *tickets.ROUTES,
    *waitlist.ROUTES,
    *events.ROUTES,
    *tiers.ROUTES,
    *series.ROUTES,
    *venues.ROUTES,
    *bookings.ROUTES,
    *search.ROUTES,
    *operations.ROUTES,
    *description.ROUTES,
    *development.ROUTES,
]
