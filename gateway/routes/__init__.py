"""All routes, a file a resource."""

from gateway.routes import (
    attendees,
    availability,
    bookings,
    description,
    development,
    doors,
    events,
    mails,
    operations,
    orders,
    payments,
    search,
    series,
    ticket_files,
    tickets,
    tiers,
    venues,
    webhook_endpoints,
)
from gateway.routing import Route

ROUTES: list[Route] = [
    *orders.ROUTES,
    *doors.ROUTES,
    *payments.ROUTES,
    *attendees.ROUTES,
    *availability.ROUTES,
    *tickets.ROUTES,
    *ticket_files.ROUTES,
    *events.ROUTES,
    *tiers.ROUTES,
    *series.ROUTES,
    *venues.ROUTES,
    *bookings.ROUTES,
    *search.ROUTES,
    *operations.ROUTES,
    *description.ROUTES,
    *webhook_endpoints.ROUTES,
    *mails.ROUTES,
    *development.ROUTES,
]
