"""All routes, a file a resource."""

from gateway.routes import (
    attendees,
    availability,
    bookings,
    description,
    development,
    devices,
    doors,
    events,
    manifest,
    operations,
    orders,
    payments,
    search,
    series,
    syncing,
    tickets,
    tiers,
    venues,
)
from gateway.routing import Route

ROUTES: list[Route] = [
    *orders.ROUTES,
    *doors.ROUTES,
    *devices.ROUTES,
    *syncing.ROUTES,
    *manifest.ROUTES,
    *payments.ROUTES,
    *attendees.ROUTES,
    *availability.ROUTES,
    *tickets.ROUTES,
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
