"""What leaves the house, until it has left: mails and webhooks, fed by the projector."""
