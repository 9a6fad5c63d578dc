"""Tells a sale's actor what has been changed in the catalogue, and sees that it was heard."""

from collections.abc import Sequence
from typing import assert_never

from engine import commands as c
from engine.catalogue import Event, PromoCode, event_terms, promo_terms, tier_terms
from engine.configuring import Configuration
from engine.lifecycle import Step
from engine.rejections import Rejection
from engine.runtime.faults import SaleUnavailable
from engine.runtime.ports import Mailbox
from engine.state import Phase, SaleView


async def tell(mailbox: Mailbox, event_id: str, command: Configuration) -> Rejection | None:
    """The actor's refusal, or None: it has the change in the journal.

    Raises SaleUnavailable where the sale is ahead of the tables, until they have been healed.
    """
    reply = await mailbox.ask(event_id, command)
    if isinstance(reply, Rejection):
        return reply
    assert isinstance(reply, SaleView), reply
    if not _heard(reply, command):
        raise SaleUnavailable
    return None


def step_command(step: Step, event: Event, promo_codes: Sequence[PromoCode]) -> Configuration:
    match step:
        case Step.OPEN_SALES:
            tiers = tuple(tier_terms(tier) for tier in event.tiers)
            promos = tuple(promo_terms(promo) for promo in promo_codes)
            return c.OpenSale(event.version, event_terms(event), tiers, event.gates, promos)
        case Step.CLOSE_SALES:
            return c.CloseSale(event.version)
        case Step.CANCEL:
            return c.CancelEvent(event.version)
        case Step.COMPLETE:
            return c.CompleteEvent(event.version)
        case Step.PUBLISH:
            raise AssertionError("an event is published before its sale is opened")
        case _:
            assert_never(step)


def _heard(view: SaleView, command: Configuration) -> bool:
    """Whether it is this command that brought the sale to its version.

    It may have been another one, whose change a crash kept from the tables.
    """
    if view.version != command.version:
        return False
    terms_by_tier = {tier.terms.tier_id: tier.terms for tier in view.tiers}
    match command:
        case c.OpenSale():
            tiers_fit = all(terms_by_tier.get(terms.tier_id) == terms for terms in command.tiers)
            return view.phase is Phase.OPEN and view.terms == command.terms and tiers_fit
        case c.ConfigureEvent():
            return view.terms == command.terms
        case c.ConfigureTier():
            return terms_by_tier.get(command.tier.tier_id) == command.tier
        case c.ConfigureGates() | c.ConfigurePromo() | c.RemovePromo():
            return True  # a sale does not show them
        case c.CloseSale():
            return view.phase is Phase.CLOSED
        case c.CancelEvent():
            return view.phase is Phase.CANCELLED
        case c.CompleteEvent():
            return view.phase is Phase.COMPLETED
        case _:
            assert_never(command)
