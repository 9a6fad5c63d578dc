"""What the catalogue tells a sale: its terms, tiers and gates, and the steps of its life.

Each message carries the event's version; one that is not newer has been heard already.
"""

from typing import assert_never

from engine import limits, promos
from engine.commands import (
    CancelEvent,
    CloseSale,
    CompleteEvent,
    ConfigureEvent,
    ConfigureGates,
    ConfigurePromo,
    ConfigureTier,
    OpenSale,
    RemovePromo,
    TierTerms,
)
from engine.facts import (
    EventCancelled,
    EventCompleted,
    EventConfigured,
    GatesConfigured,
    PromoConfigured,
    PromoRemoved,
    SaleClosed,
    SaleOpened,
    TierConfigured,
)
from engine.rejections import Rejection
from engine.replies import Decision
from engine.state import Phase, State
from engine.tier import Tier, refuse_change

Configuration = (
    OpenSale
    | ConfigureEvent
    | ConfigureTier
    | ConfigureGates
    | ConfigurePromo
    | RemovePromo
    | CloseSale
    | CancelEvent
    | CompleteEvent
)
Configured = (
    SaleOpened
    | EventConfigured
    | TierConfigured
    | GatesConfigured
    | PromoConfigured
    | PromoRemoved
    | SaleClosed
    | EventCancelled
    | EventCompleted
)


def configure(state: State, command: Configuration) -> Decision:
    if command.version <= state.header.version:
        return state.view()
    match command:
        case OpenSale():
            opened = SaleOpened(
                command.version, command.terms, command.tiers, command.gates, command.promos
            )
            return _refuse_tiers(state, command.tiers) or [opened]
        case ConfigureEvent():
            return [EventConfigured(command.version, command.terms)]
        case ConfigureTier():
            configured = TierConfigured(command.version, command.tier)
            return _refuse_tiers(state, (command.tier,)) or [configured]
        case ConfigureGates():
            return [GatesConfigured(command.version, command.gates)]
        case ConfigurePromo():
            return [PromoConfigured(command.version, command.promo)]
        case RemovePromo():
            return [PromoRemoved(command.version, command.promo_id)]
        case CloseSale():
            return [SaleClosed(command.version)]
        case CancelEvent():
            return [EventCancelled(command.version)]
        case CompleteEvent():
            return [EventCompleted(command.version)]
        case _:
            assert_never(command)


def _refuse_tiers(state: State, tiers: tuple[TierTerms, ...]) -> Rejection | None:
    known = state.header.tiers
    refused = (refuse_change(known[t.tier_id], t) for t in tiers if t.tier_id in known)
    return next(filter(None, refused), None)


def apply_configured(state: State, fact: Configured) -> None:
    header = state.header
    header.version = fact.version
    match fact:
        case SaleOpened():
            header.phase = Phase.OPEN
            header.terms = fact.terms
            header.gates = fact.gates
            for terms in fact.tiers:
                _configure_tier(state, terms)
            for promo in fact.promos:
                promos.configure(state, promo)
        case EventConfigured():
            header.terms = fact.terms
        case TierConfigured():
            _configure_tier(state, fact.tier)
        case GatesConfigured():
            header.gates = fact.gates
        case PromoConfigured():
            promos.configure(state, fact.promo)
        case PromoRemoved():
            promos.remove(state, fact.promo_id)
        case SaleClosed():
            header.phase = Phase.CLOSED
        case EventCancelled():
            header.phase = Phase.CANCELLED
            header.cancelled_at_ms = header.now_ms
            state.index_unwinding()
        case EventCompleted():
            header.phase = Phase.COMPLETED
        case _:
            assert_never(fact)


def _configure_tier(state: State, terms: TierTerms) -> None:
    state.header.tiers.setdefault(terms.tier_id, Tier(terms)).configure(terms)
    limits.configure(state, terms)
